"""The end of a run: `task.deliver` with a sealed result, `task.fail` with a sealed report.

Here: both. Not here: what the requester answers (judging.py), sealing (spark_node/storage).
Keeps: the state holds digest, size and seal; places and envelope stay in the transaction it names.
"""

from __future__ import annotations

import msgspec

from consensus.types.params import FeeParams
from vm.operation import Cost, Operation, check_nothing
from vm.state import Call, State
from vm.task import events
from vm.task.access import (
    find_own_seat,
    find_task,
    is_accepted,
    refuse_late_step,
    refuse_other_stage,
)
from vm.task.clocks import move_on
from vm.task.payloads import Deliver, Fail
from vm.task.records import Failure, Result, Seat, Stage

ENTRIES_MAX = 1
"""The clock of the review."""


def cost(payload: Deliver | Fail, fees: FeeParams) -> Cost:
    """Units of a delivery or a claimed failure."""
    return Cost(fees.task, ENTRIES_MAX)


def _refuse_not_running(state: State, call: Call, payload: Deliver | Fail) -> Seat:
    seat = find_own_seat(state, payload.task, payload.seat, call.sender)
    refuse_other_stage(payload.task, payload.seat, seat, Stage.RUNNING)
    refuse_late_step(state, payload.task, seat)
    return seat


def _review(
    state: State,
    payload: Deliver | Fail,
    seat: Seat,
    result: Result | None,
    failure: Failure | None,
) -> int:
    """Move the seat to review; returns the deadline of the requester's answer."""
    height = state.block.height
    deadline = height + find_task(state, payload.task).windows.review
    reviewed = msgspec.structs.replace(
        seat,
        stage=Stage.REVIEW,
        entered=height,
        deadline=deadline,
        delivered=height,
        result=result,
        failure=failure,
    )
    move_on(state, payload.task, payload.seat, seat, reviewed)
    return deadline


def apply_deliver(state: State, call: Call, payload: Deliver) -> None:
    """The result is there: the requester has the review window to look at it."""
    seat = _refuse_not_running(state, call, payload)
    result = Result(payload.digest, payload.size, payload.seal, call.wtxid)
    deadline = _review(state, payload, seat, result, None)
    state.emit(events.DELIVERED(task=payload.task, seat=payload.seat, spark=seat.spark, deadline=deadline))


def apply_fail(state: State, call: Call, payload: Fail) -> None:
    """The spark claims that the application failed; the requester agrees or rejects the claim."""
    seat = _refuse_not_running(state, call, payload)
    failure = Failure(payload.code, payload.exit_status, payload.report, call.wtxid)
    deadline = _review(state, payload, seat, None, failure)
    state.emit(
        events.FAILURE_CLAIMED(
            task=payload.task,
            seat=payload.seat,
            spark=seat.spark,
            code=payload.code,
            exit_status=payload.exit_status,
            deadline=deadline,
        )
    )


DELIVER = Operation(
    "task.deliver", Deliver, check_nothing, cost, apply_deliver, is_accepted(_refuse_not_running)
)
FAIL = Operation("task.fail", Fail, check_nothing, cost, apply_fail, is_accepted(_refuse_not_running))
