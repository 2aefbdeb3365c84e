"""Sending from a person's wallet, so that repeating a command never pays twice by accident.

Here: what became of an earlier transaction with the same intent, signing under the outbox's lock,
delivering, noting outcomes.
Not here: the outbox file (eubchain/wallet/outbox.py), the plain steps (sending.py), the questions
(eubchain/cli/asking.py).
Keeps: a transaction is on disk before it is sent; what was signed earlier and may still be included is
never signed anew unless the caller names it as acknowledged.
Errors: 3110 already_signed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from enum import Enum
from typing import Any, NamedTuple

import trio

from consensus.types.codec import encode
from consensus.types.errors import Fault, Reason
from consensus.types.transaction import Body
from eubchain.client.connection import Connection, RemoteRefusal
from eubchain.client.network import Network
from eubchain.client.sending import (
    EXPIRED_NOT_INCLUDED,
    Final,
    Prepared,
    Progress,
    Signed,
    Signer,
    await_final,
    final_of,
    look_up,
    refresh,
    sign,
    submit,
)
from eubchain.wallet import outbox as outboxes
from eubchain.wallet.outbox import OUTBOX_BUSY, Outbox, find_repeat, intent_digest, signed_entry

HOLD_ATTEMPTS = 50
HOLD_PAUSE_S = 0.2
"""How often, and how far apart, a lock that another command holds is tried again."""

ALREADY_SIGNED = Reason(
    3110,
    "already_signed",
    "txid:hash stands:text valid_until:height",
    "The same was signed before: {txid} {stands}.",
    "Follow it with `eubchain tx wait {txid}`. If a second one is meant, repeat the command with --again.",
)


class Stands(Enum):
    """Where an earlier transaction of the same intent stands; the value is said after its txid."""

    INCLUDED = "is in a block already"
    WAITING = "waits for a block"
    UNSENT = "is not known to the node, and can still be included if it is sent"
    UNKNOWN = "cannot be found: this node keeps no index, and its number has been used"


class Earlier(NamedTuple):
    """An earlier transaction that the new one would repeat."""

    entry: outboxes.Signed
    stands: Stands
    final: Final | None
    """Of an included one."""

    @property
    def txid(self) -> bytes:
        """Its identity."""
        return bytes.fromhex(self.entry.txid)

    @property
    def signed(self) -> Signed:
        """Its bytes, which may be sent again."""
        return Signed(bytes.fromhex(self.entry.raw), self.txid, self.entry.valid_until)

    def refusal(self) -> Fault:
        """What to answer where nobody can be asked."""
        until = self.entry.valid_until
        return Fault(ALREADY_SIGNED, txid=self.txid, stands=self.stands.value, valid_until=until)


def intent_of(network: Network, sender: bytes, payload: Any) -> bytes:
    """What makes a repetition: network, sender and payload."""
    return intent_digest(network.rules.genesis, sender, encode(payload))


async def find_earlier(
    node: Connection, network: Network, outbox: Outbox, sender: bytes, payload: Any
) -> Earlier | None:
    """The earlier transaction that a person should hear of; those that ended are noted on the way."""
    intent = intent_of(network, sender, payload)
    while True:
        height = (await node.call("chain_status"))["height"]
        repeat = find_repeat(outbox.entries(), intent, height)
        if repeat is None:
            return None
        earlier = await whereabouts(node, network, repeat.signed, height)
        if earlier is not None:
            return earlier
        outcome: outboxes.Outcome = "expired" if height > repeat.signed.valid_until else "dropped"
        outbox.settle(bytes.fromhex(repeat.signed.txid), outcome)


async def whereabouts(
    node: Connection, network: Network, entry: outboxes.Signed, height: int
) -> Earlier | None:
    """Ask the chain about something signed; None when certainly it is not and never will be included.

    `height` is the head's.
    """
    view = await look_up(node, bytes.fromhex(entry.txid))
    if view is not None:
        if view["height"]:
            return Earlier(entry, Stands.INCLUDED, final_of(view))
        return Earlier(entry, Stands.WAITING, None)
    address = network.show(bytes.fromhex(entry.sender))
    account = await node.call("account_get", address=address)
    if account["nonce"] <= entry.nonce:
        return None if height > entry.valid_until else Earlier(entry, Stands.UNSENT, None)
    # Its number was used: by another transaction, or by this one on a node that keeps no index.
    page = await node.call("account_history", address=address, limit=1)
    return None if page["transactions"] else Earlier(entry, Stands.UNKNOWN, None)


async def sign_and_submit(
    node: Connection,
    prepared: Prepared,
    outbox: Outbox,
    signer: Signer,
    *,
    acknowledged: bytes | None = None,
    announce: Callable[[Signed], None] = lambda _: None,
) -> Signed:
    """Sign, put it on disk, `announce` it, send it: all under the outbox's lock.

    So another command of this wallet takes the next number, not the same. Raises `Fault` 3110 when the
    same was signed meanwhile and is not the `acknowledged` txid, 3041 when the lock stays taken, and as
    `submit` does.
    """
    async with _held(outbox):
        signed = await _sign_recorded(node, prepared, outbox, signer, acknowledged)
        announce(signed)
        await hand_over(node, signed)
    return signed


async def sign_recorded(
    node: Connection,
    prepared: Prepared,
    outbox: Outbox,
    signer: Signer,
    acknowledged: bytes | None = None,
) -> Signed:
    """The first half of `sign_and_submit`: sign and put it on disk, for `deliver` to send later."""
    async with _held(outbox):
        return await _sign_recorded(node, prepared, outbox, signer, acknowledged)


@asynccontextmanager
async def _held(outbox: Outbox) -> AsyncIterator[None]:
    """The outbox's lock; others hold it for moments, so it is waited for."""
    with ExitStack() as stack:
        for attempt in range(HOLD_ATTEMPTS):
            try:
                stack.enter_context(outbox.held())
                break
            except Fault as fault:
                if fault.reason is not OUTBOX_BUSY or attempt == HOLD_ATTEMPTS - 1:
                    raise
                await trio.sleep(HOLD_PAUSE_S)
        yield


