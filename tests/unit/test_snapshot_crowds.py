"""Crowds drawn by a number: liars, the silent, the forgetful in any mix, broken links, one honest peer.

Whatever the others do, the home joins, and nobody honest is accused. A failing number fails again.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio
import trio.testing

from p2p.frames import Kind
from p2p.sim_net import Weather
from tests.snapshot_world import NEWEST, Chain, Giver, Lie, Town, check_ledger, honest
from tests.unit.test_snapshot_sync import CHUNK_LIES, OFFER_LIES, silence

pytest_plugins = ("tests.snapshot_fixtures",)
pytestmark = pytest.mark.usefixtures("no_threads")

SEEDS = range(24)
PEERS_MAX = 6
BREAKS_S = 4.0
"""Links break for so long after the start, one every so often."""


def forgetful(dice: random.Random) -> Lie:
    """Has nothing any more after some answers, or only for a while."""
    left, back = dice.randrange(12), dice.choice((3, 1_000))

    async def lie(kind: Kind, asked: bytes, answer: bytes | None) -> bytes | None:
        nonlocal left, back
        if left > 0:
            left -= 1
            return answer
        back -= 1
        return answer if back < 0 else None

    return lie


def sometimes(dice: random.Random, lie: Lie) -> Lie:
    """Lies in some answers only."""
    share = dice.random()

    async def mixed(kind: Kind, asked: bytes, answer: bytes | None) -> bytes | None:
        return await lie(kind, asked, answer) if dice.random() < share else answer

    return mixed


def crowd(dice: random.Random, chain: Chain) -> tuple[list[Giver], set[str]]:
    """Peers, and the names of those that tell no lie."""
    lies = [*CHUNK_LIES.values(), *OFFER_LIES.values()]
    givers, truthful = [], set()
    for number in range(dice.randint(2, PEERS_MAX)):
        what = "honest" if number == 0 else dice.choice(("honest", "liar", "liar", "silent", "forgetful"))
        lie = {
            "honest": lambda: honest,
            "liar": lambda: sometimes(dice, dice.choice(lies)),
            "silent": lambda: silence,
            "forgetful": lambda: forgetful(dice),
        }[what]()
        name = f"{dice.randrange(100):02}-{what}{number}"
        givers.append(Giver(name, chain, lie))
        if what != "liar":
            truthful.add(name)
    return givers, truthful


@pytest.mark.parametrize("seed", SEEDS)
async def test_with_one_honest_peer_a_home_joins_and_nobody_honest_is_accused(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, chain: Chain, seed: int
) -> None:
    dice = random.Random(seed)
    givers, truthful = crowd(dice, chain)
    made = Town(tmp_path, chain.genesis, givers)
    made.world.weather = Weather(latency_s_max=dice.choice((0.005, 0.3)), redial_s=0.2)

    async def break_links() -> None:
        while trio.current_time() < BREAKS_S:
            await trio.sleep(dice.uniform(0.02, 0.5))
            net = made.world.nets.get("joiner")
            if net is not None and net.links:
                made.world.disconnect("joiner", dice.choice(sorted(net.links)), "the weather")

    async with made.open(), trio.open_nursery() as nursery:
        nursery.start_soon(break_links)
        height = await made.joiner().run()
        nursery.cancel_scope.cancel()
    assert height == NEWEST
    assert made.accused() <= {giver.name for giver in givers} - truthful
    check_ledger(made, chain)
