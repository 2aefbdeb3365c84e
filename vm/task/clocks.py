"""A seat's clock: the one due entry that stands for what its stage waits for; and its spark's slot.

Here: moving a seat to a stage with a deadline, the due kind of each stage, slots and exposure.
Not here: what happens when a clock runs out (deadlines.py), closing (settlement.py).
Keeps: a seat that is not closed has exactly one entry in the due queue, at its deadline; a spark's
`running` counts its seats from matched to review, its `exposure` the gas of all that are not closed.
"""

from __future__ import annotations

import msgspec

from vm import due
from vm.due import DueKind
from vm.spark import SPARKS
from vm.state import State
from vm.task.records import SEATS, Seat, Stage, seat_key

CLOCKS: dict[int, DueKind] = {
    Stage.RESERVED: DueKind.TASK_BEGIN,
    Stage.MATCHED: DueKind.TASK_GRANT_END,
    Stage.STARTING: DueKind.TASK_START_END,
    Stage.RUNNING: DueKind.TASK_RUN_END,
    Stage.REVIEW: DueKind.TASK_REVIEW_END,
}


def clock_of(seat: Seat) -> DueKind:
    """The kind of due entry that a seat's stage waits under."""
    return CLOCKS[seat.stage]


def first_stage(state: State, task_id: bytes, number: int, seat: Seat) -> None:
    """Write a new seat and start its clock."""
    state.put(SEATS, seat_key(task_id, number), seat)
    due.schedule(state, seat.deadline, clock_of(seat), seat_key(task_id, number))


def move_on(state: State, task_id: bytes, number: int, before: Seat, after: Seat) -> None:
    """Move a seat to the stage of `after`: stop the old clock, start the new one."""
    key = seat_key(task_id, number)
    due.unschedule(state, before.deadline, clock_of(before), key)
    state.put(SEATS, key, after)
    due.schedule(state, after.deadline, clock_of(after), key)


def stop(state: State, task_id: bytes, number: int, seat: Seat) -> None:
    """Stop the clock of a seat that closes."""
    due.unschedule(state, seat.deadline, clock_of(seat), seat_key(task_id, number))


def change_spark(state: State, address: bytes, slots: int, exposure: int) -> None:
    """Fill (+1) or free (−1) a slot, and change by so many grains what its seats hold of it."""
    spark = state.get(SPARKS, address)
    assert spark is not None, "a seated spark has its record: it may retire, never vanish"
    changed = msgspec.structs.replace(
        spark, running=spark.running + slots, exposure=spark.exposure + exposure
    )
    assert changed.running >= 0, "no slot is freed twice"
    assert changed.exposure >= 0, "no gas returns twice"
    state.put(SPARKS, address, changed)
