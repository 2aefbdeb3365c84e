"""The first hundred seeds of both campaigns, and their command."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from types import ModuleType

import pytest

from tests.sim import agreement_seeds, node_seeds
from tests.sim.campaign import main, seed_range

SEEDS = 100


@pytest.mark.slow
def test_a_hundred_seeds_of_whole_nodes_agree_heal_and_slash():
    """Whatever misfortunes a seed draws."""
    with ProcessPoolExecutor(2) as pool:
        outcomes = list(pool.map(node_seeds.run_seed, range(SEEDS), chunksize=5))
    assert [(outcome.seed, outcome.violation) for outcome in outcomes if not outcome.ok] == []


def test_a_few_seeds_of_whole_nodes_agree_heal_and_slash():
    """For whoever leaves the slow ones out."""
    outcomes = [node_seeds.run_seed(seed) for seed in range(200, 208)]
    assert [(outcome.seed, outcome.violation) for outcome in outcomes if not outcome.ok] == []


@pytest.mark.parametrize("first", range(0, SEEDS, 20))
def test_twenty_seeds_of_agreement_alone_agree_and_heal(first: int):
    """The same rules with stand-ins for blocks: faster, so more rounds and more liars."""
    outcomes = map(agreement_seeds.run_seed, range(first, first + 20))
    assert [outcome for outcome in outcomes if not outcome.ok] == []


@pytest.mark.parametrize("campaign", [agreement_seeds, node_seeds])
def test_a_seed_replays_exactly(campaign: ModuleType):
    """Else a failure could not be looked at twice."""
    assert campaign.run_seed(7) == campaign.run_seed(7)


def test_the_command_prints_an_object_a_line_and_a_report(capsys: pytest.CaptureFixture[str]):
    """As scripts read it; the report goes beside."""
    assert main(["--kind", "agreement", "--seeds", "0-1", "--json"]) == 0
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert [set(line) for line in lines] == [{"seed", "ok", "heights", "faults", "violation"}] * 2
    assert [line["seed"] for line in lines] == [0, 1]
    assert printed.err.splitlines()[-1].startswith("2 seeds, ")


def test_a_traced_seed_says_what_its_nodes_did(capsys: pytest.CaptureFixture[str]):
    """With the lines of the paper that each node took."""
    assert main(["--seed", "3", "--trace"]) == 0
    assert "line=L51" in capsys.readouterr().out


@pytest.mark.parametrize(("text", "seeds"), [("5", [5]), ("3-5", [3, 4, 5])])
def test_seeds_are_named_by_range_or_alone(text: str, seeds: list[int]):
    """Both ends included."""
    assert list(seed_range(text)) == seeds
