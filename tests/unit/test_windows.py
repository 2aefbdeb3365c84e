"""When windows open and close, when they are void, and what they do to D and S."""

from __future__ import annotations

import pytest

from consensus.resource import windows
from consensus.resource.difficulty import (
    DIFFICULTY_MAX,
    credited_tiles,
    false_share_slash,
    next_difficulty,
    next_speed,
)
from consensus.types.hashing import Tag, tagged_hash

WINDOW = windows.Window(100, 1, 4, 2, 6, 1, 512)


def test_the_heights_of_a_window_follow_its_announcement():
    """a = 100, W = 4, G = 2, V = 6: opens 101, proofs 102 … 107, sample 108, close 113."""
    assert windows.opens_at(WINDOW) == 101
    taking = [h for h in range(95, 120) if windows.takes_proofs_at(WINDOW, h)]
    assert taking == [102, 103, 104, 105, 106, 107]
    assert windows.last_proof_at(WINDOW) == 107
    assert windows.sample_beacon_at(WINDOW) == 108
    assert windows.closes_at(WINDOW) == 113


def test_one_height_in_m_announces_a_window():
    """Of 10,000 beacons about one in ten announces at M = 10, and every one at M = 1."""
    beacons = [tagged_hash(Tag.BEACON, i.to_bytes(8, "big")) for i in range(10_000)]
    assert 900 < sum(windows.is_announced(beacon, 10) for beacon in beacons) < 1_100
    assert all(windows.is_announced(beacon, 1) for beacon in beacons[:100])


def test_the_seed_needs_the_opening_block():
    """Whoever knows only the beacon does not know the seed."""
    seeds = {windows.window_seed(bytes(32), bytes([i]) * 32) for i in range(3)}
    assert len(seeds) == 3


@pytest.mark.parametrize(
    ("covered", "last", "before", "void"),
    [
        (199, False, False, True),
        (200, False, False, False),
        (0, True, False, True),
        (0, False, True, True),
        (0, True, True, False),
    ],
)
def test_a_window_below_two_thirds_is_void_unless_two_were(
    covered: int, last: bool, before: bool, void: bool
):
    """Of ΣS = 300: 199 is too little, 200 is enough, and a third void in a row does not exist."""
    assert windows.is_void(covered, 300, last, before) is void


def test_a_window_without_sparks_is_not_void():
    """Nothing of nothing is covered."""
    assert not windows.is_void(0, 0, False, False)


@pytest.mark.parametrize(
    ("difficulty", "shares", "expected"),
    [(1000, 32, 1000), (1000, 56, 4000), (1000, 7, 250), (1000, 40, 1125), (1000, 0, 250), (1000, 8, 625)],
)
def test_difficulty_follows_the_shares(difficulty: int, shares: int, expected: int):
    """The published steps, and the two ends of the middle range."""
    assert next_difficulty(difficulty, shares, 1) == expected


def test_difficulty_stays_within_its_bounds():
    """Clamped to [D_min, 2⁴⁰]."""
    assert next_difficulty(64, 0, 64) == 64
    assert next_difficulty(DIFFICULTY_MAX, 56, 64) == DIFFICULTY_MAX


def test_speed_moves_an_eighth_of_the_way():
    """The published steps: 32,000 tiles from nothing, then a missed window."""
    first = next_speed(0, credited_tiles(32, 1000))
    assert first == 262144000
    assert next_speed(first, 0) == 229376000


def test_fewer_than_eight_shares_earn_nothing():
    """A lottery ticket would need eight wins."""
    assert credited_tiles(7, 2**20) == 0
    assert credited_tiles(8, 2**20) == 2**23


def test_ten_times_faster_shows_nine_tenths_in_eighteen_windows():
    """The memory of S: (7/8)¹⁸ is 9 %."""
    speed = next_speed(0, 0)
    for _ in range(18):
        speed = next_speed(speed, 1000)
    assert 900 <= speed >> 16 <= 920


def test_a_false_share_takes_one_percent_rounded_up():
    """Of bonded and unbonding together."""
    assert [false_share_slash(100, 0), false_share_slash(100, 1), false_share_slash(0, 0)] == [1, 2, 0]
