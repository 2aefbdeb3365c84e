"""The reverse auction: who may offer, who wins, who loses a deposit, who makes room."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from consensus.types.amounts import PPB, eubc
from consensus.types.errors import Reason, Rejected
from consensus.types.params import DEV
from tests.market import (
    HARDWARE,
    MAXIMUM,
    OTHER,
    PRICE,
    PROMISE,
    REQUESTER,
    SPARK,
    START_BALANCE,
    WINDOWS,
    Market,
    match_of,
    post_of,
    release_of,
)
from vm import funds
from vm.spark import RETIRED, SPARKS
from vm.task import events, matching, offering
from vm.task.offering import standing_offers
from vm.task.payloads import Offer, Resources
from vm.task.records import OFFERS, Ending, StandingOffer, TaskState
from vm.task.terms import offer_deposit, ranked, tie_hash
from vm.validator import JAILED, TOMBSTONED, VALIDATORS, ValidatorAccount

DEPOSIT = eubc(4) // 50


def account_of(number: int) -> bytes:
    """The nth of many accounts."""
    return number.to_bytes(20, "big")


def refusal(market: Market, sender: bytes, payload: Any) -> Reason:
    """Why the market refuses; it must."""
    with pytest.raises(Rejected) as refused:
        market.send(sender, payload)
    return refused.value.reason


def test_an_offer_holds_two_percent_of_base_until_the_draw_and_then_gas() -> None:
    market = Market()
    task_id = market.post()
    market.offer(task_id)
    assert market.balance(SPARK) == START_BALANCE - DEPOSIT
    market.mine(WINDOWS.offer + 1)
    gas = market.seat(task_id).gas
    assert gas == 8_80000002, "a newcomer locks 2.2 times base, rounded up"
    assert market.balance(SPARK) == START_BALANCE - gas


def test_a_small_offer_holds_the_least_deposit() -> None:
    assert offer_deposit(DEV.market, 100, 100) == DEV.market.offer_deposit


def test_the_draw_takes_the_cheaper_offer_and_returns_the_rest() -> None:
    market = Market()
    task_id = market.post()
    market.offer(task_id, SPARK, price=eubc(4))
    market.offer(task_id, OTHER, price=eubc(3))
    market.mine(WINDOWS.offer + 1)
    assert market.seat(task_id).spark == OTHER
    assert market.balance(SPARK) == START_BALANCE
    assert market.balance(REQUESTER) == START_BALANCE - eubc(3) - market.task(task_id).deposit
    assert market.state.supply.escrow == eubc(3)
    assert market.state.scan(OFFERS) == []


def test_a_better_coefficient_wins_at_a_higher_price() -> None:
    market = Market()
    market.register(OTHER, kappa=700_000_000)
    task_id = market.post()
    market.offer(task_id, SPARK, price=eubc(3))
    market.offer(task_id, OTHER, price=eubc(5))
    market.mine(WINDOWS.offer + 1)
    assert market.seat(task_id).spark == OTHER


def test_a_shorter_promise_wins_at_one_price() -> None:
    market = Market()
    task_id = market.post()
    market.offer(task_id, SPARK, promise=PROMISE)
    market.offer(task_id, OTHER, promise=PROMISE - 1)
    market.mine(WINDOWS.offer + 1)
    assert market.seat(task_id).spark == OTHER


def test_equal_offers_are_decided_by_hash_and_not_by_who_came_first() -> None:
    first_won = 0
    market = Market()
    market.register(SPARK, slots=64)
    market.register(OTHER, slots=64)
    for _ in range(6):
        task_id = market.post()
        market.offer(task_id, SPARK)
        market.offer(task_id, OTHER)
        market.mine(WINDOWS.offer + 1)
        winner = min((SPARK, OTHER), key=lambda spark: tie_hash(task_id, spark))
        assert market.seat(task_id).spark == winner
        first_won += winner == SPARK
    assert 0 < first_won < 6


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, PPB),
            st.integers(1, 10**17),
            st.integers(1, 1_000),
            st.binary(min_size=20, max_size=20),
        ),
        max_size=12,
        unique_by=lambda offer: offer[3],
    ),
    st.integers(1, 1_000),
)
def test_the_order_is_that_of_exact_fractions(offers: list[tuple[int, int, int, bytes]], run: int) -> None:
    """Best is most κ per price and time, without any rounding."""
    task = bytes(range(32))
    standing = [
        (spark, StandingOffer(0, price, promise, kappa, 0, 0, 0, 0))
        for kappa, price, promise, spark in offers
    ]

    def rank(entry: tuple[bytes, StandingOffer]) -> tuple[Fraction, bytes]:
        spark, offer = entry
        merit = Fraction(offer.kappa, offer.price * (run + offer.promise))
        return -merit, tie_hash(task, spark)

    assert ranked(task, run, standing) == sorted(standing, key=rank)
    assert ranked(task, run, standing[::-1]) == ranked(task, run, standing)


def full_market() -> tuple[Market, bytes]:
    """A task with 64 standing offers, at 3 EUBC and more."""
    market = Market()
    task_id = market.post()
    for number in range(1, 65):
        account = account_of(number)
        market.fund(account, eubc(20))
        market.register(account)
        market.offer(task_id, account, price=eubc(3) + number)
    assert market.task(task_id).offers == 64
    return market, task_id


def test_a_full_list_makes_room_by_its_worst_whose_deposit_returns() -> None:
    market, task_id = full_market()
    market.offer(task_id, SPARK, price=eubc(3))
    assert market.balance(account_of(64)) == eubc(20)
    assert market.state.get(OFFERS, task_id + account_of(64)) is None
    assert market.task(task_id).offers == 64 == len(standing_offers(market.state, task_id))
    evicted = [event for event in market.events if event.code == events.OFFER_EVICTED.code]
    assert [event.facts[1] for event in evicted] == [account_of(64)]
    market.check()


def test_a_full_list_refuses_an_offer_that_is_the_worst() -> None:
    market, task_id = full_market()
    reason = refusal(market, SPARK, Offer(task_id, 0, eubc(4), PROMISE))
    assert reason is offering.OFFERS_FULL
    assert market.balance(SPARK) == START_BALANCE


def test_an_account_offers_once_and_again_only_after_it_was_evicted() -> None:
    market, task_id = full_market()
    again = Offer(task_id, 0, eubc(2), PROMISE)
    assert refusal(market, account_of(64), again) is offering.ALREADY_OFFERED
    market.offer(task_id, SPARK, price=eubc(3))
    market.send(account_of(64), again)
    market.mine(WINDOWS.offer + 1)
    assert market.seat(task_id).spark == account_of(64)


def test_offers_must_fit_the_task() -> None:
    market = Market()
    task_id = market.post()
    for price, promise, reason in (
        (MAXIMUM // 10 - 1, PROMISE, offering.PRICE_OUT_OF_RANGE),
        (MAXIMUM + 1, PROMISE, offering.PRICE_OUT_OF_RANGE),
        (PRICE, 2, offering.PROMISE_OUT_OF_RANGE),
        (PRICE, WINDOWS.run + 1, offering.PROMISE_OUT_OF_RANGE),
    ):
        assert refusal(market, SPARK, Offer(task_id, 0, price, promise)) is reason
    assert refusal(market, SPARK, Offer(task_id, 1, PRICE, PROMISE)) is offering.NO_SUCH_ROLE
    market.send(SPARK, Offer(task_id, 0, MAXIMUM // 10, 3))
    market.send(OTHER, Offer(task_id, 0, MAXIMUM, WINDOWS.run))


def test_who_is_not_wanted_may_not_offer() -> None:
    market = Market()
    stranger = b"stranger".ljust(20, b"\0")
    market.fund(stranger, eubc(100))
    task_id = market.post(allow=(OTHER,))
    offer = Offer(task_id, 0, PRICE, PROMISE)
    assert refusal(market, REQUESTER, offer) is offering.OWN_TASK
    assert refusal(market, stranger, offer) is offering.NOT_A_SPARK
    assert refusal(market, SPARK, offer) is offering.NOT_ALLOWED
    market.send(OTHER, offer)
    avoided = Offer(market.post(avoid=(SPARK,)), 0, PRICE, PROMISE)
    assert refusal(market, SPARK, avoided) is offering.NOT_ALLOWED
    picky = Offer(market.post(min_kappa=333_333_334), 0, PRICE, PROMISE)
    assert refusal(market, SPARK, picky) is offering.KAPPA_TOO_SMALL


@pytest.mark.parametrize(
    "needed",
    [
        Resources(2, 0, 0, 0, 0),
        Resources(1, 25 * 2**30, 0, 0, 0),
        Resources(0, 0, 17, 0, 0),
        Resources(0, 0, 0, 65 * 2**30, 0),
        Resources(0, 0, 0, 0, 2**41),
    ],
)
def test_a_machine_must_declare_what_the_task_needs(needed: Resources) -> None:
    market = Market()
    task_id = market.post(resources=needed)
    reason = refusal(market, SPARK, Offer(task_id, 0, PRICE, PROMISE))
    assert reason is offering.MACHINE_TOO_SMALL


def test_gpu_memory_is_asked_only_of_tasks_that_use_a_gpu() -> None:
    market = Market()
    market.register(SPARK, hardware=replace(HARDWARE, gpus=0, gpu_memory_bytes=0))
    market.send(SPARK, Offer(market.post(resources=Resources(0, 1, 1, 0, 0)), 0, PRICE, PROMISE))


def make_barred(market: Market, how: str) -> None:
    """Take SPARK's right to work."""
    if how == "retired":
        market.register(SPARK, status=RETIRED)
    elif how == "barred":
        market.register(SPARK, banned_until=9)
    else:
        status = JAILED if how == "jailed" else TOMBSTONED
        record = ValidatorAccount("v", bytes(32), bytes(32), status, 5, 0, None, 0)
        market.state.put(VALIDATORS, SPARK, record)