async def _sign_recorded(
    node: Connection, prepared: Prepared, outbox: Outbox, signer: Signer, acknowledged: bytes | None
) -> Signed:
    prepared = await refresh(node, prepared)
    body = prepared.body
    intent = intent_of(prepared.network, body.sender, body.payload)
    repeat = find_repeat(outbox.entries(), intent, prepared.height)
    if repeat is not None and repeat.signed.txid != (acknowledged or b"").hex():
        raise Earlier(repeat.signed, Stands.WAITING, None).refusal()
    signed = sign(prepared, signer)
    _record(outbox, body, signed, intent)
    return signed


def record_signed(outbox: Outbox, network: Network, body: Body[Any], signed: Signed) -> None:
    """Put what several keys have signed on disk, once; only then may it be sent. Raises `Fault` 3041."""
    with outbox.held():
        if all(entry.signed.txid != signed.txid.hex() for entry in outbox.entries()):
            _record(outbox, body, signed, intent_of(network, body.sender, body.payload))


def _record(outbox: Outbox, body: Body[Any], signed: Signed, intent: bytes) -> None:
    outbox.record(
        signed_entry(
            txid=signed.txid,
            sender=body.sender,
            nonce=body.nonce,
            recipient=getattr(body.payload, "recipient", b"") or b"",
            amount=getattr(body.payload, "amount", 0) or 0,
            valid_until=body.valid_until,
            intent=intent,
            raw=signed.raw,
        )
    )


async def hand_over(node: Connection, signed: Signed) -> None:
    """Send what is recorded; one that is there already is no failure. Raises as `submit` does."""
    try:
        await submit(node, signed)
    except RemoteRefusal:
        # Refused because it is there already, or for a reason that may pass; only the chain knows.
        if await look_up(node, signed.txid) is None:
            raise


async def see_through(
    node: Connection,
    signed: Signed,
    outbox: Outbox,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Final:
    """Wait for what was sent. The caller tells the person, then calls `conclude`.

    Raises as `await_final` does; an expiry, after which nothing can happen any more, is noted here.
    """
    try:
        return await await_final(node, signed.txid, signed.valid_until, progress)
    except Fault as fault:
        if fault.reason is EXPIRED_NOT_INCLUDED:
            outbox.settle(signed.txid, "expired")
        raise


async def deliver(
    node: Connection,
    signed: Signed,
    outbox: Outbox,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Final:
    """`hand_over`, then `see_through`."""
    await hand_over(node, signed)
    return await see_through(node, signed, outbox, progress)


def conclude(outbox: Outbox, final: Final) -> None:
    """Note the outcome that the person has been told."""
    outbox.settle(final.txid, "included" if final.error is None else "failed")
