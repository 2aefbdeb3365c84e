"""Proofs against a state root: an entry or its absence, and all entries under a prefix.

Here: the proof records, making them from a tree, `verify_proof`, `verify_range`.
Not here: the tree (types/tree.py), from which header a root is believed (consensus/light.py).
Keeps: a proof shows the one bucket in which a key would be, and the path of sibling hashes up to the
root; what it shows is checked to be a bucket of that place, so an absence cannot be faked by another.
Errors: 1008 range_malformed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated

from msgspec import Meta

from consensus.types.codec import Codec, Record
from consensus.types.errors import Reason, Rejected
from consensus.types.hashing import HASH_BYTES
from consensus.types.tree import (
    BUCKET_BYTES_MAX,
    CHILDREN,
    DEPTH_MAX,
    ENTRY_BYTES,
    NODE_BYTES,
    ROOT,
    StateTree,
    depth_of,
    entries_of,
    key_hash,
    lay_out,
    leaf_hash,
    node_hash,
    position_of,
    value_hash,
)

SIBLING_BYTES = NODE_BYTES - HASH_BYTES
RANGE_BYTES_MAX = 2**26

RANGE_MALFORMED = Reason(
    1008,
    "range_malformed",
    "why:text",
    "This part of a state snapshot does not belong to the state: {why}.",
    "The peer that sent it is faulty; the part is asked for elsewhere.",
)

Siblings = Annotated[bytes, Meta(min_length=SIBLING_BYTES, max_length=SIBLING_BYTES)]
Path = Annotated[tuple[Siblings, ...], Meta(max_length=DEPTH_MAX)]
"""From the root down: at each node the 15 child hashes beside the way."""


class StateProof(Record, frozen=True):
    """The bucket in which a key is or would be, and the way to it."""

    bucket: Annotated[bytes, Meta(max_length=BUCKET_BYTES_MAX)]
    path: Path


class StateRange(Record, frozen=True):
    """Every entry whose key hash begins with `prefix`: a part of a snapshot that verifies alone."""

    prefix: Annotated[bytes, Meta(max_length=DEPTH_MAX)]
    """Nibbles, one a byte."""
    entries: tuple[tuple[bytes, bytes], ...]
    """(key, value), ascending by key."""
    path: Path


STATE_PROOF = Codec[StateProof](StateProof, 64 * 1024)
STATE_RANGE = Codec[StateRange](StateRange, RANGE_BYTES_MAX)


def prove(tree: StateTree, kh: bytes) -> StateProof:
    """The proof for a key hash, whether or not the tree holds it."""
    depth = 0
    while tree.nodes.get(position_of(kh, depth)) is not None:
        depth += 1
    position = position_of(kh, depth)
    return StateProof(tree.buckets.get(position) or b"", _path(tree, position))


def _path(tree: StateTree, position: int) -> tuple[bytes, ...]:
    path = []
    while position > ROOT:
        node = tree.nodes[position >> 4]
        at = (position & 15) * HASH_BYTES
        path.append(node[:at] + node[at + HASH_BYTES :])
        position >>= 4
    return tuple(reversed(path))


def verify_proof(root: bytes, key: bytes, value: bytes | None, proof: StateProof) -> bool:
    """Whether `proof` shows that under `root` the state `key` has `value`; None says it has none."""
    kh = key_hash(key)
    return verify_hashed_proof(root, kh, None if value is None else value_hash(value), proof)


def verify_hashed_proof(root: bytes, kh: bytes, vh: bytes | None, proof: StateProof) -> bool:
    """`verify_proof` by the hashes of key and value."""
    depth = len(proof.path)
    if depth > DEPTH_MAX or not _belongs(proof.bucket, position_of(kh, depth)):
        return False
    if _folded(leaf_hash(proof.bucket), position_of(kh, depth), proof.path) != root:
        return False
    return dict(entries_of(proof.bucket)).get(kh) == vh


def _belongs(bucket: bytes, position: int) -> bool:
    """Whether these bytes have the form of the bucket at that position."""
    if len(bucket) % ENTRY_BYTES or len(bucket) > BUCKET_BYTES_MAX:
        return False
    hashes = [kh for kh, _ in entries_of(bucket)]
    depth = depth_of(position)
    in_place = all(position_of(kh, depth) == position for kh in hashes)
    return in_place and all(a < b for a, b in pairwise(hashes))


def _folded(digest: bytes, position: int, path: Sequence[bytes]) -> bytes:
    """The root that a hash at `position` and the siblings above it make."""
    for siblings in reversed(path):
        if len(siblings) != SIBLING_BYTES:
            return b""
        at = (position & 15) * HASH_BYTES
        digest = node_hash(b"".join((siblings[:at], digest, siblings[at:])))
        position >>= 4
    return digest


# ------------------------------------------------------------------ prefix ranges


def range_positions(nodes: Mapping[int, bytes], depth: int) -> Iterator[int]:
    """Positions that cover the tree once: at `depth`, or higher where a bucket stands above it."""
    waiting = [ROOT]
    while waiting:
        position = waiting.pop()
        if position in nodes and depth_of(position) < depth:
            waiting.extend((position << 4) + nibble for nibble in reversed(range(CHILDREN)))
        else:
            yield position


def make_range(tree: StateTree, position: int, entries: Mapping[bytes, bytes]) -> StateRange:
    """The part at `position`, of which `entries` are all keys and values."""
    nibbles = bytes(int(digit, 16) for digit in f"{position:x}"[1:])
    return StateRange(nibbles, tuple(sorted(entries.items())), _path(tree, position))


def verify_range(root: bytes, part: StateRange) -> int:
    """Return the position all of whose entries `part` shows; raise `Rejected(RANGE_MALFORMED)`.

    Whoever collects parts has the whole state when their positions cover the tree once.
    """
    position = ROOT
    for nibble in part.prefix:
        if nibble >= CHILDREN:
            raise Rejected(RANGE_MALFORMED, why="its prefix is not made of nibbles")
        position = position << 4 | nibble
    depth = len(part.prefix)
    if depth != len(part.path):
        raise Rejected(RANGE_MALFORMED, why="its path does not lead to its prefix")
    if any(a[0] >= b[0] for a, b in pairwise(part.entries)):
        raise Rejected(RANGE_MALFORMED, why="its keys are not strictly ascending")
    hashed = [(key_hash(key), value_hash(value)) for key, value in part.entries]
    if any(position_of(kh, depth) != position for kh, _ in hashed):
        raise Rejected(RANGE_MALFORMED, why="a key lies outside its prefix")
    if _folded(lay_out(hashed, position).root, position, part.path) != root:
        raise Rejected(RANGE_MALFORMED, why="its hashes do not lead to the state root")
    return position
