"""Posting a task: `task.post` escrows the most it may cost and opens it for offers.

Here: what a task must say, its escrow and deposit. Not here: offers and the draw (matching.py),
`task.cancel` (cancelling.py).
Keeps: the escrow covers every seat at its maximum, the deposit every seat's records; both return.
Errors: 1610 terms_malformed, 1611 window_out_of_bounds, 1612 maximum_too_small, 1613 too_many_seats,
1614 not_before_out_of_range; 1600 for what this version does not take.
"""

from __future__ import annotations

from consensus.types.codec import SUPPLY_MAX
from consensus.types.errors import Reason, Rejected
from consensus.types.hashing import Tag, tagged_hash
from consensus.types.params import FeeParams, MarketParams, Params
from vm import due, funds
from vm.due import DueKind
from vm.operation import Cost, Operation
from vm.state import Call, State
from vm.task import events
from vm.task.access import NOT_YET, offers_end
from vm.task.payloads import Post, Way
from vm.task.records import TASKS, Task, TaskState
from vm.task.terms import MAXIMUM_PER_GAS_FLOOR, escrow_of, seats_of

ENTRIES_MAX = 2
"""The task and its draw's due entry; seats are covered by the deposit."""
TASK_DUE = 7
"""What the due queue does for any task, in entries and records.

The draw: its entry, the refund, the task, the entry that forgets it; forgetting: its entry, the task, the
deposit's return."""
SEAT_DUE = 20
"""What it may do for a seat.

Its place in the draw 4; the clock that runs out 11 (its entry; seat and spark; payments to spark, requester
and pool; both standings, or the forfeit's three; task and its cancellation); the forfeit's decision 4;
forgetting 1."""
BEGIN_DUE = 4
"""What it does to begin a reservation: its entry, the seat, its next clock, the spark."""

TERMS_MALFORMED = Reason(
    1610,
    "terms_malformed",
    "why:text",
    "The task contradicts itself: {why}.",
    "Correct it and post again; `eubchain task init` writes a task file that is right.",
)
WINDOW_OUT_OF_BOUNDS = Reason(
    1611,
    "window_out_of_bounds",
    "window:text blocks:blocks least:blocks most:blocks",
    "The {window} window is {blocks} blocks; this network takes {least} to {most}.",
    "Choose a length within the bounds.",
)
MAXIMUM_TOO_SMALL = Reason(
    1612,
    "maximum_too_small",
    "maximum:eubc least:eubc",
    "A seat's maximum of {maximum} is too small to secure; the least is {least}.",
    "Offer at least {least} per seat.",
)
TOO_MANY_SEATS = Reason(
    1613,
    "too_many_seats",
    "seats:count most:count",
    "The task has {seats} seats; this network takes at most {most}.",
    "Split the work into several tasks.",
)
NOT_BEFORE_OUT_OF_RANGE = Reason(
    1614,
    "not_before_out_of_range",
    "not_before:height least:height most:height",
    "A reservation for block {not_before} cannot be posted now: it must lie in {least} … {most}.",
    "Choose a later or nearer time, or leave the reservation out.",
)


def check(payload: Post, params: Params) -> None:
    """Refuse what no state could make a task of this network."""
    market = params.market
    _refuse_not_yet(payload)
    _refuse_contradictions(payload)
    _refuse_windows(payload, market)
    least = MAXIMUM_PER_GAS_FLOOR * params.resource.gas_floor
    for role in payload.roles:
        if role.maximum < least:
            raise Rejected(MAXIMUM_TOO_SMALL, maximum=role.maximum, least=least)
    seats = seats_of(payload.roles, payload.replicas)
    if seats > market.seats_max:
        raise Rejected(TOO_MANY_SEATS, seats=seats, most=market.seats_max)
    if escrow_of(payload.roles, payload.replicas) > SUPPLY_MAX:
        raise Rejected(TERMS_MALFORMED, why="all seats together cost more than can ever exist")


