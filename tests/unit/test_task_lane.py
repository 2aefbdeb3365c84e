"""The lane is for the one party whose clock runs, and for exactly the step it runs for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.market import (
    OTHER,
    REQUESTER,
    SPARK,
    Market,
    accept_of,
    cancel_of,
    decline_of,
    deliver_of,
    fail_of,
    grant_of,
    match_of,
    post_of,
    reject_of,
    release_of,
    start_of,
)
from vm.task.payloads import Offer

ALL: tuple[Callable[[bytes], Any], ...] = (
    match_of,
    cancel_of,
    grant_of,
    start_of,
    release_of,
    decline_of,
    deliver_of,
    fail_of,
    accept_of,
    reject_of,
)

DUE: list[tuple[Callable[[Market], bytes], bytes, set[Callable[[bytes], Any]]]] = [
    (Market.post, REQUESTER, set()),
    (lambda market: market.matched(not_before=20), SPARK, set()),
    (Market.matched, REQUESTER, {grant_of}),
    (Market.starting, SPARK, {start_of, decline_of}),
    (Market.running, SPARK, {deliver_of, fail_of}),
    (Market.delivered, REQUESTER, {accept_of, reject_of}),
    (Market.failed, REQUESTER, {accept_of, reject_of}),
]


@pytest.mark.parametrize(("reach", "party", "steps"), DUE)
def test_only_the_party_whose_clock_runs_uses_the_lane_and_only_for_its_step(
    reach: Callable[[Market], bytes], party: bytes, steps: set[Callable[[bytes], Any]]
) -> None:
    market = Market()
    task_id = reach(market)
    before = market.state.records_touched
    for sender in (REQUESTER, SPARK, OTHER):
        for payload_of in ALL:
            expected = sender == party and payload_of in steps
            assert market.is_due(sender, payload_of(task_id)) == expected, payload_of.__name__
    assert market.state.records_touched == before, "asking writes nothing"


def test_a_choice_by_hand_is_due_once_there_is_an_offer() -> None:
    market = Market()
    task_id = market.post(by_hand=True)
    assert not market.is_due(REQUESTER, match_of(task_id))
    market.offer(task_id)
    assert market.is_due(REQUESTER, match_of(task_id))
    assert not market.is_due(SPARK, match_of(task_id))


def test_posts_and_offers_wait_like_everybody() -> None:
    market = Market()
    task_id = market.post()
    assert not market.is_due(REQUESTER, post_of())
    assert not market.is_due(SPARK, Offer(task_id, 0, 1, 1))


def test_a_renewed_grant_is_nobodys_deadline() -> None:
    market = Market()
    task_id = market.starting()
    assert not market.is_due(REQUESTER, grant_of(task_id))


def test_a_step_after_its_deadline_is_not_due() -> None:
    market = Market()
    task_id = market.running()
    market.until(market.seat(task_id).deadline)
    assert market.is_due(SPARK, deliver_of(task_id))
    market.mine()
    assert not market.is_due(SPARK, deliver_of(task_id))
