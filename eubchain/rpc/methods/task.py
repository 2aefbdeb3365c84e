"""`task_*`: tasks, their offers and history, what a price would meet."""

from __future__ import annotations

import base64
from typing import Any

import trio

from consensus.types.address import format_address
from consensus.types.codec import encode
from consensus.types.errors import Fault
from consensus.types.naming import to_named
from consensus.types.transaction import txid_of
from eubchain.rpc.backend import Backend
from eubchain.rpc.method import Base64, Decimal, Hex, View, method
from eubchain.rpc.methods.account import decode_cursor, encode_cursor
from eubchain.rpc.views import EventView, event_view
from vm.registry import TRANSACTION
from vm.task import access, matching
from vm.task.access import NO_SUCH_TASK
from vm.task.payloads import Post
from vm.task.records import TASK_ID_BYTES, TASKS, Blame, Ending, Seat, Stage, Task, TaskState
from vm.task.terms import ranked

PAGE_MAX = 100
LOOKED_AT_MAX = 200
"""Tasks that one page looks at: some 20 ms of work, whatever the filter."""


class OutcomeView(View):
    """How a seat ended and where its money went; grains."""

    ending: str
    blame: str
    height: int
    paid: Decimal
    fee: Decimal
    refunded: Decimal
    burned: Decimal
    gas_returned: Decimal
    gas_burned: Decimal
    gas_held: Decimal


class SeatView(View):
    """One seat: who has it, where it stands, until when."""

    seat: int
    spark: str
    price: Decimal
    promise: int
    gas: Decimal
    stage: str
    entered: int
    deadline: int
    started: int
    delivered: int
    grant: Hex | None
    result: dict[str, Any] | None
    failure: dict[str, Any] | None
    outcome: OutcomeView | None


class TaskView(View):
    """A task as the state holds it; `height` is that of the state."""

    task: Hex
    height: int
    requester: str
    state: str
    way: int
    maximum: Decimal
    min_kappa: int
    windows: dict[str, int]
    not_before: int
    by_hand: bool
    posted: int
    offers: int
    offers_end: int
    escrow: Decimal
    deposit: Decimal
    cancel_at: int
    ending: str | None
    final: int
    spec: Hex
    post: Hex
    seats: list[SeatView]


def _id(backend: Backend, text: str) -> tuple[bytes, Task]:
    identity = bytes.fromhex(text[2:])
    task = backend.view().get(TASKS, identity) if len(identity) == 32 else None
    if task is None:
        raise Fault(NO_SUCH_TASK, task=identity[:32])
    return identity, task


def seat_view(number: int, seat: Seat, prefix: str) -> SeatView:
    """A seat as JSON."""
    outcome = None
    if seat.outcome is not None:
        ended = seat.outcome
        money = ("paid", "fee", "refunded", "burned", "gas_returned", "gas_burned", "gas_held")
        outcome = OutcomeView(
            ending=Ending(ended.ending).name.lower(),
            blame=Blame(ended.blame).name.lower(),
            height=ended.height,
            **{name: str(getattr(ended, name)) for name in money},
        )
    return SeatView(
        seat=number,
        spark=format_address(seat.spark, prefix),
        price=str(seat.price),
        promise=seat.promise,
        gas=str(seat.gas),
        stage=Stage(seat.stage).name.lower(),
        entered=seat.entered,
        deadline=seat.deadline,
        started=seat.started,
        delivered=seat.delivered,
        grant=None if seat.grant is None else "0x" + seat.grant.hex(),
        result=to_named(seat.result, prefix),
        failure=to_named(seat.failure, prefix),
        outcome=outcome,
    )


def task_view(backend: Backend, identity: bytes, task: Task) -> TaskView:
    """A task as JSON."""
    state = backend.view()
    return TaskView(
        task="0x" + identity.hex(),
        height=state.block.height,
        requester=format_address(task.requester, backend.prefix),
        state=TaskState(task.state).name.lower(),
        way=task.way,
        maximum=str(task.roles[0].maximum),
        min_kappa=task.min_kappa,
        windows=to_named(task.windows, backend.prefix),
        not_before=task.not_before,
        by_hand=task.by_hand,
        posted=task.posted,
        offers=task.offers,
        offers_end=access.offers_end(task),
        escrow=str(task.escrow),
        deposit=str(task.deposit),
        cancel_at=task.cancel_at,
        ending=Ending(task.ending).name.lower() if task.ending else None,
        final=task.final,
        spec="0x" + task.spec.hex(),
        post="0x" + task.post.hex(),
        seats=[
            seat_view(number, seat, backend.prefix) for number, seat in access.seats_of_task(state, identity)
        ],
    )


