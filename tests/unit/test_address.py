"""Addresses: what a wrong letter, another network or another kind of account does."""

from __future__ import annotations

import pytest

from consensus.types.address import (
    ADDRESS_MALFORMED,
    ADDRESS_OF_ANOTHER_NETWORK,
    PREFIXES,
    bech32m_encode,
    format_address,
    key_address,
    multisig_address,
    parse_address,
    protocol_address,
)
from consensus.types.errors import Rejected
from consensus.types.keys import SecretKey

ADDRESS = bytes(range(20))
KEYS = sorted(SecretKey(bytes([i]) * 32).public for i in range(1, 18))
LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


def refusal_of(text: str, prefix: str = "eub") -> Rejected:
    with pytest.raises(Rejected) as caught:
        parse_address(text, prefix)
    return caught.value


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("address", [bytes(20), b"\xff" * 20, ADDRESS])
def test_an_address_comes_back_and_has_no_version_symbol(prefix, address):
    text = format_address(address, prefix)
    assert parse_address(text, prefix) == address
    assert text.startswith(prefix + "1")
    assert len(text) == len(prefix) + 1 + 32 + 6
    assert text == text.lower()


@pytest.mark.parametrize("prefix", PREFIXES)
def test_one_changed_letter_is_detected_wherever_it_is(prefix):
    text = format_address(ADDRESS, prefix)
    for position in range(len(text)):
        for letter in LETTERS:
            changed = text[:position] + letter + text[position + 1 :]
            if changed != text:
                # A letter of the prefix may name another network; then the checksum is wrong too.
                assert refusal_of(changed, prefix).reason is ADDRESS_MALFORMED


def test_two_swapped_neighbours_are_detected():
    text = format_address(ADDRESS, "eub")
    for i in range(len(text) - 1):
        changed = text[:i] + text[i + 1] + text[i] + text[i + 2 :]
        assert changed == text or refusal_of(changed).reason is ADDRESS_MALFORMED


def test_a_missing_and_a_doubled_letter_are_detected():
    text = format_address(ADDRESS, "eub")
    for i in range(len(text)):
        assert refusal_of(text[:i] + text[i + 1 :]).reason is ADDRESS_MALFORMED
        assert refusal_of(text[:i] + text[i] + text[i:]).reason is ADDRESS_MALFORMED


def test_a_wrong_letter_is_explained_by_the_checksum():
    text = format_address(ADDRESS, "eub")
    wrong = text[:-1] + ("q" if text[-1] != "q" else "p")
    assert "checksum" in str(refusal_of(wrong))


@pytest.mark.parametrize(("theirs", "ours"), [("teub", "deub"), ("eub", "teub"), ("deub", "eub")])
def test_an_address_of_another_network_names_both(theirs, ours):
    fault = refusal_of(format_address(ADDRESS, theirs), ours)
    assert fault.reason is ADDRESS_OF_ANOTHER_NETWORK
    assert fault.facts["theirs"] == PREFIXES[theirs]
    assert fault.facts["ours"] == PREFIXES[ours]


def test_an_address_of_another_currency_is_named_as_such():
    assert "no EUB network has the prefix bc" in str(refusal_of(format_address(ADDRESS, "bc")))


def test_upper_case_is_refused_though_bip350_would_allow_it():
    assert "lower case" in str(refusal_of(format_address(ADDRESS, "eub").upper()))


@pytest.mark.parametrize("symbols", [0, 31, 33, 40])
def test_a_valid_checksum_over_another_length_is_refused(symbols):
    assert "20 bytes" in str(refusal_of(bech32m_encode("eub", [0] * symbols)))


@pytest.mark.parametrize(
    "text", ["", "eub", "eub1", "1", "x" * 5000, "eub1 qqqq", "eub1\u212aqqqqqq", "转账"]
)
def test_what_is_no_address_at_all_is_refused_and_shown_shortened(text):
    fault = refusal_of(text)
    assert fault.reason is ADDRESS_MALFORMED
    assert len(str(fault.facts["text"])) <= 100


def test_the_kinds_of_account_never_share_an_address():
    key = KEYS[0]
    addresses = {
        key_address(key),
        multisig_address(1, [key]),
        multisig_address(1, KEYS[:2]),
        multisig_address(2, KEYS[:2]),
        protocol_address("pool"),
        protocol_address("escrow"),
    }
    assert len(addresses) == 6
    assert {len(address) for address in addresses} == {20}


def test_sixteen_keys_are_the_most():
    assert len(multisig_address(16, KEYS[:16])) == 20
    for threshold, keys in [(1, KEYS[:17]), (0, KEYS[:1]), (3, KEYS[:2]), (1, []), (1, [KEYS[1], KEYS[0]])]:
        with pytest.raises(AssertionError):
            multisig_address(threshold, keys)
    with pytest.raises(AssertionError, match="ascending"):
        multisig_address(1, [KEYS[0], KEYS[0]])
