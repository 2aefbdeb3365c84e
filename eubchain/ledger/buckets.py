"""The state tree's buckets on disk, and the tree rebuilt from them when a node starts.

Here: `load_tree`, putting an update's buckets into a batch.
Not here: the tree itself (consensus/types/tree.py), when the batch is written (ledger/ledger.py).
Keeps: inner hashes live in memory only; buckets too while they fit a limit, beyond it they are read
from the store, at the height of the reader's snapshot.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from consensus.types.tree import StateTree, TreeUpdate, hash_nodes, leaf_hash
from eubchain.ledger.layout import SLICE_ROWS, bucket_key, bucket_position
from eubchain.ledger.store import Batch, Column, Source

MEMORY_BYTES_MAX = 192 * 2**20
"""Buckets kept in memory, in bytes of entries: three million of them. 64 bytes are one entry."""


class StoredBuckets:
    """A bucket reader over a snapshot that is replaced when the tree advances."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def get(self, position: int, /) -> bytes | None:
        return self.source.get(Column.BUCKET, bucket_key(position))


def load_tree(source: Source, memory_bytes_max: int = MEMORY_BYTES_MAX) -> StateTree:
    """Hash every bucket once: about a second for a million entries."""
    kept: dict[int, bytes] = {}
    room = memory_bytes_max

    def leaves() -> Iterator[tuple[int, bytes]]:
        nonlocal room
        for key, bucket in source.iterate(Column.BUCKET):
            position = bucket_position(key)
            room -= len(bucket)
            if room >= 0:
                kept[position] = bucket
            yield position, leaf_hash(bucket)

    nodes, root = hash_nodes(leaves())
    return StateTree(nodes, kept if room >= 0 else StoredBuckets(source), root)


def put_buckets(batch: Batch, update: TreeUpdate) -> Generator[None, None, None]:
    """Stepwise: add an update's buckets to a batch."""
    for count, (position, bucket) in enumerate(update.buckets.items(), 1):
        if bucket is None:
            batch.delete(Column.BUCKET + bucket_key(position))
        else:
            batch.put(Column.BUCKET + bucket_key(position), bucket)
        if not count % SLICE_ROWS:
            yield
