"""`eubchain inspect`, `replay`, `rollback`, `export`: a stopped node's ledger, looked at and taken back.

Here: the verbs, and the rules (vm) that the ledger's own functions are handed.
Not here: how each works (eubchain/ledger).
Keeps: the home is locked meanwhile, so no node writes; what a rollback undoes is listed and asked.
Errors: 3909 audit_found.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from consensus.types.amounts import format_eubc
from consensus.types.errors import Fault, Reason
from eubchain.cli.session import SESSION

if TYPE_CHECKING:
    from consensus.resource.proof import Claim
    from consensus.types.block import Block
    from consensus.types.genesis import Genesis
    from consensus.types.reader import StateReader
    from consensus.types.receipt import Receipt
    from consensus.validators import ValidatorSet
    from eubchain.ledger.ledger import Ledger
    from vm.claims import Judge
    from vm.rules import Rules

PROGRESS_S = 2.0
"""A line at least this often: silence reads as a hang."""

AUDIT_FOUND = Reason(
    3909,
    "audit_found",
    "count:count first:text",
    "{count} things in the ledger are not as they must be; the first: {first}.",
    "Do not sign with this ledger: restore a backup, or join again with a new home.",
)


class Opened(NamedTuple):
    """A stopped node's ledger with its rules."""

    ledger: Ledger
    genesis: Genesis
    rules: Rules


@contextmanager
def opened(*, verify: bool = True) -> Iterator[Opened]:
    """The home's ledger, with the home locked."""
    from consensus.types.genesis import genesis_hash
    from eubchain.ledger.ledger import Ledger
    from eubchain.node.config import load_config
    from eubchain.node.home import Home
    from genesis.files import read_genesis
    from vm.rules import rules_of

    home = Home(SESSION.home)
    home.check()
    genesis = read_genesis(home.genesis)
    undo = load_config(home.config).number("ledger", "undo_blocks")
    with home.locked():
        ledger = Ledger.open(home.ledger, genesis_hash(genesis), undo_blocks=undo, verify=verify)
        try:
            yield Opened(ledger, genesis, rules_of(genesis))
        finally:
            ledger.close()


