"""One task from its post to its end, and what each side has then."""

from __future__ import annotations

from tests.market import (
    MAXIMUM,
    PRICE,
    REQUESTER,
    SPARK,
    START_BALANCE,
    Market,
    accept_of,
)
from vm import pools
from vm.spark import SPARKS
from vm.task.records import TASKS, Ending, Stage, TaskState


def test_a_task_goes_from_post_to_accept_and_every_grain_is_where_it_belongs() -> None:
    market = Market()
    task_id = market.delivered()
    assert market.balance(REQUESTER) == START_BALANCE - PRICE - market.task(task_id).deposit
    market.send(REQUESTER, accept_of(task_id))

    seat, outcome = market.seat(task_id), market.outcome(task_id)
    assert (seat.stage, outcome.ending) == (Stage.CLOSED, Ending.ACCEPTED)
    assert market.task(task_id).state == TaskState.FINAL
    assert market.balance(SPARK) == START_BALANCE + PRICE * 98 // 100
    assert outcome.paid + outcome.fee == PRICE
    assert outcome.fee == PRICE // 50
    assert pools.held(market.state, pools.RESOURCE) == outcome.fee // 2
    assert market.state.supply.burned == outcome.fee - outcome.fee // 2
    spark = market.state.get(SPARKS, SPARK)
    assert spark is not None
    assert (spark.running, spark.exposure) == (0, 0)

    market.mine(market.params.market.task_retain_blocks + 1)
    assert market.state.get(TASKS, task_id) is None
    assert market.balance(REQUESTER) == START_BALANCE - PRICE
    assert MAXIMUM > PRICE, "the difference had returned with the draw"
