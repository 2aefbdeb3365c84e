"""Preparing, signing, sending and awaiting a transaction.

Here: `prepare` (nonce, price, lifetime, simulation), `sign`, `submit`, `await_final`, and `send`, which
does all of it.
Not here: repeats and the outbox (payments.py), many keys (multisig.py), asking a person (eubchain/cli).
Keeps: nothing is signed that a simulation refuses; a failure while waiting never says "failed": it
names the transaction, which may still be included, and until which height.
Errors: 3111 submission_uncertain, 3112 finality_unknown, 3113 expired_not_included.

    async with Connection("http://127.0.0.1:26650") as node:
        network = await learn_network(node)
        final = await send(node, network, signer, Transfer(network.address("deub1…"), eubc(5)))
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import trio
from msgspec.structs import replace

from consensus.types.codec import encode
from consensus.types.errors import Fault, Reason
from consensus.types.transaction import (
    TRANSACTION_VERSION,
    Auth,
    Body,
    Candidate,
    KeyAuth,
    MultisigAuth,
    Transaction,
    sign_hash,
    signer_address,
    txid_of,
    wtxid_of,
)
from consensus.types.wording import Wording
from eubchain.client.connection import NODE_UNREACHABLE, Connection, RemoteRefusal
from eubchain.client.network import Network
from vm.inclusion import units_max
from vm.registry import OPERATION_OF

LIFETIME_MS = 120_000
"""How long a transaction may wait for a block unless the caller says otherwise."""
WAIT_CALL_S = 8
"""One tx_wait: below the connection's own timeout, and no silence over ten seconds."""
RETRIES = 8
"""Times that a node which stops answering while we wait is asked again, a second apart."""
BLANK_SIGNATURE = bytes(64)
NO_SUCH_TRANSACTION, NOT_FINAL_IN_TIME = 2330, 2331
"""Codes of the node's answers that mean: go on asking."""

SUBMISSION_UNCERTAIN = Reason(
    3111,
    "submission_uncertain",
    "txid:hash valid_until:height",
    "The connection broke while sending; {txid} may have arrived and may be included until height "
    "{valid_until}.",
    "Do not pay again by other means: see `eubchain tx get {txid}`, or repeat the same command, which "
    "looks for it first.",
)
FINALITY_UNKNOWN = Reason(
    3112,
    "finality_unknown",
    "txid:hash valid_until:height",
    "The node stopped answering; {txid} was sent and may be included until height {valid_until}.",
    "Do not send it again: follow it with `eubchain tx wait {txid}` once a node answers.",
)
EXPIRED_NOT_INCLUDED = Reason(
    3113,
    "expired_not_included",
    "txid:hash valid_until:height",
    "{txid} was not included until height {valid_until}: nothing was spent.",
    "It is safe to send it again; a higher --tip gets it included sooner.",
)


class Signer(Protocol):
    """An opened account."""

    @property
    def public(self) -> bytes:
        """The 32-byte x-only key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Sign a 32-byte hash; returns 64 bytes."""
        ...


class Prepared(NamedTuple):
    """A transaction that would succeed now, before its signature; its size is already the final one."""

    network: Network
    transaction: Transaction[Any]
    txid: bytes
    fee_max: int
    """Grains: the most it can cost besides what it moves."""
    fee_expected: int
    """Grains, as the simulation charged."""
    spendable: int
    """Grains that the sender can spend now."""
    height: int
    """The head it was prepared on."""

    @property
    def body(self) -> Body[Any]:
        """What is signed."""
        return self.transaction.body

    @property
    def message(self) -> bytes:
        """The 32 bytes that the sender's keys sign."""
        return sign_hash(self.network.rules.genesis, encode(self.body))

    @property
    def type(self) -> str:
        """The type's name, as in `transfer`."""
        return OPERATION_OF[type(self.body.payload)].name


class Signed(NamedTuple):
    """A transaction ready to be sent."""

    raw: bytes
    txid: bytes
    valid_until: int


