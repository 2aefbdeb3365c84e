"""Finding the task and the seat that a transaction is about, and refusing the wrong ones.

Here: the refusals that most transactions of the market share; `is_accepted` for the lane.
Not here: refusals of one step alone (beside the step).
Keeps: rules compare heights with deadlines and never ask whether the due queue has fired, so that a
late queue changes no outcome: a deadline's own height is still in time, the next one is not.
Errors: 1600 not_yet, 1601 no_such_task, 1602 no_such_seat, 1603 not_the_requester, 1604 not_the_spark,
1605 wrong_stage, 1606 too_late, 1607 task_not_open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from consensus.types.errors import Reason, Rejected
from vm.state import Call, State
from vm.task.records import SEATS, TASKS, Seat, Stage, Task, TaskState, keys_of, seat_key

NOT_YET = Reason(
    1600,
    "not_yet",
    "what:text",
    "This version of the network does not take {what}.",
    "Post a task of one seat on the way `none`; the release notes say when more is taken.",
)
NO_SUCH_TASK = Reason(
    1601,
    "no_such_task",
    "task:hash",
    "There is no task {task}.",
    "Check the id; the records of a final task are deleted after a while.",
)
NO_SUCH_SEAT = Reason(
    1602,
    "no_such_seat",
    "task:hash seat:count",
    "Task {task} has no seat {seat}.",
    "Seats are numbered from 0 and exist from the match on.",
)
NOT_THE_REQUESTER = Reason(
    1603,
    "not_the_requester",
    "task:hash requester:address",
    "Only {requester}, who posted task {task}, may do this.",
    "Sign with the requester's key.",
)
NOT_THE_SPARK = Reason(
    1604,
    "not_the_spark",
    "task:hash seat:count spark:address",
    "Seat {seat} of task {task} belongs to {spark}.",
    "Sign with the key of the spark that was matched.",
)
WRONG_STAGE = Reason(
    1605,
    "wrong_stage",
    "task:hash seat:count stage:count",
    "Seat {seat} of task {task} is in stage {stage}, where this cannot be done "
    "(1 reserved, 2 matched, 3 starting, 4 running, 5 review, 6 closed).",
    "Look at the seat with `eubchain task status`.",
)
TOO_LATE = Reason(
    1606,
    "too_late",
    "task:hash deadline:height",
    "The time for this ended with block {deadline} (task {task}).",
    "Nothing can be done: the task is settled by what happened until then.",
)
TASK_NOT_OPEN = Reason(
    1607,
    "task_not_open",
    "task:hash",
    "Task {task} takes no offers any more.",
    "Look for another task, or post again.",
)


def find_task(state: State, task_id: bytes) -> Task:
    """The task; refuse when there is none."""
    task = state.get(TASKS, task_id)
    if task is None:
        raise Rejected(NO_SUCH_TASK, task=task_id)
    return task


def find_own_task(state: State, task_id: bytes, sender: bytes) -> Task:
    """The task of which `sender` is the requester; refuse anybody else."""
    task = find_task(state, task_id)
    if task.requester != sender:
        raise Rejected(NOT_THE_REQUESTER, task=task_id, requester=task.requester)
    return task


def find_seat(state: State, task_id: bytes, number: int) -> Seat:
    """The seat; refuse when there is none."""
    find_task(state, task_id)
    seat = state.get(SEATS, seat_key(task_id, number))
    if seat is None:
        raise Rejected(NO_SUCH_SEAT, task=task_id, seat=number)
    return seat


def find_own_seat(state: State, task_id: bytes, number: int, sender: bytes) -> Seat:
    """The seat of which `sender` is the spark; refuse anybody else."""
    seat = find_seat(state, task_id, number)
    if seat.spark != sender:
        raise Rejected(NOT_THE_SPARK, task=task_id, seat=number, spark=seat.spark)
    return seat


def refuse_other_stage(task_id: bytes, number: int, seat: Seat, *stages: Stage) -> None:
    """Refuse unless the seat is in one of `stages`."""
    if seat.stage not in stages:
        raise Rejected(WRONG_STAGE, task=task_id, seat=number, stage=seat.stage)


def refuse_late(state: State, task_id: bytes, deadline: int) -> None:
    """Refuse in a block above the deadline, whether or not the due queue has seen it."""
    if state.block.height > deadline:
        raise Rejected(TOO_LATE, task=task_id, deadline=deadline)


def last_height(task: Task, seat: Seat) -> int:
    """The last height for what the seat waits for: its deadline, or a cancellation that comes before."""
    if seat.stage == Stage.RUNNING and task.cancel_at:
        return min(seat.deadline, task.cancel_at)
    return seat.deadline


def refuse_late_step(state: State, task_id: bytes, seat: Seat) -> None:
    """Refuse a step above the seat's last height."""
    refuse_late(state, task_id, last_height(find_task(state, task_id), seat))


def offers_end(task: Task) -> int:
    """The last height for offers, in whose block the draw is held."""
    return task.posted + task.windows.offer


def refuse_not_open(state: State, task_id: bytes, task: Task) -> None:
    """Refuse unless the task still takes offers."""
    if task.state != TaskState.OPEN:
        raise Rejected(TASK_NOT_OPEN, task=task_id)
    refuse_late(state, task_id, offers_end(task))


def seats_of_task(state: State, task_id: bytes) -> list[tuple[int, Seat]]:
    """Every seat with its number, ascending; empty before the match."""
    start, stop = keys_of(task_id)
    return [(key[len(task_id)], seat) for key, seat in state.scan(SEATS, start, stop)]


def is_accepted(ready: Callable[[State, Call, Any], object]) -> Callable[[State, Call, Any], bool]:
    """Turn a step's refusals into the lane's question: is this what the sender's clock runs for?

    A step whose stage waits for its sender, before the deadline, is due; one that would be refused
    is not. Nothing is written by refusals, so asking changes nothing.
    """

    def is_due(state: State, call: Call, payload: Any) -> bool:
        try:
            ready(state, call, payload)
        except Rejected:
            return False
        return True

    return is_due
