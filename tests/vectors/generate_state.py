"""Write state.json: keys and values as the state tree holds them, roots, a history, proofs.

Here: the cases and the call of each rule. Not here: the comparison (tests/unit/test_state_vectors.py).
Bytes are hexadecimal. Rewrite the file with `python -m tests.vectors.generate_state`; a commit that moves a
figure says so.
"""

from __future__ import annotations

import json
from itertools import count, islice
from pathlib import Path
from typing import Any

from consensus.types.codec import encode
from consensus.types.tree import (
    ROOT,
    StateTree,
    depth_of,
    empty_tree,
    key_hash,
    lay_out,
    update_tree,
    value_hash,
)
from consensus.types.tree_proof import make_range, prove, verify_proof, verify_range

HERE = Path(__file__).parent
ACCOUNT = b"\x04"
SIZES = (0, 1, 16, 17, 300)
CROWD_PREFIX = "a5"
"""What the key hashes of the crowd begin with: seventeen of them split three levels at once."""

Entries = dict[bytes, bytes]


def entry(number: int) -> tuple[bytes, bytes]:
    """The numbered account: its key and a value of some bytes."""
    return ACCOUNT + number.to_bytes(20, "big"), encode([number, 10 ** number.bit_length()])


def some(size: int) -> Entries:
    """So many entries."""
    return dict(entry(number) for number in range(size))


def crowd() -> Entries:
    """Seventeen entries whose key hashes begin alike."""
    found = (e for e in map(entry, count(1_000)) if key_hash(e[0]).hex().startswith(CROWD_PREFIX))
    return dict(islice(found, 17))


def tree_of(entries: Entries) -> StateTree:
    """A tree of these entries."""
    return lay_out((key_hash(key), value_hash(value)) for key, value in entries.items())


def told(entries: Entries) -> list[list[str]]:
    """Entries for JSON."""
    return [[key.hex(), value.hex()] for key, value in sorted(entries.items())]


def prefix_of(position: int) -> str:
    """A position's nibbles."""
    return f"{position:x}"[1:]


