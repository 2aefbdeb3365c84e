"""Forfeits that wait for their epoch's end: what an outage excuses, and what burns otherwise.

Here: holding a forfeit, whether so many sparks failed that the network is to blame, deciding them.
Not here: which endings forfeit provisionally (settlement.py), the epoch's own outage rule (vm/epoch.py).
Keeps: a held forfeit stays in the supply's gas; each is decided once, after its epoch has closed, and
leaves evidence only when it burns. Wrong results are never excused: they do not come here.
"""

from __future__ import annotations

import msgspec

from vm import due, funds, standing
from vm.due import DueKind
from vm.head import first_height
from vm.spark import ACTIVE, SPARKS
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
OUTAGE_SPARKS_LEAST = 4
OUTAGE_SHARE_DIVISOR = 100
"""A spark counts for an outage from a hundredth of all proved compute on: dust cannot stage one."""


def hold(state: State, task_id: bytes, number: int, seat: Seat, amount: int) -> None:
    """Hold `amount` grains of a closing seat's gas until the running epoch has closed."""
    epoch = state.block.epoch
    state.put(FORFEITS, forfeit_key(epoch, task_id, number), Forfeit(seat.spark, amount, seat.price))
    spark = state.get(SPARKS, seat.spark)
    assert spark is not None, "a seated spark has its record"
    state.put(SPARKS, seat.spark, msgspec.structs.replace(spark, failed_epoch=epoch + 1))


def is_spark_outage(state: State, epoch: int) -> bool:
    """Whether so many sparks failed in `epoch` that it is an outage for tasks; asked at its end.

    They hold more than a third of ΣS, and at least four of them a hundredth each. Reads every spark.
    """
    speeds = [
        (spark.capacity, spark.failed_epoch == epoch + 1)
        for _, spark in state.scan(SPARKS)
        if spark.status == ACTIVE and spark.banned_until <= epoch
    ]
    total = sum(speed for speed, _ in speeds)
    failed = [speed for speed, has_failed in speeds if has_failed]
    large = [speed for speed in failed if speed * OUTAGE_SHARE_DIVISOR >= total]
    return total > 0 and 3 * sum(failed) > total and len(large) >= OUTAGE_SPARKS_LEAST


def close_epoch(state: State, is_outage: bool) -> None:
    """At an epoch's end: have its forfeits decided from the next height on, by what the epoch was.

    The decision travels in the due entry, because its figures change with the next block.
    """
    epoch = state.block.epoch
    if not state.scan(FORFEITS, *forfeits_of(epoch), 1):
        return
    after = first_height(epoch + 1, state.block.params.chain.epoch_blocks)
    due.schedule(state, after, DueKind.FORFEITS, epoch.to_bytes(8, "big") + bytes([is_outage]))


def decide(state: State, entry: bytes, due_height: int) -> None:
    """Burn or return a few of a closed epoch's forfeits; the rest follow in an entry of their own."""
    epoch, is_outage = int.from_bytes(entry[:8], "big"), bool(entry[8])
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
