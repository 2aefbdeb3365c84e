"""What κ is made of, pinned for ten equal nodes."""

from __future__ import annotations

import pytest

from consensus.resource.difficulty import (
    credited_tiles,
    difficulty_before,
    next_difficulty,
    next_speed,
    speed_before,
)
from consensus.resource.explain import Circumstances, Earlier, Explanation, Qualities, explain, moves
from consensus.resource.reputation import Standing
from consensus.types.amounts import PPB, eubc

REFERENCE = 10**6 << 16
REWARD = eubc(10) * 600
UNIT = eubc(153_600)
"""U of one in ten equal nodes at these rewards and k = 8: 600 EUBC of income an epoch, times 256."""


def ten_equal_nodes() -> Circumstances:
    """Each has proved a tenth of S_ref, and half a unit of audited and two units of word evidence."""
    return Circumstances(
        nodes=[(REFERENCE // 10, eubc(1000))] * 10,
        node=3,
        speed_reference=REFERENCE,
        evidence_price_min=eubc(1) // 20,
        epoch_reward=REWARD,
        fade_shift=8,
        standing=Standing(UNIT // 8, 0, UNIT // 4, UNIT // 40, 0, 100),
        posted=UNIT // 40,
        qualities=Qualities(900000000, 900000000, 900000000),
    )


def explained() -> Explanation:
    """The explanation of one of ten equal nodes for a task of a sixty-fourth of U."""
    return explain(ten_equal_nodes(), UNIT // 64)


def test_the_parts_of_kappa_are_those_of_an_average_node():
    """A tenth of all power is the typical power, so b is one half."""
    found = explained()
    assert (found.power, found.typical, found.power_term) == (PPB // 10, PPB // 10, PPB // 2)
    assert found.unit == UNIT
    assert found.kappa == (2 * found.reputation + found.power_term) // 3


def test_every_one_of_the_seven_factors_raises_kappa():
    """Compute, bond, tasks done and posted, timeliness, validation, satisfaction: each counts."""
    factors = explained().factors
    assert [factor.name for factor in factors] == [
        "compute", "bonded", "completed", "posted", "timeliness", "validation", "rating",
    ]  # fmt: skip
    assert all(factor.contributes > 0 and factor.doubled > 0 for factor in factors)


def test_twice_the_compute_or_the_bond_lifts_kappa_by_the_known_figure():
    """+0.027 each while evidence is measured as now; less at once, since income asks for more of it."""
    compute, bonded = explained().factors[:2]
    assert compute.doubled // 10**6 == bonded.doubled // 10**6 == 26
    assert compute.doubled_at_once < compute.doubled
    assert bonded.doubled_at_once < bonded.doubled


def test_outcomes_of_a_task_move_kappa_in_their_order():
    """An audit is worth more than a word; a lost dispute costs more than a time-out, a cheat most."""
    change = {event.name: event.changes for event in explained().events}
    assert change["decided_and_audited"] > change["decided_by_word"] > 0
    assert change["posted"] > 0 > change["timed_out"]
    assert change["lost"] <= change["timed_out"]
    assert change["cheated"] < change["lost"]


def test_an_account_with_nothing_can_be_explained():
    """A newcomer: no power, no past, κ = ⅓."""
    nothing = ten_equal_nodes()._replace(
        nodes=[(0, 0)], node=0, standing=Standing(0, 0, 0, 0, 0, 0), posted=0
    )
    found = explain(nothing, eubc(1))
    assert found.kappa == 333333333
    assert [factor.contributes for factor in found.factors] == [0] * 7


@pytest.mark.parametrize("shares", [0, 7, 8, 32, 40, 55, 56])
@pytest.mark.parametrize("difficulty", [1, 64, 1_000, 2**20])
def test_a_close_is_undone_up_to_rounding(shares: int, difficulty: int):
    """The D found leads to the same D', and the S found is at most two units off."""
    after = next_difficulty(difficulty, shares, 1)
    assert next_difficulty(difficulty_before(after, shares), shares, 1) == after
    speed, tiles = 12_345_678, credited_tiles(shares, difficulty)
    assert 0 <= speed - speed_before(next_speed(speed, tiles), tiles) <= 2


def test_a_factor_that_did_not_change_has_moved_nothing():
    case = ten_equal_nodes()
    same = Earlier(*case.nodes[case.node], 0, 0, case.qualities)
    assert set(moves(case, same).values()) == {0}


def test_every_factor_that_rose_has_moved_kappa_up():
    case = ten_equal_nodes()
    speed, bond = case.nodes[case.node]
    lower = Earlier(speed // 2, bond // 2, UNIT // 8, UNIT // 80, Qualities(PPB // 2, PPB // 2, PPB // 2))
    assert min(moves(case, lower).values()) > 0
