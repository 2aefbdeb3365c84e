"""Every attack on Proof of Resource ends as its page says; the experiments are those of `scripts/attacks`."""

from __future__ import annotations

import pytest

from scripts.experiments.attacks import EXPERIMENTS, PAGE
from scripts.experiments.verdict import ENDINGS, Experiment


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.__name__)
def test_an_attack_ends_as_the_page_says(experiment: Experiment) -> None:
    figure = experiment()
    assert figure.ending in ENDINGS
    assert figure.holds, figure.says
    assert f"| {figure.attack} | {figure.ending} |" in PAGE.read_text("utf-8")
