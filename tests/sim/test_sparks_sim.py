"""Compute proved under faults: windows open and close while nodes crash, are cut off and judge late."""

from __future__ import annotations

import pytest

from tests.sim import planted
from tests.sim.network import Faults
from tests.sim.outcome import in_words
from tests.sim.whole.town import Plan, Town, play
from vm.spark import SPARKS
from vm.windows import last_window

PLAN = Plan([1] * 4, sparks=("alice", "bob", "v0", "v1"), false_sparks=("bob",))


async def windows_and_faults(town: Town) -> None:
    """From the first epoch's end on, by turns: a power cut, a split without a quorum, a rough network."""
    await town.until_height(6)
    for height in range(8, 23, 3):
        town.faults(Faults(0.05, 0.1, (1, 200)))
        for node in town.nodes[:2] if height % 2 else town.nodes:
            node.crash(power=True)
        await town.run(town.random.randint(100, 1_500))
        await town.restart_all()
        town.split((0, 1), (2, 3))
        await town.run(town.random.randint(500, 3_000))
        await town.heal()
        await town.until_height(height)
        town.check()
    town.check_all()


@pytest.mark.parametrize("seed", [1, 2])
def test_windows_close_alike_everywhere_whatever_happens_while_they_are_open(seed: int):
    """Replay from genesis, with every share recomputed, gives the same weights, sets, slashes and supply."""
    town = play(seed, PLAN, windows_and_faults)
    view = town.chain.view
    last = last_window(view)
    assert last is not None
    assert last.counted >= 2
    people = town.chain.people
    capacities = {name: view.get(SPARKS, people[name].address).capacity for name in ("alice", "v0", "v1")}
    assert any(capacities.values()), "compute was credited"
    assert town.sparks.proofs["false"] > 0
    assert view.get(SPARKS, people["bob"].address).banned_until > 0, "a false share bars its spark"
    first, now = town.watch.sets[1], town.watch.sets[town.height()]
    assert [v.power for v in first] != [v.power for v in now], "what was proved moves power"


def test_a_node_that_believes_every_share_is_found_out_by_replay():
    """All nodes alike, so that they agree with each other: only the checker recomputes."""

    def believe() -> None:
        play(0, PLAN, windows_and_faults)

    with planted.shares_believed(), pytest.raises(BaseExceptionGroup) as failure:
        believe()
    assert "validity: " in in_words(failure.value)
