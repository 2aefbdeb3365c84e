"""Properties of the vocabulary: what is written is read back, and nothing else is read as it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.types.address import PREFIXES, format_address, parse_address
from consensus.types.amounts import format_eubc, parse_eubc
from consensus.types.codec import (
    INTEGER_MAX,
    SUPPLY_MAX,
    Address,
    Amount,
    Codec,
    Hash32,
    Name,
    Record,
    Uint,
    encode,
)
from consensus.types.errors import Rejected
from consensus.types.hashing import list_root


class Transfer(Record, frozen=True, tag=1):
    """A flat member of a union."""

    recipient: Address
    amount: Amount


class Post(Record, frozen=True, tag=2):
    """A member with arrays, options and text."""

    names: tuple[Name, ...]
    digests: list[Hash32]
    parent: Hash32 | None
    text: str


class Body(Record, frozen=True):
    """A record around the union."""

    nonce: Uint
    payload: Transfer | Post


CODEC = Codec[Body](Body)

hashes = st.binary(min_size=32, max_size=32)
transfers = st.builds(Transfer, st.binary(min_size=20, max_size=20), st.integers(1, SUPPLY_MAX))
names = st.text("abcxyz019._:/@-", min_size=1, max_size=64)
posts = st.builds(
    Post,
    st.lists(names, max_size=20).map(tuple),
    st.lists(hashes, max_size=20),
    st.none() | hashes,
    st.text(max_size=300),
)
bodies = st.builds(Body, st.integers(0, INTEGER_MAX), transfers | posts)


@given(bodies)
def test_decoding_an_encoding_gives_the_object(body):
    assert CODEC.decode(encode(body)) == body


@given(bodies, st.data())
def test_a_mutated_encoding_is_refused_or_the_only_encoding_of_another_object(body, data):
    original = encode(body)
    position = data.draw(st.integers(0, len(original) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != original[position]))
    mutated = original[:position] + bytes([byte]) + original[position + 1 :]
    try:
        other = CODEC.decode(mutated)
    except Rejected:
        return
    assert other != body
    assert encode(other) == mutated


@given(st.binary(max_size=400))
@settings(max_examples=300)
def test_any_bytes_are_refused_or_the_only_encoding_of_what_they_decode_to(data):
    try:
        body = CODEC.decode(data)
    except Rejected:
        return
    assert encode(body) == data


@given(bodies, bodies)
def test_different_objects_have_different_encodings(first, second):
    assert (first == second) == (encode(first) == encode(second))


@given(st.integers(0, SUPPLY_MAX))
def test_an_amount_printed_reads_back(grains):
    assert parse_eubc(format_eubc(grains)) == grains


@given(st.text(max_size=30))
def test_any_text_is_an_amount_or_refused(text):
    try:
        grains = parse_eubc(text)
    except Rejected:
        return
    assert 0 <= grains <= SUPPLY_MAX
    assert parse_eubc(format_eubc(grains)) == grains


@given(st.binary(min_size=20, max_size=20), st.sampled_from(sorted(PREFIXES)))
def test_an_address_written_reads_back(address, prefix):
    assert parse_address(format_address(address, prefix), prefix) == address


@given(
    st.binary(min_size=20, max_size=20),
    st.lists(st.tuples(st.integers(4, 41), st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l")), max_size=4),
)
def test_up_to_four_wrong_letters_are_always_detected(address, changes):
    """BIP-350's guarantee for substitutions, on which paying by a typed address rests."""
    text = format_address(address, "eub")
    letters = list(text)
    for position, letter in changes:
        letters[position] = letter
    changed = "".join(letters)
    if changed == text:
        assert parse_address(changed, "eub") == address
        return
    try:
        parse_address(changed, "eub")
    except Rejected:
        return
    raise AssertionError(f"{changed} passes for {text}")


@given(st.text(max_size=100))
def test_any_text_is_an_address_or_refused(text):
    try:
        address = parse_address(text, "eub")
    except Rejected:
        return
    assert format_address(address, "eub") == text


@given(st.lists(st.binary(max_size=8), max_size=12), st.lists(st.binary(max_size=8), max_size=12))
def test_different_lists_have_different_roots(first, second):
    assert (first == second) == (list_root(first) == list_root(second))
