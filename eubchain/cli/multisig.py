"""`eubchain multisig`: accounts with several keys, and their transactions, which travel as a file.

Here: new, show, pay, sign, combine, send. Not here: the file and its checks (eubchain/client/multisig.py).
Keeps: whoever signs sees what the file really says, recomputed from its body.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import trio
import typer

from consensus.types.address import PREFIXES, format_address
from consensus.types.amounts import format_eubc, parse_eubc
from consensus.types.errors import Fault
from eubchain.cli import paying
from eubchain.cli.money import check_recipient, resolve
from eubchain.cli.paying import Again, Lifetime, MaxPrice, NoWait, Tip
from eubchain.cli.session import BAD_ARGUMENT, SESSION
from eubchain.cli.wallet import facts_of, known_prefix
from eubchain.client.connection import Connection

if TYPE_CHECKING:
    from eubchain.client.multisig import Draft
    from eubchain.wallet.accounts import MultisigAccount

app = typer.Typer(name="multisig", help="Accounts that need several keys.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="The transaction's file.")]


def _multisig(name: str) -> MultisigAccount:
    from eubchain.wallet.accounts import MultisigAccount

    account = SESSION.wallet().account(name)
    if not isinstance(account, MultisigAccount):
        raise Fault(
            BAD_ARGUMENT, why=f"'{name}' is an account with one key; send with `eubchain wallet send`."
        )
    return account


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="A name for the account.")],
    threshold: Annotated[int, typer.Argument(help="How many must sign.")],
    keys: Annotated[list[str], typer.Argument(help="Public keys of 64 digits, or accounts of this wallet.")],
) -> None:
    """Note an account that some of several keys sign for. `wallet show` prints a public key.

    Example: eubchain multisig new board 2 main savings
    """
    wallet = SESSION.wallet()
    found = [
        bytes.fromhex(key) if re.fullmatch(r"[0-9a-f]{64}", key) else wallet.key_account(key).public
        for key in keys
    ]
    facts = facts_of(wallet.add_multisig(name, threshold, found))
    SESSION.result(facts, f"{name}  {facts['address']}  {threshold} of {len(keys)} keys")
    SESSION.follow(f"eubchain multisig show {name}")


@app.command()
def show(name: Annotated[str, typer.Argument(help="The multisig account.")]) -> None:
    """Show a multisig account: its keys, and which of them this wallet holds.

    Example: eubchain multisig show board
    """
    account = _multisig(name)
    holders = {holder.public: holder.name for holder in SESSION.wallet().holders(account)}
    facts = facts_of(account) | {"held_here": list(holders.values())}
    lines = [f"{name}  {facts['address']}  {account.threshold} of {len(account.keys)} keys"]
    lines += [f"  {key.hex()}  {holders.get(key, '')}".rstrip() for key in account.keys]
    SESSION.result(facts, "\n".join(lines))


@app.command()
def pay(
    name: Annotated[str, typer.Argument(help="The multisig account that pays.")],
    recipient: Annotated[str, typer.Argument(help="An address, or an account of this wallet.")],
    amount: Annotated[str, typer.Argument(help="EUBC with up to 8 decimals.")],
    file: File,
    tip: Tip = None,
    max_price: MaxPrice = None,
    lifetime: Lifetime = None,
    again: Again = False,
) -> None:
    """Make a payment of a multisig as a file, for its holders to sign; it stays valid for long.

    Example: eubchain multisig pay board deub1xc6xqjvm4txn9tvm8eurw6wktyx694ez3w5u4z 25 payment.json
    """
    grains = parse_eubc(amount)
    check_recipient(recipient)
    account = _multisig(name)
    if file.exists():
        raise Fault(BAD_ARGUMENT, why=f"{file} exists already.")

    async def make() -> None:
        from eubchain.client.multisig import new_draft, write_draft
        from eubchain.client.payments import find_earlier
        from eubchain.client.sending import multisig_authority, prepare
        from vm.account import Transfer

        async with Connection(SESSION.url) as node:
            network = await paying.open_network(node)
            payload = Transfer(resolve(recipient, network), grains)
            earlier = await find_earlier(node, network, SESSION.outbox(), account.address, payload)
            if earlier is not None and not again:
                raise earlier.refusal()
            prepared = await prepare(
                node,
                network,
                multisig_authority(account.threshold, account.keys),
                payload,
                # People need longer to sign than programs.
                lifetime_blocks=lifetime or network.rules.params.chain.max_ttl_blocks,
                tip=tip,
                max_price=max_price,
            )
            draft = new_draft(prepared, account)
            paying.show_summary(name, prepared, _lines(draft, network.prefix), grains)
            write_draft(file, draft)
            _tell(draft, file)

    SESSION.run(make)


def _lines(draft: Draft, prefix: str) -> list[tuple[str, str]]:
    """What the body says, whatever its type."""
    from consensus.types.naming import to_named
    from vm.registry import OPERATION_OF

    payload = draft.body.payload
    lines = [("does", OPERATION_OF[type(payload)].name)]
    for field, value in to_named(payload, prefix).items():
        shown = f"{format_eubc(int(value))} EUBC" if field == "amount" else str(value)
        lines.append((field, shown))
    return lines


def _tell(draft: Draft, file: Path) -> None:
    """How far a file is, and the command that follows."""
    have, need = len(draft.signatures), draft.account.threshold
    facts: dict[str, Any] = {
        "file": str(file),
        "txid": draft.txid.hex(),
        "signatures": have,
        "needed": need,
        "valid_until": draft.body.valid_until,
    }
    SESSION.result(facts, f"{file}: {draft.txid.hex()} has {have} of {need} signatures")
    verb = "sign" if draft.missing else "send"
    SESSION.follow(f"eubchain multisig {verb} {file}")


@app.command()
def sign(
    file: File,
    source: Annotated[
        str | None, typer.Option("--from", help="The account that holds one of the keys.")
    ] = None,
) -> None:
    """Add a signature to a multisig transaction, after showing what it says.

    Example: eubchain multisig sign payment.json --from main
    """
    from eubchain.client.multisig import add_signature, read_draft, write_draft

    draft = read_draft(file)
    wallet = SESSION.wallet()
    if source is None:
        holders = [h for h in wallet.holders(draft.account) if h.public not in draft.signatures]
        source = holders[0].name if holders else None
    account = wallet.key_account(source)
    prefix, body = known_prefix(), draft.body
    SESSION.note(f"  network      {body.chain_id} ({PREFIXES[prefix]})")
    SESSION.note(f"  from         {format_address(body.sender, prefix)}  ({len(draft.account.keys)} keys)")
    for label, value in _lines(draft, prefix):
        SESSION.note(f"  {label:<12} {value}")
    SESSION.note(
        f"  price        at most {body.max_price} grains a unit; valid until height {body.valid_until}"
    )
    SESSION.confirm(f"Sign as {account.name}?")
    password = SESSION.passwords().get(f"Password of {account.name}: ")
    signed = add_signature(draft, wallet.signer(account.name, password))
    write_draft(file, signed, replace=True)
    _tell(signed, file)


@app.command()
def combine(
    files: Annotated[list[Path], typer.Argument(help="Copies that different holders signed.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
) -> None:
    """Join the signatures of several copies of one transaction.

    Example: eubchain multisig combine a.json b.json --out payment.json
    """
    from eubchain.client.multisig import combine as join
    from eubchain.client.multisig import read_draft, write_draft

    joined = join([(str(path), read_draft(path)) for path in files])
    write_draft(out, joined, replace=out in files)
    _tell(joined, out)


@app.command()
def send(file: File, no_wait: NoWait = False) -> None:
    """Send a multisig transaction that enough holders have signed, and wait until it is final.

    Example: eubchain multisig send payment.json
    """
    from eubchain.client.multisig import finish, read_draft

    draft = read_draft(file)
    signed = finish(draft)

    async def deliver() -> None:
        from eubchain.client.multisig import check_network
        from eubchain.client.payments import record_signed

        async with Connection(SESSION.url) as node:
            network = await paying.open_network(node, signing=True)
            check_network(draft, network, file)
            for label, value in _lines(draft, network.prefix):
                SESSION.note(f"  {label:<12} {value}")
            SESSION.confirm("Send?")
            outbox = SESSION.outbox()
            await trio.to_thread.run_sync(record_signed, outbox, network, draft.body, signed)
            await paying.deliver_and_tell(node, signed, no_wait, f"eubchain tx get {signed.txid.hex()}")

    SESSION.run(deliver)
