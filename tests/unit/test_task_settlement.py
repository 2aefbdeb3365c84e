"""Every way in which a matched seat can end, and whose money is where then.

Figures are written out: price 4 EUBC of at most 5, so base is 4 and a forfeit F 1.2; a promise of 10 blocks.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from consensus.resource.reputation import SILENCE, Standing
from consensus.types.amounts import PPB, eubc, parse_eubc
from tests.market import (
    PRICE,
    REQUESTER,
    SPARK,
    START_BALANCE,
    Market,
    accept_of,
    cancel_of,
    decline_of,
    deliver_of,
    fail_of,
    grant_of,
    reject_of,
    release_of,
)
from vm import pools, standing
from vm.task import events
from vm.task.records import Blame, Ending, Stage, TaskState
from vm.task.settlement import ROWS, outcome_of

FORFEIT = parse_eubc("1.2")


class Moved(NamedTuple):
    """What a task has moved since its post, in grains; its deposit left out."""

    requester: int
    spark: int
    burned: int
    pool: int


def moved(market: Market, task_id: bytes) -> Moved:
    """Compare with the start."""
    return Moved(
        market.balance(REQUESTER) + market.task(task_id).deposit - START_BALANCE,
        market.balance(SPARK) - START_BALANCE,
        market.state.supply.burned,
        pools.held(market.state, pools.RESOURCE),
    )


def check_end(
    market: Market, task_id: bytes, ending: Ending, blame: Blame, expected: Moved, held: int = 0
) -> None:
    """The seat ended so, everything else returned, and the event says the same to the grain."""
    outcome, seat = market.outcome(task_id), market.seat(task_id)
    assert (outcome.ending, outcome.blame) == (ending, blame)
    assert seat.stage == Stage.CLOSED
    assert market.task(task_id).state == TaskState.FINAL
    assert moved(market, task_id) == expected
    assert outcome.gas_held == held
    assert outcome.paid + outcome.fee + outcome.refunded + outcome.burned == seat.price
    assert outcome.gas_returned + outcome.gas_burned + outcome.gas_held == seat.gas
    closed = [event for event in market.events if event.code == events.CLOSED.code]
    assert closed[-1].facts[2:] == (
        SPARK,
        ending,
        blame,
        outcome.paid,
        outcome.fee,
        outcome.refunded,
        outcome.burned,
        outcome.gas_returned,
        outcome.gas_burned,
        outcome.gas_held,
    )
    market.check()


def paid(gross: int) -> tuple[int, int, int]:
    """What a spark keeps of its pay, what burns of the fee and what the pool gets."""
    net = gross * 98 // 100
    fee = gross - net
    return net, fee - fee // 2, fee // 2


def words(market: Market, account: bytes) -> Standing:
    """The account's memories."""
    return standing.faded(market.state, account)


def bad(market: Market, account: bytes) -> int:
    """Grains of bad words."""
    return words(market, account).word_bad


