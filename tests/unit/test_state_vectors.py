"""The published state trees, read by another implementation: msgpack, hashlib and recursion."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consensus.types.errors import Rejected
from consensus.types.tree_proof import STATE_PROOF, STATE_RANGE, verify_proof, verify_range
from tests.vectors import generate_state, plain

FILE = generate_state.HERE / "state.json"
VECTORS = json.loads(FILE.read_text())
raw = bytes.fromhex


def read(value: str | None) -> bytes | None:
    """A value or its absence."""
    return None if value is None else raw(value)


def check_shape(row: dict[str, Any], hashes: list[bytes]) -> None:
    """Nodes stand where more than sixteen entries share a prefix, buckets below them."""
    names = [kh.hex() for kh in hashes]

    def under(prefix: str) -> int:
        return sum(name.startswith(prefix) for name in names)

    assert all(under(prefix) > 16 for prefix in row["nodes"])
    assert sum(row["buckets"].values()) == len(names)
    for prefix, size in row["buckets"].items():
        assert size == under(prefix) <= 16
        assert not prefix or prefix[:-1] in row["nodes"]


def test_the_vectors_are_what_the_code_makes_today() -> None:
    """A change that moves one says so in its commit."""
    assert generate_state.files()["state.json"] == FILE.read_text()


def test_keys_and_values_hash_as_published() -> None:
    for row in VECTORS["hashes"]:
        assert plain.hashed("EUB-key", raw(row["key"])).hex() == row["kh"]
        assert plain.hashed("EUB-val", raw(row["value"])).hex() == row["vh"]


@pytest.mark.parametrize("row", VECTORS["trees"], ids=lambda row: len(row["entries"]))
def test_a_tree_has_the_published_root_and_shape(row: dict[str, Any]) -> None:
    entries = {raw(key): raw(value) for key, value in row["entries"]}
    assert plain.state_root(entries).hex() == row["root"]
    check_shape(row, [plain.hashed("EUB-key", key) for key in entries])


def test_a_history_of_splits_and_merges_has_the_published_roots_and_shapes() -> None:
    entries: dict[bytes, bytes] = {}
    for row in VECTORS["history"]:
        for key, value in row["writes"]:
            if value is None:
                entries.pop(raw(key), None)
            else:
                entries[raw(key)] = raw(value)
        assert plain.state_root(entries).hex() == row["root"], row["words"]
        check_shape(row, [plain.hashed("EUB-key", key) for key in entries])
    depths = [max((len(prefix) for prefix in row["buckets"]), default=0) for row in VECTORS["history"]]
    assert max(depths) > depths[-2] == 0, "the history splits deep and merges back"


@pytest.mark.parametrize("row", VECTORS["proofs"], ids=lambda row: row["words"])
def test_a_published_proof_holds_for_both_implementations(row: dict[str, Any]) -> None:
    root, key, value, proof = raw(row["root"]), raw(row["key"]), read(row["value"]), raw(row["proof"])
    assert plain.proves(root, key, value, proof)
    assert verify_proof(root, key, value, STATE_PROOF.decode(proof))
    assert not plain.proves(root, key, b"another", proof)


@pytest.mark.parametrize("row", VECTORS["false_proofs"], ids=lambda row: row["words"])
def test_a_published_false_proof_holds_for_neither(row: dict[str, Any]) -> None:
    root, key, value, proof = raw(row["root"]), raw(row["key"]), read(row["value"]), raw(row["proof"])
    assert not plain.proves(root, key, value, proof)
    try:
        assert not verify_proof(root, key, value, STATE_PROOF.decode(proof))
    except Rejected:
        raise AssertionError("each is a well-formed proof, of something else") from None


@pytest.mark.parametrize("row", VECTORS["ranges"], ids=lambda row: f"{row['size']} entries")
def test_a_part_of_a_snapshot_leads_to_the_root(row: dict[str, Any]) -> None:
    prefix, entries, path = plain.unpacked(raw(row["part"]))
    nibbles = prefix.hex()[1::2]
    hashes = {plain.hashed("EUB-key", key): plain.hashed("EUB-val", value) for key, value in entries}
    assert all(kh.hex().startswith(nibbles) for kh in hashes)
    top = plain.tree_root(hashes, len(nibbles))
    assert plain.folded(top, nibbles, path).hex() == row["root"]
    assert verify_range(raw(row["root"]), STATE_RANGE.decode(raw(row["part"]))) == int("1" + nibbles, 16)
