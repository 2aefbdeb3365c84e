"""Settlement: how every ending of a seat moves money and what it says about both sides, in one table.

Here: the table, the outcome of an ending (pure), closing a seat by it, ending an unmatched task.
Not here: when an ending comes about (running, delivering, judging, deadlines), what an epoch does with
held forfeits (forfeits.py).
Keeps: paid + fee + refunded + burned = the seat's price and returned + burned + held = its gas; nobody
earns from the other side's failure unless it was proved; every spark's pay bears the fee.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from consensus.types.amounts import PPB, Grains
from vm import due, funds, pools, standing
from vm.due import DueKind
from vm.state import State
from vm.task import events, forfeits
from vm.task.access import find_seat, find_task
from vm.task.clocks import change_spark, stop
from vm.task.records import (
    SEATS,
    TASKS,
    Blame,
    Ending,
    Outcome,
    Seat,
    Stage,
    Task,
    TaskState,
    seat_key,
)
from vm.task.terms import base_of, elapsed_share, fee_of, forfeit, rounded_up

CLOSE_ENTRIES_MAX = 4
"""Closing a seat may create two standings, the resource pool and the entry that forgets the task."""


class Terms(NamedTuple):
    """What the shares of a row are taken of."""

    price: Grains
    base: Grains
    elapsed: int
    """e, parts per billion."""
    is_reservation: bool


Share = Callable[[Terms], Grains]


def _nothing(terms: Terms) -> Grains:
    return 0


def _whole(terms: Terms) -> Grains:
    return terms.price


def _waiting_share(terms: Terms) -> Grains:
    """What a spark gets that waited for a grant: 5 %, or 10 % when it had kept a time free."""
    return terms.price * (10 if terms.is_reservation else 5) // 100


def _cancel_share(terms: Terms) -> Grains:
    """max(10 %, e) of the price."""
    return terms.price * max(PPB // 10, terms.elapsed) // PPB


def _failure_share(terms: Terms) -> Grains:
    """max(5 %, min(½, e)) of the price: a failing application pays for its time, a claim cannot profit."""
    return terms.price * max(PPB // 20, min(PPB // 2, terms.elapsed)) // PPB


def _decline_loss(terms: Terms) -> Grains:
    """5 % of base, or 10 % of a reservation; always within price and gas, as base ≤ 5·price."""
    return rounded_up(terms.base * (10 if terms.is_reservation else 5), 100)


def _release_loss(terms: Terms) -> Grains:
    return rounded_up(terms.base, 10)


def _forfeit(terms: Terms) -> Grains:
    return forfeit(terms.base)


class Row(NamedTuple):
    """One way to end: shares of the escrow, of the gas, and evidence; the rest goes to its owners."""

    blame: Blame
    paid: Share = _nothing
    """Of the escrow to the spark, before the fee."""
    burned: Share = _nothing
    """Of the escrow."""
    lost: Share = _nothing
    """Of the gas."""
    spark_bad: int = 0
    """The spark's bad words are the price divided by this; 0 for none."""
    requester_bad: int = 0
    is_provisional: bool = False
    """Loss and bad words wait for the epoch's end, which may excuse them."""
    is_decided: bool = False
    """The work was judged: its quality enters the spark's words, the price the requester's."""


ROWS: dict[Ending, Row] = {
    Ending.GRANT_TIMEOUT: Row(Blame.REQUESTER, paid=_waiting_share, requester_bad=1),
    Ending.CANCELLED_MATCHED: Row(Blame.REQUESTER, paid=_waiting_share, requester_bad=1),
    Ending.RELEASED_RESERVATION: Row(Blame.SPARK, lost=_forfeit, spark_bad=2),
    Ending.DECLINED: Row(
        Blame.UNDECIDED, burned=_decline_loss, lost=_decline_loss, spark_bad=4, requester_bad=4
    ),
    Ending.START_TIMEOUT: Row(Blame.SPARK, lost=_forfeit, spark_bad=1, is_provisional=True),
    Ending.RUN_TIMEOUT: Row(Blame.SPARK, lost=_forfeit, spark_bad=1, is_provisional=True),
    Ending.RELEASED: Row(Blame.SPARK, lost=_release_loss, spark_bad=2),
    Ending.CANCELLED: Row(Blame.REQUESTER, paid=_cancel_share),
    Ending.FAILURE_AGREED: Row(Blame.APPLICATION, paid=_failure_share, spark_bad=4, requester_bad=4),
    Ending.FAILURE_UNANSWERED: Row(Blame.APPLICATION, paid=_failure_share, spark_bad=4, requester_bad=4),
    Ending.FAILURE_REJECTED: Row(
        Blame.UNDECIDED, burned=_failure_share, lost=_release_loss, spark_bad=4, requester_bad=4
    ),
    Ending.ACCEPTED: Row(Blame.NOBODY, paid=_whole, is_decided=True),
    Ending.ACCEPTED_BY_SILENCE: Row(Blame.NOBODY, paid=_whole, is_decided=True),
    Ending.REJECTED: Row(Blame.UNDECIDED, burned=_whole, spark_bad=4, requester_bad=4),
}
"""Every ending of a matched seat on the way `none`, claimed failures of any way included."""


