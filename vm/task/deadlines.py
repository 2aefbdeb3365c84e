"""What happens to a task by itself: a handler for each kind of due entry of the market.

Here: the handlers that are no more than an ending, and the mapping. Not here: the draw (matching.py), a
reservation's begin (running.py), a cancellation (cancelling.py), forfeits (forfeits.py).
Keeps: an entry of a seat fires only while the stage that scheduled it lasts; heights that enter
settlement are the entry's due height, never the block in which a late queue fired it.
"""

from __future__ import annotations

from vm import funds
from vm.due import DueKind, Handler
from vm.state import State
from vm.task import cancelling, events, forfeits, judging, matching, running
from vm.task.access import find_task, seats_of_task
from vm.task.records import SEATS, TASKS, Ending, TaskState, seat_key, seat_of_key
from vm.task.settlement import close_seat


def end_offers(state: State, task_id: bytes, due_height: int) -> None:
    """The last block of the offer window: the draw."""
    matching.draw(state, task_id)


def end_grant(state: State, key: bytes, due_height: int) -> None:
    """The requester did not hand over the job."""
    close_seat(state, *seat_of_key(key), Ending.GRANT_TIMEOUT, due_height)


def end_start(state: State, key: bytes, due_height: int) -> None:
    """The spark neither started nor declined."""
    close_seat(state, *seat_of_key(key), Ending.START_TIMEOUT, due_height)


def end_run(state: State, key: bytes, due_height: int) -> None:
    """The spark neither delivered nor reported a failure."""
    close_seat(state, *seat_of_key(key), Ending.RUN_TIMEOUT, due_height)


def forget(state: State, task_id: bytes, due_height: int) -> None:
    """Delete a final task's records and return the deposit that held their place."""
    task = find_task(state, task_id)
    assert task.state == TaskState.FINAL, "only a final task is forgotten"
    for number, _ in seats_of_task(state, task_id):
        state.delete(SEATS, seat_key(task_id, number))
    state.delete(TASKS, task_id)
    state.supply.deposits -= task.deposit
    funds.credit(state, task.requester, task.deposit)
    state.emit(events.FORGOTTEN(task=task_id, requester=task.requester, deposit=task.deposit))


DUE_HANDLERS: dict[DueKind, Handler] = {
    DueKind.FORFEITS: forfeits.decide,
    DueKind.TASK_OFFERS_END: end_offers,
    DueKind.TASK_BEGIN: running.begin,
    DueKind.TASK_GRANT_END: end_grant,
    DueKind.TASK_START_END: end_start,
    DueKind.TASK_RUN_END: end_run,
    DueKind.TASK_CANCEL: cancelling.take_effect,
    DueKind.TASK_REVIEW_END: judging.answer_by_silence,
    DueKind.TASK_FORGET: forget,
}
"""Everything of the market that waits in the due queue."""
