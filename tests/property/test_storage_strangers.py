"""Whatever a stranger sends as text, JSON or bytes is read as what it is, or refused by a `Fault`."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.types.errors import FactValue, Fault, Reason
from spark_node.storage.age_keys import identity_from_secret, parse_recipient, recipient_of
from spark_node.storage.blob_answers import fault_object, told_fault
from spark_node.storage.objects import KINDS, ObjectName, parse_object_name
from spark_node.storage.places import Place, format_place, parse_place
from spark_node.storage.sealing import seal, unseal
from spark_node.storage.tar_entries import Entry, entry_header, path_trouble, read_entry
from spark_node.storage.tokens import verify_access

IDENTITY = identity_from_secret(b"\3" * 32)
SEALED = seal(b"access to the input", recipient_of(IDENTITY), 4096)
NAMES = st.builds(
    ObjectName,
    st.binary(min_size=32, max_size=32),
    st.integers(0, 255),
    st.sampled_from(KINDS),
    st.integers(0, 2**31 - 1),
)
STORAGE_REASONS = [reason for code, reason in Reason.registry.items() if 3400 <= code < 3500]
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20))
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(NAMES)
def test_a_name_is_its_text(name: ObjectName) -> None:
    """There and back."""
    assert parse_object_name(name.text) == name


@given(st.text(max_size=100))
def test_any_text_is_a_name_a_place_a_recipient_or_refused(text: str) -> None:
    """And what is accepted is spelled just so."""
    for read, spell in (
        (parse_object_name, lambda name: name.text),
        (parse_place, format_place),
        (lambda t: parse_place("blob:http://" + t), lambda p: format_place(p).removeprefix("blob:http://")),
        (lambda t: parse_place("file://" + t), lambda p: format_place(p).removeprefix("file://")),
        (parse_recipient, str),
    ):
        try:
            assert spell(read(text)) == text
        except Fault:
            continue


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9), max_size=4))
def test_a_directory_that_can_be_spelled_is_read_back(parts: list[str]) -> None:
    """Any ordinary absolute path, in any script."""
    place = Place("file", "/" + "/".join(parts))
    try:
        text = format_place(place)
    except Fault:
        return
    assert parse_place(text) == place
    assert text.isascii()


@given(st.text(max_size=400))
def test_any_text_as_a_token_is_refused(text: str) -> None:
    """By a fault, whatever it is."""
    with pytest.raises(Fault):
        verify_access(text, bytes(32), "GET", ObjectName(bytes(32), 0, "in", 0), 0)


@given(st.sampled_from(STORAGE_REASONS), st.data())
def test_a_servers_fault_arrives_as_it_was(reason: Reason, data: st.DataObject) -> None:
    """Code and facts survive the way through JSON."""
    facts: dict[str, FactValue] = {}
    for name, kind in reason.facts:
        if kind in ("hash", "address"):
            facts[name] = data.draw(st.binary(min_size=1, max_size=32))
        elif kind == "text":
            facts[name] = data.draw(st.text("abc /…结", max_size=50))
        else:
            facts[name] = data.draw(st.integers(0, 2**63 - 1))
    told = told_fault(fault_object(Fault(reason, **facts)))
    assert told is not None
    assert (told.reason, told.facts) == (reason, facts)


@given(st.sampled_from(STORAGE_REASONS), st.dictionaries(st.text(max_size=8), JSON), JSON, st.data())
def test_a_lying_servers_json_is_a_fault_of_ours_or_nothing(
    reason: Reason, answer: dict[str, object], junk: object, data: st.DataObject
) -> None:
    """Facts of other kinds, missing, surplus, huge: never an exception, never an undeclared fact."""
    facts = {name: data.draw(JSON) for name, _ in reason.facts}
    for told in (
        answer,
        {"code": reason.code, "data": junk},
        {"code": reason.code, "data": {"facts": facts}},
    ):
        fault = told_fault(told)
        if fault is not None:
            assert set(fault.facts) == {name for name, _ in fault.reason.facts}
            assert len(str(fault)) < 2_000


@settings(max_examples=200)
@given(st.integers(0, len(SEALED) - 1), st.binary(max_size=40), st.integers(0, 40))
def test_a_changed_envelope_does_not_open(at: int, inserted: bytes, removed: int) -> None:
    """Whatever replaces whatever: a fault, unless nothing changed."""
    changed = SEALED[:at] + inserted + SEALED[at + removed :]
    if changed == SEALED:
        return
    with pytest.raises(Fault):
        unseal(changed, IDENTITY)


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=300),
    st.booleans(),
    st.integers(0, 2**40),
)
def test_a_header_is_read_as_it_was_written(path: str, is_executable: bool, size: int) -> None:
    """Long and foreign names and files beyond 8 GiB included."""
    if path_trouble(path) is not None:
        return
    entry = Entry(path, False, is_executable, size)
    blocks = io.BytesIO(entry_header(entry))
    assert read_entry(blocks.read) == entry
    assert not blocks.read()


@given(st.binary(min_size=512, max_size=512), st.integers(0, 511), st.integers(0, 255))
def test_any_block_is_a_header_the_end_or_refused(block: bytes, at: int, value: int) -> None:
    """Random blocks, and a good header with one byte changed."""
    changed = bytearray(entry_header(Entry("a/b", False, True, 77)))
    changed[at] = value
    for trial in (block, bytes(changed)):
        source = io.BytesIO(trial + bytes(4096))
        try:
            entry = read_entry(source.read)
        except Fault:
            continue
        assert entry is None or path_trouble(entry.path) is None
