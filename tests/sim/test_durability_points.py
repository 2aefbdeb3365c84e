"""A crash before and after each durable write, F1 to F6: what was said stays said, and the chain goes on."""

from __future__ import annotations

import pytest

from tests.sim.network import Faults
from tests.sim.node_seeds import DURABILITY_POINTS
from tests.sim.whole.town import Plan, Town, play


@pytest.mark.parametrize("point", DURABILITY_POINTS)
def test_a_crash_at_a_durable_write_costs_nothing_that_was_said(point: str):
    """Twice on each of two nodes of four; kills and power cuts by turns of the seed."""

    async def story(town: Town) -> None:
        town.faults(Faults(0.02, 0.05, (1, 80)))
        for node in (town.nodes[0], town.nodes[1], town.nodes[0], town.nodes[1]):
            node.disk.crash_on = (point, town.random.randint(1, 3))
            await town.until(lambda node=node: not node.is_up, 60_000)
            await town.run(town.random.randint(20, 1_500))
            await town.restart_all()
            town.check()
        await town.heal()
        await town.until_height(town.top() + 2)
        town.check_all()

    town = play(1, Plan([1] * 4), story)
    assert town.crashes.count(point) == 4