@pytest.mark.parametrize("how", ["retired", "barred", "jailed", "tombstoned"])
def test_who_may_not_work_may_not_offer(how: str) -> None:
    market = Market()
    make_barred(market, how)
    task_id = market.post()
    reason = refusal(market, SPARK, Offer(task_id, 0, PRICE, PROMISE))
    assert reason is offering.MAY_NOT_OFFER


@pytest.mark.parametrize("how", ["retired", "barred", "jailed", "tombstoned", "busy", "poor"])
def test_who_wins_and_cannot_take_the_seat_loses_its_deposit_and_the_next_one_gets_it(
    how: str,
) -> None:
    market = Market()
    task_id = market.post()
    market.offer(task_id, SPARK, price=eubc(3))
    market.offer(task_id, OTHER, price=eubc(4))
    before = market.balance(SPARK)
    if how == "busy":
        market.register(SPARK, slots=1)
        busy = market.post(by_hand=True)
        market.offer(busy, SPARK)
        market.send(REQUESTER, match_of(busy))
        before = market.balance(SPARK)
    elif how == "poor":
        funds.debit(market.state, SPARK, before)
        funds.credit(market.state, REQUESTER, before)
        before = 0
    else:
        make_barred(market, how)
    burned = market.state.supply.burned
    market.until(2 + WINDOWS.offer)
    lost = eubc(3) // 50
    assert market.seat(task_id).spark == OTHER
    assert market.balance(SPARK) == before
    assert market.state.supply.burned == burned + lost
    forfeited = [event for event in market.events if event.code == events.OFFER_FORFEITED.code]
    assert forfeited[-1].facts == (task_id, SPARK, lost)


