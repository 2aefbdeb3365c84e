"""From the match to the work: `task.grant`, `task.start`, `task.decline`, `task.release`.

Here: handing over the sealed job, starting, giving up. Not here: results (delivering.py), cancelling
(cancelling.py), what giving up costs (settlement.py).
Keeps: one task has one job: a later grant renews access to the same one and moves no clock; envelopes
stay in their transactions.
Errors: 1650 seat_named_twice, 1651 another_job, 1652 too_early, 1653 endpoint_unexpected.
"""

from __future__ import annotations

import msgspec

from consensus.types.errors import Reason, Rejected
from consensus.types.params import FeeParams, Params
from vm.operation import Cost, Operation, check_nothing
from vm.state import Call, State
from vm.task import events
from vm.task.access import (
    find_own_seat,
    find_own_task,
    find_seat,
    find_task,
    is_accepted,
    refuse_late_step,
    refuse_other_stage,
)
from vm.task.clocks import change_spark, move_on
from vm.task.payloads import Decline, Grant, Release, Start
from vm.task.records import SEATS, TASKS, Ending, Seat, Stage, Task, seat_key, seat_of_key
from vm.task.settlement import CLOSE_ENTRIES_MAX, close_seat
from vm.task.terms import run_limit, seats_of

STEP_ENTRIES_MAX = 1
"""The new clock."""

SEAT_NAMED_TWICE = Reason(
    1650,
    "seat_named_twice",
    "seat:count",
    "The grant names seat {seat} twice, or not in ascending order.",
    "Give each seat one envelope, by ascending number.",
)
ANOTHER_JOB = Reason(
    1651,
    "another_job",
    "task:hash job:hash",
    "Task {task} was granted with the job {job}; another one cannot replace it.",
    "Renew access with the same job, or cancel and post again.",
)
TOO_EARLY = Reason(
    1652,
    "too_early",
    "task:hash not_before:height",
    "Task {task} is a reservation: its clocks start with block {not_before}.",
    "Send the grant after that block.",
)
ENDPOINT_UNEXPECTED = Reason(
    1653,
    "endpoint_unexpected",
    "task:hash",
    "Task {task} has one seat: there is no group to find an endpoint.",
    "Leave the endpoint empty.",
)


def check_grant(payload: Grant, params: Params) -> None:
    """Refuse a grant with two envelopes for a seat; ascending numbers make its encoding unique."""
    last = -1
    for envelope in payload.envelopes:
        if envelope.seat <= last:
            raise Rejected(SEAT_NAMED_TWICE, seat=envelope.seat)
        last = envelope.seat


def grant_cost(payload: Grant, fees: FeeParams) -> Cost:
    """Units of a grant: a clock for each seat."""
    return Cost(fees.task, len(payload.envelopes))


def _refuse_grant(state: State, call: Call, payload: Grant) -> tuple[Task, list[tuple[int, Seat]]]:
    task = find_own_task(state, payload.task, call.sender)
    seats = []
    for envelope in payload.envelopes:
        seat = find_seat(state, payload.task, envelope.seat)
        if seat.stage == Stage.RESERVED:
            raise Rejected(TOO_EARLY, task=payload.task, not_before=task.not_before)
        refuse_other_stage(payload.task, envelope.seat, seat, Stage.MATCHED, Stage.STARTING, Stage.RUNNING)
        refuse_late_step(state, payload.task, seat)
        seats.append((envelope.seat, seat))
    if task.job is not None and task.job != payload.job:
        raise Rejected(ANOTHER_JOB, task=payload.task, job=task.job)
    return task, seats


def is_grant_due(state: State, call: Call, payload: Grant) -> bool:
    """Whether the grant window runs for every seat that it names; a renewal is nobody's clock."""
    try:
        _, seats = _refuse_grant(state, call, payload)
    except Rejected:
        return False
    return all(seat.stage == Stage.MATCHED for _, seat in seats)


def apply_grant(state: State, call: Call, payload: Grant) -> None:
    """Start the clock of the start for each seat's first envelope; note where a renewed one is."""
    task, seats = _refuse_grant(state, call, payload)
    height = state.block.height
    state.put(TASKS, payload.task, msgspec.structs.replace(task, job=payload.job))
    for number, seat in seats:
        granted = msgspec.structs.replace(seat, grant=call.wtxid)
        if seat.stage != Stage.MATCHED:
            state.put(SEATS, seat_key(payload.task, number), granted)
            state.emit(events.ACCESS_RENEWED(task=payload.task, seat=number))
            continue
        deadline = height + task.windows.start
        starting = msgspec.structs.replace(granted, stage=Stage.STARTING, entered=height, deadline=deadline)
        move_on(state, payload.task, number, seat, starting)
        state.emit(events.GRANTED(task=payload.task, seat=number, spark=seat.spark, deadline=deadline))