@method("task_get", example={"task": "0x" + "00" * 32})
async def get(backend: Backend, task: Hex) -> TaskView:
    """A task with its seats, their deadlines and outcomes."""
    return task_view(backend, *_id(backend, task))


class TaskPage(View):
    """Tasks in the state, by id, and the cursor of the next page."""

    tasks: list[TaskView]
    cursor: str | None


@method("task_list", example={})
async def list_tasks(
    backend: Backend,
    state: str | None = None,
    requester: str | None = None,
    spark: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> TaskPage:
    """Tasks in the state; filter by state (open, active, final), requester or spark.

    A page looks at a bounded number of tasks: it may hold fewer than `limit`, even none, and yet have a
    cursor.
    """
    view = backend.view()
    start = decode_cursor("task_list", cursor) or b""
    found: list[TaskView] = []
    most = max(1, min(limit, PAGE_MAX))
    rows = view.scan(TASKS, start=start, limit=LOOKED_AT_MAX)
    for identity, task in rows:
        start = identity + b"\0"
        if state not in (None, TaskState(task.state).name.lower()):
            continue
        if requester not in (None, format_address(task.requester, backend.prefix)):
            continue
        shown = task_view(backend, identity, task)
        if spark is None or any(seat.spark == spark for seat in shown.seats):
            found.append(shown)
            if len(found) == most:
                return TaskPage(tasks=found, cursor=encode_cursor(start))
    return TaskPage(tasks=found, cursor=encode_cursor(start) if len(rows) == LOOKED_AT_MAX else None)


class OfferView(View):
    """An offer that stands; grains, parts per billion, blocks."""

    spark: str
    price: Decimal
    promise: int
    kappa: int
    gas: Decimal
    height: int


@method("task_offers", example={"task": "0x" + "00" * 32})
async def offers(backend: Backend, task: Hex) -> list[OfferView]:
    """The offers that stand for an open task, the best first as the draw ranks them."""
    identity, found = _id(backend, task)
    standing = ranked(identity, found.windows.run, matching.standing_offers(backend.view(), identity))
    return [
        OfferView(
            spark=format_address(spark, backend.prefix),
            price=str(offer.price),
            promise=offer.promise,
            kappa=offer.kappa,
            gas=str(offer.gas),
            height=offer.height,
        )
        for spark, offer in standing
    ]


class PostView(View):
    """What a task's post said, with its spec."""

    spec: Base64
    post: dict[str, Any]


@method("task_getPost", example={"task": "0x" + "00" * 32})
async def get_post(backend: Backend, task: Hex) -> PostView:
    """The post of a task as its requester signed it; the spec is the canonical encoding in base64."""
    identity, found = _id(backend, task)
    raw = backend.ledger().named_transaction(found.post)
    if raw is None:
        raise Fault(NO_SUCH_TASK, task=identity)
    payload = TRANSACTION.decode(raw).body.payload
    assert isinstance(payload, Post), "a task names its post"
    named = to_named(payload, backend.prefix)
    del named["spec"]
    return PostView(spec=base64.b64encode(payload.spec).decode(), post=named)


class Moment(View):
    """An event of a task with its height; `txid` is None for what the chain did by itself."""

    height: int
    txid: Hex | None
    event: EventView


@method("task_events", example={"task": "0x" + "00" * 32})
async def events(backend: Backend, task: Hex, since: int = 0) -> list[Moment]:
    """A task's story from height `since` on, oldest first; the node must keep its index."""
    identity = bytes.fromhex(task[2:])
    if len(identity) != TASK_ID_BYTES:
        raise Fault(NO_SUCH_TASK, task=identity[:TASK_ID_BYTES])
    ledger, moments, cursor = backend.ledger(), [], None
    while True:
        page = ledger.task_history(identity, cursor, PAGE_MAX)
        for place in page.places:
            await trio.lowlevel.checkpoint()  # each may be in a full block of its own
            receipts, block = ledger.receipts(place.height), ledger.block(place.height)
            if place.height < since or receipts is None or block is None:
                continue
            txid = None
            if place.position < len(block.transactions):
                raw = block.transactions[place.position]
                body = encode(TRANSACTION.decode(raw).body)
                txid = "0x" + txid_of(backend.rules.genesis, body).hex()
            for event in reversed(receipts[place.position].events):
                if event.facts and event.facts[0] == identity:
                    told = event_view(event, backend.prefix)
                    moments.append(Moment(height=place.height, txid=txid, event=told))
        cursor = page.cursor
        if cursor is None or (page.places and page.places[-1].height < since):
            return moments[::-1]
