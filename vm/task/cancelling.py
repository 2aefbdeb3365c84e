"""`task.cancel`: the requester ends a task; what it costs depends on how far it has come.

Here: cancelling while open, before the start, and, two blocks later, while running.
Not here: what each costs (settlement.py), asking the price before (quotes.py).
Keeps: a delivery, failure or release until the cancellation takes effect comes first, so nobody fetches
a result and cancels.
Errors: 1640 nothing_to_cancel, 1641 already_cancelling.
"""

from __future__ import annotations

import msgspec

from consensus.types.errors import Reason, Rejected
from consensus.types.params import FeeParams
from vm import due
from vm.due import DueKind
from vm.operation import Cost, Operation, check_nothing
from vm.state import Call, State
from vm.task import events
from vm.task.access import find_own_task, find_task, offers_end, refuse_late, seats_of_task
from vm.task.offering import return_offers
from vm.task.payloads import Cancel
from vm.task.records import TASKS, Ending, Seat, Stage, Task, TaskState
from vm.task.settlement import CLOSE_ENTRIES_MAX, close_seat, end_unmatched
from vm.task.terms import CANCEL_DELAY_BLOCKS

NOTHING_TO_CANCEL = Reason(
    1640,
    "nothing_to_cancel",
    "task:hash",
    "Every seat of task {task} has delivered or is closed.",
    "Accept or reject the result instead.",
)
ALREADY_CANCELLING = Reason(
    1641,
    "already_cancelling",
    "task:hash height:height",
    "Task {task} is cancelled with block {height} already.",
    "Wait for that block.",
)

CANCEL_DUE = 2
"""What a cancellation that takes effect later leaves: its entry and the task; the post paid for closing."""
BEFORE_REVIEW = (Stage.RESERVED, Stage.MATCHED, Stage.STARTING, Stage.RUNNING)


def cost(payload: Cancel, fees: FeeParams) -> Cost:
    """Units of a cancellation."""
    return Cost(fees.task, CLOSE_ENTRIES_MAX, CANCEL_DUE)


def apply(state: State, call: Call, payload: Cancel) -> None:
    """End an open task or a seat that has not started at once; a running one two blocks later."""
    task_id, height = payload.task, state.block.height
    task = find_own_task(state, task_id, call.sender)
    if task.state == TaskState.OPEN:
        refuse_late(state, task_id, offers_end(task))
        due.unschedule(state, offers_end(task), DueKind.TASK_OFFERS_END, task_id)
        return_offers(state, task_id)
        end_unmatched(state, task_id, task, Ending.CANCELLED_OPEN)
        return
    seats = _refuse_cancel(state, task_id, task)
    for number, seat in seats:
        if seat.stage == Stage.RUNNING:
            _cancel_later(state, task_id, task, height + CANCEL_DELAY_BLOCKS)
        else:
            close_seat(state, task_id, number, ending_of_cancel(seat), height)


def _refuse_cancel(state: State, task_id: bytes, task: Task) -> list[tuple[int, Seat]]:
    """The seats that a cancellation ends."""
    seats = [(n, seat) for n, seat in seats_of_task(state, task_id) if seat.stage in BEFORE_REVIEW]
    if not seats:
        raise Rejected(NOTHING_TO_CANCEL, task=task_id)
    if task.cancel_at:
        raise Rejected(ALREADY_CANCELLING, task=task_id, height=task.cancel_at)
    for _, seat in seats:
        # A reservation whose time has come waits for the grant: it can be cancelled as well.
        if seat.stage != Stage.RESERVED:
            refuse_late(state, task_id, seat.deadline)
    return seats


def ending_of_cancel(seat: Seat) -> Ending:
    """How a seat that has not delivered ends when its task is cancelled."""
    is_before_grant = seat.stage in (Stage.RESERVED, Stage.MATCHED)
    return Ending.CANCELLED_MATCHED if is_before_grant else Ending.CANCELLED


def _cancel_later(state: State, task_id: bytes, task: Task, height: int) -> None:
    state.put(TASKS, task_id, msgspec.structs.replace(task, cancel_at=height))
    due.schedule(state, height, DueKind.TASK_CANCEL, task_id)
    state.emit(events.CANCELLING(task=task_id, height=height))


def take_effect(state: State, task_id: bytes, due_height: int) -> None:
    """Close what still runs; what has delivered meanwhile stays in review."""
    task = find_task(state, task_id)
    state.put(TASKS, task_id, msgspec.structs.replace(task, cancel_at=0))
    for number, seat in seats_of_task(state, task_id):
        if seat.stage == Stage.RUNNING:
            close_seat(state, task_id, number, Ending.CANCELLED, due_height)


CANCEL = Operation("task.cancel", Cancel, check_nothing, cost, apply)