def begin(state: State, key: bytes, due_height: int) -> None:
    """A reservation's time has come: it fills its slot, and the grant window runs from this block."""
    task_id, number = seat_of_key(key)
    task, seat = find_task(state, task_id), find_seat(state, task_id, number)
    assert seat.stage == Stage.RESERVED, "a reservation begins once"
    deadline = state.block.height + task.windows.grant
    matched = msgspec.structs.replace(
        seat, stage=Stage.MATCHED, entered=state.block.height, deadline=deadline
    )
    move_on(state, task_id, number, seat, matched)
    change_spark(state, seat.spark, slots=1, exposure=0)
    state.emit(events.BEGUN(task=task_id, seat=number, deadline=deadline))


def step_cost(payload: Start, fees: FeeParams) -> Cost:
    """Units of a step that moves a seat's clock."""
    return Cost(fees.task, STEP_ENTRIES_MAX)


def closing_cost(payload: Decline | Release, fees: FeeParams) -> Cost:
    """Units of a step that closes a seat."""
    return Cost(fees.task, CLOSE_ENTRIES_MAX)


def _refuse_start(state: State, call: Call, payload: Start) -> tuple[Task, Seat]:
    task = find_task(state, payload.task)
    seat = find_own_seat(state, payload.task, payload.seat, call.sender)
    refuse_other_stage(payload.task, payload.seat, seat, Stage.STARTING)
    refuse_late_step(state, payload.task, seat)
    if payload.endpoint and seats_of(task.roles, task.replicas) == 1:
        raise Rejected(ENDPOINT_UNEXPECTED, task=payload.task)
    return task, seat


def apply_start(state: State, call: Call, payload: Start) -> None:
    """The job runs: its deadline is twice the promise, at most the run window."""
    task, seat = _refuse_start(state, call, payload)
    height = state.block.height
    deadline = height + run_limit(task.windows.run, seat.promise)
    running = msgspec.structs.replace(
        seat,
        stage=Stage.RUNNING,
        entered=height,
        started=height,
        deadline=deadline,
        endpoint=call.wtxid if payload.endpoint else None,
    )
    move_on(state, payload.task, payload.seat, seat, running)
    state.emit(events.STARTED(task=payload.task, seat=payload.seat, spark=seat.spark, deadline=deadline))


def _refuse_decline(state: State, call: Call, payload: Decline) -> Seat:
    seat = find_own_seat(state, payload.task, payload.seat, call.sender)
    refuse_other_stage(payload.task, payload.seat, seat, Stage.STARTING)
    refuse_late_step(state, payload.task, seat)
    return seat


def apply_decline(state: State, call: Call, payload: Decline) -> None:
    """The spark cannot start: nobody can tell whose fault that is, so both lose a little."""
    seat = _refuse_decline(state, call, payload)
    state.emit(events.DECLINED(task=payload.task, seat=payload.seat, spark=seat.spark, code=payload.code))
    close_seat(state, payload.task, payload.seat, Ending.DECLINED, state.block.height)


def apply_release(state: State, call: Call, payload: Release) -> None:
    """The spark gives the seat up; it loses less than by vanishing."""
    seat = find_own_seat(state, payload.task, payload.seat, call.sender)
    refuse_other_stage(payload.task, payload.seat, seat, Stage.RESERVED, Stage.STARTING, Stage.RUNNING)
    refuse_late_step(state, payload.task, seat)
    is_reserved = seat.stage == Stage.RESERVED
    ending = Ending.RELEASED_RESERVATION if is_reserved else Ending.RELEASED
    close_seat(state, payload.task, payload.seat, ending, state.block.height)


GRANT = Operation("task.grant", Grant, check_grant, grant_cost, apply_grant, is_grant_due)
START = Operation("task.start", Start, check_nothing, step_cost, apply_start, is_accepted(_refuse_start))
DECLINE = Operation(
    "task.decline", Decline, check_nothing, closing_cost, apply_decline, is_accepted(_refuse_decline)
)
RELEASE = Operation("task.release", Release, check_nothing, closing_cost, apply_release)
