"""Forfeits that wait for their epoch's end: what an outage excuses, and what burns otherwise.

Here: holding a forfeit and deciding it.
Not here: which endings forfeit provisionally (settlement.py), what is an outage (vm/outage.py).
Keeps: a held forfeit stays in the supply's gas; each is decided once, after its epoch has closed, and
leaves evidence only when it burns. Wrong results are never excused: they do not come here.
"""

from __future__ import annotations

import msgspec

from vm import due, funds, standing
from vm.due import DueKind
from vm.head import epoch_of, first_height
from vm.outage import excuses_tasks
from vm.spark import SPARKS
from vm.state import State
from vm.task import events
from vm.task.records import (
    FORFEITS,
    SEATS,
    TASK_ID_BYTES,
    Blame,
    Forfeit,
    Seat,
    forfeit_key,
    forfeits_of,
    seat_key,
)

DECIDED_AT_ONCE = 16
"""Forfeits per due entry: one entry's work stays small, however many sparks failed."""


def hold(state: State, task_id: bytes, number: int, seat: Seat, amount: int, ended: int) -> None:
    """Hold `amount` grains of a closing seat's gas until the epoch has closed in which its clock `ended`.

    That epoch may be over already when the due queue runs late; it decides all the same.
    """
    length = state.block.params.chain.epoch_blocks
    epoch = epoch_of(ended, length)
    state.put(FORFEITS, forfeit_key(epoch, task_id, number), Forfeit(seat.spark, amount, seat.price))
    after = max(first_height(epoch + 1, length), state.block.height)
    due.schedule(state, after, DueKind.FORFEITS, epoch.to_bytes(8, "big"))
    spark = state.get(SPARKS, seat.spark)
    assert spark is not None, "a seated spark has its record"
    failed = max(spark.failed_epoch, epoch + 1)
    state.put(SPARKS, seat.spark, msgspec.structs.replace(spark, failed_epoch=failed))


def decide(state: State, entry: bytes, due_height: int) -> None:
    """Burn or return a few of a closed epoch's forfeits; the rest follow in an entry of their own."""
    epoch = int.from_bytes(entry, "big")
    is_outage = excuses_tasks(state, epoch)
    held = state.scan(FORFEITS, *forfeits_of(epoch), DECIDED_AT_ONCE + 1)
    for key, forfeit in held[:DECIDED_AT_ONCE]:
        task_id, number = key[8 : 8 + TASK_ID_BYTES], key[8 + TASK_ID_BYTES]
        state.delete(FORFEITS, key)
        state.supply.gas -= forfeit.amount
        if is_outage:
            funds.credit(state, forfeit.spark, forfeit.amount)
        else:
            state.supply.burned += forfeit.amount
            standing.add_blame(state, forfeit.spark, forfeit.price)
        event = events.FORFEIT_RETURNED if is_outage else events.FORFEIT_BURNED
        state.emit(event(task=task_id, seat=number, spark=forfeit.spark, amount=forfeit.amount))
        _note(state, task_id, number, is_outage)
    if len(held) > DECIDED_AT_ONCE:
        due.schedule(state, state.block.height, DueKind.FORFEITS, entry)


def _note(state: State, task_id: bytes, number: int, is_outage: bool) -> None:
    """Write the decision into the seat's outcome, while its records are still kept."""
    seat = state.get(SEATS, seat_key(task_id, number))
    if seat is None:
        return
    assert seat.outcome is not None, "a forfeit is of a closed seat"
    before = seat.outcome
    amounts = (
        {"blame": Blame.NETWORK, "gas_returned": before.gas_returned + before.gas_held}
        if is_outage
        else {"gas_burned": before.gas_burned + before.gas_held}
    )
    outcome = msgspec.structs.replace(before, gas_held=0, **amounts)
    state.put(SEATS, seat_key(task_id, number), msgspec.structs.replace(seat, outcome=outcome))
