"""The first hundred seeds of the campaign, and its command."""

from __future__ import annotations

import json

import pytest

from tests.sim.campaign import main, run_seed, seed_range


@pytest.mark.parametrize("first", range(0, 100, 20))
def test_twenty_seeds_agree_and_heal(first: int):
    """Whatever misfortunes a seed draws."""
    failed = [outcome for outcome in map(run_seed, range(first, first + 20)) if not outcome.ok]
    assert failed == []


def test_a_seed_replays_exactly():
    """Else a failure could not be looked at twice."""
    assert run_seed(7) == run_seed(7)


def test_the_command_prints_an_object_a_line(capsys: pytest.CaptureFixture[str]):
    """As scripts read it."""
    assert main(["--seeds", "0-1", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(line) for line in lines] == [{"seed", "ok", "heights", "faults", "violation"}] * 2
    assert [line["seed"] for line in lines] == [0, 1]


@pytest.mark.parametrize(("text", "seeds"), [("5", [5]), ("3-5", [3, 4, 5])])
def test_seeds_are_named_by_range_or_alone(text: str, seeds: list[int]):
    """Both ends included."""
    assert list(seed_range(text)) == seeds
