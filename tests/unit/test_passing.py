"""Passing on between validators: nothing while heights end by themselves, everything where one does not."""

from __future__ import annotations

import trio
import trio.testing

from eubchain.node.hearing import Heard
from eubchain.node.passing import AFTER_S, PassingOn
from p2p.frames import Kind
from tests.unit.test_hearing import HEIGHT, vote


def _heard(validator: int, height: int = HEIGHT) -> Heard:
    return Heard("peer", Kind.VOTE, b"", vote(validator, height=height), 0)


async def test_what_a_height_has_no_more_use_for_is_not_passed_on(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """In a network where every line stands, a vote passed on is a vote heard twice."""
    passed: list[Heard] = []
    passing = PassingOn(passed.append)
    nursery.start_soon(passing.run)
    passing.at_height(HEIGHT)
    passing.hold(_heard(1))
    await trio.sleep(AFTER_S / 2)
    passing.at_height(HEIGHT + 1)
    passing.hold(_heard(2))  # a late one
    await trio.sleep(2 * AFTER_S)
    assert passed == []


async def test_what_a_standing_height_was_told_is_passed_on_in_order(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """A line may be missing: whoever lacks these votes hears them from here."""
    passed: list[Heard] = []
    passing = PassingOn(passed.append)
    nursery.start_soon(passing.run)
    passing.at_height(HEIGHT)
    told = [_heard(1), _heard(2)]
    passing.hold(told[0])
    await trio.sleep(AFTER_S / 2)
    passing.hold(told[1])
    await trio.sleep(AFTER_S * 0.6)
    assert passed == told[:1]
    await trio.sleep(AFTER_S)
    assert passed == told
