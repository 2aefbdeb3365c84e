"""Any tree survives packing; no damaged archive shows anything but its fault."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.types.errors import Fault
from spark_node.storage.packing import content_digests, pack, unpack
from spark_node.storage.tar_entries import path_trouble

letters = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/")
names = st.text(letters, min_size=1, max_size=40)
trees = st.recursive(
    st.binary(max_size=2000),
    lambda inner: st.dictionaries(names.filter(lambda n: path_trouble(n) is None), inner, max_size=4),
    max_leaves=8,
).filter(lambda t: isinstance(t, dict))


def grow(at: Path, tree: object) -> None:
    """Write a drawn tree to disk."""
    if isinstance(tree, bytes):
        at.write_bytes(tree)
        return
    assert isinstance(tree, dict)
    at.mkdir()
    for name, inner in tree.items():
        grow(at / name, inner)


@settings(max_examples=40, deadline=None)
@given(trees)
def test_any_tree_survives(tree: object) -> None:
    """Packing, unpacking and packing again gives the same contents and the same bytes."""
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "source"), Path(directory, "target")
        grow(source, tree)
        first, second = io.BytesIO(), io.BytesIO()
        contents = pack(source, first)
        first.seek(0)
        assert unpack(first, target) == contents
        assert content_digests(target) == [(c.path, c.digest) for c in contents]
        pack(target, second)
        assert first.getvalue() == second.getvalue()


def _archive() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "source")
        grow(source, {"a": {"b": b"text" * 300, "c": bytes(range(256))}, "数": b"1", "e" * 150: b""})
        out = io.BytesIO()
        pack(source, out)
        return out.getvalue()


ARCHIVE = _archive()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(ARCHIVE) - 1), st.integers(0, 7))
def test_a_flipped_bit_or_a_cut_is_noticed_or_harmless(at: int, bit: int) -> None:
    """A cut always fails; a flipped bit fails, or hit one that means nothing and the contents stand."""
    flipped = bytearray(ARCHIVE)
    flipped[at] ^= 1 << bit
    with tempfile.TemporaryDirectory() as directory:
        whole = unpack(io.BytesIO(ARCHIVE), Path(directory, "whole"))
        for number, archive in enumerate((bytes(flipped), ARCHIVE[:at])):
            try:
                contents = unpack(io.BytesIO(archive), Path(directory, str(number)))
            except Fault:
                continue
            assert number == 0
            assert contents == whole
