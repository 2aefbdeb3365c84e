"""Twins, scenario after scenario: every n-th of them here, all of them by `scripts/sim --kind twins`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import permutations, product
from typing import Any

import pytest

from tests.sim import planted, twins
from tests.sim.twins import all_scenarios, play, run_seed

EVERY = 150
"""About 670 scenarios, in two seconds."""


def test_no_split_and_no_order_of_leaders_lets_a_twin_fork_the_chain():
    """One of four, and two of seven; afterwards all decide, and twins that were heard are caught."""
    outcomes = [run_seed(number) for number in range(0, len(all_scenarios()), EVERY)]
    assert [outcome.violation for outcome in outcomes if not outcome.ok] == []
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        counts.update(outcome.counts)
    assert all(counts.values()), "each kind of scenario was met"
    assert len(counts) == 4


def test_scenarios_that_differ_in_names_only_are_played_once():
    """Counted the long way: all labelled ones of one round, as orbits under every renaming."""

    def orbit(sides: tuple[tuple[int, ...], ...], leader: int) -> frozenset[object]:
        """Machines 0 and 4 are the twin's, 1 to 3 the honest."""
        renamed = set()
        for order in permutations((1, 2, 3)):
            for first, second in ((0, 4), (4, 0)):
                for flips in product((0, 1), repeat=2):
                    old = (first, *order, second)
                    moved = tuple(
                        tuple(row[i] ^ flip for i in old) for row, flip in zip(sides, flips, strict=True)
                    )
                    renamed.add((moved, 0 if leader == 0 else old.index(leader)))
        return frozenset(renamed)

    splits = list(product((0, 1), repeat=5))
    orbits = {orbit(sides, leader) for sides in product(splits, repeat=2) for leader in range(4)}
    found = {orbit(scenario.sides, scenario.leaders[0]) for scenario in twins.scenarios(4, 1, 1)}
    assert found == orbits
    assert len(list(twins.scenarios(4, 1, 1))) == len(orbits)


FOUND: dict[str, tuple[Callable[[], Any], str]] = {
    "the lock is dropped": (planted.dropped_lock, "agreement: two decisions"),
    "a vote is counted twice": (planted.vote_counted_twice, "agreement: two decisions"),
}


@pytest.mark.parametrize("name", FOUND)
def test_a_planted_bug_is_found_among_the_scenarios(name: str):
    """By the first few thousand; no chance is involved."""
    bug, violation = FOUND[name]

    def hunt() -> None:
        for scenario in all_scenarios()[:4_000]:
            play(scenario)

    with bug(), pytest.raises(AssertionError, match=violation):
        hunt()
