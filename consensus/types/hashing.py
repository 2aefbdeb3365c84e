"""Domain-separated hashing: H(tag, x) is BLAKE2b-256 personalised with the tag (RFC 7693 §2.5).

Here: the list of every tag in use, `tagged_hash`, and the Merkle root of a list.
Not here: the hashes of particular records (beside the record), the state tree (types/tree.py).
Keeps: two things of different kinds never share a hash, because no tag is used for two kinds.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from enum import Enum
from hashlib import blake2b
from operator import add

HASH_BYTES = 32
ZERO_HASH = bytes(HASH_BYTES)
"""The hash of nothing: an empty bucket, the leaf list of an empty block."""


SLICE_NODES = 1_024
"""Items hashed between two pauses: about a millisecond."""


class Tag(bytes, Enum):
    """Every personalisation in use, at most 16 bytes each (the limit of BLAKE2b)."""

    GENESIS = b"EUB-genesis"
    ADDRESS = b"EUB-addr"
    TX_SIGN = b"EUB-tx"
    TXID = b"EUB-txid"
    WTXID = b"EUB-wtx"
    BLOCK = b"EUB-block"
    VOTE = b"EUB-vote"
    POSSESSION = b"EUB-possess"
    VALIDATORS = b"EUB-valset"
    COMMIT = b"EUB-commit"
    LIST_ROOT = b"EUB-mroot"
    LIST_LEAF = b"EUB-mleaf"
    LIST_NODE = b"EUB-mnode"
    STATE_KEY = b"EUB-key"
    STATE_VALUE = b"EUB-val"
    STATE_LEAF = b"EUB-leaf"
    STATE_NODE = b"EUB-node"
    REVEAL = b"EUB-reveal"
    CHAIN = b"EUB-chain"
    BEACON = b"EUB-beacon"
    DRAW = b"EUB-draw"
    TIE = b"EUB-tie"
    PANEL_KEYS = b"EUB-por-key"
    WINDOW = b"EUB-por-win"
    WINDOW_SEED = b"EUB-por-seed"
    WINDOW_SAMPLE = b"EUB-por-smp"
    JOB = b"EUB-job"
    OUTPUT = b"EUB-out"
    SEAL = b"EUB-seal"
    AUDIT = b"EUB-audit"
    SPEC = b"EUB-spec"
    BLOB_ACCESS = b"EUB-blob"
    HELLO = b"EUB-hello"
    PEER_ADDRESS = b"EUB-peer-addr"
    SPARK_IDENTITY = b"EUB-spark-id"
    MESSAGE = b"EUB-message"
    SNAPSHOT = b"EUB-snapshot"

    def __init__(self, person: bytes) -> None:
        self.begin = blake2b(digest_size=HASH_BYTES, person=person).copy
        """Makes a hasher that has the tag: a copied state costs half of a new one."""


def tagged_hash(tag: Tag, *parts: bytes) -> bytes:
    """Hash the concatenation of `parts` under `tag`; returns 32 bytes."""
    hasher = tag.begin()
    for part in parts:
        hasher.update(part)
    return hasher.digest()


def tagged_hashes(tag: Tag, items: Iterable[bytes]) -> list[bytes]:
    """Hash each of `items` under `tag`, as `tagged_hash` does one."""
    begin, digests = tag.begin, []
    for item in items:
        hasher = begin()
        hasher.update(item)
        digests.append(hasher.digest())
    return digests


def list_root(items: Sequence[bytes]) -> bytes:
    """Commit to an ordered list: RFC 6962's tree, then the count, so a list cannot pass for its prefix."""
    steps = list_root_steps(items)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            root: bytes = end.value
            return root


def list_root_steps(items: Sequence[bytes]) -> Generator[None, None, bytes]:
    """`list_root`, pausing about once a millisecond."""
    nodes: list[bytes] = []
    for start in range(0, len(items), SLICE_NODES):
        nodes += tagged_hashes(Tag.LIST_LEAF, items[start : start + SLICE_NODES])
        yield
    while len(nodes) > 1:
        # Pairing neighbours level by level and carrying an odd last node up unchanged gives the
        # same tree as RFC 6962 §2.1's split at the largest power of two.
        paired: list[bytes] = []
        for start in range(0, len(nodes) - 1, 2 * SLICE_NODES):
            some = nodes[start : start + 2 * SLICE_NODES]
            paired += tagged_hashes(Tag.LIST_NODE, map(add, some[:-1:2], some[1::2]))
            if len(nodes) > SLICE_NODES:
                yield
        nodes = paired + nodes[len(paired) * 2 :]
    top = nodes[0] if nodes else ZERO_HASH
    return tagged_hash(Tag.LIST_ROOT, top, len(items).to_bytes(8, "big"))
