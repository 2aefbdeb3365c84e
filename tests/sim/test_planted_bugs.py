"""Classic bugs, each planted and found, with the invariant that breaks.

A simulation that finds nothing is worth what it would have found. Without the bug the same seeds and
stories pass: test_campaign.py runs the seeds, the stories are run here both ways.
"""

from __future__ import annotations

import pytest

from tests.sim.hunts import PLANTED, is_found
from tests.sim.scripted import B, decisions_after_an_old_polka


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found_by_the_invariant_it_breaks(name: str):
    """And by no crash of the simulation itself."""
    bug, hunt, invariant = PLANTED[name]
    with bug():
        violation = hunt()
    assert is_found(violation, invariant), violation or "not found"


@pytest.mark.parametrize("name", [n for n, (_, hunt, _) in PLANTED.items() if "seeds_of" not in repr(hunt)])
def test_without_the_bug_the_same_story_ends_well(name: str):
    """Else the hunt would prove nothing."""
    assert PLANTED[name][1]() == ""


def test_without_the_bug_an_old_polka_frees_nobody():
    """Two keep their lock on what the third decided."""
    assert decisions_after_an_old_polka() == [B, None, None]
