"""Amounts as people type and read them."""

from __future__ import annotations

import pytest

from consensus.types.amounts import AMOUNT_MALFORMED, eubc, format_eubc, parse_eubc
from consensus.types.codec import SUPPLY_MAX
from consensus.types.errors import Rejected


@pytest.mark.parametrize(
    ("text", "grains"),
    [
        ("0", 0),
        ("1", 100_000_000),
        ("1.5", 150_000_000),
        ("0.00000001", 1),
        ("0.10", 10_000_000),
        ("007", 700_000_000),
        ("1000000000", SUPPLY_MAX),
        ("999999999.99999999", SUPPLY_MAX - 1),
    ],
)
def test_an_amount_reads_as_grains(text, grains):
    assert parse_eubc(text) == grains


@pytest.mark.parametrize(
    ("grains", "text"),
    [
        *((0, "0"), (1, "0.00000001"), (10, "0.0000001"), (150_000_000, "1.5"), (eubc(20), "20")),
        *((SUPPLY_MAX, "1000000000"), (-1, "-0.00000001"), (-150_000_000, "-1.5")),
    ],
)
def test_grains_print_with_the_decimals_they_need(grains, text):
    assert format_eubc(grains) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-1", "negative"),
        ("", "only digits and one point"),
        (".5", "only digits and one point"),
        ("1.", "only digits and one point"),
        ("1.2.3", "only digits and one point"),
        ("1,5", "only digits and one point"),
        ("1e3", "only digits and one point"),
        ("0x10", "only digits and one point"),
        ("+1", "only digits and one point"),
        (" 1", "only digits and one point"),
        ("1\n", "only digits and one point"),
        ("1_000", "only digits and one point"),
        ("NaN", "only digits and one point"),
        ("１", "only digits and one point"),
        ("1.٥", "only digits and one point"),
        ("0.000000001", "9 decimals"),
        ("1.000000000", "9 decimals"),
        ("1000000000.00000001", "can never exist"),
        ("9999999999", "can never exist"),
    ],
)
def test_what_is_no_amount_is_refused_with_the_reason(text, why):
    with pytest.raises(Rejected) as caught:
        parse_eubc(text)
    assert caught.value.reason is AMOUNT_MALFORMED
    assert why in str(caught.value.facts["why"])


def test_a_very_long_text_is_refused_and_shown_shortened():
    with pytest.raises(Rejected) as caught:
        parse_eubc("9" * 100_000)
    assert len(str(caught.value.facts["text"])) == 40
