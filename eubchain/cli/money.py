"""`eubchain wallet`, the part that asks a node: balance, send, history, forget-network.

Here: the verbs. Not here: keys (wallet.py), the way from summary to finality (paying.py).
Keeps: a recipient is checked before anything else happens; "all" leaves exactly the fee.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.types.address import PREFIXES, parse_address
from consensus.types.amounts import format_eubc, parse_eubc
from consensus.types.errors import Fault
from eubchain.cli import paying
from eubchain.cli.paying import Again, From, Lifetime, MaxPrice, NoWait, Order, Situation, Terms, Tip
from eubchain.cli.session import BAD_ARGUMENT, SESSION
from eubchain.cli.wallet import Name, app
from eubchain.client.connection import Connection

if TYPE_CHECKING:
    from eubchain.client.network import Network

ALL = "all"


def resolve(text: str, network: Network) -> bytes:
    """An account of this wallet by its name, or an address of the network."""
    wallet = SESSION.wallet()
    if text in wallet.names():
        return wallet.account(text).address
    return network.address(text)


def check_recipient(text: str) -> None:
    """Refuse what is an address on no network, before a node is asked. Raises `Rejected` 1102."""
    if text not in SESSION.wallet().names():
        parse_address(text, next((p for p in PREFIXES if text.startswith(p + "1")), SESSION.prefix))


@app.command()
def balance(name: Name = None) -> None:
    """Show what an account of this wallet, or any address, holds.

    Example: eubchain wallet balance savings
    """
    SESSION.run(_balance, name)


async def _balance(name: str | None) -> None:
    async with Connection(SESSION.url) as node:
        network = await paying.open_network(node)
        address = SESSION.wallet().account().address if name is None else resolve(name, network)
        held = await node.call("account_get", address=network.show(address))
        unbonding = sum(int(entry["amount"]) for entry in held["unbonding"])
        lines = [f"{format_eubc(int(held['spendable']))} EUBC to spend  {held['address']}"]
        for label, amount in (
            ("locked by vesting", int(held["locked"])),
            ("bonded", int(held["bonded"])),
            ("on its way back from a bond", unbonding),
        ):
            if amount:
                lines.append(f"  {format_eubc(amount)} EUBC {label}")
        waiting = held["pending_nonce"] - held["nonce"]
        if waiting:
            lines.append(f"  {waiting} transactions wait: eubchain wallet history")
        SESSION.result(held | {"network": network.rules.chain_id}, "\n".join(lines))


@app.command()
def send(
    recipient: Annotated[str, typer.Argument(help="An address, or an account of this wallet.")],
    amount: Annotated[str, typer.Argument(help="EUBC with up to 8 decimals, or all.")],
    source: From = None,
    tip: Tip = None,
    max_price: MaxPrice = None,
    lifetime: Lifetime = None,
    again: Again = False,
    no_wait: NoWait = False,
) -> None:
    """Pay somebody. Shows everything first, asks, and returns once the payment is final.

    Example: eubchain wallet send deub1xc6xqjvm4txn9tvm8eurw6wktyx694ez3w5u4z 1.5
    """
    grains = None if amount == ALL else parse_eubc(amount)
    if grains == 0:
        raise Fault(BAD_ARGUMENT, why="An amount is at least 0.00000001 EUBC.")
    check_recipient(recipient)
    terms = Terms(source, tip, max_price, lifetime, again, no_wait)

    async def build(situation: Situation) -> Any:
        from vm.account import Transfer

        to = resolve(recipient, situation.network)
        return Transfer(to, grains if grains is not None else await _all_of(situation, to, terms))

    async def lines(situation: Situation, payload: Any) -> list[tuple[str, str]]:
        shown = situation.network.show(payload.recipient)
        return [
            ("to", f"{shown}  ({await _who(situation, payload.recipient)})"),
            ("amount", f"{format_eubc(payload.amount)} EUBC"),
        ]

    order = Order(
        action="Sign and send",
        build=build,
        lines=lines,
        moved=lambda payload: int(payload.amount),
        follow=lambda txid, _: f"eubchain tx get {txid}",
    )
    paying.carry_out(order, terms)


async def _all_of(situation: Situation, to: bytes, terms: Terms) -> int:
    """What is left to send once the highest fee is set aside."""
    from eubchain.client.sending import key_authority, prepare
    from vm.account import Transfer

    node, network = situation.node, situation.network
    authority = key_authority(situation.account.public)
    # Tried with the least amount: the largest would leave nothing for the fee and be refused.
    trial = await prepare(node, network, authority, Transfer(to, 1), tip=terms.tip, max_price=terms.max_price)
    # The real amount may take 8 bytes more to write down than 1.
    reserve = trial.fee_max + 8 * network.rules.params.fees.byte * trial.body.max_price
    if trial.spendable <= reserve:
        raise Fault(BAD_ARGUMENT, why=f"{format_eubc(trial.spendable)} EUBC do not cover the fee.")
    return trial.spendable - reserve


async def _who(situation: Situation, recipient: bytes) -> str:
    """Whether a recipient is known, and from where: a wrong one is most often a new one."""
    own = SESSION.wallet().find(recipient)
    if own is not None:
        return f"{own.name}, of this wallet"
    paid = [
        e
        for e in SESSION.outbox().entries()
        if e.signed.recipient == recipient.hex() and e.outcome == "included"
    ]
    if paid:
        return f"known, paid {len(paid)} times from here"
    held = await situation.node.call("account_get", address=situation.network.show(recipient))
    return (
        "not paid from here before, but in use" if held["exists"] else "NEW: it has never received anything"
    )


@app.command()
def history(
    name: Name = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="How many.")] = 20,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Where the last page ended.")] = None,
) -> None:
    """Show an account's transactions: those that wait, with their place; those that expired; the final ones.

    Example: eubchain wallet history savings --limit 5
    """
    SESSION.run(_history, name, limit, cursor)


async def _history(name: str | None, limit: int, cursor: str | None) -> None:
    async with Connection(SESSION.url) as node:
        network = await paying.open_network(node)
        address = SESSION.wallet().account().address if name is None else resolve(name, network)
        shown = network.show(address)
        height = (await node.call("chain_status"))["height"]
        page = await node.call("account_history", address=shown, cursor=cursor, limit=limit)
        waiting = [await _placed(node, view, height) for view in page["pending"]]
        unsettled = await _unsettled(node, network, address, height) if cursor is None else []
        lines = [_waiting_line(view) for view in waiting]
        lines += [f"{entry['stands']:<10} {entry['txid']}" for entry in unsettled]
        lines += [history_line(view, shown) for view in page["transactions"]]
        facts = {
            "address": shown,
            "height": height,
            "waiting": waiting,
            "unsettled": unsettled,
            "transactions": page["transactions"],
            "cursor": page["cursor"],
        }
        SESSION.result(facts, "\n".join(lines) or f"nothing yet for {shown}")
        if page["cursor"]:
            SESSION.follow(
                f"eubchain wallet history {name or ''} --cursor {page['cursor']}".replace("  ", " ")
            )


async def _placed(node: Connection, view: dict[str, Any], height: int) -> dict[str, Any]:
    place = await node.call("mempool_place", txid=view["txid"])
    return view | {"ahead": place["ahead"], "blocks_left": max(0, view["valid_until"] - height)}


def _waiting_line(view: dict[str, Any]) -> str:
    ahead = "no longer in the queue" if view["ahead"] is None else f"{view['ahead']} ahead of it"
    return (
        f"waiting    {view['txid'][2:]}  {view['type']}, {ahead}, tip {view['tip']}, "
        f"{view['blocks_left']} blocks until it expires (height {view['valid_until']})"
    )


async def _unsettled(node: Connection, network: Network, address: bytes, height: int) -> list[dict[str, Any]]:
    """What this wallet signed and nobody was told the end of; noted once told."""
    from eubchain.client.payments import Stands, whereabouts

    outbox, told = SESSION.outbox(), []
    for entry in outbox.entries():
        signed = entry.signed
        if entry.outcome is not None or signed.sender != address.hex():
            continue
        found = await whereabouts(node, network, signed, height)
        if found is not None and found.stands in (Stands.INCLUDED, Stands.WAITING):
            continue  # it stands among the others
        if found is not None:
            stands = "unsent" if found.stands is Stands.UNSENT else "unknown: this node keeps no index"
        elif height > signed.valid_until:
            stands = "expired, nothing spent"
            outbox.settle(bytes.fromhex(signed.txid), "expired")
        else:
            stands = "dropped, another took its number; nothing spent"
            outbox.settle(bytes.fromhex(signed.txid), "dropped")
        told.append({"txid": signed.txid, "stands": stands, "valid_until": signed.valid_until})
    return told


def history_line(view: dict[str, Any], own: str) -> str:
    """One included transaction, as the account `own` sees it."""
    payload, receipt = view["payload"], view["receipt"]
    what = view["type"]
    if what == "transfer":
        amount = format_eubc(int(payload["amount"]))
        sent = view["sender"] == own
        other = payload["recipient"] if sent else view["sender"]
        what = f"{'-' if sent else '+'}{amount} EUBC {'to' if sent else 'from'} {other}"
    error = receipt["error"]
    failed = f"  REFUSED {error['code']}: {error['sentence']}" if error else ""
    return f"{view['height']:>10} {view['txid'][2:]}  {what}{failed}"


@app.command("forget-network")
def forget_network() -> None:
    """Forget which network answered at the node's address, after it was founded anew.

    Example: eubchain wallet forget-network --node http://127.0.0.1:26650
    """
    from eubchain.client.network import Pins

    forgotten = Pins(SESSION.home / "wallet").forget(SESSION.url)
    text = f"forgot the network at {SESSION.url}" if forgotten else f"no network was known at {SESSION.url}"
    SESSION.result({"node": SESSION.url, "forgotten": forgotten}, text)
