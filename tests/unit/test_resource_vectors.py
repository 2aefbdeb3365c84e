"""The published figures of proof of resource and validator sets are what the code computes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vectors import generate_resource

HERE = Path(generate_resource.__file__).parent


@pytest.mark.parametrize("name", ["resource.json", "validators.json"])
def test_the_vectors_are_what_the_rules_give_today(name: str):
    """A rule that moves a figure must rewrite the file and say so."""
    assert (HERE / name).read_text() == generate_resource.files()[name]
