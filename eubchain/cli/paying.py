"""The way of every verb that signs: summary, question, signature, txid, finality, next command.

Here: `Order`, `carry_out`, and the options that such verbs share.
Not here: the steps themselves (eubchain/client: sending.py, payments.py), the verbs.
Keeps: nothing is signed before the person has seen network, cost and balance and said yes; the txid is
printed before waiting; one question for the password.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import trio
import typer

from consensus.types.address import PREFIXES
from consensus.types.amounts import format_eubc
from consensus.types.errors import Fault
from consensus.types.genesis import Genesis, genesis_hash
from consensus.types.wording import Wording
from eubchain.cli.session import NOT_CONFIRMED, SESSION
from eubchain.client.connection import Connection, RemoteRefusal

if TYPE_CHECKING:
    from eubchain.client.network import Network
    from eubchain.client.payments import Earlier
    from eubchain.client.sending import Final, Prepared, Progress, Signed
    from eubchain.wallet.accounts import KeyAccount

From = Annotated[
    str | None, typer.Option("--from", help="The account that signs; the default one if left out.")
]
Tip = Annotated[
    int | None, typer.Option("--tip", min=0, help="Grains per unit for the proposer; more is sooner.")
]
MaxPrice = Annotated[
    int | None,
    typer.Option("--max-price", min=1, help="The most that a unit may cost, tip included; grains."),
]
Lifetime = Annotated[
    int | None,
    typer.Option("--lifetime", min=1, help="Blocks it may wait for inclusion; two minutes if left out."),
]
Again = Annotated[bool, typer.Option("--again", help="Sign although the same was signed a moment ago.")]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Return once it is sent, without waiting for finality.")
]


class Terms(NamedTuple):
    """The options of a verb that signs."""

    source: str | None = None
    tip: int | None = None
    max_price: int | None = None
    lifetime: int | None = None
    again: bool = False
    no_wait: bool = False


class Situation(NamedTuple):
    """What a payload may depend on."""

    node: Connection
    network: Network
    account: KeyAccount


class Order(NamedTuple):
    """What a person asks for."""

    action: str
    """As the question says it: "Send"."""
    build: Callable[[Situation], Awaitable[Any]]
    """Makes the payload; raises `Fault` for what is wrong in the arguments."""
    lines: Callable[[Situation, Any], Awaitable[list[tuple[str, str]]]]
    """Lines of the summary, between sender and fee."""
    moved: Callable[[Any], int]
    """Grains that leave the spendable balance besides the fee."""
    follow: Callable[[str, Network], str]
    """The command that follows, given the txid."""


async def open_network(node: Connection, *, signing: bool = False) -> Network:
    """The node's network, checked against the home's and the one met there before."""
    from eubchain.client.network import Pins, learn_network, network_of

    own = home_genesis()
    pins = Pins(SESSION.home / "wallet")
    status = await node.call("chain_status")
    if own is not None and status.get("genesis_hash") == "0x" + genesis_hash(own).hex():
        network = network_of(own)  # the home's own record: nothing needs to be learned
    else:
        network = await learn_network(node)
    pins.check(node.url, network, None if own is None else genesis_hash(own))
    if signing:
        pins.remember(node.url, network)
    SESSION.network_prefix = network.prefix
    return network


def home_genesis() -> Genesis | None:
    """The genesis record of the home, if it is a node's."""
    file = SESSION.home / "config" / "genesis.json"
    if not file.exists():
        return None
    from genesis.files import read_genesis

    return read_genesis(file)


def carry_out(order: Order, terms: Terms) -> None:
    """Do it, from summary to finality."""
    SESSION.run(_carry_out, order, terms)


async def _carry_out(order: Order, terms: Terms) -> None:
    from eubchain.client.payments import find_earlier
    from eubchain.client.sending import key_authority, prepare

    async with Connection(SESSION.url) as node:
        network = await open_network(node)
        account = SESSION.wallet().key_account(terms.source)
        situation = Situation(node, network, account)
        payload = await order.build(situation)
        acknowledged = None
        earlier = await find_earlier(node, network, SESSION.outbox(), account.address, payload)
        if earlier is not None:
            if not await _start_anew(node, network, earlier, terms, order):
                return
            acknowledged = earlier.txid
        prepared = await prepare(
            node,
            network,
            key_authority(account.public),
            payload,
            lifetime_blocks=terms.lifetime,
            tip=terms.tip,
            max_price=terms.max_price,
        )
        lines = await order.lines(situation, payload)
        show_summary(account.name, prepared, lines, order.moved(payload))
        SESSION.confirm(f"{order.action}?")
        await _sign_and_deliver(node, prepared, account, acknowledged, terms, order)


def show_summary(name: str, prepared: Prepared, lines: list[tuple[str, str]], moved: int) -> None:
    """What is about to be signed, all of it."""
    network = prepared.network
    left = max(0, prepared.spendable - moved - prepared.fee_max)
    blocks = prepared.body.valid_until - prepared.height
    seconds = blocks * network.rules.params.chain.block_interval_ms // 1000
    summary = [
        ("network", f"{network.rules.chain_id} ({PREFIXES[network.prefix]})"),
        ("from", f"{network.show(prepared.body.sender)}  ({name})"),
        *lines,
        (
            "fee",
            f"at most {format_eubc(prepared.fee_max)} EUBC, "
            f"{format_eubc(prepared.fee_expected)} as it looks now",
        ),
        ("balance", f"{format_eubc(prepared.spendable)} → {format_eubc(left)} EUBC at least"),
        ("valid for", f"{blocks} blocks once signed, about {seconds} s; after that nothing can be spent"),
    ]
    for label, value in summary:
        SESSION.note(f"  {label:<12} {value}")


