"""A ledger made from a snapshot: each chunk checked against a block that is trusted, then written.

Here: `restore` (stepwise).
Not here: the checks (ledger/snapshot_check.py), making snapshots (ledger/snapshot.py), which block is
trusted (the caller names it).
Keeps: the ledger has its meta row only when every chunk is in it.
Errors: those of the checks, and 2116 ledger_exists.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

from consensus.light import Terms, terms_of
from consensus.types.block import Header
from consensus.types.codec import encode
from consensus.types.errors import Fault
from consensus.types.genesis import Genesis
from consensus.types.tree import key_hash, lay_out, value_hash
from eubchain.ledger.layout import FORMAT, META, META_KEY, Meta, bucket_key, height_key
from eubchain.ledger.ledger import LEDGER_EXISTS
from eubchain.ledger.snapshot import EPOCHS, NAMED, PART, Manifest, chunk_file
from eubchain.ledger.snapshot_check import EpochsCheck, NamedCheck, check_manifest, check_part
from eubchain.ledger.store import Batch, Column, Store

Chunk = Callable[[str], bytes]
"""The bytes of a chunk by its name."""


def restore(
    path: Path, genesis: Genesis, genesis_root: bytes, manifest: Manifest, trusted: bytes, chunk: Chunk
) -> Generator[None, None, None]:
    """Stepwise: make a ledger whose head is the block `trusted`, from a snapshot's chunks.

    `genesis_root` is the state root of height 0. A restore that failed can be started again. Raise
    `Fault` 1922, 2101, 2103, 2105, 2116, 2140–2142. Blocks from the next one on are then asked for as usual.
    """
    terms = terms_of(genesis)
    check_manifest(manifest, terms, trusted)
    store = Store(path, create=True)
    try:
        found = store.latest.get(Column.META, META_KEY)
        if found is not None:
            raise Fault(LEDGER_EXISTS, path=str(path), height=META.decode(found).height)
        store.clear()
        for number in range(len(manifest.prefixes)):
            yield from _take_part(store, manifest, number, chunk(chunk_file(PART, number)))
        yield from _take_named(store, manifest, chunk)
        yield from _take_epochs(store, manifest, terms, chunk)
        _finish(store, genesis, genesis_root, manifest, trusted)
    finally:
        store.close()


def _take_part(store: Store, manifest: Manifest, number: int, raw: bytes) -> Generator[None, None, None]:
    position, part = check_part(manifest, number, raw)
    yield
    # Not synced: only the meta row at the end counts, and its sync carries everything before it.
    batch = store.batch(sync=False)
    for key, value in part.entries:
        batch.put(Column.VALUE + key, value)
    hashed = ((key_hash(key), value_hash(value)) for key, value in part.entries)
    tree = lay_out(hashed, position)
    assert isinstance(tree.buckets, dict), "a tree laid out in memory"
    for place, bucket in tree.buckets.items():
        batch.put(Column.BUCKET + bucket_key(place), bucket)
    store.write(batch)
    yield


def _take_named(store: Store, manifest: Manifest, chunk: Chunk) -> Generator[None, None, None]:
    check = NamedCheck(manifest)
    for number in range(manifest.named_chunks):
        batch = store.batch(sync=False)
        for wtxid, raw in check.take(number, chunk(chunk_file(NAMED, number))).items():
            batch.put(Column.KEPT_TRANSACTION + wtxid, raw)
        store.write(batch)
        yield
    check.finish()


def _take_epochs(store: Store, manifest: Manifest, terms: Terms, chunk: Chunk) -> Generator[None, None, None]:
    check = EpochsCheck(manifest, terms)
    for number in range(manifest.epoch_chunks):
        ends = yield from check.take(number, chunk(chunk_file(EPOCHS, number)))
        batch = store.batch(sync=False)
        for end, members in ends:
            _put_header(batch, end.header, end.commit.block_id)
            batch.put(Column.COMMIT + height_key(end.header.height), encode(end.commit))
            batch.put(Column.VALIDATOR_SET + end.header.validators_hash, encode(members))
        store.write(batch)
    check.finish()


def _put_header(batch: Batch, header: Header, identity: bytes) -> None:
    key = height_key(header.height)
    batch.put(Column.HEADER + key, encode(header))
    batch.put(Column.HEIGHT_OF_BLOCK + identity, key)


def _finish(store: Store, genesis: Genesis, genesis_root: bytes, manifest: Manifest, trusted: bytes) -> None:
    """The rows that make it a ledger, in one synced batch."""
    header = manifest.header
    batch = store.batch()
    batch.put(Column.GENESIS.value, encode(genesis))
    _put_header(batch, header, trusted)
    batch.put(Column.COMMIT + height_key(header.height), encode(manifest.commit))
    batch.put(Column.VALIDATOR_SET + header.validators_hash, encode(manifest.validators))
    batch.put(Column.VALIDATOR_SET + header.next_validators_hash, encode(manifest.next_validators))
    meta = Meta(
        FORMAT,
        manifest.genesis,
        genesis_root,
        header.height,
        trusted,
        header.state_root,
        header.height + 1,
        header.height,
    )
    batch.put(Column.META + META_KEY, encode(meta))
    store.write(batch)