def test_when_nobody_can_take_the_seat_the_task_expires() -> None:
    market = Market()
    task_id = market.post()
    market.offer(task_id)
    market.register(SPARK, status=RETIRED)
    market.mine(WINDOWS.offer + 1)
    task = market.task(task_id)
    assert (task.state, task.ending) == (TaskState.FINAL, Ending.EXPIRED)
    assert market.balance(REQUESTER) == START_BALANCE - task.deposit


def test_who_is_not_reached_by_the_draw_loses_nothing() -> None:
    market = Market()
    task_id = market.post()
    market.offer(task_id, SPARK, price=eubc(4))
    market.offer(task_id, OTHER, price=eubc(3))
    market.register(SPARK, status=RETIRED)
    market.mine(WINDOWS.offer + 1)
    assert market.balance(SPARK) == START_BALANCE


def test_an_offer_needs_its_gas_free_although_only_winning_locks_it() -> None:
    market = Market()
    task_id = market.post()
    poor = b"poor".ljust(20, b"\0")
    market.register(poor)
    market.fund(poor, DEPOSIT + 8_80000002 - 1)
    offer = Offer(task_id, 0, PRICE, PROMISE)
    assert refusal(market, poor, offer) is funds.SHORT_OF_FUNDS
    market.fund(poor, 1)
    market.send(poor, offer)


