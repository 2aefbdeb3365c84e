"""Validators that cannot all reach each other: as long as every two are joined by others, blocks go on.

Here: whole nodes on a wire without some of its lines, for good.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sim.whole.town import Plan, Town, play

HEIGHTS = 6


def without_lines(town: Town, is_missing: Callable[[int, int], bool]) -> None:
    """Take lines out of the wire."""
    is_cut = town.wire.is_cut
    town.wire.is_cut = lambda a, b: is_missing(a, b) or is_cut(a, b)  # type: ignore[method-assign]


def behind_routers(one: int, other: int) -> bool:
    """Three of seven can be dialled, the other four only dial."""
    return one >= 3 and other >= 3


def not_neighbours(one: int, other: int) -> bool:
    """Seven in a ring."""
    return (one - other) % 7 not in (0, 1, 6)


@pytest.mark.parametrize("is_missing", [behind_routers, not_neighbours])
def test_seven_validators_with_half_of_their_lines_make_blocks(is_missing) -> None:
    """Nobody hears two thirds directly; each stood in its round for ever, saying only its own vote again."""

    async def story(town: Town) -> None:
        without_lines(town, is_missing)
        await town.until_height(HEIGHTS, limit_ms=60_000)
        town.check_all()

    play(3, Plan([1] * 7, users=False), story)


def test_one_of_four_down_and_a_line_between_two_others_cut() -> None:
    """Three are a quorum, and two of them hear of each other only through the third."""

    async def story(town: Town) -> None:
        without_lines(town, lambda one, other: {one, other} == {1, 2})
        await town.until_height(2)
        town.nodes[3].crash()
        town.nodes[3].is_gone = True
        still = [node for node in town.honest if node.index != 3]
        await town.until(lambda: min(node.height for node in still) >= HEIGHTS, limit_ms=120_000)

    play(4, Plan([1] * 4, users=False), story)


def test_what_is_said_again_is_enough_though_nothing_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passing on makes it quick; that a height ends rests on what each says again every two seconds."""
    monkeypatch.setattr("eubchain.node.peers.PASSED_ON", 0)

    async def story(town: Town) -> None:
        without_lines(town, behind_routers)
        await town.until_height(3, limit_ms=120_000)

    play(3, Plan([1] * 7, users=False), story)
