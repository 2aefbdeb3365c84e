"""No way to hurt the other side pays, but for the gaps that the documentation names."""

from __future__ import annotations

import pytest

from tests.griefs import GRIEFS, PAGE, Grief, page, play


@pytest.mark.parametrize("grief", GRIEFS, ids=lambda grief: grief.name)
def test_a_grief_does_not_pay(grief: Grief) -> None:
    cost = play(grief)
    if grief.is_gap:
        assert cost.attacker_gains > 0, "a gap that is closed leaves the list of gaps"
    else:
        assert cost.attacker_gains <= 0
    assert cost.attacker_gains + cost.victim_gains <= 0, "what one loses is never more for the other"


def test_the_page_of_griefs_is_what_the_market_does_today() -> None:
    """Write it again with `python -m tests.griefs`."""
    assert PAGE.read_text("utf-8") == page()
