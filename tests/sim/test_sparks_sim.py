"""Compute proved under faults: windows open and close while nodes crash, are cut off and judge late."""

from __future__ import annotations

from tests.sim.stories import PROVING, windows_and_faults
from tests.sim.whole.town import play
from vm.spark import SPARKS
from vm.windows import last_window


def test_windows_close_alike_everywhere_whatever_happens_while_they_are_open():
    """Replay from genesis, with every share recomputed, gives the same weights, sets, slashes and supply."""
    towns = [play(seed, PROVING, windows_and_faults) for seed in range(3)]
    sparks = [spark for town in towns for _, spark in town.chain.view.scan(SPARKS)]
    assert all(last_window(town.chain.view).counted >= 2 for town in towns)
    assert any(spark.capacity for spark in sparks), "compute was credited"
    assert any(town.sparks.proofs["false"] for town in towns)
    assert any(spark.banned_until for spark in sparks), "a false share bars its spark"
    sets = [members for town in towns for members in town.watch.sets.values()]
    assert len({tuple(member.power for member in members) for members in sets}) > 1, "it moved power"
