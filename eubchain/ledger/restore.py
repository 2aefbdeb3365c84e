"""A ledger made from a snapshot: each chunk checked on arrival against a block that is trusted.

Here: `check_manifest`, `restore` (stepwise).
Not here: making snapshots (ledger/snapshot.py), which block is trusted (the caller names it).
Keeps: a wrong chunk is refused by itself; the ledger has its meta row only when every chunk is in it.
Errors: 2141 snapshot_of_other_block, 2142 snapshot_chunk_refused.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

from consensus.light import LightBlock, Terms, check_light_block, terms_of
from consensus.types.block import Header, block_id
from consensus.types.codec import encode
from consensus.types.errors import Fault, Reason, Rejected
from consensus.types.genesis import Genesis, genesis_hash
from consensus.types.transaction import wtxid_of
from consensus.types.tree import CHILDREN, DEPTH_MAX, ROOT, key_hash, lay_out, value_hash
from consensus.types.tree_proof import STATE_RANGE, StateRange, verify_range
from consensus.validators import ValidatorSet, validators_hash
from eubchain.ledger.layout import FORMAT, META, META_KEY, Meta, bucket_key, height_key
from eubchain.ledger.ledger import LEDGER_EXISTS
from eubchain.ledger.snapshot import (
    EPOCH_CHUNK,
    EPOCHS,
    NAMED,
    NAMED_CHUNK,
    PART,
    SNAPSHOT_FORMAT,
    SNAPSHOT_MALFORMED,
    EpochEnd,
    Manifest,
    chunk_file,
)
from eubchain.ledger.store import Batch, Column, Store

SNAPSHOT_OF_OTHER_BLOCK = Reason(
    2141,
    "snapshot_of_other_block",
    "height:height theirs:hash trusted:hash",
    "The snapshot is of block {theirs} at height {height}; the trusted block is {trusted}.",
    "Take the snapshot from another node, or compare the trusted hash with its source.",
)
SNAPSHOT_CHUNK_REFUSED = Reason(
    2142,
    "snapshot_chunk_refused",
    "chunk:text why:text",
    "The chunk {chunk} does not belong to the snapshot: {why}.",
    "Whoever gave it is faulty; take it from another node.",
)

Chunk = Callable[[str], bytes]
"""The bytes of a chunk by its name."""


def restore(
    path: Path, genesis: Genesis, genesis_root: bytes, manifest: Manifest, trusted: bytes, chunk: Chunk
) -> Generator[None, None, None]:
    """Stepwise: make a ledger whose head is the block `trusted`, from a snapshot's chunks.

    `genesis_root` is the state root of height 0. A restore that failed can be started again. Raise
    `Fault` 2101, 2103, 2105, 2116, 2140–2142. Blocks from the next one on are then asked for as usual.
    """
    terms = terms_of(genesis)
    check_manifest(manifest, genesis_hash(genesis), trusted)
    check_light_block(terms, LightBlock(manifest.header, manifest.commit, manifest.validators))
    store = Store(path, create=True)
    try:
        found = store.latest.get(Column.META, META_KEY)
        if found is not None:
            raise Fault(LEDGER_EXISTS, path=str(path), height=META.decode(found).height)
        store.clear()
        for number, prefix in enumerate(manifest.prefixes):
            name = chunk_file(PART, number)
            yield from _take_part(store, manifest, prefix, name, chunk(name))
        yield from _take_named(store, manifest, chunk)
        yield from _take_epochs(store, manifest, terms, chunk)
        _finish(store, genesis, genesis_root, manifest, trusted)
    finally:
        store.close()


def check_manifest(manifest: Manifest, genesis: bytes, trusted: bytes) -> None:
    """Refuse a manifest of another network or block, or whose parts do not cover the state once."""
    if (manifest.format, manifest.genesis) != (SNAPSHOT_FORMAT, genesis):
        raise Fault(SNAPSHOT_MALFORMED, why="it is of another network or format")
    identity = block_id(genesis, manifest.header)
    if identity != trusted or manifest.commit.block_id != trusted:
        height = manifest.header.height
        raise Fault(SNAPSHOT_OF_OTHER_BLOCK, height=height, theirs=identity, trusted=trusted)
    named_sets = (
        (manifest.validators, manifest.header.validators_hash),
        (manifest.next_validators, manifest.header.next_validators_hash),
    )
    if any(validators_hash(members) != stated for members, stated in named_sets):
        raise Fault(SNAPSHOT_MALFORMED, why="its validator sets are not those that its header names")
    covered = 0
    for prefix in manifest.prefixes:
        if len(prefix) > DEPTH_MAX or any(nibble >= CHILDREN for nibble in prefix):
            raise Fault(SNAPSHOT_MALFORMED, why="a prefix is not made of nibbles")
        room = 4 * (DEPTH_MAX - len(prefix))
        if _position(prefix) - (1 << 4 * len(prefix)) << room != covered:
            raise Fault(SNAPSHOT_MALFORMED, why="its parts overlap or leave a gap")
        covered += 1 << room
    if covered != 1 << 4 * DEPTH_MAX:
        raise Fault(SNAPSHOT_MALFORMED, why="its parts do not cover the state")


def _position(prefix: bytes) -> int:
    position = ROOT
    for nibble in prefix:
        position = position << 4 | nibble
    return position


def _refuse(chunk: str, why: str) -> Fault:
    return Fault(SNAPSHOT_CHUNK_REFUSED, chunk=chunk, why=why)


def _take_part(
    store: Store, manifest: Manifest, prefix: bytes, name: str, raw: bytes
) -> Generator[None, None, None]:
    try:
        part: StateRange = STATE_RANGE.decode(raw)
        if part.prefix != prefix:
            raise _refuse(name, "it is another one than was asked for")
        position = verify_range(manifest.header.state_root, part)
    except Rejected as refusal:
        raise _refuse(name, str(refusal)) from None
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
    waiting = list(reversed(manifest.named))
    for number in range(manifest.named_chunks):
        name = chunk_file(NAMED, number)
        try:
            raws = NAMED_CHUNK.decode(chunk(name))
        except Rejected as refusal:
            raise _refuse(name, str(refusal)) from None
        batch = store.batch(sync=False)
        for raw in raws:
            wtxid = wtxid_of(raw)
            if not waiting or waiting.pop() != wtxid:
                raise _refuse(name, "a transaction is not the one that the manifest names")
            batch.put(Column.KEPT_TRANSACTION + wtxid, raw)
        store.write(batch)
        yield
    if waiting:
        raise Fault(SNAPSHOT_MALFORMED, why="transactions that its manifest names are missing")


def _take_epochs(store: Store, manifest: Manifest, terms: Terms, chunk: Chunk) -> Generator[None, None, None]:
    """Each one final by its own set, and each set announced by the one before, up to the trusted block's.

    A node serves them to light clients, which check them themselves; it relies on none.
    """
    members: ValidatorSet = ()
    announced: bytes | None = None
    for number in range(manifest.epoch_chunks):
        name = chunk_file(EPOCHS, number)
        try:
            ends = EPOCH_CHUNK.decode(chunk(name))
        except Rejected as refusal:
            raise _refuse(name, str(refusal)) from None
        batch = store.batch(sync=False)
        for end in ends:
            members = end.validators or members
            _check_end(name, end, members, announced, terms)
            _put_header(batch, end.header, end.commit.block_id)
            batch.put(Column.COMMIT + height_key(end.header.height), encode(end.commit))
            batch.put(Column.VALIDATOR_SET + end.header.validators_hash, encode(members))
            announced = end.header.next_validators_hash
            yield
        store.write(batch)
    if announced not in (None, manifest.header.validators_hash):
        raise Fault(SNAPSHOT_MALFORMED, why="the ends of its epochs do not lead to its block")


def _check_end(
    name: str, end: EpochEnd, members: ValidatorSet, announced: bytes | None, terms: Terms
) -> None:
    if announced is not None and end.header.validators_hash != announced:
        raise _refuse(name, f"the set of height {end.header.height} was not announced")
    try:
        check_light_block(terms, LightBlock(end.header, end.commit, members))
    except Fault as fault:
        raise _refuse(name, str(fault)) from None


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
