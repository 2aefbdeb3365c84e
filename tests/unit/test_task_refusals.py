"""Who may not do what, and when: wrong sender, wrong stage, too early, nothing there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from consensus.types.amounts import eubc
from consensus.types.errors import Reason, Rejected
from consensus.types.params import DEV
from tests.market import (
    JOB,
    OTHER,
    REQUESTER,
    SPARK,
    WINDOWS,
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
from vm.funds import SHORT_OF_FUNDS
from vm.task import access, cancelling, matching, posting, running
from vm.task.payloads import (
    Appeal,
    Check,
    Dispute,
    Grant,
    Resources,
    Reveal,
    Role,
    Seal,
    SeatEnvelope,
    Show,
    Sit,
    Start,
    Windows,
)

NOTHING = Resources(0, 0, 1, 0, 0)


def refusal(market: Market, sender: bytes, payload: Any) -> Reason:
    """Why the market refuses; it must."""
    before = market.state.supply.record()
    with pytest.raises(Rejected) as refused:
        market.send(sender, payload)
    assert market.state.supply.record() == before
    assert len(refused.value.values()) == len(refused.value.reason.facts)
    return refused.value.reason


PLACES: dict[str, Callable[[Market], bytes]] = {
    "open": Market.post,
    "reserved": lambda market: market.matched(not_before=20),
    "matched": Market.matched,
    "starting": Market.starting,
    "running": Market.running,
    "review": Market.delivered,
    "failed": Market.failed,
    "closed": lambda market: closed(market),
}


def closed(market: Market) -> bytes:
    """A task that was accepted."""
    task_id = market.delivered()
    market.send(REQUESTER, accept_of(task_id))
    return task_id


STEPS: dict[str, tuple[bytes, Callable[[bytes], Any], set[str]]] = {
    "cancel": (REQUESTER, cancel_of, {"open", "reserved", "matched", "starting", "running"}),
    "grant": (REQUESTER, grant_of, {"matched", "starting", "running"}),
    "start": (SPARK, start_of, {"starting"}),
    "decline": (SPARK, decline_of, {"starting"}),
    "release": (SPARK, release_of, {"reserved", "starting", "running"}),
    "deliver": (SPARK, deliver_of, {"running"}),
    "fail": (SPARK, fail_of, {"running"}),
    "accept": (REQUESTER, accept_of, {"review", "failed"}),
    "reject": (REQUESTER, reject_of, {"review", "failed"}),
}
"""Who does it, how, and where it is possible."""


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_possible_in_its_stages_and_nowhere_else(step: str, place: str) -> None:
    sender, payload_of, possible = STEPS[step]
    market = Market()
    task_id = PLACES[place](market)
    if place in possible:
        market.send(sender, payload_of(task_id))
        return
    reason = refusal(market, sender, payload_of(task_id))
    expected = {
        access.NO_SUCH_SEAT,
        access.WRONG_STAGE,
        cancelling.NOTHING_TO_CANCEL,
        running.TOO_EARLY,
    }
    assert reason in expected
    assert (reason is access.NO_SUCH_SEAT) == (place == "open")


@pytest.mark.parametrize("step", STEPS)
def test_nobody_acts_for_the_other_side(step: str) -> None:
    sender, payload_of, possible = STEPS[step]
    expected = access.NOT_THE_REQUESTER if sender == REQUESTER else access.NOT_THE_SPARK
    for place in sorted(possible):
        market = Market()
        task_id = PLACES[place](market)
        stranger = SPARK if sender == REQUESTER else REQUESTER
        for other in (stranger, OTHER):
            assert refusal(market, other, payload_of(task_id)) is expected


@pytest.mark.parametrize("step", STEPS)
def test_a_step_needs_a_task_and_a_seat_that_exist(step: str) -> None:
    sender, payload_of, _ = STEPS[step]
    market = Market()
    market.running()
    assert refusal(market, sender, payload_of(bytes(32))) is access.NO_SUCH_TASK
    task_id = market.delivered()
    if step != "cancel":
        seat_one: Any = payload_of
        assert refusal(market, sender, seat_one(task_id, seat=1)) is access.NO_SUCH_SEAT


def test_a_reservation_cannot_be_granted_before_its_time() -> None:
    market = Market()
    task_id = market.matched(not_before=20)
    assert refusal(market, REQUESTER, grant_of(task_id)) is running.TOO_EARLY
    market.until(20)
    assert refusal(market, REQUESTER, grant_of(task_id)) is running.TOO_EARLY
    market.mine()
    market.send(REQUESTER, grant_of(task_id))


def test_a_cancellation_is_not_sent_twice() -> None:
    market = Market()
    task_id = market.running()
    market.send(REQUESTER, cancel_of(task_id))
    assert refusal(market, REQUESTER, cancel_of(task_id)) is cancelling.ALREADY_CANCELLING


def test_a_task_keeps_its_first_job() -> None:
    market = Market()
    task_id = market.starting()
    assert refusal(market, REQUESTER, grant_of(task_id, bytes(32))) is running.ANOTHER_JOB
    before = market.seat(task_id)
    market.send(REQUESTER, grant_of(task_id, JOB))
    after = market.seat(task_id)
    assert after.grant != before.grant
    assert (after.stage, after.deadline) == (before.stage, before.deadline), "no clock moves"


def test_a_grant_names_each_seat_once() -> None:
    market = Market()
    task_id = market.matched()
    twice = Grant(task_id, JOB, (SeatEnvelope(0, b"x"), SeatEnvelope(0, b"y")))
    assert refusal(market, REQUESTER, twice) is running.SEAT_NAMED_TWICE


def test_a_single_seat_has_no_group_to_be_found_by() -> None:
    market = Market()
    task_id = market.starting()
    assert refusal(market, SPARK, Start(task_id, 0, b"here")) is running.ENDPOINT_UNEXPECTED


@pytest.mark.parametrize(
    "payload_of",
    [
        lambda task: Dispute(task, 0, 2),
        lambda task: Appeal(task, 0),
        lambda task: Sit(task, 0),
        lambda task: Show(task, 0, OTHER, b"sealed"),
        lambda task: Seal(task, 0, bytes(32)),
        lambda task: Reveal(task, 0, b"answer", bytes(16)),
    ],
)
def test_judges_are_not_yet(payload_of: Callable[[bytes], Any]) -> None:
    market = Market()
    task_id = market.delivered()
    for sender in (REQUESTER, SPARK, OTHER):
        assert refusal(market, sender, payload_of(task_id)) is access.NOT_YET


def test_other_ways_and_more_seats_are_not_yet() -> None:
    market = Market()
    role = Role("main", 1, True, eubc(5), NOTHING)
    for changes in (
        {"way": 1, "check": Check(bytes(32), 60)},
        {"way": 2, "replicas": 3},
        {"way": 3},
        {"roles": (Role("main", 2, True, eubc(5), NOTHING),)},
        {"roles": (role, Role("ps", 1, True, eubc(5), NOTHING))},
    ):
        assert refusal(market, REQUESTER, post_of(**changes)) is access.NOT_YET


def test_a_post_that_contradicts_itself_is_refused() -> None:
    market = Market()
    for changes in (
        {"replicas": 3},
        {"check": Check(bytes(32), 60)},
        {"roles": (Role("main", 1, False, eubc(5), NOTHING),)},
        {"allow": (SPARK,), "avoid": (SPARK,)},
    ):
        assert refusal(market, REQUESTER, post_of(**changes)) is posting.TERMS_MALFORMED


@pytest.mark.parametrize("name", ["offer", "grant", "start", "run", "review"])
def test_each_window_has_bounds(name: str) -> None:
    bounds = getattr(DEV.market, name)
    fields = {field: getattr(WINDOWS, field) for field in Windows.__struct_fields__}
    for blocks, is_taken in (
        (bounds.least - 1, False),
        (bounds.least, True),
        (bounds.most, True),
        (bounds.most + 1, False),
    ):
        payload = post_of(windows=Windows(**(fields | {name: blocks})))
        market = Market()
        if is_taken:
            market.send(REQUESTER, payload)
        else:
            assert refusal(market, REQUESTER, payload) is posting.WINDOW_OUT_OF_BOUNDS


def test_a_maximum_must_be_worth_forty_gas_floors() -> None:
    market = Market()
    least = 40 * DEV.resource.gas_floor
    assert refusal(market, REQUESTER, post_of(maximum=least - 1)) is posting.MAXIMUM_TOO_SMALL
    market.send(REQUESTER, post_of(maximum=least))


def test_a_reservation_lies_between_its_draw_and_the_horizon() -> None:
    market = Market()
    market.until(7)
    nearest, farthest = 7 + WINDOWS.offer, 7 + DEV.market.not_before_most
    for height in (nearest - 1, farthest + 1):
        reason = refusal(market, REQUESTER, post_of(not_before=height))
        assert reason is posting.NOT_BEFORE_OUT_OF_RANGE
    for height in (nearest, farthest):
        market.send(REQUESTER, post_of(not_before=height))


def test_a_post_needs_its_escrow_and_its_deposit() -> None:
    market = Market()
    poor = b"poor".ljust(20, b"\0")
    market.fund(poor, eubc(5) + DEV.market.task_deposit - 1)
    assert refusal(market, poor, post_of()) is SHORT_OF_FUNDS
    market.fund(poor, 1)
    market.send(poor, post_of())
    assert market.balance(poor) == 0


def test_a_drawn_task_is_not_matched_by_hand_and_only_its_requester_matches() -> None:
    market = Market()
    drawn = market.post()
    market.offer(drawn)
    assert refusal(market, REQUESTER, match_of(drawn)) is matching.DRAWN_NOT_CHOSEN
    by_hand = market.post(by_hand=True)
    market.offer(by_hand)
    assert refusal(market, SPARK, match_of(by_hand)) is access.NOT_THE_REQUESTER
    assert refusal(market, REQUESTER, match_of(by_hand, OTHER)) is matching.NO_SUCH_OFFER
    market.send(REQUESTER, match_of(by_hand))
    assert refusal(market, REQUESTER, match_of(by_hand)) is access.TASK_NOT_OPEN
