"""A clock that is out is called that, and nothing else is."""

from __future__ import annotations

import pytest

from consensus.types.params import DEV
from eubchain.node.clock_watch import LATEST, ClockWatch

ONE, OTHER = b"\1" * 20, b"\2" * 20


def told(offsets: list[int], proposers: tuple[bytes, ...] = (ONE, OTHER)) -> ClockWatch:
    """A watch that has heard proposals arriving so many milliseconds after their time."""
    watch = ClockWatch(DEV.chain)
    for number, offset in enumerate(offsets):
        watch.heard(proposers[number % len(proposers)], 10_000_000, 10_000_000 + offset)
    return watch


@pytest.mark.parametrize(("offset", "words"), [(30_000, "ahead of"), (-30_000, "behind")])
def test_a_clock_that_every_proposal_contradicts_is_skewed_and_says_by_how_much(offset, words):
    watch = told([offset] * LATEST)
    assert watch.skew_ms == offset
    assert f"about 30000 ms {words} the other validators' clocks" in watch.why


@pytest.mark.parametrize(
    ("offsets", "proposers"),
    [
        ([0] * LATEST, (ONE, OTHER)),
        ([DEV.chain.msg_delay_ms] * LATEST, (ONE, OTHER)),  # slow, and allowed
        ([30_000] * (LATEST - 1), (ONE, OTHER)),  # too few to tell
        ([30_000] * (2 * LATEST), (ONE,)),  # it may be the other's clock
        ([30_000, -30_000] * LATEST, (ONE, OTHER)),
        ([0] * LATEST + [30_000] * (LATEST - 1), (ONE, OTHER)),  # this process was paused
    ],
)
def test_slow_messages_a_pause_and_one_liar_do_not_convict_the_clock(offsets, proposers):
    watch = told(offsets, proposers)
    assert (watch.skew_ms, watch.why) == (0, "")


def test_a_clock_that_is_set_right_is_told_so_at_the_next_proposal():
    watch = told([30_000] * LATEST)
    assert watch.skew_ms == 30_000
    watch.heard(ONE, 1_000, 1_001)
    assert watch.skew_ms == 0
