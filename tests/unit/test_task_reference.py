"""The page about tasks names what the code knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from vm.task.operations import OPERATIONS
from vm.task.records import Ending, Stage

PAGE = (Path(__file__).parent.parent.parent / "docs" / "reference" / "tasks.md").read_text("utf-8")


@pytest.mark.parametrize("ending", Ending)
def test_the_page_has_a_row_for_every_ending(ending: Ending) -> None:
    assert f"`{ending.name.lower()}`" in PAGE.split("## Endings")[1]


@pytest.mark.parametrize("stage", Stage)
def test_the_page_has_a_row_for_every_stage(stage: Stage) -> None:
    assert f"| {stage.name.lower()} |" in PAGE.split("## Stages")[1]


def test_the_page_names_exactly_the_steps_that_use_the_lane() -> None:
    sentence = PAGE.split("use the lane when they are due: ")[1].split(".")[0]
    named = set(sentence.replace("\n", " ").split(", "))
    assert named == {o.name.removeprefix("task.") for o in OPERATIONS if o.is_due is not None}