def terms_of(task: Task, seat: Seat, ended: int) -> Terms:
    """The terms of a seat whose clock stopped at height `ended`: a delivery's, a cancellation's own."""
    maximum = task.roles[seat.role].maximum
    elapsed = elapsed_share(ended - seat.started, seat.promise) if seat.started else 0
    return Terms(seat.price, base_of(seat.price, maximum), elapsed, task.not_before > 0)


def outcome_of(task: Task, seat: Seat, ending: Ending, ended: int, height: int) -> Outcome:
    """Where the money goes if the seat ends so; `height` is the block that settles it. Writes nothing."""
    row, terms = ROWS[ending], terms_of(task, seat, ended)
    paid, burned, lost = row.paid(terms), row.burned(terms), row.lost(terms)
    assert paid + burned <= seat.price, "a seat pays out no more than its escrow"
    assert lost <= seat.gas, "a seat loses no more than its gas"
    fee = fee_of(paid)
    return Outcome(
        ending,
        row.blame,
        height,
        paid - fee,
        fee,
        seat.price - paid - burned,
        burned,
        seat.gas - lost,
        0 if row.is_provisional else lost,
        lost if row.is_provisional else 0,
    )


def close_seat(
    state: State, task_id: bytes, number: int, ending: Ending, ended: int, quality: int = 0
) -> None:
    """Settle a seat: move its escrow and gas, add the evidence, stop its clock, free its slot.

    `quality` (parts per billion) counts for decided endings only.
    """
    task, seat = find_task(state, task_id), find_seat(state, task_id, number)
    assert seat.stage != Stage.CLOSED, "a seat closes once"
    outcome = outcome_of(task, seat, ending, ended, state.block.height)
    stop(state, task_id, number, seat)
    _move(state, task, seat, outcome)
    _testify(state, task, seat, ROWS[ending], quality)
    if outcome.gas_held:
        forfeits.hold(state, task_id, number, seat, outcome.gas_held, ended)
    change_spark(state, seat.spark, slots=0 if seat.stage == Stage.RESERVED else -1, exposure=-seat.gas)
    closed = msgspec.structs.replace(
        seat, stage=Stage.CLOSED, entered=state.block.height, deadline=0, outcome=outcome
    )
    state.put(SEATS, seat_key(task_id, number), closed)
    state.emit(
        events.CLOSED(
            task=task_id,
            seat=number,
            spark=seat.spark,
            ending=outcome.ending,
            blame=outcome.blame,
            paid=outcome.paid,
            fee=outcome.fee,
            refunded=outcome.refunded,
            burned=outcome.burned,
            gas_returned=outcome.gas_returned,
            gas_burned=outcome.gas_burned,
            gas_held=outcome.gas_held,
        )
    )
    _count_down(state, task_id)


def _move(state: State, task: Task, seat: Seat, outcome: Outcome) -> None:
    """The seat's escrow and gas leave their columns; what is held for the epoch stays in gas."""
    burned_fee = outcome.fee - outcome.fee // 2
    funds.credit(state, seat.spark, outcome.paid + outcome.gas_returned)
    funds.credit(state, task.requester, outcome.refunded)
    pools.add(state, pools.RESOURCE, outcome.fee // 2)
    state.supply.burned += outcome.burned + burned_fee + outcome.gas_burned
    state.supply.escrow -= seat.price
    state.supply.gas -= outcome.gas_returned + outcome.gas_burned


def _testify(state: State, task: Task, seat: Seat, row: Row, quality: int) -> None:
    """Add what the ending says about both sides; a provisional row speaks when its epoch has closed."""
    if row.is_decided:
        standing.add_decided(state, seat.spark, seat.price, quality)
        standing.add_posted(state, task.requester, seat.price)
    if row.spark_bad and not row.is_provisional:
        standing.add_blame(state, seat.spark, seat.price // row.spark_bad)
    if row.requester_bad:
        standing.add_blame(state, task.requester, seat.price // row.requester_bad)


def _count_down(state: State, task_id: bytes) -> None:
    """One seat of the task is closed; the last one makes it final."""
    task = find_task(state, task_id)
    if task.seats_open > 1:
        state.put(TASKS, task_id, msgspec.structs.replace(task, seats_open=task.seats_open - 1))
        return
    if task.cancel_at:
        due.unschedule(state, task.cancel_at, DueKind.TASK_CANCEL, task_id)
    finish(state, task_id, msgspec.structs.replace(task, seats_open=0))


def finish(state: State, task_id: bytes, task: Task) -> None:
    """Make a task final; its records stay for a while, so that both sides can read how it ended."""
    height = state.block.height
    state.put(TASKS, task_id, msgspec.structs.replace(task, state=TaskState.FINAL, final=height))
    forget_at = height + state.block.params.market.task_retain_blocks
    due.schedule(state, forget_at, DueKind.TASK_FORGET, task_id)


def end_unmatched(state: State, task_id: bytes, task: Task, ending: Ending) -> None:
    """An open task is cancelled or expires: its escrow returns; no side is blamed."""
    assert task.state == TaskState.OPEN, "a matched task ends by its seats"
    refunded = task.escrow
    state.supply.escrow -= refunded
    funds.credit(state, task.requester, refunded)
    state.emit(events.ENDED(task=task_id, ending=ending, refunded=refunded))
    finish(state, task_id, msgspec.structs.replace(task, escrow=0, offers=0, ending=ending))
