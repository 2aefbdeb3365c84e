"""`eubchain tx`: transactions as bytes and by their id.

Here: get, wait, submit, simulate, decode. Not here: making them (the verbs that sign).
Keeps: a wait that ends without an answer says what may still happen.
Errors: 3908 not_a_transaction.
"""

from __future__ import annotations

import base64
import binascii
import re
import sys
from typing import Annotated, Any

import typer

from consensus.types.amounts import format_eubc
from consensus.types.errors import Fault, Reason, Rejected
from eubchain.cli import paying
from eubchain.cli.session import BAD_ARGUMENT, SESSION
from eubchain.client.connection import Connection, RemoteRefusal

app = typer.Typer(name="tx", help="Transactions by id, and as bytes.", no_args_is_help=True)

NOT_A_TRANSACTION = Reason(
    3908,
    "not_a_transaction",
    "why:text",
    "This is not a signed transaction: {why}.",
    "Give its bytes in base64 or hexadecimal, a file with them, or - for stdin.",
)

Txid = Annotated[str, typer.Argument(help="64 hexadecimal digits, as printed when it was sent.")]
Raw = Annotated[str, typer.Argument(help="Base64 or hexadecimal, a file that holds it, or -.")]


def plain_txid(text: str) -> str:
    """A txid as 64 digits; raises `Fault` 3901."""
    digits = text.lower().removeprefix("0x")
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise Fault(BAD_ARGUMENT, why=f"'{text[:80]}' is not a txid: that is 64 hexadecimal digits.")
    return digits


def read_raw(text: str) -> bytes:
    """A transaction's bytes from an argument, a file or stdin; raises `Fault` 3908."""
    content = text
    if text == "-":
        content = sys.stdin.read()
    elif re.search(r"[./]", text) and not text.endswith("="):
        with open(text, encoding="utf-8") as file:
            content = file.read()
    compact = "".join(content.split())
    if re.fullmatch(r"(0x)?([0-9a-f]{2})+", compact):
        return bytes.fromhex(compact.removeprefix("0x"))
    try:
        return base64.b64decode(compact, validate=True)
    except (binascii.Error, ValueError):
        raise Fault(NOT_A_TRANSACTION, why="it is neither hexadecimal nor base64") from None


def show_transaction(view: dict[str, Any]) -> None:
    """Print a node's view of a transaction, why it was refused first."""
    receipt = view["receipt"]
    lines = []
    if receipt is not None and receipt["error"]:
        lines.append(f"refused, error {receipt['error']['code']}: {receipt['error']['sentence']}")
        lines.append(f"try: {receipt['error']['hint']}")
    place = f"in block {view['height']}, position {view['index']}" if view["height"] else "waits for a block"
    lines += [
        f"{view['type']} {view['txid'][2:]}  {place}",
        f"  from {view['sender']}, nonce {view['nonce']}, valid until height {view['valid_until']}",
    ]
    if receipt is not None:
        lines.append(f"  fee {format_eubc(int(receipt['fee']))} EUBC for {receipt['units']} units")
    lines += [f"  {name}: {value}" for name, value in view["payload"].items()]
    if receipt is not None:
        lines += [f"  {event['sentence']}" for event in receipt["events"]]
    SESSION.result(view, "\n".join(lines))


@app.command()
def get(txid: Txid) -> None:
    """Show a transaction and its outcome, or that it waits.

    Example: eubchain tx get 7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730
    """
    show_transaction(SESSION.asked("tx_get", txid="0x" + plain_txid(txid)))


@app.command()
def wait(
    txid: Txid,
    until: Annotated[
        int | None, typer.Option("--until", min=1, help="The height after which it cannot come any more.")
    ] = None,
) -> None:
    """Wait until a transaction is final, or until it has expired.

    Example: eubchain tx wait 7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730
    """
    SESSION.run(_wait, bytes.fromhex(plain_txid(txid)), until)