def test_a_requester_that_never_grants_pays_a_twentieth() -> None:
    market = Market()
    task_id = market.matched()
    market.until(market.seat(task_id).deadline + 1)
    net, burned, pool = paid(PRICE // 20)
    expected = Moved(-PRICE // 20, net, burned, pool)
    check_end(market, task_id, Ending.GRANT_TIMEOUT, Blame.REQUESTER, expected)
    assert (bad(market, REQUESTER), bad(market, SPARK)) == (PRICE, 0)


def test_cancelling_before_the_grant_costs_what_never_granting_does() -> None:
    market = Market()
    task_id = market.matched()
    market.send(REQUESTER, cancel_of(task_id))
    net, burned, pool = paid(PRICE // 20)
    expected = Moved(-PRICE // 20, net, burned, pool)
    check_end(market, task_id, Ending.CANCELLED_MATCHED, Blame.REQUESTER, expected)
    assert (bad(market, REQUESTER), bad(market, SPARK)) == (PRICE, 0)


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_reservation_that_is_cancelled_before_the_grant_pays_a_tenth(has_begun: bool) -> None:
    market = Market()
    task_id = market.matched(not_before=12)
    if has_begun:
        market.until(13)
    market.send(REQUESTER, cancel_of(task_id))
    net, burned, pool = paid(PRICE // 10)
    expected = Moved(-PRICE // 10, net, burned, pool)
    check_end(market, task_id, Ending.CANCELLED_MATCHED, Blame.REQUESTER, expected)


def test_a_reservation_that_is_never_granted_pays_a_tenth() -> None:
    market = Market()
    task_id = market.matched(not_before=12)
    market.until(13)
    market.until(market.seat(task_id).deadline + 1)
    net, burned, pool = paid(PRICE // 10)
    expected = Moved(-PRICE // 10, net, burned, pool)
    check_end(market, task_id, Ending.GRANT_TIMEOUT, Blame.REQUESTER, expected)
    assert bad(market, REQUESTER) == PRICE


def test_a_spark_that_gives_back_a_reservation_burns_a_forfeit_at_once() -> None:
    market = Market()
    task_id = market.matched(not_before=12)
    market.send(SPARK, release_of(task_id))
    expected = Moved(0, -FORFEIT, FORFEIT, 0)
    check_end(market, task_id, Ending.RELEASED_RESERVATION, Blame.SPARK, expected)
    assert (bad(market, REQUESTER), bad(market, SPARK)) == (0, PRICE // 2)


def test_a_declined_grant_burns_a_twentieth_of_base_of_both() -> None:
    market = Market()
    task_id = market.starting()
    market.send(SPARK, decline_of(task_id))
    lost = PRICE // 20
    expected = Moved(-lost, -lost, 2 * lost, 0)
    check_end(market, task_id, Ending.DECLINED, Blame.UNDECIDED, expected)
    assert bad(market, REQUESTER) == bad(market, SPARK) == PRICE // 4
    declined = [event for event in market.events if event.code == events.DECLINED.code]
    assert declined[-1].facts == (task_id, 0, SPARK, 2)


def test_a_declined_reservation_burns_a_tenth_of_base_of_both() -> None:
    market = Market()
    task_id = market.matched(not_before=12)
    market.until(13)
    market.send(REQUESTER, grant_of(task_id))
    market.send(SPARK, decline_of(task_id))
    lost = PRICE // 10
    check_end(market, task_id, Ending.DECLINED, Blame.UNDECIDED, Moved(-lost, -lost, 2 * lost, 0))


def test_a_cheap_bid_is_secured_by_half_the_maximum() -> None:
    """Price 0.5 of at most 5: base is 2.5, so F is 0.75, more than the whole price."""
    market = Market()
    task_id = market.post()
    market.offer(task_id, price=eubc(1) // 2)
    market.until(5)
    market.send(REQUESTER, grant_of(task_id))
    market.until(market.seat(task_id).deadline + 1)
    assert market.outcome(task_id).gas_held == parse_eubc("0.75")


def test_a_spark_that_never_starts_has_its_forfeit_held_and_the_requester_is_made_whole() -> None:
    market = Market()
    task_id = market.starting()
    market.until(market.seat(task_id).deadline + 1)
    expected = Moved(0, -FORFEIT, 0, 0)
    check_end(market, task_id, Ending.START_TIMEOUT, Blame.SPARK, expected, held=FORFEIT)
    assert bad(market, SPARK) == 0, "its bad words wait for the epoch's end"


def test_a_spark_that_vanishes_has_its_forfeit_held_and_the_requester_is_made_whole() -> None:
    market = Market()
    task_id = market.running()
    market.until(market.seat(task_id).deadline + 1)
    outcome = market.outcome(task_id)
    assert (outcome.ending, outcome.blame) == (Ending.RUN_TIMEOUT, Blame.SPARK)
    assert market.balance(REQUESTER) + market.task(task_id).deposit == START_BALANCE
    assert market.balance(SPARK) == START_BALANCE - FORFEIT


@pytest.mark.parametrize("is_running", [False, True])
def test_a_spark_that_gives_up_burns_a_tenth_of_base(is_running: bool) -> None:
    market = Market()
    task_id = market.running() if is_running else market.starting()
    market.send(SPARK, release_of(task_id))
    expected = Moved(0, -PRICE // 10, PRICE // 10, 0)
    check_end(market, task_id, Ending.RELEASED, Blame.SPARK, expected)
    assert (bad(market, REQUESTER), bad(market, SPARK)) == (0, PRICE // 2)


def test_cancelling_before_the_start_costs_a_tenth() -> None:
    market = Market()
    task_id = market.starting()
    market.send(REQUESTER, cancel_of(task_id))
    net, burned, pool = paid(PRICE // 10)
    expected = Moved(-PRICE // 10, net, burned, pool)
    check_end(market, task_id, Ending.CANCELLED, Blame.REQUESTER, expected)
    assert (bad(market, REQUESTER), bad(market, SPARK)) == (0, 0)


@pytest.mark.parametrize(("blocks", "share"), [(0, 20), (3, 50), (8, 100), (15, 100)])
def test_cancelling_a_running_task_costs_the_elapsed_share(blocks: int, share: int) -> None:
    """It takes effect two blocks later, and those count."""
    market = Market()
    task_id = market.running()
    market.mine(blocks)
    market.send(REQUESTER, cancel_of(task_id))
    market.mine(3)
    gross = PRICE * share // 100
    net, burned, pool = paid(gross)
    expected = Moved(-gross, net, burned, pool)
    check_end(market, task_id, Ending.CANCELLED, Blame.REQUESTER, expected)


@pytest.mark.parametrize(("blocks", "share"), [(0, 5), (2, 20), (5, 50), (12, 50)])
@pytest.mark.parametrize("is_silent", [False, True])
def test_a_failed_application_pays_for_its_time_up_to_half(blocks: int, share: int, is_silent: bool) -> None:
    market = Market()
    task_id = market.failed(blocks)
    if is_silent:
        market.until(market.seat(task_id).deadline + 1)
    else:
        market.send(REQUESTER, accept_of(task_id))
    gross = PRICE * share // 100
    net, burned, pool = paid(gross)
    ending = Ending.FAILURE_UNANSWERED if is_silent else Ending.FAILURE_AGREED
    check_end(market, task_id, ending, Blame.APPLICATION, Moved(-gross, net, burned, pool))
    # Words may have faded by an epoch; a quarter of the price is what was added.
    assert 0 < bad(market, REQUESTER) == bad(market, SPARK) <= PRICE // 4


@pytest.mark.parametrize(("blocks", "share"), [(0, 5), (2, 20), (5, 50), (12, 50)])
def test_rejecting_a_claimed_failure_burns_what_agreeing_would_have_paid(blocks: int, share: int) -> None:
    market = Market()
    task_id = market.failed(blocks)
    market.send(REQUESTER, reject_of(task_id))
    gross, lost = PRICE * share // 100, PRICE // 10
    expected = Moved(-gross, -lost, gross + lost, 0)
    check_end(market, task_id, Ending.FAILURE_REJECTED, Blame.UNDECIDED, expected)
    assert bad(market, REQUESTER) == bad(market, SPARK) == PRICE // 4


def test_an_accepted_result_pays_the_price_less_the_fee() -> None:
    market = Market()
    task_id = market.delivered()
    market.send(REQUESTER, accept_of(task_id))
    net, burned, pool = paid(PRICE)
    expected = Moved(-PRICE, net, burned, pool)
    check_end(market, task_id, Ending.ACCEPTED, Blame.NOBODY, expected)
    assert words(market, SPARK).word_good == PRICE, "full marks, in the promised time"
    assert words(market, REQUESTER).word_good == PRICE // 4


def test_silence_pays_like_acceptance_with_a_lesser_mark() -> None:
    market = Market()
    task_id = market.delivered()
    market.until(market.seat(task_id).deadline)
    epoch = market.state.block.epoch
    market.mine()
    net, burned, pool = paid(PRICE)
    expected = Moved(-PRICE, net, burned, pool)
    check_end(market, task_id, Ending.ACCEPTED_BY_SILENCE, Blame.NOBODY, expected)
    assert market.state.block.epoch == epoch, "nothing has faded"
    quality = (8 * SILENCE + 2 * PPB) // 10
    praised = PRICE * quality // PPB
    assert words(market, SPARK) == Standing(0, 0, praised, PRICE - praised, 0, epoch)


@pytest.mark.parametrize(
    ("score", "stars", "blocks", "quality"),
    [
        (100, 5, 10, PPB),
        (50, 5, 10, 3 * PPB // 4),
        (100, 1, 10, 7 * PPB // 10),
        (100, 5, 20, 9 * PPB // 10),
        (0, 1, 10, PPB // 5),
    ],
)
def test_score_stars_and_time_weigh_five_three_and_two(
    score: int, stars: int, blocks: int, quality: int
) -> None:
    market = Market()
    task_id = market.delivered(blocks)
    market.send(REQUESTER, accept_of(task_id, score, stars))
    praised = PRICE * quality // PPB
    found = words(market, SPARK)
    assert (found.word_good, found.word_bad) == (praised, PRICE - praised)
    assert (found.good, found.bad) == (0, 0), "words never move weight"


def test_a_rejected_result_burns_the_price_and_nobody_earns() -> None:
    market = Market()
    task_id = market.delivered()
    market.send(REQUESTER, reject_of(task_id))
    check_end(market, task_id, Ending.REJECTED, Blame.UNDECIDED, Moved(-PRICE, 0, PRICE, 0))
    assert bad(market, REQUESTER) == bad(market, SPARK) == PRICE // 4


@pytest.mark.parametrize("payload_of", [deliver_of, fail_of, release_of])
def test_whatever_the_spark_says_before_a_cancellation_takes_effect_comes_first(
    payload_of: object,
) -> None:
    assert callable(payload_of)
    market = Market()
    task_id = market.running()
    market.mine(4)
    market.send(REQUESTER, cancel_of(task_id))
    market.mine(2)
    market.send(SPARK, payload_of(task_id))
    market.mine()
    seat = market.seat(task_id)
    if payload_of is release_of:
        assert market.outcome(task_id).ending == Ending.RELEASED
        return
    assert seat.stage == Stage.REVIEW
    market.send(REQUESTER, accept_of(task_id))
    assert market.outcome(task_id).ending in (Ending.ACCEPTED, Ending.FAILURE_AGREED)


def test_odd_grains_are_lost_to_the_fire_and_never_to_one_side() -> None:
    """With a price that nothing divides, shares to people round down and burns up."""
    market = Market()
    price = PRICE - 1
    task_id = market.post()
    market.offer(task_id, price=price)
    market.until(5)
    market.send(REQUESTER, grant_of(task_id))
    market.send(SPARK, decline_of(task_id))
    outcome = market.outcome(task_id)
    assert outcome.burned == outcome.gas_burned == -(-price * 5 // 100)
    assert outcome.refunded == price - outcome.burned


def test_the_table_has_a_row_for_every_ending_of_a_matched_seat() -> None:
    unmatched = {Ending.CANCELLED_OPEN, Ending.EXPIRED}
    assert set(ROWS) == set(Ending) - unmatched


def test_no_row_lets_the_requester_gain_or_a_spark_that_failed_be_paid() -> None:
    """Nobody earns from the other side's failure: over all rows, prices and times."""
    market = Market()
    task_id = market.running()
    task, seat = market.task(task_id), market.seat(task_id)
    for ending, row in ROWS.items():
        for blocks in range(21):
            outcome = outcome_of(task, seat, ending, seat.started + blocks, 0)
            assert outcome.refunded <= seat.price
            assert outcome.paid <= seat.price * 98 // 100
            if row.blame in (Blame.SPARK, Blame.UNDECIDED):
                assert outcome.paid == 0
                assert outcome.gas_returned + outcome.gas_held <= seat.gas
            if row.blame == Blame.SPARK:
                assert outcome.gas_burned + outcome.gas_held > 0
            if ending in (Ending.REJECTED, Ending.FAILURE_REJECTED):
                yes = Ending.ACCEPTED if ending == Ending.REJECTED else Ending.FAILURE_AGREED
                agreed = outcome_of(task, seat, yes, seat.started + blocks, 0)
                assert outcome.refunded == agreed.refunded, "saying no saves nothing"
