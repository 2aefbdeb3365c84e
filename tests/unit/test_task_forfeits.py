"""What an epoch's end does with forfeits: burned as a rule, returned when the network was at fault."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from consensus.types.amounts import parse_eubc
from consensus.types.params import DEV
from tests.market import (
    OTHER,
    PRICE,
    REQUESTER,
    SPARK,
    START_BALANCE,
    WINDOWS,
    Market,
    grant_of,
    release_of,
)
from vm import standing
from vm.spark import SPARKS
from vm.task import events
from vm.task.failures import is_spark_outage
from vm.task.forfeits import DECIDED_AT_ONCE
from vm.task.records import FORFEITS, Blame, TaskState

FORFEIT = parse_eubc("1.2")
EPOCH = DEV.chain.epoch_blocks


def vanished(market: Market, sparks: list[bytes]) -> list[bytes]:
    """A task for each of these sparks, none of which starts; their start windows have just ended."""
    tasks = []
    for spark in sparks:
        task_id = market.post()
        market.offer(task_id, spark)
        tasks.append(task_id)
    market.mine(WINDOWS.offer + 1)
    while any(market.task(task_id).state == TaskState.OPEN for task_id in tasks):
        market.mine()  # a crowd is more than the queue does in one block
    for task_id in tasks:
        market.send(REQUESTER, grant_of(task_id))
    market.mine(WINDOWS.start + 1)
    while any(market.task(task_id).state == TaskState.ACTIVE for task_id in tasks):
        market.mine()
    assert market.height <= EPOCH, "all in the first epoch"
    return tasks


def crowd(market: Market, sparks: int, **changes: int) -> list[bytes]:
    """More sparks of equal compute."""
    accounts = [bytes([number]) * 20 for number in range(1, sparks + 1)]
    for account in accounts:
        market.fund(account, START_BALANCE)
        market.register(account, **changes)
    return accounts


def test_a_forfeit_burns_and_speaks_once_its_epoch_has_closed() -> None:
    market = Market()
    (task_id,) = vanished(market, [SPARK])
    assert market.height <= EPOCH
    market.until(EPOCH + 1)
    assert market.state.supply.burned == 0
    assert market.state.supply.gas == FORFEIT
    assert standing.faded(market.state, SPARK).word_bad == 0
    market.mine()
    assert (market.state.supply.burned, market.state.supply.gas) == (FORFEIT, 0)
    assert standing.faded(market.state, SPARK).word_bad == PRICE
    outcome = market.outcome(task_id)
    assert (outcome.blame, outcome.gas_burned, outcome.gas_held) == (Blame.SPARK, FORFEIT, 0)
    assert market.events[-1] == events.FORFEIT_BURNED(task=task_id, seat=0, spark=SPARK, amount=FORFEIT)


def test_an_outage_of_the_validators_returns_the_forfeit_and_leaves_no_evidence() -> None:
    market = Market()
    (task_id,) = vanished(market, [SPARK])
    market.thin = True
    market.until(EPOCH + 2)
    assert market.state.supply.burned == 0
    assert market.balance(SPARK) == START_BALANCE
    assert standing.faded(market.state, SPARK).word_bad == 0
    outcome = market.outcome(task_id)
    assert (outcome.blame, outcome.gas_held) == (Blame.NETWORK, 0)
    assert outcome.gas_returned == market.seat(task_id).gas


@pytest.mark.parametrize(
    ("failing", "working", "is_outage"),
    [(4, 7, True), (4, 8, False), (3, 1, False), (5, 9, True), (4, 0, True)],
)
def test_many_sparks_that_fail_together_are_an_outage(failing: int, working: int, is_outage: bool) -> None:
    """More than a third of all proved compute, in at least four sparks."""
    market = Market()
    market.register(SPARK, capacity=0)
    market.register(OTHER, capacity=0)
    accounts = crowd(market, failing + working)
    vanished(market, accounts[:failing])
    assert is_spark_outage(market.state, 0) == is_outage
    market.until(EPOCH + 2)
    assert (market.state.supply.burned == 0) == is_outage
    assert market.state.scan(FORFEITS) == []


def test_dust_cannot_stage_an_outage() -> None:
    """One large spark that fails with three of under a hundredth each is not four."""
    market = Market()
    market.register(SPARK, capacity=0)
    market.register(OTHER, capacity=0)
    accounts = crowd(market, 4, capacity=9)
    market.register(accounts[0], capacity=1_000)
    vanished(market, accounts)
    assert not is_spark_outage(market.state, 0)


def test_a_release_is_a_choice_and_no_failure() -> None:
    market = Market()
    task_id = market.running()
    market.send(SPARK, release_of(task_id))
    spark = market.state.get(SPARKS, SPARK)
    assert spark is not None
    assert spark.failed_epoch == 0
    assert market.state.scan(FORFEITS) == []


def test_forfeits_of_one_epoch_are_no_failure_of_the_next() -> None:
    market = Market()
    vanished(market, [SPARK])
    spark = market.state.get(SPARKS, SPARK)
    assert spark is not None
    assert spark.failed_epoch == 1
    for account in crowd(market, 4):
        market.register(account, failed_epoch=1)
    assert is_spark_outage(market.state, 0)
    assert not is_spark_outage(market.state, 1)


def test_a_crowd_of_forfeits_is_decided_in_small_entries() -> None:
    market = Market()
    accounts = crowd(market, 2 * DECIDED_AT_ONCE + 5, capacity=0)
    vanished(market, accounts)
    assert len(market.state.scan(FORFEITS)) == len(accounts)
    market.until(EPOCH + 3)
    assert market.state.scan(FORFEITS) == []
    assert market.state.supply.burned == len(accounts) * FORFEIT


def test_a_forfeit_outlives_the_records_of_its_task() -> None:
    market = Market(replace(DEV, market=replace(DEV.market, task_retain_blocks=3)))
    vanished(market, [SPARK])
    market.until(EPOCH + 2)
    assert market.state.supply.burned == FORFEIT
    assert market.state.supply.gas == 0