def test_a_requester_that_chooses_by_hand_may_take_the_dearer_offer() -> None:
    market = Market()
    task_id = market.post(by_hand=True)
    market.offer(task_id, SPARK, price=eubc(5))
    market.offer(task_id, OTHER, price=eubc(3))
    market.send(REQUESTER, match_of(task_id))
    seat = market.seat(task_id)
    assert (seat.spark, seat.deadline) == (SPARK, market.height + WINDOWS.grant)
    assert market.balance(OTHER) == START_BALANCE
    market.mine(WINDOWS.offer + 1)
    assert market.seat(task_id).spark == SPARK, "the draw was taken back"


def test_a_choice_that_cannot_be_taken_is_refused_and_punishes_nobody() -> None:
    market = Market()
    task_id = market.post(by_hand=True)
    market.offer(task_id)
    market.register(SPARK, running=2, slots=2)
    assert refusal(market, REQUESTER, match_of(task_id)) is matching.NO_FREE_SLOT
    market.register(SPARK, running=0, status=RETIRED)
    assert refusal(market, REQUESTER, match_of(task_id)) is offering.MAY_NOT_OFFER
    assert market.balance(SPARK) == START_BALANCE - DEPOSIT


def test_by_hand_without_a_choice_expires() -> None:
    market = Market()
    task_id = market.post(by_hand=True)
    market.offer(task_id)
    market.mine(WINDOWS.offer + 1)
    assert market.task(task_id).ending == Ending.EXPIRED
    assert market.balance(SPARK) == START_BALANCE


def test_a_reservation_binds_the_spark_now_and_its_slot_later() -> None:
    market = Market()
    market.register(SPARK, slots=1)
    task_id = market.matched(not_before=20)
    spark = market.state.get(SPARKS, SPARK)
    assert spark is not None
    assert (spark.running, spark.exposure) == (0, market.seat(task_id).gas)
    now = market.post(by_hand=True)
    market.offer(now)
    market.send(REQUESTER, match_of(now))
    market.until(21)
    assert market.seat(task_id).deadline == 20 + WINDOWS.grant
    market.send(REQUESTER, post_of())


def test_a_reservation_whose_time_has_come_is_no_longer_given_back_for_a_reservations_price() -> None:
    market = Market()
    task_id = market.matched(not_before=20)
    market.until(21)
    with pytest.raises(Rejected):
        market.send(SPARK, release_of(task_id))


def test_a_reservation_for_the_block_of_its_draw_begins_at_once() -> None:
    market = Market()
    task_id = market.matched(not_before=1 + WINDOWS.offer)
    assert market.seat(task_id).deadline == 1 + WINDOWS.offer + WINDOWS.grant