async def _start_anew(
    node: Connection, network: Network, earlier: Earlier, terms: Terms, order: Order
) -> bool:
    """Whether to sign a second one. Otherwise the first was finished, or there is nothing to do."""
    from eubchain.client.payments import Stands, conclude

    txid = earlier.txid.hex()
    if terms.again:
        return True
    if not SESSION.can_ask or SESSION.yes:
        # A program that repeats itself after a crash must not pay twice, nor believe it paid twice.
        raise earlier.refusal()
    SESSION.note(f"The same was signed before: {txid} {earlier.stands.value}.")
    if earlier.stands in (Stands.INCLUDED, Stands.UNKNOWN):
        if earlier.final is not None:
            SESSION.note(
                f"  It stands in block {earlier.final.height}, fee {format_eubc(earlier.final.fee)} EUBC."
            )
            conclude(SESSION.outbox(), earlier.final)
        if not SESSION.ask("Sign a second one?"):
            raise Fault(NOT_CONFIRMED)
        return True
    if not SESSION.ask("Finish that one? (It is done once; n goes on to another one.)"):
        another = "Sign a second one besides it?"
        if earlier.stands is Stands.UNSENT:
            another = "Sign a new one in its place? (They have one number: only one can ever be included.)"
        if not SESSION.ask(another):
            raise Fault(NOT_CONFIRMED)
        return True
    await deliver_and_tell(node, earlier.signed, terms.no_wait, order.follow(txid, network))
    return False


async def _sign_and_deliver(
    node: Connection,
    prepared: Prepared,
    account: KeyAccount,
    acknowledged: bytes | None,
    terms: Terms,
    order: Order,
) -> None:
    from eubchain.client.network import Pins
    from eubchain.client.payments import sign_and_submit

    wallet, outbox = SESSION.wallet(), SESSION.outbox()
    password = SESSION.passwords().get(f"Password of {account.name}: ")
    # scrypt takes half a second by design.
    signer = await trio.to_thread.run_sync(wallet.signer, account.name, password)
    Pins(SESSION.home / "wallet").remember(node.url, prepared.network)
    signed = await sign_and_submit(
        node, prepared, outbox, signer, acknowledged=acknowledged, announce=announce
    )
    await follow_up(node, signed, terms.no_wait, order.follow(signed.txid.hex(), prepared.network))


def announce(signed: Signed) -> None:
    """Print the txid, before it is sent: whoever is interrupted now must know what to look for.

    Also under --json, where stderr is no part of the answer.
    """
    print(f"txid {signed.txid.hex()}", file=sys.stderr, flush=True)


async def deliver_and_tell(node: Connection, signed: Signed, no_wait: bool, follow: str) -> None:
    """Send what is recorded already, then as `follow_up`."""
    from eubchain.client.payments import hand_over

    announce(signed)
    await hand_over(node, signed)
    await follow_up(node, signed, no_wait, follow)


async def follow_up(node: Connection, signed: Signed, no_wait: bool, follow: str) -> None:
    """Wait for what was sent, print how it ended, note that it was told."""
    from eubchain.client.payments import conclude, see_through

    txid, outbox = signed.txid.hex(), SESSION.outbox()
    if no_wait:
        facts = {"txid": txid, "outcome": "sent", "valid_until": signed.valid_until}
        SESSION.result(facts, f"sent {txid}")
        SESSION.follow(f"eubchain tx wait {txid}")
        return
    final = await see_through(node, signed, outbox, show_progress)
    tell_final(final, follow)
    conclude(outbox, final)
    if final.error is not None:
        raise refusal_of(final)


def show_progress(progress: Progress) -> None:
    """A line while waiting, so that silence never looks like a hang."""
    queue = "not in the node's queue" if progress.ahead is None else f"{progress.ahead} ahead in the queue"
    left = max(0, progress.valid_until - progress.height)
    SESSION.note(f"waiting: height {progress.height}, {queue}, {left} blocks until it expires")


def tell_final(final: Final, follow: str) -> None:
    """Print a success; a failure is raised by whoever called, after it was noted."""
    if final.error is not None:
        return
    facts = {
        "txid": final.txid.hex(),
        "outcome": "included",
        "height": final.height,
        "index": final.position,
        "fee": str(final.fee),
        "events": final.view["receipt"]["events"],
    }
    events = "".join(f"\n  {event['sentence']}" for event in final.view["receipt"]["events"])
    SESSION.result(facts, f"final in block {final.height}, fee {format_eubc(final.fee)} EUBC{events}")
    SESSION.follow(follow)


def refusal_of(final: Final) -> RemoteRefusal:
    """A transaction that stands in a block without having done what it says."""
    assert final.error is not None, "only failures are refusals"
    words = final.error
    sentence = (
        f"{words.sentence} (In block {final.height} as {final.txid.hex()}; "
        f"its fee of {format_eubc(final.fee)} EUBC was paid, nothing else changed.)"
    )
    facts: dict[str, str | int] = {**words.facts, "txid": final.txid.hex(), "fee": str(final.fee)}
    return RemoteRefusal(Wording(words.code, words.name, sentence, words.hint, facts))
