"""A spark's chain over RPC: what the agent asks, answered by a node; what it submits, signed here.

Here: `SparkChain`. Not here: the protocol it keeps (spark_node/chain.py), preparing and signing
(sending.py), the agent.
Keeps: one submission at a time, so nonces never collide; once signed, the same bytes are sent until they
are final or can no longer be, so nothing is done twice; a node that is away is one fault, whatever broke.
"""

from __future__ import annotations

import base64
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from consensus.types.address import key_address
from consensus.types.errors import Fault, Rejected
from consensus.types.params import Params
from eubchain.client.connection import ANSWER_MALFORMED, NODE_UNREACHABLE, Connection, RemoteRefusal
from eubchain.client.network import Network
from eubchain.client.sending import (
    EXPIRED_NOT_INCLUDED,
    FINALITY_UNKNOWN,
    NO_SUCH_TRANSACTION,
    SUBMISSION_UNCERTAIN,
    Final,
    Signed,
    Signer,
    await_final,
    key_authority,
    look_up,
    prepare,
    sign,
    submit,
)
from spark_node.chain import (
    CHAIN_AWAY,
    Account,
    Ended,
    Granted,
    Head,
    OwnEvent,
    OwnSpark,
    ProvingWindow,
    Receipt,
    Refused,
    SeatView,
    TaskView,
)
from spark_node.job import SPEC
from vm.registry import TRANSACTION
from vm.spark import Hardware
from vm.task.payloads import Grant, Post
from vm.task.records import Stage

NO_SUCH_TASK, NO_SUCH_SPARK = 1601, 2350
POSTS_MAX = 2_000
"""Posts remembered, so that a task is decoded once."""
PAGE = 100
POLL_MS_MAX = 1_000
"""Between two questions for the height; half an interval where blocks are faster."""
AGAIN_S = 1.0
EXPIRIES_MAX = 3
"""Times that an expired transaction is made anew: fees rose, or the node stood alone."""
_AWAY = (NODE_UNREACHABLE, ANSWER_MALFORMED)
_UNCERTAIN = (*_AWAY, SUBMISSION_UNCERTAIN, FINALITY_UNKNOWN)


@asynccontextmanager
async def _away() -> AsyncIterator[None]:
    """Turn whatever says that the node gives no answer into the agent's one fault for it.

    A refusal that a question has no use for counts as well: a node that is overloaded or of another
    version is as good as none, and may be better a moment later.
    """
    try:
        yield
    except RemoteRefusal as refusal:
        raise Fault(CHAIN_AWAY, why=str(refusal)) from None
    except Fault as fault:
        if fault.reason not in _AWAY:
            raise
        raise Fault(CHAIN_AWAY, why=str(fault.facts["why"])) from None


