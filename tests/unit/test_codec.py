"""The canonical encoding: one byte string per object, bounds, and errors that name the field."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgpack
import msgspec
import pytest

from consensus.types.codec import (
    INTEGER_MAX,
    MALFORMED,
    OVERSIZED,
    PRICE_MAX,
    SUPPLY_MAX,
    Address,
    Amount,
    Codec,
    Hash32,
    Key32,
    Name,
    Price,
    Record,
    Sig64,
    Uint,
    encode,
)
from consensus.types.errors import Rejected

P = TypeVar("P")


class Leaf(Record, frozen=True):
    """Every type of field that the protocol has."""

    count: Uint
    amount: Amount
    price: Price
    digest: Hash32
    key: Key32
    signature: Sig64
    address: Address
    name: Name
    maybe: Hash32 | None
    flag: bool


class Pay(Record, frozen=True, tag=1):
    """One member of a tagged union."""

    recipient: Address
    amount: Amount


class Note(Record, frozen=True, tag=2):
    """Another member of the union, with an array."""

    leaves: tuple[Leaf, ...]


class Inner(Record, Generic[P], frozen=True):
    """A generic record, as the body of a transaction is."""

    nonce: Uint
    payload: P


class Outer(Record, Generic[P], frozen=True):
    """A generic record around another."""

    inner: Inner[P]


class Envelope(Record, frozen=True):
    """A record around a union, as a transaction is."""

    nonce: Uint
    payload: Pay | Note


LEAF = Leaf(7, 1, 0, b"\x01" * 32, b"\x02" * 32, b"\x03" * 64, b"\x04" * 20, "eub/hello:1@a.b-c_", None, True)
PAY = Envelope(0, Pay(b"\x05" * 20, SUPPLY_MAX))
NOTE = Envelope(INTEGER_MAX, Note((LEAF, msgspec.structs.replace(LEAF, maybe=b"\x06" * 32, flag=False))))
LEAF_CODEC, ENVELOPE_CODEC = Codec[Leaf](Leaf), Codec[Envelope](Envelope)


def plain(value: object) -> object:
    """The same value as lists, for the independent encoder."""
    if isinstance(value, Record):
        tag = value.__struct_config__.tag
        return [*([] if tag is None else [tag]), *(plain(getattr(value, f)) for f in value.__struct_fields__)]
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


BAD_LEAF = plain(msgspec.structs.replace(LEAF, amount=0))


def what_is_wrong(codec: Codec, data: bytes) -> str:
    with pytest.raises(Rejected) as caught:
        codec.decode(data)
    assert caught.value.reason is MALFORMED
    return str(caught.value.facts["what"])


@pytest.mark.parametrize(
    ("codec", "value"), [(LEAF_CODEC, LEAF), (ENVELOPE_CODEC, PAY), (ENVELOPE_CODEC, NOTE)]
)
def test_an_object_comes_back_and_another_implementation_writes_the_same_bytes(codec, value):
    data = encode(value)
    assert codec.decode(data) == value
    assert data == msgpack.packb(plain(value))


@pytest.mark.parametrize("value", [PAY, NOTE])
def test_every_single_byte_mutation_is_refused_or_is_another_object(value):
    """Were two byte strings one object, a signature would cover two transactions."""
    data = encode(value)
    for position in range(len(data)):
        for byte in range(256):
            mutated = data[:position] + bytes([byte]) + data[position + 1 :]
            if mutated == data:
                continue
            try:
                other = ENVELOPE_CODEC.decode(mutated)
            except Rejected:
                continue
            assert other != value
            assert encode(other) == mutated


@pytest.mark.parametrize("value", [PAY, NOTE])
def test_every_truncation_and_every_extension_is_refused(value):
    data = encode(value)
    for length in range(len(data)):
        what_is_wrong(ENVELOPE_CODEC, data[:length])
    for extra in (b"\x00", b"\xc0", data):
        what_is_wrong(ENVELOPE_CODEC, data + extra)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("count", -1, "count: Expected int >= 0"),
        ("count", INTEGER_MAX + 1, "count: Expected int <= 9223372036854775807"),
        ("count", 2**64 - 1, "count: "),
        ("count", True, "count: Expected int, got bool"),
        ("count", 1.0, ""),
        ("count", None, "count: Expected int, got None"),
        ("count", "1", "count: Expected int, got str"),
        ("amount", 0, "amount: Expected int >= 1"),
        ("amount", SUPPLY_MAX + 1, "amount: Expected int <= 100000000000000000"),
        ("price", PRICE_MAX + 1, "price: Expected int <= 1000000000"),
        ("digest", bytes(31), "digest: Expected bytes of length >= 32"),
        ("digest", bytes(33), "digest: Expected bytes of length <= 32"),
        ("digest", "x" * 32, "digest: Expected bytes, got str"),
        ("digest", None, "digest: Expected bytes, got None"),
        ("key", bytes(33), "key: "),
        ("signature", bytes(63), "signature: "),
        ("address", bytes(21), "address: "),
        ("name", "", "name: "),
        ("name", "a" * 65, "name: "),
        ("name", "A", "name: Expected str matching regex"),
        ("name", "a\n", "name: Expected str matching regex"),
        ("name", "é", "name: Expected str matching regex"),
        ("name", b"a", "name: Expected str, got bytes"),
        ("maybe", bytes(31), "maybe: "),
        ("flag", 1, "flag: Expected bool, got int"),
        ("flag", {}, "flag: Expected bool, got object"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_expected(field, value, message):
    content = plain(LEAF)
    assert isinstance(content, list)
    content[LEAF.__struct_fields__.index(field)] = value
    assert what_is_wrong(LEAF_CODEC, msgpack.packb(content)).startswith(message)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("count", 0), ("count", INTEGER_MAX), ("amount", 1), ("amount", SUPPLY_MAX)),
        *(("price", 0), ("price", PRICE_MAX), ("name", "a"), ("name", "a" * 64)),
        *(("maybe", bytes(32)), ("flag", False)),
    ],
)
def test_the_bounds_themselves_are_allowed(field, value):
    changed = msgspec.structs.replace(LEAF, **{field: value})
    assert LEAF_CODEC.decode(encode(changed)) == changed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([0, [1, bytes(20), 0]], "payload.amount: Expected int >= 1"),
        ([0, [1, bytes(19), 1]], "payload.recipient: Expected bytes of length >= 20"),
        ([0, [2, [BAD_LEAF]]], "payload.leaves.0.amount: Expected int >= 1"),
        ([0, [2, [plain(LEAF), BAD_LEAF]]], "payload.leaves.1.amount: Expected int >= 1"),
        ([0, [9, bytes(20), 1]], "payload.type: Invalid value 9"),
        ([0, ["x", bytes(20), 1]], "payload.type: Expected int, got str"),
        ([-1, [1, bytes(20), 1]], "nonce: Expected int >= 0"),
        ([0, 7], "payload: Expected array, got int"),
        (7, "Expected array, got int"),
    ],
)
def test_a_field_deep_inside_is_named_by_its_whole_path(content, message):
    assert what_is_wrong(ENVELOPE_CODEC, msgpack.packb(content)) == message


def test_a_generic_record_hands_its_argument_down_to_the_names():
    codec = Codec[Outer[Pay | Note]](Outer[Pay | Note])
    data = msgpack.packb([[0, [1, bytes(20), 0]]])
    assert what_is_wrong(codec, data) == "inner.payload.amount: Expected int >= 1"


@pytest.mark.parametrize(
    "content", [[0], [0, [1, bytes(20), 1], 0], [0, [1, bytes(20)]], [0, [1, bytes(20), 1, 1]], []]
)
def test_a_missing_and_an_additional_field_are_refused(content):
    what_is_wrong(ENVELOPE_CODEC, msgpack.packb(content))


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        (Uint, b"\xcc\x01"),  # 1 as uint8 instead of a fixint
        (Uint, b"\xcd\x00\x01"),
        (Uint, b"\xce\x00\x00\x00\x01"),
        (Uint, b"\xcf" + bytes(7) + b"\x01"),
        (Uint, b"\xd0\x01"),  # 1 as int8
        (Uint, b"\xd3" + bytes(7) + b"\x01"),
        (bytes, b"\xc5\x00\x01a"),  # one byte as bin16
        (str, b"\xd9\x01a"),  # one letter as str8
        (list[Uint], b"\xdc\x00\x01\x00"),  # one element as array16
        (list[Uint], b"\xdd\x00\x00\x00\x01\x00"),
    ],
)
def test_a_longer_form_of_the_same_value_is_refused(schema, data):
    assert what_is_wrong(Codec(schema), data) == "an integer, text or array is not in its shortest form"


def test_text_that_is_not_utf8_is_refused():
    what_is_wrong(Codec(str), b"\xa2\xff\xfe")
    what_is_wrong(Codec(str), b"\xa3\xed\xa0\x80")  # a surrogate


@pytest.mark.parametrize("head", [b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"])
@pytest.mark.parametrize("schema", [list[Uint], bytes, str, Envelope, tuple[Uint, ...]])
def test_a_huge_claimed_length_is_refused_at_once(schema, head):
    what_is_wrong(Codec(schema), head)


def test_deep_nesting_is_refused_without_exhausting_the_stack():
    what_is_wrong(ENVELOPE_CODEC, b"\x92" * 100_000)
    assert what_is_wrong(Codec(list), b"\x91" * 1_000_000 + b"\x90") == "arrays nest too deeply"


def test_a_message_above_its_limit_is_refused_with_both_sizes():
    data = encode(PAY)
    assert Codec[Envelope](Envelope, size_max=len(data)).decode(data) == PAY
    with pytest.raises(Rejected) as caught:
        Codec[Envelope](Envelope, size_max=len(data) - 1).decode(data)
    assert caught.value.reason is OVERSIZED
    assert caught.value.facts == {"size": len(data), "limit": len(data) - 1}


def test_a_record_cannot_change_after_it_was_hashed():
    with pytest.raises(AttributeError):
        PAY.nonce = 1  # type: ignore[misc]  # the assignment is the test
