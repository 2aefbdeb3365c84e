"""The published figures of the task market are what the code computes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.vectors import generate_market

HERE = Path(generate_market.__file__).parent


def test_the_market_vectors_are_what_the_rules_give_today() -> None:
    """A rule that moves a figure must rewrite the file and say so."""
    assert (HERE / "market.json").read_text() == generate_market.files()["market.json"]


def test_the_published_settlements_add_up() -> None:
    """Read as another implementation would: from the file alone."""
    for case in json.loads((HERE / "market.json").read_text())["settlements"]:
        assert case["paid"] + case["fee"] + case["refunded"] + case["burned"] == case["price"]
        assert case["gas_returned"] + case["gas_burned"] + case["gas_held"] == case["gas"]
        assert case["fee"] == case["paid"] + case["fee"] - (case["paid"] + case["fee"]) * 98 // 100