class SparkChain:
    """One account's view of the chain through one node."""

    def __init__(self, node: Connection, network: Network, signer: Signer) -> None:
        self._node, self._network, self._signer = node, network, signer
        self._address = key_address(signer.public)
        self._alone = trio.Lock()
        self._posts: OrderedDict[bytes, Post] = OrderedDict()
        self._height = 0

    @property
    def genesis(self) -> bytes:
        """The network's genesis hash."""
        return self._network.rules.genesis

    @property
    def address(self) -> bytes:
        """The agent's account."""
        return self._address

    @property
    def prefix(self) -> str:
        """Of addresses."""
        return self._network.prefix

    @property
    def params(self) -> Params:
        """Of the network."""
        return self._network.rules.params

    # -------------------------------------------------------------------------------- questions

    async def head(self) -> Head:
        """The newest block."""
        async with _away():
            status = await self._node.call("chain_status")
        self._height = int(status["height"])
        return Head(self._height, int(status["time_ms"]))

    async def account(self) -> Account:
        """What the account holds."""
        async with _away():
            view = await self._node.call("account_get", address=self._network.show(self._address))
        return Account(int(view["spendable"]), int(view["bonded"]))

    async def spark(self) -> OwnSpark | None:
        """The account's spark."""
        async with _away():
            try:
                view = await self._node.call("spark_get", address=self._network.show(self._address))
            except RemoteRefusal as refusal:
                if refusal.wording.code == NO_SUCH_SPARK:
                    return None
                raise
        return OwnSpark(
            view["status"] == "active",
            view["recipient"],
            Hardware(**view["hardware"]),
            view["slots"],
            view["judging"],
            view["running"],
            view["kappa"],
            view["difficulty"],
            view["registered_epoch"],
            view["banned_until"],
        )

    async def window(self) -> ProvingWindow | None:
        """The window of proving that takes proofs in the next block."""
        async with _away():
            view = await self._node.call("por_window", address=self._network.show(self._address))
        if view is None or not view["is_open"]:
            return None
        return ProvingWindow(
            view["window"],
            view["epoch"],
            view["search_until"],
            view["last_proof"],
            None if view["seed"] is None else _bytes(view["seed"]),
            bool(view["has_proved"]),
        )

    async def open_tasks(self) -> Sequence[TaskView]:
        """Tasks that take offers."""
        return await self._tasks(state="open")

    async def own_tasks(self) -> Sequence[TaskView]:
        """Tasks with a seat of the account."""
        return await self._tasks(spark=self._network.show(self._address))

    async def _tasks(self, **filters: str) -> list[TaskView]:
        views: list[TaskView] = []
        cursor: str | None = None
        while True:
            async with _away():
                page = await self._node.call("task_list", cursor=cursor, limit=PAGE, **filters)
                views += [view for found in page["tasks"] if (view := await self._view(found)) is not None]
            cursor = page["cursor"]
            if cursor is None:
                return views

    async def task(self, task: bytes) -> TaskView | None:
        """One task."""
        async with _away():
            try:
                found = await self._node.call("task_get", task="0x" + task.hex())
            except RemoteRefusal as refusal:
                if refusal.wording.code == NO_SUCH_TASK:
                    return None
                raise
            return await self._view(found)

    async def events(self, first: int, last: int) -> Sequence[OwnEvent]:
        """What blocks did to the account by themselves."""
        account = self._network.show(self._address)
        async with _away():
            found = await self._node.call("chain_getEvents", first=first, last=last, account=account)
        counts: Counter[int] = Counter()
        events: list[OwnEvent] = []
        for entry in found:
            height, event = int(entry["height"]), entry["event"]
            events.append(OwnEvent(height, counts[height], event["name"], event["facts"]))
            counts[height] += 1
        return events

    async def granted(self, grant: bytes, seat: int) -> Granted:
        """What a grant holds for a seat."""
        async with _away():
            payload = await self._payload(grant)
        if not isinstance(payload, Grant):
            raise Fault(CHAIN_AWAY, why="the node has no longer the transaction of a grant")
        envelope = next((e.envelope for e in payload.envelopes if e.seat == seat), b"")
        return Granted(payload.job, envelope)

    async def _view(self, found: dict[str, Any]) -> TaskView | None:
        identity = _bytes(found["task"])
        post = self._posts.get(identity)
        if post is None:
            payload = await self._payload(_bytes(found["post"]))
            if not isinstance(payload, Post):
                # A node that prunes has forgotten the post: the task cannot be judged, nor run.
                return None
            post = self._posts[identity] = payload
            while len(self._posts) > POSTS_MAX:
                self._posts.popitem(last=False)
        try:
            spec = SPEC.decode(post.spec)
        except Rejected:
            spec = None
        return TaskView(
            identity,
            self._network.address(found["requester"]),
            post,
            spec,
            found["state"] == "open",
            found["offers"],
            found["offers_end"],
            tuple(self._seat(seat, found) for seat in found["seats"]),
        )

    def _seat(self, seat: dict[str, Any], task: dict[str, Any]) -> SeatView:
        ended, outcome = None, seat["outcome"]
        if outcome is not None:
            ended = Ended(
                outcome["ending"],
                outcome["blame"],
                outcome["height"],
                int(outcome["paid"]),
                int(outcome["gas_returned"]),
                int(outcome["gas_burned"]),
                int(outcome["gas_held"]),
            )
        stage, deadline = Stage[seat["stage"].upper()], int(seat["deadline"])
        if stage == Stage.RUNNING and task["cancel_at"]:
            deadline = min(deadline, int(task["cancel_at"]))
        return SeatView(
            seat["seat"],
            self._network.address(seat["spark"]),
            stage,
            int(seat["price"]),
            seat["promise"],
            int(seat["gas"]),
            deadline,
            seat["started"],
            None if seat["grant"] is None else _bytes(seat["grant"]),
            ended,
        )

    async def _payload(self, wtxid: bytes) -> Any:
        """What a transaction carries, None when the node does not have it."""
        try:
            answer = await self._node.call("tx_getRaw", wtxid="0x" + wtxid.hex())
        except RemoteRefusal as refusal:
            if refusal.wording.code == NO_SUCH_TRANSACTION:
                return None
            raise
        return TRANSACTION.decode(base64.b64decode(answer["transaction"])).body.payload

    async def wait_for_change(self, timeout_s: float) -> None:
        """Return when there is a new block, or after the time."""
        pause = min(POLL_MS_MAX, self.params.chain.block_interval_ms // 2) / 1000
        seen = self._height
        with trio.move_on_after(timeout_s):
            while True:
                if (await self.head()).height != seen:
                    return
                await trio.sleep(pause)

    # ------------------------------------------------------------------------------- submitting

    async def submit(self, payload: Any) -> Receipt:
        """Sign, send and wait until it is final; raises `Refused`, and `Fault` 3200 before it is signed."""
        async with self._alone:
            for attempt in range(1, EXPIRIES_MAX + 1):
                try:
                    return _receipt(await self._send(payload))
                except Fault as fault:
                    if fault.reason is not EXPIRED_NOT_INCLUDED or attempt == EXPIRIES_MAX:
                        raise
            raise AssertionError("the loop returns or raises")

    async def _send(self, payload: Any) -> Final:
        authority = key_authority(self._signer.public)
        async with _away():
            try:
                prepared = await prepare(self._node, self._network, authority, payload)
            except RemoteRefusal as refusal:
                raise Refused(refusal.wording) from None
        signed = sign(prepared, self._signer)
        while True:
            try:
                return await self._send_once(signed)
            except Fault as fault:
                if fault.reason not in _UNCERTAIN:
                    raise
                # It may have arrived. The same bytes again are harmless; other bytes would not be.
                await trio.sleep(AGAIN_S)

    async def _send_once(self, signed: Signed) -> Final:
        try:
            await submit(self._node, signed)
        except RemoteRefusal as refusal:
            # Refused because it stands in a block already, or for good; only the chain knows.
            if await look_up(self._node, signed.txid) is None:
                raise Refused(refusal.wording) from None
        return await await_final(self._node, signed.txid, signed.valid_until)


def _receipt(final: Final) -> Receipt:
    if final.error is not None:
        raise Refused(final.error, final.fee)
    return Receipt(final.txid, final.height, final.fee)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