class Final(NamedTuple):
    """Where a transaction stands for good."""

    txid: bytes
    height: int
    position: int
    """Among the block's transactions."""
    fee: int
    """Grains paid."""
    error: Wording | None
    """Why it did not do what it says; it paid its fee all the same."""
    view: dict[str, Any]
    """The node's whole answer."""


class Progress(NamedTuple):
    """What is known while waiting."""

    height: int
    valid_until: int
    ahead: int | None
    """Transactions before it in the node's queue; None when it is not in the queue."""


def key_authority(public: bytes) -> KeyAuth:
    """A single key's authorisation before it has signed."""
    return KeyAuth(public, BLANK_SIGNATURE)


def multisig_authority(threshold: int, keys: tuple[bytes, ...]) -> MultisigAuth:
    """A multisig's authorisation before anybody has signed; as large as the final one."""
    bitmap = ((1 << threshold) - 1).to_bytes((len(keys) + 7) // 8, "little")
    return MultisigAuth(threshold, keys, bitmap, (BLANK_SIGNATURE,) * threshold)


async def prepare(
    node: Connection,
    network: Network,
    authority: Auth,
    payload: Any,
    *,
    lifetime_blocks: int | None = None,
    tip: int | None = None,
    max_price: int | None = None,
) -> Prepared:
    """Fill in nonce, price and lifetime, and let the node try it; nothing is signed or queued.

    `tip` and `max_price` in grains per unit. Raises `RemoteRefusal` with the chain's own words when it
    would be refused.
    """
    rules, sender = network.rules, signer_address(authority)
    status = await node.call("chain_status")
    account = await node.call("account_get", address=network.show(sender))
    type_name = OPERATION_OF[type(payload)].name
    prices = await node.call("tx_estimateFee", type=type_name, size=200)
    chosen_tip = prices["suggested_tip"] if tip is None else tip
    most = max_price if max_price is not None else max(prices["suggested_max_price"], chosen_tip)
    lifetime = lifetime_blocks or LIFETIME_MS // rules.params.chain.block_interval_ms
    until = status["height"] + min(rules.params.chain.max_ttl_blocks, max(1, lifetime))
    body: Body[Any] = Body(
        TRANSACTION_VERSION,
        rules.chain_id,
        sender,
        account["pending_nonce"],
        most,
        chosen_tip,
        until,
        payload,
    )
    transaction: Transaction[Any] = Transaction(body, authority)
    # Those before it that wait are not in the state yet, so it is tried as the next one.
    trial = Transaction(replace(body, nonce=account["nonce"]), authority)
    tried = await node.call("tx_simulate", transaction=base64.b64encode(encode(trial)).decode())
    error = tried["receipt"]["error"]
    if error is not None:
        raise RemoteRefusal(wording_of(error))
    raw, txid = encode(transaction), txid_of(rules.genesis, encode(body))
    candidate = Candidate(transaction, raw, txid, wtxid_of(raw))
    return Prepared(
        network=network,
        transaction=transaction,
        txid=txid,
        fee_max=units_max(candidate, rules.params) * most,
        fee_expected=int(tried["receipt"]["fee"]),
        spendable=int(account["spendable"]),
        height=status["height"],
    )


async def refresh(node: Connection, prepared: Prepared) -> Prepared:
    """The same for now: time has passed while a person thought, another command may have sent something."""
    body, height = prepared.body, (await node.call("chain_status"))["height"]
    account = await node.call("account_get", address=prepared.network.show(body.sender))
    lifetime = body.valid_until - prepared.height
    body = replace(body, nonce=account["pending_nonce"], valid_until=height + lifetime)
    txid = txid_of(prepared.network.rules.genesis, encode(body))
    transaction: Transaction[Any] = Transaction(body, prepared.transaction.auth)
    return prepared._replace(transaction=transaction, txid=txid, height=height)


def sign(prepared: Prepared, signer: Signer) -> Signed:
    """Sign for a single-key account."""
    assert isinstance(prepared.transaction.auth, KeyAuth), "many keys sign with multisig.py"
    assert prepared.transaction.auth.key == signer.public, "the account it was prepared for"
    auth = KeyAuth(signer.public, signer.sign(prepared.message))
    raw = encode(Transaction(prepared.body, auth))
    return Signed(raw, prepared.txid, prepared.body.valid_until)


async def submit(node: Connection, signed: Signed) -> bool:
    """Hand it to the node; repeating is harmless. False when it waits there already.

    Raises `RemoteRefusal` when the node does not take it, `Fault` 3111 when that is not known.
    """
    try:
        answer = await node.call("tx_submit", transaction=base64.b64encode(signed.raw).decode())
    except Fault:
        raise Fault(SUBMISSION_UNCERTAIN, txid=signed.txid, valid_until=signed.valid_until) from None
    return bool(answer["is_new"])


async def look_up(node: Connection, txid: bytes) -> dict[str, Any] | None:
    """A transaction in a block, or as it waits (height 0); None when the node knows none."""
    try:
        view: dict[str, Any] = await node.call("tx_get", txid="0x" + txid.hex())
    except RemoteRefusal as refusal:
        if refusal.wording.code == NO_SUCH_TRANSACTION:
            return None
        raise
    return view


async def await_final(
    node: Connection,
    txid: bytes,
    valid_until: int,
    progress: Callable[[Progress], None] = lambda _: None,
    *,
    call_s: int = WAIT_CALL_S,
) -> Final:
    """Wait until it is in a block; `progress` hears of it every `call_s` seconds.

    Raises `Fault` 3113 once it can no longer be included, 3112 when the node is gone.
    """
    failures = 0
    while True:
        try:
            return final_of(await node.call("tx_wait", txid="0x" + txid.hex(), timeout_s=call_s))
        except RemoteRefusal as refusal:
            if refusal.wording.code != NOT_FINAL_IN_TIME:
                raise
        except Fault as fault:
            failures = await _try_again(fault, failures, txid, valid_until)
            continue
        try:
            status = await node.call("chain_status")
            if status["height"] >= valid_until:
                view = await look_up(node, txid)
                if view is not None and view["height"]:
                    return final_of(view)
                raise Fault(EXPIRED_NOT_INCLUDED, txid=txid, valid_until=valid_until)
            place = await node.call("mempool_place", txid="0x" + txid.hex())
        except Fault as fault:
            failures = await _try_again(fault, failures, txid, valid_until)
            continue
        failures = 0
        progress(Progress(status["height"], valid_until, place["ahead"]))


async def _try_again(fault: Fault, failures: int, txid: bytes, valid_until: int) -> int:
    """Bear a node that restarts; raise `Fault` 3112 in the end, and whatever else it was at once."""
    if fault.reason is not NODE_UNREACHABLE:
        raise fault
    if failures >= RETRIES:
        raise Fault(FINALITY_UNKNOWN, txid=txid, valid_until=valid_until)
    await trio.sleep(1)
    return failures + 1


async def send(
    node: Connection,
    network: Network,
    signer: Signer,
    payload: Any,
    progress: Callable[[Progress], None] = lambda _: None,
    **terms: Any,
) -> Final:
    """Prepare, sign, submit and wait, without an outbox; `terms` as `prepare` takes them.

    For programs that keep their own account of what they sent; a person's wallet uses payments.py.
    """
    prepared = await prepare(node, network, key_authority(signer.public), payload, **terms)
    signed = sign(prepared, signer)
    await submit(node, signed)
    return await await_final(node, signed.txid, signed.valid_until, progress)


def final_of(view: dict[str, Any]) -> Final:
    """Read a node's view of an included transaction."""
    receipt = view["receipt"]
    error = None if receipt["error"] is None else wording_of(receipt["error"])
    return Final(
        txid=bytes.fromhex(view["txid"][2:]),
        height=view["height"],
        position=view["index"],
        fee=int(receipt["fee"]),
        error=error,
        view=view,
    )


def wording_of(error: dict[str, Any]) -> Wording:
    """An error object of an answer as words."""
    return Wording(error["code"], error["name"], error["sentence"], error["hint"], error["facts"])
