"""Every attack on Proof of Resource ends as its page says; the experiments are those of `scripts/attacks`."""

from __future__ import annotations

import pytest

from scripts.experiments.attacks import EXPERIMENTS, PAGE
from scripts.experiments.verdict import ENDINGS, Experiment
from scripts.experiments.year import run


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.__name__)
def test_an_attack_ends_as_the_page_says(experiment: Experiment) -> None:
    figure = experiment()
    assert figure.ending in ENDINGS
    assert figure.holds, figure.says
    assert f"| {figure.attack} | {figure.ending} |" in PAGE.read_text("utf-8")


def test_in_a_month_of_forty_nodes_proposers_follow_power_and_speed_follows_compute() -> None:
    """χ² within four deviations of its mean; S is T on average; liars lose bond and pool."""
    found = run(40, 30, 1)
    degrees = found["degrees"]
    assert abs(found["chi_squared"] - degrees) < 4 * (2 * degrees) ** 0.5
    assert abs(found["speed_ratio"] - 1) < 0.02
    assert found["speed_ratio_sd"] < 0.06
    assert found["liars_slashed"] > 0.02
    assert found["liars_pool"] < 0.95
    assert found["void"] == 0
