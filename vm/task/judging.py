"""The requester's answer: `task.accept`, `task.reject`, and what silence says.

Here: accepting or agreeing to a failure, rejecting, the quality of a decided task; the transactions of
judges, which this version refuses.
Not here: what each pays and burns (settlement.py).
Keeps: whoever says no burns what yes would have paid: nobody earns from saying no.
Errors: 1600 for disputes, appeals and judges.
"""

from __future__ import annotations

from consensus.resource.reputation import (
    SILENCE,
    rating_quality,
    task_quality,
    timeliness_quality,
    validation_quality,
)
from consensus.types.errors import Rejected
from consensus.types.params import FeeParams, Params
from vm.operation import Cost, Operation, check_nothing
from vm.state import Call, State
from vm.task.access import (
    NOT_YET,
    find_own_task,
    find_seat,
    is_accepted,
    refuse_late_step,
    refuse_other_stage,
)
from vm.task.payloads import Accept, Appeal, Dispute, Reject, Reveal, Seal, Show, Sit
from vm.task.records import Ending, Seat, Stage, seat_of_key
from vm.task.settlement import CLOSE_ENTRIES_MAX, close_seat

Judged = Dispute | Appeal | Sit | Show | Seal | Reveal
"""What only tasks with judges know."""


def cost(payload: Accept | Reject, fees: FeeParams) -> Cost:
    """Units of an answer."""
    return Cost(fees.task, CLOSE_ENTRIES_MAX)


def _refuse_not_in_review(state: State, call: Call, payload: Accept | Reject) -> Seat:
    find_own_task(state, payload.task, call.sender)
    seat = find_seat(state, payload.task, payload.seat)
    refuse_other_stage(payload.task, payload.seat, seat, Stage.REVIEW)
    refuse_late_step(state, payload.task, seat)
    return seat


def apply_accept(state: State, call: Call, payload: Accept) -> None:
    """Take the result with its marks; of a claimed failure: agree that the application failed."""
    seat = _refuse_not_in_review(state, call, payload)
    if seat.failure is not None:
        close_seat(state, payload.task, payload.seat, Ending.FAILURE_AGREED, seat.delivered)
        return
    quality = quality_of(seat, validation_quality(payload.score), rating_quality(payload.stars))
    close_seat(state, payload.task, payload.seat, Ending.ACCEPTED, seat.delivered, quality)


def apply_reject(state: State, call: Call, payload: Reject) -> None:
    """Refuse the result, or the claim of a failure."""
    seat = _refuse_not_in_review(state, call, payload)
    ending = Ending.REJECTED if seat.failure is None else Ending.FAILURE_REJECTED
    close_seat(state, payload.task, payload.seat, ending, seat.delivered)


def answer_by_silence(state: State, key: bytes, due_height: int) -> None:
    """The review window is over: silence accepts a result, and agrees to a failure."""
    task_id, number = seat_of_key(key)
    seat = find_seat(state, task_id, number)
    if seat.failure is not None:
        close_seat(state, task_id, number, Ending.FAILURE_UNANSWERED, seat.delivered)
        return
    quality = quality_of(seat, SILENCE, SILENCE)
    close_seat(state, task_id, number, Ending.ACCEPTED_BY_SILENCE, seat.delivered, quality)


def quality_of(seat: Seat, validation: int, rating: int) -> int:
    """q of a delivered seat, parts per billion: marks, and time against the promise."""
    taken = seat.delivered - seat.started
    return task_quality(validation, rating, timeliness_quality(seat.promise, taken))


def _refuse_judged(payload: Judged, params: Params) -> None:
    raise Rejected(NOT_YET, what=f"`task.{type(payload).__name__.lower()}`")


def _judged_cost(payload: Judged, fees: FeeParams) -> Cost:
    return Cost(fees.task, 0)


def _apply_judged(state: State, call: Call, payload: Judged) -> None:
    _refuse_judged(payload, state.block.params)


ACCEPT = Operation(
    "task.accept", Accept, check_nothing, cost, apply_accept, is_accepted(_refuse_not_in_review)
)
REJECT = Operation(
    "task.reject", Reject, check_nothing, cost, apply_reject, is_accepted(_refuse_not_in_review)
)
JUDGED = tuple(
    Operation(f"task.{record.__name__.lower()}", record, _refuse_judged, _judged_cost, _apply_judged)
    for record in (Dispute, Appeal, Sit, Show, Seal, Reveal)
)
"""Known to the codec, refused by this version."""
