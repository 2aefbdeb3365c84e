"""A reason is declared once, and what it says fits the facts it is given."""

from __future__ import annotations

import pytest

from consensus.types.errors import Fault, Reason, Rejected


@pytest.fixture
def reason():
    """A reason that exists for one test."""
    made = Reason(
        9999,
        "for_a_test",
        "account:address have:eubc what:text",
        "{account} holds {have} of {what}.",
        "Send less than {have}.",
    )
    yield made
    del Reason.registry[9999]


def test_a_code_and_a_name_are_used_once(reason):
    with pytest.raises(AssertionError, match="code 9999 is for_a_test's"):
        Reason(9999, "another", "", "Text.", "Hint.")
    with pytest.raises(AssertionError, match="for_a_test exists twice"):
        Reason(9998, "for_a_test", "", "Text.", "Hint.")
    assert Reason.registry[9999] is reason
    assert 9998 not in Reason.registry


def test_a_sentence_may_use_only_declared_facts_of_known_kinds():
    with pytest.raises(AssertionError, match="no fact declared"):
        Reason(9998, "nine", "have:eubc", "{need} is missing.", "Hint.")
    with pytest.raises(AssertionError, match="unknown kind"):
        Reason(9998, "nine", "have:money", "{have}.", "Hint.")
    assert 9998 not in Reason.registry


def test_a_fault_carries_exactly_the_declared_facts(reason):
    fault = Fault(reason, account=b"\x01\x02", have=5, what="it")
    assert str(fault) == "9999 for_a_test: 0102 holds 5 of it."
    for wrong in ({"account": b""}, {"account": b"", "have": 1, "what": "", "more": 1}):
        with pytest.raises(AssertionError):
            Fault(reason, **wrong)


def test_a_receipt_stores_facts_in_declared_order_clamped(reason):
    fault = Rejected(reason, what="x" * 100, have=2**70, account=b"\x01" * 99)
    assert fault.values() == (b"\x01" * 64, 2**63 - 1, b"x" * 64)
    assert Rejected(reason, what="", have=-1, account=b"").values()[1] == 0