def _refuse_not_yet(payload: Post) -> None:
    if payload.way != Way.NONE:
        raise Rejected(NOT_YET, what=f"tasks on the way `{Way(payload.way).name.lower()}`")
    if len(payload.roles) != 1 or payload.roles[0].count != 1:
        raise Rejected(NOT_YET, what="tasks of more than one seat")


def _refuse_contradictions(payload: Post) -> None:
    if payload.replicas and payload.way != Way.QUORUM:
        raise Rejected(TERMS_MALFORMED, why="replicas belong to the way `quorum` only")
    if payload.check is not None and payload.way != Way.CHECK:
        raise Rejected(TERMS_MALFORMED, why="a check belongs to the way `check` only")
    if not any(role.essential for role in payload.roles):
        raise Rejected(TERMS_MALFORMED, why="no role is essential, so nothing could finish it")
    if len({role.name for role in payload.roles}) != len(payload.roles):
        raise Rejected(TERMS_MALFORMED, why="two roles have one name")
    if payload.allow and not any(address not in payload.avoid for address in payload.allow):
        raise Rejected(TERMS_MALFORMED, why="everyone it allows is to be avoided")


def _refuse_windows(payload: Post, market: MarketParams) -> None:
    windows = payload.windows
    for name, blocks, bounds in (
        ("offer", windows.offer, market.offer),
        ("grant", windows.grant, market.grant),
        ("start", windows.start, market.start),
        ("run", windows.run, market.run),
        ("review", windows.review, market.review),
    ):
        if not bounds.least <= blocks <= bounds.most:
            raise Rejected(
                WINDOW_OUT_OF_BOUNDS, window=name, blocks=blocks, least=bounds.least, most=bounds.most
            )


def deposit_of(payload: Post, market: MarketParams) -> int:
    """Grains held while the task's records are in state."""
    return market.task_deposit * seats_of(payload.roles, payload.replicas)


def cost(payload: Post, fees: FeeParams) -> Cost:
    """Units of a post: it pays for all that the due queue may do for the task, however it goes."""
    of_seat = SEAT_DUE + (BEGIN_DUE if payload.not_before else 0)
    return Cost(fees.task, ENTRIES_MAX, TASK_DUE + seats_of(payload.roles, payload.replicas) * of_seat)


def apply(state: State, call: Call, payload: Post) -> None:
    """Escrow every seat's maximum, hold the deposit, and open the task for offers."""
    height, market = state.block.height, state.block.params.market
    if payload.not_before:
        least, most = height + payload.windows.offer, height + market.not_before_most
        if not least <= payload.not_before <= most:
            raise Rejected(NOT_BEFORE_OUT_OF_RANGE, not_before=payload.not_before, least=least, most=most)
    escrow, deposit = escrow_of(payload.roles, payload.replicas), deposit_of(payload, market)
    funds.debit(state, call.sender, escrow + deposit)
    state.supply.escrow += escrow
    state.supply.deposits += deposit
    task = Task(
        call.sender,
        payload.way,
        payload.replicas,
        payload.roles,
        payload.min_kappa,
        payload.allow,
        payload.avoid,
        payload.windows,
        payload.not_before,
        payload.by_hand,
        payload.check,
        tagged_hash(Tag.SPEC, payload.spec),
        call.wtxid,
        height,
        TaskState.OPEN,
        0,
        escrow,
        deposit,
        None,
        0,
        0,
        0,
        0,
    )
    state.put(TASKS, call.txid, task)
    due.schedule(state, offers_end(task), DueKind.TASK_OFFERS_END, call.txid)
    state.emit(
        events.POSTED(
            task=call.txid,
            requester=call.sender,
            escrow=escrow,
            deposit=deposit,
            offers_end=offers_end(task),
        )
    )


POST = Operation("task.post", Post, check, cost, apply)
