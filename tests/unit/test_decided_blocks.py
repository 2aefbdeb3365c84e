"""A block whose transactions may stand in it only because its close slashes a false share.

Taken as true, that share leaves the bond whole: the bond's way back then begins in this block and costs units
that the next transaction's reserve needed, so whoever looks no further would find the agreed block invalid.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from consensus.resource.windows import closes_at
from consensus.types.amounts import eubc
from consensus.types.reader import MemoryState
from eubchain.cli.ledger import execution as executed_again
from eubchain.ledger.ledger import Ledger
from eubchain.ledger.replay import replay
from eubchain.ledger.rollback import roll_back
from eubchain.node.execution import Execution
from eubchain.node.kept_blocks import execute_kept
from eubchain.node.verdicts import Verdicts
from tests.unit.test_verdicts import Recorded
from vm import decided
from vm.account import Transfer
from vm.claims import Judge, judge_here, take_as_true
from vm.genesis import genesis_writes
from vm.inclusion import FEE_NOT_COVERED, Broken, units_max
from vm.measuring import FALSE_SHARE
from vm.registry import decode_candidate
from vm.stake import BOND_NOT_FREE, Unbond
from vm.transition import Outcome, apply_block
from vm.validity import BlockInvalid

PRICE_MAX = 10**9
"""The highest that a transaction may name."""


@pytest.fixture(scope="module")
def world() -> Recorded:
    """The head closes a window: alice's share is false, her whole bond wants back, and she pays another."""
    made = Recorded()
    made.succeed("alice", Transfer(made["v0"].address, eubc(9_000)))  # else no price is too high for her
    made.all_prove("alice")
    made.until_open()
    made.prove("alice")  # at a difficulty of four some of these tiles are no shares
    made.until_height(closes_at(made.window.window) - 1)
    bonded = made.stake("alice").bonded
    back = made.submit("alice", Unbond(bonded))
    _, as_slashed = made.build(made.pending)
    refused = as_slashed.receipts[0].fee
    pay = Transfer(made["v0"].address, 1)
    as_long = made.sign("alice", pay, max_price=PRICE_MAX)  # its bytes are units too
    most = units_max(decode_candidate(as_long, made.rules), made.params)
    # All that the refused transaction leaves her with, so one grain more would not be covered.
    paid = made.submit("alice", pay, max_price=(made.balance("alice") - refused) // most)
    made.block()
    assert made.receipts[back].code == BOND_NOT_FREE.code
    assert paid in made.receipts, "it stands in the block"
    assert made.events(FALSE_SHARE.code)
    return made


def start_of(world: Recorded) -> dict[bytes, bytes]:
    """The genesis state."""
    return {key: value for key, value in genesis_writes(world.genesis).items() if value is not None}


async def follow(ledger: Ledger, world: Recorded) -> None:
    """Take the blocks as a node does that follows."""
    node = Execution(ledger, world.rules, with_index=False, verdicts=Verdicts())
    for block, commit in world.made:
        candidates = [decode_candidate(raw, world.rules) for raw in block.transactions]
        await node.commit(await node.execute(block, candidates, is_decided=True), commit)


@pytest.fixture
def ledger(world: Recorded, tmp_path: Path) -> Ledger:
    """The whole chain in a ledger, as a node that follows has it."""
    made = Ledger.create(tmp_path / "ledger", world.genesis, start_of(world))
    trio.run(follow, made, world)
    return made


def test_with_the_share_taken_as_true_the_block_is_refused(world: Recorded) -> None:
    """Not another root: a transaction that may not stand in it."""
    *_, (block, _) = world.made
    candidates = [decode_candidate(raw, world.rules) for raw in block.transactions]
    before = MemoryState(start_of(world))
    for earlier, _ in world.made[:-1]:
        before.write(executed_again(world.rules)(before, earlier)[0])
    with pytest.raises(BlockInvalid) as invalid:
        apply_block(
            before, world.rules, block.header, block.last_commit, candidates, strict=True, judge=take_as_true
        )
    assert invalid.value.facts["code"] == FEE_NOT_COVERED.code


def test_a_node_that_follows_judges_it_and_goes_on(world: Recorded, ledger: Ledger) -> None:
    assert ledger.height == world.height
    ledger.close()


@pytest.mark.parametrize("judge", [None, judge_here])
def test_replay_and_inspection_judge_it_and_go_on(world: Recorded, ledger: Ledger, judge: object) -> None:
    again = executed_again(world.rules, judge)  # type: ignore[arg-type]  # None or a judge
    assert list(replay(ledger, start_of(world), again))[-1] == world.height
    ledger.close()


def test_a_rolled_back_node_executes_it_again(world: Recorded, ledger: Ledger) -> None:
    root = ledger.state_root
    roll_back(ledger, world.height - 2, forget=False)
    assert execute_kept(ledger, world.rules, with_index=False) == 2
    assert (ledger.height, ledger.state_root) == (world.height, root)
    ledger.close()


def test_a_transaction_that_breaks_on_a_guess_is_tried_with_the_verdict(
    world: Recorded, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that a share taken for true leads to is believed, not even a bug of ours."""
    candidate = decode_candidate(world.made[-1][0].transactions[0], world.rules)

    def guess_breaks(*block: Any, judge: Judge, **how: Any) -> Outcome:
        if judge is take_as_true:
            raise Broken(candidate)
        return apply_block(*block, judge=judge, **how)

    roll_back(ledger, world.height - 1, forget=False)
    monkeypatch.setattr(decided, "apply_block", guess_breaks)
    assert execute_kept(ledger, world.rules, with_index=False) == 1
    ledger.close()
