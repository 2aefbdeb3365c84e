"""What `status` warns of: a member that can stop the chain, a reveal chain that runs out."""

from __future__ import annotations

import pytest

from consensus.validators import TOTAL_POWER, Candidate, ValidatorSet, make_set
from eubchain.node.status_warnings import warnings_of


def _set(stakes: list[int]) -> ValidatorSet:
    found = [Candidate(bytes([i]) * 20, bytes([i]) * 32, stake, stake) for i, stake in enumerate(stakes)]
    return make_set(found, 16)


@pytest.mark.parametrize(
    ("stakes", "is_warned"),
    [([1], False), ([1, 1, 1], False), ([1] * 4, False), ([97, 1, 1, 1], True), ([30, 25, 25, 20], False)],
)
def test_one_that_holds_a_third_of_four_or_more_is_named(stakes: list[int], is_warned: bool) -> None:
    warned = warnings_of(_set(stakes), None, 0)
    assert bool(warned) is is_warned
    assert all("% of the power" in words for words in warned)


@pytest.mark.parametrize(("left", "is_warned"), [(100, False), (99, True), (0, True), (None, False)])
def test_below_a_tenth_of_its_proposals_a_home_is_told_how_to_renew(
    left: int | None, is_warned: bool
) -> None:
    warned = warnings_of(_set([1] * 4), left, 1_000)
    assert bool(warned) is is_warned
    assert all("validator update --reveal" in words for words in warned)
    assert sum(member.power for member in _set([1] * 4)) == TOTAL_POWER