class Ticker:
    """Prints what is going on, at most every two seconds."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= PROGRESS_S:
            self._last = now
            SESSION.note(f"{stage}: {done}" + (f" of {total}" if total else ""))


def execution(
    rules: Rules, judge: Judge | None = None
) -> Callable[[StateReader, Block], tuple[dict[bytes, bytes | None], list[Receipt]]]:
    """The transition as the ledger's replay takes it.

    Proofs of resource are taken as the network judged them, which its roots show; `judge` looks at each.
    """
    from vm.decided import apply_decided
    from vm.registry import decode_candidate
    from vm.transition import apply_block

    def execute(reader: StateReader, block: Block) -> tuple[dict[bytes, bytes | None], list[Receipt]]:
        candidates = [decode_candidate(raw, rules) for raw in block.transactions]
        if judge is None:
            outcome = apply_decided(reader, rules, block, candidates)
        else:
            header = block.header
            outcome = apply_block(
                reader, rules, header, block.last_commit, candidates, strict=True, judge=judge
            )
        return outcome.writes, list(outcome.receipts)

    return execute


def supply_problem(rules: Rules) -> Callable[[StateReader], str | None]:
    """Recomputes what accounts, stakes, pools and the tally hold, and compares it with the supply."""
    from vm import funds, pools, stake, tally
    from vm import head as heads
    from vm.state import SUPPLY, SupplyColumns

    def check(reader: StateReader) -> str | None:
        state = heads.view(reader, rules)
        supply = state.get(SUPPLY, b"")
        if supply is None:
            return "there is no record of it"
        stakes = [record for _, record in state.scan(stake.STAKES)]
        found = {
            "balances": sum(a.balance for _, a in state.scan(funds.ACCOUNTS)),
            "bonded": sum(s.bonded for s in stakes),
            "unbonding": sum(entry.amount for s in stakes for entry in s.unbonding),
            "pools": sum(p.amount for _, p in state.scan(pools.POOLS)),
            "accrued": sum(row.accrued for row in tally.tally(state).rows),
        }
        for name, amount in found.items():
            if amount != getattr(supply, name):
                return f"{name} are {amount} grains, the record says {getattr(supply, name)}"
        return (
            None if SupplyColumns(supply).is_conserved() else "its columns do not add up to what was issued"
        )

    return check


def inspect(
    proofs: Annotated[
        bool,
        typer.Option(
            "--proofs", help="Execute every block again and judge every proof of resource, which takes long."
        ),
    ] = False,
) -> None:
    """Check a stopped node's whole ledger: blocks, links, signatures, state, undo records, supply.

    Example: eubchain inspect --home ./node0
    """
    from eubchain.ledger.inspect import audit
    from vm import head as heads

    with opened(verify=False) as held:
        state = heads.view(held.ledger, held.rules)

        def validators_at(height: int) -> ValidatorSet | None:
            return heads.validators_at(state, height)

        found = audit(held.ledger, validators_at, supply_problem(held.rules), Ticker())
        facts: dict[str, Any] = {
            "height": held.ledger.height,
            "blocks": found.blocks,
            "commits": found.commits,
            "commits_unchecked": found.commits_unchecked,
            "entries": found.entries,
            "findings": [finding._asdict() for finding in found.findings],
        }
        if proofs and not found.findings:
            facts["proofs_judged"] = judge_all_proofs(held)
    if found.findings:
        for finding in found.findings[:20]:
            SESSION.note(f"  height {finding.height}: {finding.name}: {finding.detail}")
        raise Fault(AUDIT_FOUND, count=len(found.findings), first=found.findings[0].detail)
    text = (
        f"height {facts['height']}: {found.blocks} blocks, {found.commits} commits, {found.entries} state "
        f"entries and the supply are as they must be"
    )
    if "proofs_judged" in facts:
        text += (
            f"\n  {facts['proofs_judged']} proofs of resource judged again: every verdict is the network's"
        )
    if found.commits_unchecked:
        text += (
            f"\n  {found.commits_unchecked} commits are older than the validator sets that the state keeps"
        )
    SESSION.result(facts, text)


def judge_all_proofs(held: Opened) -> int:
    """Execute every block again with each proof recomputed; returns how many. Raise `Fault` 2130, 2131."""
    from eubchain.ledger.replay import replay as execute_again
    from vm.claims import judge_here
    from vm.genesis import genesis_writes

    ticker, judged = Ticker(), 0

    def judge(claim: Claim) -> int:
        nonlocal judged
        judged += 1
        return judge_here(claim)

    start = {key: value for key, value in genesis_writes(held.genesis).items() if value is not None}
    for height in execute_again(held.ledger, start, execution(held.rules, judge)):
        ticker(f"judged {judged} proofs", height, held.ledger.height)
    return judged


def replay(
    into: Annotated[
        Path | None, typer.Option("--into", help="Write the replayed ledger into this new folder.")
    ] = None,
) -> None:
    """Execute every block of a stopped node again and compare each root.

    Example: eubchain replay --home ./node0
    """
    from eubchain.ledger.ledger import Ledger
    from eubchain.ledger.replay import replay as execute_again
    from vm.genesis import genesis_writes

    ticker, started = Ticker(), time.monotonic()
    with opened() as held:
        start = {key: value for key, value in genesis_writes(held.genesis).items() if value is not None}
        target = Ledger.create(into, held.genesis, start) if into is not None else None
        try:
            head = held.ledger.height
            for height in execute_again(held.ledger, start, execution(held.rules), target):
                ticker("replayed", height, head)
        finally:
            if target is not None:
                target.close()
    seconds = time.monotonic() - started
    SESSION.result(
        {"height": head, "seconds": round(seconds, 3)},
        f"{head} blocks replayed in {seconds:.1f} s; every root is the one agreed on",
    )


def rollback(
    height: Annotated[
        int | None, typer.Option("--to", min=0, help="The height to go back to; one block if left out.")
    ] = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Drop the blocks above too, instead of executing them again.")
    ] = False,
) -> None:
    """Take a stopped node's state back by some blocks; they are executed again at the next start.

    Example: eubchain rollback --to 1200 --home ./node0
    """
    from eubchain.ledger.rollback import ROLLBACK_TOO_FAR, lowest_rollback, roll_back

    with opened(verify=False) as held:
        ledger = held.ledger
        head = ledger.height
        to = max(0, head - 1) if height is None else height
        lowest = lowest_rollback(ledger)
        if not lowest <= to <= head:  # before anything is asked
            raise Fault(ROLLBACK_TOO_FAR, height=to, lowest=lowest, head=head)
        _list_undone(ledger, to, head)
        SESSION.note(f"  the state goes back from height {head} to {to}; {lowest} is the lowest possible")
        if forget:
            SESSION.note("  the blocks above are dropped: a validator must not sign at these heights again")
        SESSION.confirm("Roll back?")
        roll_back(ledger, to, forget=forget)
    SESSION.result({"from": head, "to": to, "forgot": forget}, f"the state is that of height {to}")
    SESSION.follow(f"eubchain start --home {SESSION.home}")


def _list_undone(ledger: Ledger, to: int, head: int) -> None:
    for undone in range(head, to, -1):
        block = ledger.block(undone)
        count = 0 if block is None else len(block.transactions)
        if count or head - to <= 20:
            SESSION.note(f"  block {undone}: {count} transactions")


def export() -> None:
    """Print a stopped node's accounts with balances and bonds, one JSON object a line, the head first.

    Example: eubchain export --home ./node0 > accounts.jsonl
    """
    import json

    from consensus.types.address import format_address
    from vm import funds, stake
    from vm import head as heads
    from vm.state import SUPPLY

    with opened() as held:
        state = heads.view(held.ledger, held.rules)
        supply = state.get(SUPPLY, b"")
        assert supply is not None, "the genesis writes the supply"
        first = {
            "chain_id": held.rules.chain_id,
            "genesis_hash": held.rules.genesis.hex(),
            "height": held.ledger.height,
            "state_root": held.ledger.state_root.hex(),
            "supply": {name: str(getattr(supply, name)) for name in supply.__struct_fields__},
        }
        print(json.dumps(first))
        count = 0
        for address, account in state.scan(funds.ACCOUNTS):
            bond = stake.stake(state, address)
            row = {
                "address": format_address(address, held.rules.prefix),
                "nonce": account.nonce,
                "balance": str(account.balance),
                "bonded": str(bond.bonded),
                "unbonding": str(sum(entry.amount for entry in bond.unbonding)),
            }
            print(json.dumps(row))
            count += 1
        sys.stdout.flush()
    SESSION.note(f"{count} accounts, {format_eubc(supply.balances)} EUBC in balances")
