"""What many windows make of a spark: S measures its tiles without bias, whatever D it starts from.

Shares are drawn as they fall: each of a window's tiles wins with probability 1/D. Seeds are fixed,
so the figures are too.
"""

from __future__ import annotations

import numpy as np
import pytest

from consensus.resource.difficulty import SPEED_SHIFT, credited_tiles, next_difficulty, next_speed
from consensus.resource.proof import SHARES_MAX

TILES = 20_000
"""What the spark computes in every window."""


def speeds(seed: int, windows: int, difficulty: int, tiles: int = TILES) -> list[float]:
    """S in tiles after each window of an honest spark, relative to what it computes."""
    random = np.random.Generator(np.random.PCG64(seed))
    speed, measured = 0, []
    for _ in range(windows):
        found = min(SHARES_MAX, int(random.binomial(tiles, min(1.0, 1 / difficulty))))
        speed = next_speed(speed, credited_tiles(found, difficulty))
        difficulty = next_difficulty(difficulty, found, 1)
        measured.append((speed >> SPEED_SHIFT) / tiles)
    return measured


@pytest.mark.parametrize("start", [1, 600, 2**20])
def test_speed_settles_at_the_tiles_computed(start: int):
    """Whatever D was at registration: bias below 1.5 %, spread of about 4 %."""
    settled = speeds(7, 4_000, start)[200:]
    assert abs(np.mean(settled) - 1) < 0.015
    assert 0.03 < np.std(settled) < 0.06


def test_two_identities_measure_what_one_does():
    """Splitting a machine in halves neither gains nor loses: within 1 % of the whole."""
    whole = np.mean(speeds(11, 4_000, 600)[200:])
    halves = [np.mean(speeds(seed, 4_000, 600, TILES // 2)[200:]) / 2 for seed in (12, 13)]
    assert abs(sum(halves) - whole) < 0.01


def test_a_lottery_ticket_earns_less_than_work():
    """A spark that computes a tenth and stays at a high D is credited almost never."""
    random = np.random.Generator(np.random.PCG64(5))
    earned = [credited_tiles(int(random.binomial(TILES // 10, 1 / 1000)), 1000) for _ in range(4_000)]
    assert np.mean(earned) < 0.01 * TILES
