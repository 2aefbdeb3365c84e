"""Every deadline: its own block is still in time, the next is not, and then the chain acts by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from consensus.types.errors import Rejected
from consensus.types.params import DEV
from tests.market import (
    OTHER,
    PRICE,
    PROMISE,
    REQUESTER,
    SPARK,
    START_BALANCE,
    WINDOWS,
    Market,
    accept_of,
    cancel_of,
    decline_of,
    deliver_of,
    fail_of,
    grant_of,
    match_of,
    reject_of,
    release_of,
    start_of,
)
from vm import due
from vm.due import DueKind
from vm.state import State
from vm.task.access import TOO_LATE
from vm.task.payloads import Offer
from vm.task.records import TASKS, Ending, Stage, TaskState

Step = tuple[Callable[[Market], bytes], bytes, Callable[[bytes], Any]]

STEPS: dict[str, Step] = {
    "grant": (Market.matched, REQUESTER, grant_of),
    "cancel before the grant": (Market.matched, REQUESTER, cancel_of),
    "start": (Market.starting, SPARK, start_of),
    "decline": (Market.starting, SPARK, decline_of),
    "release before the start": (Market.starting, SPARK, release_of),
    "renewed grant": (Market.starting, REQUESTER, grant_of),
    "deliver": (Market.running, SPARK, deliver_of),
    "fail": (Market.running, SPARK, fail_of),
    "release": (Market.running, SPARK, release_of),
    "accept": (Market.delivered, REQUESTER, accept_of),
    "reject": (Market.delivered, REQUESTER, reject_of),
    "agree": (Market.failed, REQUESTER, accept_of),
    "disagree": (Market.failed, REQUESTER, reject_of),
}
"""Name: where the task stands, who acts, and what it sends."""


def hold_queue(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing fire any more, as if the due queue were far behind."""

    def fire_nothing(state: State, handlers: object) -> None:
        del state, handlers

    monkeypatch.setattr(due, "fire", fire_nothing)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_in_time_in_the_block_of_its_deadline(name: str) -> None:
    reach, sender, payload_of = STEPS[name]
    market = Market()
    task_id = reach(market)
    market.until(market.seat(task_id).deadline)
    market.send(sender, payload_of(task_id))
    market.mine()


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_late_one_block_after_its_deadline_even_when_the_queue_is_behind(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reach, sender, payload_of = STEPS[name]
    market = Market()
    task_id = reach(market)
    deadline = market.seat(task_id).deadline
    market.until(deadline)
    hold_queue(market, monkeypatch)
    market.mine()
    with pytest.raises(Rejected) as refused:
        market.send(sender, payload_of(task_id))
    assert refused.value.reason is TOO_LATE
    assert refused.value.facts["deadline"] == deadline


@pytest.mark.parametrize(
    ("reach", "ending"),
    [
        (Market.matched, Ending.GRANT_TIMEOUT),
        (Market.starting, Ending.START_TIMEOUT),
        (Market.running, Ending.RUN_TIMEOUT),
        (Market.delivered, Ending.ACCEPTED_BY_SILENCE),
        (Market.failed, Ending.FAILURE_UNANSWERED),
    ],
)
def test_the_chain_settles_a_seat_at_the_end_of_its_deadlines_block(
    reach: Callable[[Market], bytes], ending: Ending
) -> None:
    market = Market()
    task_id = reach(market)
    market.until(market.seat(task_id).deadline)
    assert market.seat(task_id).stage != Stage.CLOSED
    market.mine()
    assert market.outcome(task_id).ending == ending


def test_every_window_runs_from_the_step_before() -> None:
    market = Market()
    task_id = market.post()
    market.offer(task_id)
    market.until(1 + WINDOWS.offer)
    assert market.task(task_id).state == TaskState.OPEN
    market.mine()
    assert market.seat(task_id).deadline == 1 + WINDOWS.offer + WINDOWS.grant
    market.send(REQUESTER, grant_of(task_id))
    assert market.seat(task_id).deadline == market.height + WINDOWS.start
    market.send(SPARK, start_of(task_id))
    assert market.seat(task_id).deadline == market.height + 2 * PROMISE
    market.mine(3)
    market.send(SPARK, deliver_of(task_id))
    assert market.seat(task_id).deadline == market.height + WINDOWS.review


def test_a_run_ends_at_twice_the_promise_or_with_its_window() -> None:
    market = Market()
    for promise, limit in ((3, 6), (15, WINDOWS.run)):
        task_id = market.post()
        market.offer(task_id, promise=promise)
        market.mine(WINDOWS.offer + 1)
        market.send(REQUESTER, grant_of(task_id))
        market.send(SPARK, start_of(task_id))
        assert market.seat(task_id).deadline == market.height + limit
        market.send(SPARK, deliver_of(task_id))


def test_offers_are_taken_in_the_last_block_of_their_window_and_not_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    market = Market()
    task_id = market.post()
    market.until(1 + WINDOWS.offer)
    market.offer(task_id)
    hold_queue(market, monkeypatch)
    market.mine()
    with pytest.raises(Rejected) as refused:
        market.send(OTHER, Offer(task_id, 0, PRICE, PROMISE))
    assert refused.value.reason is TOO_LATE
    with pytest.raises(Rejected) as refused:
        market.send(REQUESTER, cancel_of(task_id))
    assert refused.value.reason is TOO_LATE


def test_a_choice_by_hand_is_late_after_the_offer_window(monkeypatch: pytest.MonkeyPatch) -> None:
    market = Market()
    task_id = market.post(by_hand=True)
    market.offer(task_id)
    market.until(1 + WINDOWS.offer)
    hold_queue(market, monkeypatch)
    market.mine()
    with pytest.raises(Rejected) as refused:
        market.send(REQUESTER, match_of(task_id))
    assert refused.value.reason is TOO_LATE


def test_a_clock_that_a_late_queue_starts_runs_from_the_block_in_which_it_fired() -> None:
    market = Market()
    task_id = market.post()
    market.offer(task_id)
    market.until(1 + WINDOWS.offer)
    with pytest.MonkeyPatch.context() as patch:
        hold_queue(market, patch)
        market.mine(4)
    fired_at = market.height
    market.mine()
    assert market.seat(task_id).deadline == fired_at + WINDOWS.grant


def test_a_late_queue_does_not_change_what_a_cancellation_costs() -> None:
    costs = []
    for blocks_behind in (0, 5):
        market = Market()
        task_id = market.running()
        market.send(REQUESTER, cancel_of(task_id))
        market.mine(2)
        with pytest.MonkeyPatch.context() as patch:
            hold_queue(market, patch)
            market.mine(blocks_behind)
            if blocks_behind:
                with pytest.raises(Rejected) as refused:
                    market.send(SPARK, deliver_of(task_id))
                assert refused.value.reason is TOO_LATE
        market.mine()
        outcome = market.outcome(task_id)
        costs.append((outcome.ending, outcome.paid, outcome.refunded))
    assert costs[0] == costs[1]
    assert costs[0][0] == Ending.CANCELLED


def test_a_run_timeout_comes_before_a_cancellation_that_would_take_effect_with_it() -> None:
    """Whoever is at the end of its time cannot be saved by the requester's cancellation, nor ruined."""
    market = Market()
    task_id = market.running()
    market.until(market.seat(task_id).deadline - 2)
    market.send(REQUESTER, cancel_of(task_id))
    market.mine(3)
    assert market.outcome(task_id).ending == Ending.RUN_TIMEOUT
    assert not due.is_scheduled(market.state, market.task(task_id).cancel_at, DueKind.TASK_CANCEL, task_id)


def test_an_open_task_that_is_cancelled_costs_nothing() -> None:
    market = Market()
    task_id = market.post()
    market.offer(task_id)
    market.send(REQUESTER, cancel_of(task_id))
    task = market.task(task_id)
    assert (task.state, task.ending) == (TaskState.FINAL, Ending.CANCELLED_OPEN)
    assert market.balance(REQUESTER) == START_BALANCE - task.deposit
    assert market.balance(SPARK) == START_BALANCE
    market.mine(WINDOWS.offer + 2)
    assert market.task(task_id).ending == Ending.CANCELLED_OPEN, "the draw was taken back"


def test_a_task_without_offers_expires_and_costs_nothing() -> None:
    market = Market()
    task_id = market.post()
    market.mine(WINDOWS.offer + 1)
    task = market.task(task_id)
    assert (task.state, task.ending) == (TaskState.FINAL, Ending.EXPIRED)
    assert market.balance(REQUESTER) == START_BALANCE - task.deposit


def test_the_records_of_a_final_task_are_deleted_later_and_its_deposit_returns() -> None:
    market = Market()
    task_id = market.post()
    market.send(REQUESTER, cancel_of(task_id))
    market.until(market.height + DEV.market.task_retain_blocks)
    assert market.state.get(TASKS, task_id) is not None
    market.mine()
    assert market.state.get(TASKS, task_id) is None
    assert market.balance(REQUESTER) == START_BALANCE
    assert market.state.supply.deposits == 0


def test_a_task_leaves_nothing_in_state() -> None:
    """No record and no due entry of a forgotten task stays behind, whatever its way to the end."""
    market = Market()
    market.register(SPARK, slots=64)
    empty = len(market.state.scan(due.DUE))
    for reach, sender, payload_of in STEPS.values():
        task_id = reach(market)
        market.send(sender, payload_of(task_id))
        market.mine()
    market.mine(DEV.market.task_retain_blocks + 100)
    assert len(market.state.scan(due.DUE)) == empty
    assert market.state.scan(TASKS) == []
    market.check()