def shape(tree: StateTree) -> dict[str, Any]:
    """Prefixes at which nodes stand, and buckets by prefix with the number of their entries."""
    assert isinstance(tree.buckets, dict)
    ordered = sorted(tree.buckets.items(), key=lambda item: (depth_of(item[0]), item[0]))
    nodes = sorted(tree.nodes, key=lambda position: (depth_of(position), position))
    return {
        "nodes": [prefix_of(position) for position in nodes],
        "buckets": {prefix_of(position): len(bucket) // 64 for position, bucket in ordered},
    }


def hash_vectors() -> list[dict[str, str]]:
    """Hashes of keys and values: an empty key and value, short ones, one past a block of BLAKE2b."""
    cases = [(b"", b""), entry(0), entry(299), (bytes(range(200)), bytes(range(256)) * 2)]
    return [
        {"key": k.hex(), "kh": key_hash(k).hex(), "value": v.hex(), "vh": value_hash(v).hex()}
        for k, v in cases
    ]


def tree_vectors() -> list[dict[str, Any]]:
    """Trees by the number of their entries."""
    found = []
    for size in SIZES:
        tree = tree_of(some(size))
        found.append({"entries": told(some(size)), "root": tree.root.hex()} | shape(tree))
    return found


def history_vectors() -> list[dict[str, Any]]:
    """Batches of writes (nil deletes) on an empty tree, with root and shape after each."""
    first, grown = dict(some(16)), some(40)
    alike = crowd()
    last_of_crowd = sorted(alike)[-1]
    batches: list[tuple[str, dict[bytes, bytes | None]]] = [
        ("sixteen entries are one bucket", {**first}),
        ("the seventeenth splits it", dict([entry(16)])),
        ("a changed value changes no shape", {entry(3)[0]: b"\x01"}),
        ("back to sixteen: the buckets merge", {entry(16)[0]: None}),
        ("forty entries", {**grown}),
        ("a crowd under one prefix splits deep", {**alike}),
        ("one of the crowd leaves: its buckets merge", {last_of_crowd: None}),
        ("what does not exist is deleted: nothing changes", {last_of_crowd: None}),
        ("one leaves as another comes", {entry(0)[0]: None, entry(400)[0]: entry(400)[1]}),
        ("all but one leave", dict.fromkeys([*alike, *(entry(n)[0] for n in (*range(1, 40),))])),
        ("none is left", {entry(400)[0]: None}),
    ]
    tree, found = empty_tree(), []
    for words, writes in batches:
        tree.apply(update_tree(tree, writes))
        rows = [[key.hex(), None if value is None else value.hex()] for key, value in sorted(writes.items())]
        found.append({"words": words, "writes": rows, "root": tree.root.hex()} | shape(tree))
    return found


def proof_vectors() -> list[dict[str, Any]]:
    """Proofs that hold, and what they do not show."""
    missing = next(e for e in map(entry, count(5_000)) if not prove(tree_of(some(17)), key_hash(e[0])).bucket)
    cases = [
        ("in a single bucket", 16, entry(7)),
        ("in a deeper bucket", 300, entry(123)),
        ("absent from an empty tree", 0, (entry(7)[0], None)),
        ("absent from the bucket where it would be", 16, (entry(999)[0], None)),
        ("absent because its bucket is empty", 17, (missing[0], None)),
        ("absent from a large tree", 300, (entry(999)[0], None)),
    ]
    found = []
    for words, size, (key, value) in cases:
        tree = tree_of(some(size))
        proof = prove(tree, key_hash(key))
        assert verify_proof(tree.root, key, value, proof)
        found.append({
            "words": words, "size": size, "root": tree.root.hex(), "key": key.hex(),
            "value": None if value is None else value.hex(), "proof": encode(proof).hex(),
        })  # fmt: skip
    return found


def false_proof_vectors() -> list[dict[str, Any]]:
    """What shows nothing: (key, value) as claimed under a root, with a proof that does not hold."""
    tree = tree_of(some(300))
    proofs = {number: prove(tree, key_hash(entry(number)[0])) for number in range(300)}
    shown = next(n for n, proof in proofs.items() if proof.path and len(proof.bucket) >= 3 * 64)
    elsewhere = next(proof for proof in proofs.values() if proof.bucket != proofs[shown].bucket)
    (key, value), (bucket, path) = entry(shown), (proofs[shown].bucket, proofs[shown].path)
    without = bucket.replace(key_hash(key) + value_hash(value), b"")
    swapped = bucket[64:128] + bucket[:64] + bucket[128:]
    cases = [
        ("another value", value + b"\x00", [bucket, path]),
        ("an absence of what is there", None, [bucket, path]),
        ("the entry left out of its bucket", None, [without, path]),
        ("the proof of another key", None, elsewhere),
        ("the bucket's entries out of order", value, [swapped, path]),
        ("a path without its last step", value, [bucket, path[:-1]]),
        ("a sibling changed", value, [bucket, (*path[:-1], bytes(480))]),
    ]  # fmt: skip
    return [
        {
            "words": words, "root": tree.root.hex(), "key": key.hex(),
            "value": None if claimed is None else claimed.hex(), "proof": encode(told_proof).hex(),
        }
        for words, claimed, told_proof in cases
    ]  # fmt: skip


def range_vectors() -> list[dict[str, Any]]:
    """Parts of a snapshot: all entries under a prefix with their way to the root."""
    found = []
    for size, prefix in ((0, ""), (16, ""), (300, ""), (300, "7"), (300, "f3")):
        entries = some(size)
        position = int("1" + prefix, 16)
        inside = {k: v for k, v in entries.items() if key_hash(k).hex().startswith(prefix)}
        tree = tree_of(entries)
        if depth_of(position) and position >> 4 not in tree.nodes:
            position >>= 4
            inside = {k: v for k, v in entries.items() if key_hash(k).hex().startswith(prefix_of(position))}
        part = make_range(tree, position, inside)
        assert verify_range(tree.root, part) == position >= ROOT
        found.append({"size": size, "root": tree.root.hex(), "part": encode(part).hex()})
    return found


def files() -> dict[str, str]:
    """The text of the file."""
    content = {
        "hashes": hash_vectors(),
        "trees": tree_vectors(),
        "history": history_vectors(),
        "proofs": proof_vectors(),
        "false_proofs": false_proof_vectors(),
        "ranges": range_vectors(),
    }
    return {"state.json": json.dumps(content, indent=1) + "\n"}


if __name__ == "__main__":
    for file_name, text in files().items():
        (HERE / file_name).write_text(text)
        print(f"{file_name}: {len(text)} bytes")
