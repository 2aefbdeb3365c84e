"""A moved home looks for its twin before it signs."""

from __future__ import annotations

import pytest

from consensus.types.errors import Fault
from eubchain.node.guard import SignStep
from eubchain.node.twin_watch import TWIN_SEEN, TwinWatch

LAST = SignStep(100, 2, 1)


@pytest.mark.parametrize("step", [(100, 2, 2), (100, 3, 0), (101, 0, 0)])
def test_a_word_beyond_what_the_guard_remembers_is_a_twins(step: tuple[int, int, int]):
    """Somebody signs with this key, and it is not this home."""
    with pytest.raises(Fault) as caught:
        TwinWatch(100, 0, LAST).saw(SignStep(*step))
    assert caught.value.reason is TWIN_SEEN


@pytest.mark.parametrize("step", [(100, 2, 1), (100, 0, 2), (99, 9, 2)])
def test_an_old_word_repeated_by_peers_is_this_homes_own(step: tuple[int, int, int]):
    """It was said before the move."""
    TwinWatch(100, 0, LAST).saw(SignStep(*step))


def test_the_watch_ends_after_twenty_heights_or_thirty_seconds():
    """Whichever is over first."""
    watch = TwinWatch(100, 1_000, LAST)
    assert not watch.is_over(119, 1_029)
    assert watch.is_over(120, 1_001)
    assert watch.is_over(100, 1_030)


def test_blocks_that_were_caught_up_with_do_not_end_the_watch():
    """A copy that is behind takes hundreds in a second, all of them made before its twin came back."""
    watch = TwinWatch(100, 1_000, LAST)
    watch.begin_again(500, 1_031)
    assert not watch.is_over(519, 1_060)
    assert watch.is_over(520, 1_032)
    assert watch.is_over(500, 1_061)
