"""Memories, their fading, and what they say: ρ and ρ_w."""

from __future__ import annotations

from itertools import pairwise

import pytest

from consensus.resource import reputation as rep
from consensus.resource.reputation import MEMORY_MAX, NO_STANDING, Standing
from consensus.types.amounts import PPB
from consensus.types.codec import Codec, encode

UNIT = 9 * 10**12
"""U of the tests, divisible by nine."""


def standing(good: int = 0, bad: int = 0, word_good: int = 0, word_bad: int = 0, cheats: int = 0) -> Standing:
    """A standing of epoch 0."""
    return Standing(good, bad, word_good, word_bad, cheats, 0)


def test_a_newcomer_has_one_half():
    """ρ(nothing) = ρ_w(nothing) = ½."""
    assert rep.reputation(NO_STANDING, UNIT) == 500000000
    assert rep.weight_reputation(NO_STANDING, UNIT) == 500000000


def test_audited_good_lifts_reputation_by_the_published_figure():
    """ρ(G = U, H = U // 9) = 0.710526315."""
    assert rep.reputation(standing(good=UNIT, bad=UNIT // 9), UNIT) == 710526315


def test_words_alone_reach_two_thirds_and_move_no_weight():
    """ρ(G_w = 50 U) = 0.666666666 while ρ_w stays ½."""
    praised = standing(word_good=50 * UNIT)
    assert rep.reputation(praised, UNIT) == 666666666
    assert rep.weight_reputation(praised, UNIT) == 500000000


def test_a_cheat_lowers_both_reputations():
    """s_p stands in the denominator of ρ and ρ_w."""
    cheat = rep.add_cheat(NO_STANDING, 0, 6)
    assert cheat.cheats == 2 * PPB
    assert rep.reputation(cheat, UNIT) == rep.weight_reputation(cheat, UNIT) == 333333333


def test_the_fading_table_ends_at_its_first_zero():
    """f(0) = 2³², strictly falling, one zero."""
    for shift in (6, 8, 10):
        table = rep.fade_table(shift)
        assert table[0] == 2**32
        assert table[1] == 2**32 - 2 ** (32 - shift)
        assert all(later < earlier for earlier, later in pairwise(table))
        assert table[-1] == 0
        assert table[-2] > 0


def test_good_fades_down_and_bad_fades_up():
    """After one epoch at k = 6, one grain of good is gone and one of bad is still there."""
    faded = rep.faded(standing(1, 1, 1, 1, 1), 1, 6)
    assert faded == Standing(0, 1, 0, 1, 1, 1)


def test_everything_is_forgotten_at_the_end_of_the_table():
    """Past the table all memories read zero, bad ones too."""
    assert rep.faded(standing(*[MEMORY_MAX] * 5), 10**6, 6) == Standing(0, 0, 0, 0, 0, 10**6)


def test_reading_in_the_same_epoch_changes_nothing():
    """f(0) is exactly one."""
    full = standing(MEMORY_MAX, 1, 2, 3, 4)
    assert rep.faded(full, 0, 10) == full


def test_memories_saturate():
    """No sum exceeds 2⁶², so every standing can be encoded."""
    full = standing(*[MEMORY_MAX] * 5)
    for added in (
        rep.add_decided(full, 0, 6, 10**17, PPB // 2),
        rep.add_audited(full, 0, 6, 10**17),
        rep.add_lost(full, 0, 6, 10**17),
        rep.add_posted(full, 0, 6, 10**17),
        rep.add_blame(full, 0, 6, 10**17),
        rep.add_cheat(full, 0, 6),
    ):
        assert added == full
    assert Codec(Standing).decode(encode(full)) == full


def test_outcomes_go_to_their_memories():
    """Decided: split by quality; audited: half to G; lost: H; posted: a quarter to G_w; blame: H_w."""
    decided = rep.add_decided(NO_STANDING, 3, 6, 1001, 900000000)
    assert decided == Standing(0, 0, 900, 101, 0, 3)
    assert rep.add_audited(NO_STANDING, 3, 6, 1001) == Standing(500, 0, 0, 0, 0, 3)
    assert rep.add_lost(NO_STANDING, 3, 6, 1001) == Standing(0, 1001, 0, 0, 0, 3)
    assert rep.add_posted(NO_STANDING, 3, 6, 1001) == Standing(0, 0, 250, 0, 0, 3)
    assert rep.add_blame(NO_STANDING, 3, 6, 1001) == Standing(0, 0, 0, 1001, 0, 3)


def test_an_outcome_fades_what_was_there_first():
    """Adding stores the faded memories and their new epoch."""
    later = rep.add_audited(standing(good=64), 1, 6, 100)
    assert later == Standing(63 + 50, 0, 0, 0, 0, 1)


@pytest.mark.parametrize(
    ("validation", "rating", "timeliness", "expected"),
    [
        (PPB, PPB, PPB, PPB),
        (PPB // 2, PPB, PPB, 750000000),
        (PPB, 0, PPB, 700000000),
        (PPB, PPB, PPB // 2, 900000000),
        (rep.SILENCE, rep.SILENCE, PPB, 840000000),
        (0, 0, 0, 0),
    ],
)
def test_quality_weighs_validation_rating_and_timeliness(
    validation: int, rating: int, timeliness: int, expected: int
):
    """Five, three and two tenths."""
    assert rep.task_quality(validation, rating, timeliness) == expected


def test_scores_stars_and_blocks_become_qualities():
    """0 … 100, one to five stars, promised against taken blocks."""
    assert [rep.validation_quality(score) for score in (0, 50, 100)] == [0, PPB // 2, PPB]
    assert [rep.rating_quality(stars) for stars in (1, 3, 5)] == [0, PPB // 2, PPB]
    assert [rep.timeliness_quality(10, taken) for taken in (0, 10, 20)] == [PPB, PPB, PPB // 2]


def test_the_unit_of_evidence_follows_the_account_s_income():
    """(E // 2)·(c + P) // B, at least v_price, times 2ᵏ."""
    assert rep.evidence_unit(1000, 10**6, 10**8, 10**8, 6) == 100_000 << 6
    assert rep.evidence_unit(1000, 10**6, 0, 0, 6) == 1000 << 6


def test_words_are_scaled_to_their_bound_keeping_their_ratio():
    """g_w + h_w = 2B exactly once they exceed it; g and h stop at 64B."""
    found = rep.evidence(standing(100 * UNIT, 100 * UNIT, 3 * UNIT, UNIT), UNIT)
    assert found == (64 * PPB, 64 * PPB, 1500000000, 500000000)
