"""Reading a task for people: what it costs, what it waits for, what each answer would move.

Here: pure functions over records, for RPC, client and pages; they read no state and write nothing.
Not here: the table itself (settlement.py), the words around the figures (rendered at the edge).
Keeps: a figure shown before signing is computed by the code that settles, so it cannot differ.
Units: grains, heights, parts per billion.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from consensus.types.amounts import Grains
from consensus.types.params import Params
from vm.task.access import last_height, offers_end
from vm.task.cancelling import BEFORE_REVIEW, ending_of_cancel
from vm.task.payloads import Post, Way
from vm.task.posting import deposit_of
from vm.task.records import Ending, Outcome, Seat, Stage, Task, TaskState
from vm.task.settlement import ROWS, outcome_of
from vm.task.terms import (
    CANCEL_DELAY_BLOCKS,
    base_of,
    escrow_of,
    forfeit,
    gas_for,
    offer_deposit,
    price_least,
    promise_least,
)


class Party(IntEnum):
    """Whom a stage waits for."""

    NOBODY = 0
    """A height, or nothing any more."""
    REQUESTER = 1
    SPARK = 2


class StageView(NamedTuple):
    """Where a seat stands at a height."""

    stage: Stage
    party: Party
    deadline: int
    """The last height for the party's step; 0 when closed."""
    blocks_left: int
    """Blocks of height above this one that are still in time."""
    is_over: bool
    """The time has run out: the chain settles it by itself, with this block or the next ones."""
    on_timeout: Ending | None
    """How the seat ends if the party does nothing."""


class PostQuote(NamedTuple):
    """What posting holds."""

    escrow: Grains
    """The most it can cost; what is not used returns."""
    deposit: Grains
    """Returns when the task's records are deleted."""


class OfferQuote(NamedTuple):
    """What offering and winning hold of a spark."""

    price_least: Grains
    promise_least: int
    deposit: Grains
    """Held until the draw."""
    gas: Grains
    """Locked by winning."""
    forfeit: Grains
    """F: what vanishing costs."""


class CancelQuote(NamedTuple):
    """What cancelling costs."""

    height: int
    """When it takes effect."""
    cost: Grains
    """Of the escrow: what does not return to the requester."""
    paid: Grains
    """Of that, to the spark."""
    refunded: Grains


PARTIES: dict[int, Party] = {
    Stage.RESERVED: Party.NOBODY,
    Stage.MATCHED: Party.REQUESTER,
    Stage.STARTING: Party.SPARK,
    Stage.RUNNING: Party.SPARK,
    Stage.REVIEW: Party.REQUESTER,
    Stage.CLOSED: Party.NOBODY,
}
TIMEOUTS: dict[int, Ending] = {
    Stage.MATCHED: Ending.GRANT_TIMEOUT,
    Stage.STARTING: Ending.START_TIMEOUT,
    Stage.RUNNING: Ending.RUN_TIMEOUT,
    Stage.REVIEW: Ending.ACCEPTED_BY_SILENCE,
}


def stage_of(seat: Seat, height: int, cancel_at: int = 0) -> StageView:
    """Where a seat stands for a transaction in a block of `height`, and what silence would mean.

    `cancel_at` is the task's: a cancellation under way ends a running seat before its own deadline.
    """
    stage, deadline = Stage(seat.stage), seat.deadline
    on_timeout = TIMEOUTS.get(stage)
    if stage == Stage.REVIEW and seat.failure is not None:
        on_timeout = Ending.FAILURE_UNANSWERED
    if stage == Stage.RUNNING and 0 < cancel_at < deadline:
        deadline, on_timeout = cancel_at, Ending.CANCELLED
    return StageView(
        stage,
        PARTIES[stage],
        deadline,
        max(0, deadline - height),
        stage != Stage.CLOSED and height > deadline,
        on_timeout,
    )


def cost_of_post(payload: Post, params: Params) -> PostQuote:
    """What a post takes from the requester's balance, besides its fee."""
    return PostQuote(escrow_of(payload.roles, payload.replicas), deposit_of(payload, params.market))


def cost_of_offer(params: Params, kappa: int, maximum: Grains, price: Grains, run: int) -> OfferQuote:
    """What an offer of `price` of at most `maximum`, for a run window of `run` blocks, holds."""
    return OfferQuote(
        price_least(maximum),
        promise_least(run),
        offer_deposit(params.market, price, maximum),
        gas_for(params, kappa, maximum, price),
        forfeit(base_of(price, maximum)),
    )


def cost_of_cancel(task: Task, seat: Seat | None, height: int) -> CancelQuote | None:
    """What a `task.cancel` in a block of `height` costs; None when it would be refused.

    `seat` is None before the match. A delivery or failure before it takes effect comes first.
    """
    if seat is None:
        is_open = task.state == TaskState.OPEN and height <= offers_end(task)
        return CancelQuote(height, 0, 0, task.escrow) if is_open else None
    is_late = seat.stage != Stage.RESERVED and height > last_height(task, seat)
    if seat.stage not in BEFORE_REVIEW or task.cancel_at or is_late:
        return None
    ending, effective = ending_of_cancel(seat), height
    if seat.stage == Stage.RUNNING:
        effective += CANCEL_DELAY_BLOCKS
        if seat.deadline <= effective:
            # The run timeout comes first: a spark that is late is not paid for the cancellation.
            ending, effective = Ending.RUN_TIMEOUT, seat.deadline
    outcome = outcome_of(task, seat, ending, effective, effective)
    return CancelQuote(effective, seat.price - outcome.refunded, outcome.paid, outcome.refunded)


def cost_so_far(task: Task, seat: Seat, height: int) -> Grains:
    """What cancelling at once would cost, without its delay: the clock a person watches while it runs."""
    if seat.outcome is not None:
        return seat.price - seat.outcome.refunded
    if seat.stage not in BEFORE_REVIEW:
        return seat.price
    ended = max(height, seat.started)
    return seat.price - outcome_of(task, seat, ending_of_cancel(seat), ended, ended).refunded


def answers(task: Task, seat: Seat, height: int) -> dict[Ending, Outcome]:
    """How a seat in review can end by an answer in a block of `height`, or by silence."""
    if seat.stage != Stage.REVIEW:
        return {}
    if seat.failure is not None:
        endings = [Ending.FAILURE_AGREED, Ending.FAILURE_REJECTED, Ending.FAILURE_UNANSWERED]
    else:
        endings = [Ending.ACCEPTED, Ending.ACCEPTED_BY_SILENCE]
        if task.way == Way.NONE:
            endings.append(Ending.REJECTED)
    return {ending: outcome_of(task, seat, ending, seat.delivered, height) for ending in endings}


def is_excusable(ending: Ending) -> bool:
    """Whether an outage can still return what the ending took."""
    return ending in ROWS and ROWS[ending].is_provisional