async def _wait(txid: bytes, until: int | None) -> None:
    from eubchain.client.payments import conclude
    from eubchain.client.sending import await_final, look_up

    outbox = SESSION.outbox()
    mine = next((e for e in outbox.entries() if e.signed.txid == txid.hex()), None)
    async with Connection(SESSION.url) as node:
        await paying.open_network(node)
        if until is None and mine is not None:
            until = mine.signed.valid_until
        if until is None:
            view = await look_up(node, txid)
            if view is None:
                why = "The node knows no such transaction; --until HEIGHT says how long to wait for it."
                raise Fault(BAD_ARGUMENT, why=why)
            until = view["valid_until"]
        final = await await_final(node, txid, until, paying.show_progress)
        paying.tell_final(final, f"eubchain tx get {txid.hex()}")
        if mine is not None and mine.outcome is None:
            conclude(outbox, final)
        if final.error is not None:
            raise paying.refusal_of(final)


@app.command()
def submit(
    transaction: Raw,
    no_wait: paying.NoWait = False,
) -> None:
    """Send a signed transaction; repeating the same bytes is harmless.

    Example: eubchain tx submit signed.txt
    """
    SESSION.run(_submit, read_raw(transaction), no_wait)


async def _submit(raw: bytes, no_wait: bool) -> None:
    from eubchain.client.sending import Signed, await_final
    from eubchain.client.sending import submit as hand_over

    async with Connection(SESSION.url) as node:
        network = await paying.open_network(node)
        decoded = _decode(raw)
        txid = _txid(decoded, network.rules.genesis)
        print(f"txid {txid.hex()}", file=sys.stderr, flush=True)
        signed = Signed(raw, txid, decoded.body.valid_until)
        await hand_over(node, signed)
        if no_wait:
            SESSION.result({"txid": txid.hex(), "outcome": "sent"}, f"sent {txid.hex()}")
            SESSION.follow(f"eubchain tx wait {txid.hex()}")
            return
        final = await await_final(node, txid, signed.valid_until, paying.show_progress)
        paying.tell_final(final, f"eubchain tx get {txid.hex()}")
        if final.error is not None:
            raise paying.refusal_of(final)


def _decode(raw: bytes) -> Any:
    from vm.registry import TRANSACTION

    try:
        return TRANSACTION.decode(raw)
    except Rejected as error:
        raise Fault(NOT_A_TRANSACTION, why=str(error.facts.get("why", error))) from None


def _txid(transaction: Any, genesis: bytes) -> bytes:
    from consensus.types.codec import encode
    from consensus.types.transaction import txid_of

    return txid_of(genesis, encode(transaction.body))


@app.command()
def simulate(transaction: Raw) -> None:
    """Run a transaction on the present state without sending it; its signature is not looked at.

    Example: eubchain tx simulate signed.txt
    """
    raw = read_raw(transaction)
    _decode(raw)
    found = SESSION.asked("tx_simulate", transaction=base64.b64encode(raw).decode())
    receipt, error = found["receipt"], found["receipt"]["error"]
    text = f"it would succeed: {receipt['units']} units, fee {format_eubc(int(receipt['fee']))} EUBC"
    if error:
        from eubchain.client.sending import wording_of

        raise RemoteRefusal(wording_of(error))
    SESSION.result(found, text)


@app.command()
def decode(transaction: Raw) -> None:
    """Show what a transaction says, without asking a node.

    Example: eubchain tx decode signed.txt
    """
    from consensus.types.genesis import genesis_hash
    from consensus.types.naming import to_named
    from consensus.types.transaction import wtxid_of
    from vm.registry import OPERATION_OF

    raw = read_raw(transaction)
    decoded = _decode(raw)
    facts = {
        "type": OPERATION_OF[type(decoded.body.payload)].name,
        "wtxid": wtxid_of(raw).hex(),
        "bytes": len(raw),
        "body": to_named(decoded.body, SESSION.prefix),
        "auth": {"kind": type(decoded.auth).__name__, **to_named(decoded.auth, SESSION.prefix)},
    }
    genesis = paying.home_genesis()
    if genesis is not None:
        facts["txid"] = _txid(decoded, genesis_hash(genesis)).hex()
    SESSION.result(facts)
