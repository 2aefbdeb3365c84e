"""What is shown before signing is what is settled after."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from consensus.types.amounts import eubc, parse_eubc
from consensus.types.errors import Rejected
from consensus.types.params import DEV
from tests.market import (
    KAPPA_NEWCOMER,
    MAXIMUM,
    PRICE,
    PROMISE,
    REQUESTER,
    SPARK,
    START_BALANCE,
    WINDOWS,
    Market,
    accept_of,
    cancel_of,
    post_of,
    reject_of,
)
from vm.task import quotes
from vm.task.quotes import Party
from vm.task.records import SEATS, Ending, Stage, seat_key
from vm.task.terms import gas_for


@pytest.mark.parametrize(
    ("kappa", "gas"),
    [
        (0, eubc(40)),
        (333_333_333, 8_80000002),
        (500_000_000, parse_eubc("4.4")),
        (785_714_286, parse_eubc("1.2")),
        (1_000_000_000, parse_eubc("1.2")),
    ],
)
def test_gas_falls_with_the_coefficient(kappa: int, gas: int) -> None:
    assert gas_for(DEV, kappa, MAXIMUM, PRICE) == gas


def test_a_post_takes_what_its_quote_said() -> None:
    market = Market()
    quote = quotes.cost_of_post(post_of(), DEV)
    market.post()
    assert market.balance(REQUESTER) == START_BALANCE - quote.escrow - quote.deposit


def test_an_offer_and_a_win_hold_what_the_quote_said() -> None:
    market = Market()
    quote = quotes.cost_of_offer(DEV, KAPPA_NEWCOMER, MAXIMUM, PRICE, WINDOWS.run)
    task_id = market.post()
    market.offer(task_id)
    assert market.balance(SPARK) == START_BALANCE - quote.deposit
    market.mine(WINDOWS.offer + 1)
    assert market.balance(SPARK) == START_BALANCE - quote.gas
    assert (quote.price_least, quote.promise_least) == (MAXIMUM // 10, 3)
    assert quote.forfeit == parse_eubc("1.2")


PLACES: dict[str, Callable[[Market], bytes]] = {
    "open": Market.post,
    "reserved": lambda market: market.matched(not_before=20),
    "matched": Market.matched,
    "starting": Market.starting,
    "running": Market.running,
    "review": Market.delivered,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("blocks", [0, 1, 2, 5, 17, 18, 19, 20])
def test_a_cancellation_costs_what_its_quote_said_or_both_refuse(place: str, blocks: int) -> None:
    market = Market()
    task_id = PLACES[place](market)
    market.mine(blocks)
    seat = market.state.get(SEATS, seat_key(task_id, 0))
    quote = quotes.cost_of_cancel(market.task(task_id), seat, market.height)
    before = market.balance(REQUESTER)
    if quote is None:
        with pytest.raises(Rejected):
            market.send(REQUESTER, cancel_of(task_id))
        return
    market.send(REQUESTER, cancel_of(task_id))
    market.mine(quote.height - market.height + 1)
    assert market.balance(REQUESTER) == before + quote.refunded
    if seat is not None:
        outcome = market.outcome(task_id)
        assert (outcome.paid, seat.price - outcome.refunded) == (quote.paid, quote.cost)
        assert outcome.height == quote.height


def test_no_quote_for_a_cancellation_that_is_under_way() -> None:
    market = Market()
    task_id = market.running()
    market.send(REQUESTER, cancel_of(task_id))
    task, seat = market.task(task_id), market.seat(task_id)
    assert quotes.cost_of_cancel(task, seat, market.height) is None


@pytest.mark.parametrize("reach", [Market.delivered, Market.failed])
def test_the_answers_on_offer_are_those_that_settle(reach: Callable[[Market], bytes]) -> None:
    market = Market()
    task_id = reach(market)
    offered = quotes.answers(market.task(task_id), market.seat(task_id), market.height)
    is_failure = market.seat(task_id).failure is not None
    yes = Ending.FAILURE_AGREED if is_failure else Ending.ACCEPTED
    no = Ending.FAILURE_REJECTED if is_failure else Ending.REJECTED
    for payload_of, ending in ((accept_of, yes), (reject_of, no)):
        again = Market()
        again_id = reach(again)
        again.send(REQUESTER, payload_of(again_id))
        assert again.outcome(again_id) == offered[ending]
    market.send(REQUESTER, accept_of(task_id))
    assert quotes.answers(market.task(task_id), market.seat(task_id), market.height) == {}


@pytest.mark.parametrize(
    ("reach", "stage", "party", "on_timeout"),
    [
        (PLACES["reserved"], Stage.RESERVED, Party.NOBODY, None),
        (Market.matched, Stage.MATCHED, Party.REQUESTER, Ending.GRANT_TIMEOUT),
        (Market.starting, Stage.STARTING, Party.SPARK, Ending.START_TIMEOUT),
        (Market.running, Stage.RUNNING, Party.SPARK, Ending.RUN_TIMEOUT),
        (Market.delivered, Stage.REVIEW, Party.REQUESTER, Ending.ACCEPTED_BY_SILENCE),
        (Market.failed, Stage.REVIEW, Party.REQUESTER, Ending.FAILURE_UNANSWERED),
    ],
)
def test_a_stage_says_whom_it_waits_for_how_long_and_what_silence_means(
    reach: Callable[[Market], bytes], stage: Stage, party: Party, on_timeout: Ending | None
) -> None:
    market = Market()
    task_id = reach(market)
    seat = market.seat(task_id)
    view = quotes.stage_of(seat, seat.deadline - 1)
    assert view == (stage, party, seat.deadline, 1, False, on_timeout)
    assert quotes.stage_of(seat, seat.deadline + 1).is_over
    if on_timeout is not None:
        market.until(seat.deadline + 1)
        assert market.outcome(task_id).ending == on_timeout
        closed = quotes.stage_of(market.seat(task_id), market.height)
        assert closed == (Stage.CLOSED, Party.NOBODY, 0, 0, False, None)


def test_a_cancellation_under_way_is_the_deadline_of_a_running_seat() -> None:
    market = Market()
    task_id = market.running()
    market.send(REQUESTER, cancel_of(task_id))
    task, seat = market.task(task_id), market.seat(task_id)
    view = quotes.stage_of(seat, market.height, task.cancel_at)
    assert (view.deadline, view.on_timeout) == (market.height + 2, Ending.CANCELLED)
    market.until(view.deadline + 1)
    assert market.outcome(task_id).ending == Ending.CANCELLED
    late = market.running()
    market.until(market.seat(late).deadline - 1)
    market.send(REQUESTER, cancel_of(late))
    view = quotes.stage_of(market.seat(late), market.height, market.task(late).cancel_at)
    assert view.on_timeout == Ending.RUN_TIMEOUT


def test_the_cost_so_far_rises_with_time_up_to_the_price() -> None:
    market = Market()
    task_id = market.running()
    task, seat = market.task(task_id), market.seat(task_id)
    costs = [quotes.cost_so_far(task, seat, seat.started + blocks) for blocks in range(12)]
    assert costs == sorted(costs)
    assert costs[0] == PRICE // 10
    assert costs[PROMISE] == PRICE
    market.send(REQUESTER, cancel_of(task_id))
    market.mine(3)
    closed = market.seat(task_id)
    assert quotes.cost_so_far(task, closed, market.height) == PRICE * 2 // 10


def test_only_vanishing_is_excusable() -> None:
    excusable = {ending for ending in Ending if quotes.is_excusable(ending)}
    assert excusable == {Ending.START_TIMEOUT, Ending.RUN_TIMEOUT}
