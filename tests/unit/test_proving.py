"""What the agent asks of its prover: D as it is in the open window, and time kept back after a late proof."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from consensus.resource.proof import make_proof
from consensus.types.params import DEV
from consensus.types.wording import Wording
from spark_node.chain import OwnSpark, ProvingWindow, Refused
from spark_node.policy import Policy
from spark_node.prover.order import Answer, Order
from spark_node.proving import BUDGET_MS_LEAST, Proving
from spark_node.workplace import Workplace
from tests.proving import HARDWARE
from vm.resource import ALREADY_PROVED, NO_OPEN_WINDOW

POLICY = cast("Policy", SimpleNamespace(proving=True, prover_backend="numpy", prover_threads=1))
WINDOW = ProvingWindow(100, 5, 104, 106, bytes(32), False)


def spark(difficulty: int, banned_until: int = 0) -> OwnSpark:
    """The agent's own spark."""
    return OwnSpark(True, "age1", HARDWARE, 1, True, 0, 0, difficulty, 1, banned_until)


class Desk:
    """A workplace whose chain says what the test wants."""

    def __init__(self, now: OwnSpark) -> None:
        self.now, self.window_now = now, WINDOW
        self.refusal: Refused | None = None
        self.orders: list[Order] = []
        self.proofs = 0
        self.heights = SimpleNamespace(height=101)
        self.chain = SimpleNamespace(address=bytes(20), params=DEV, window=self._window, spark=self._spark)

    async def _window(self) -> ProvingWindow:
        return self.window_now

    async def _spark(self) -> OwnSpark:
        return self.now

    async def submit(self, task: bytes, payload: Any) -> None:
        self.proofs += 1
        if self.refusal is not None:
            raise self.refusal

    async def prove(self, order: Order, threads: int) -> Answer:
        self.orders.append(order)
        return Answer(make_proof(order.assignment.window, []), 0, 0, "numpy")

    def look(self, proving: Proving, seen: OwnSpark) -> None:
        """One look of the agent, which has seen the spark earlier as `seen`."""

        async def hold(is_held: bool) -> None:
            raise AssertionError("the processor's prover freezes nothing")

        trio.run(proving.look, cast("Workplace", self), POLICY, seen, hold)


def test_difficulty_is_that_of_the_open_window_not_what_the_agent_saw_before() -> None:
    """A close between two looks quadrupled D: shares found at the old one would be slashed."""
    desk = Desk(spark(400))
    desk.look(Proving(desk.prove), spark(100))
    assert [order.assignment.difficulty for order in desk.orders] == [400]
    assert desk.proofs == 1, "a search that finds nothing is sent too"


def test_a_spark_barred_since_the_agent_looked_does_not_search() -> None:
    desk = Desk(spark(400, banned_until=9))
    desk.look(Proving(desk.prove), spark(400))
    assert not desk.orders


@pytest.mark.parametrize(("reason", "kept_ms"), [(NO_OPEN_WINDOW, 500), (ALREADY_PROVED, 0)])
def test_after_a_late_proof_time_is_kept_back_for_sending(reason: Any, kept_ms: int) -> None:
    desk = Desk(spark(400))
    desk.refusal = Refused(Wording(reason.code, reason.name, "", "", {}), 10)
    proving = Proving(desk.prove)
    desk.look(proving, desk.now)
    desk.window_now = WINDOW._replace(window=120, search_until=104)
    for opened in (120, 121, 122, 123):
        desk.window_now = desk.window_now._replace(window=opened)
        desk.look(proving, desk.now)
    first, second, *_, last = [order.budget_ms for order in desk.orders]
    assert first - second == kept_ms
    assert last == (BUDGET_MS_LEAST if kept_ms else first)
