"""Snapshots: the state of one height in parts that verify one by one, and a ledger made from them.

Here: the manifest, `cut` (stepwise, beside a running node), `restore`.
Not here: asking peers for parts (eubchain/node/sync.py), which header is believed (the caller names it).
Keeps: a part is all entries under one prefix of key hashes with its path to the state root, so a wrong
one is refused on arrival and by itself; a ledger has its meta row only when every part is in it.
Errors: 2140 snapshot_malformed, 2141 snapshot_of_other_block.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from pathlib import Path

from consensus.types.block import Commit, Header, block_id
from consensus.types.codec import Codec, Hash32, Record, Uint, encode
from consensus.types.errors import Fault, Reason
from consensus.types.genesis import Genesis, genesis_hash
from consensus.types.transaction import wtxid_of
from consensus.types.tree import (
    CHILDREN,
    DEPTH_MAX,
    ROOT,
    StateTree,
    key_hash,
    lay_out,
    position_of,
    value_hash,
)
from consensus.types.tree_proof import STATE_RANGE, StateRange, make_range, range_positions, verify_range
from eubchain.ledger.layout import FORMAT, META_KEY, Meta, bucket_key, height_key
from eubchain.ledger.ledger import Ledger
from eubchain.ledger.reading import LedgerReader
from eubchain.ledger.store import Column, Store

MANIFEST_FILE = "manifest"
NAMED_FILE = "named"
PART_ENTRIES = 8192
"""Entries a part is meant to have; a transfer's part is then about a megabyte."""
SPOOL_BYTES_MAX = 8 * 2**20
"""Entries held in memory while a snapshot is cut, over all parts together."""
NAMED_BYTES_MAX = 2**26
SLICE_ENTRIES = 512

SNAPSHOT_MALFORMED = Reason(
    2140,
    "snapshot_malformed",
    "why:text",
    "The snapshot is not well formed: {why}.",
    "Take another one, or sync from the first block.",
)
SNAPSHOT_OF_OTHER_BLOCK = Reason(
    2141,
    "snapshot_of_other_block",
    "height:height theirs:hash trusted:hash",
    "The snapshot is of block {theirs} at height {height}; the trusted block is {trusted}.",
    "Take the snapshot from another peer, or check `trust` in the configuration.",
)


class Manifest(Record, frozen=True):
    """What a snapshot consists of; small enough to be asked for first."""

    format: Uint
    genesis: Hash32
    header: Header
    """Of the block after which the state stood so."""
    commit: Commit
    """For that block: the next one carries it."""
    prefixes: tuple[bytes, ...]
    """Of the parts, in order: nibbles, one a byte."""
    named: tuple[Hash32, ...]
    """Wtxids of the transactions that state records name, in the order of the named file."""


MANIFEST = Codec[Manifest](Manifest, 2**24)
NAMED = Codec[tuple[bytes, ...]](tuple[bytes, ...], NAMED_BYTES_MAX)


def part_file(number: int) -> str:
    """The name of a part's file in a snapshot's directory."""
    return f"part-{number:06}"


# ------------------------------------------------------------------ cutting


def cut(ledger: Ledger, directory: Path, named: Collection[bytes]) -> Generator[None, None, Manifest]:
    """Stepwise: write a snapshot of the present head into an empty directory; blocks may go on.

    `named` are the wtxids that live records name. The manifest is written last: a directory without
    one is an interrupted cut.
    """
    reader, nodes = ledger.view(), dict(ledger.tree.nodes)
    header, commit = reader.header(reader.height), reader.commit(reader.height)
    assert header is not None, "a snapshot is cut after a block"
    assert commit is not None, "a decided block has its commit"
    return _cut(reader, nodes, header, commit, directory, sorted(named))


def _cut(
    reader: LedgerReader,
    nodes: dict[int, bytes],
    header: Header,
    commit: Commit,
    directory: Path,
    named: list[bytes],
) -> Generator[None, None, Manifest]:
    # A node stands for 17 to some 160 entries, 32 at a million: near enough to choose a depth by.
    depth = 0
    while len(nodes) * CHILDREN * 2 > PART_ENTRIES * CHILDREN**depth:
        depth += 1
    positions = list(range_positions(nodes, depth))
    numbers = {position: number for number, position in enumerate(positions)}
    spool = _Spool(directory)
    for done, (key, value) in enumerate(reader.scan(b"", b"\xff"), 1):
        kh, at = key_hash(key), depth
        while position_of(kh, at) not in numbers:
            at -= 1
        spool.add(numbers[position_of(kh, at)], encode([key, value]))
        if not done % SLICE_ENTRIES:
            yield
    spool.flush()
    tree = StateTree(nodes, {}, header.state_root)
    for number, position in enumerate(positions):
        entries = dict(spool.entries(number))
        (directory / part_file(number)).write_bytes(encode(make_range(tree, position, entries)))
        yield
    raws = [raw for raw in map(reader.named_transaction, named) if raw is not None]
    (directory / NAMED_FILE).write_bytes(encode(raws))
    prefixes = tuple(bytes(int(digit, 16) for digit in f"{position:x}"[1:]) for position in positions)
    wtxids = tuple(wtxid_of(raw) for raw in raws)
    manifest = Manifest(FORMAT, reader.meta.genesis, header, commit, prefixes, wtxids)
    (directory / MANIFEST_FILE).write_bytes(encode(manifest))
    return manifest


class _Spool:
    """Entries sorted into one file per part, so that memory does not grow with the state."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for left in directory.glob("*.spool"):
            left.unlink()  # by an interrupted cut, of another height
        self._directory, self._held, self._waiting = directory, 0, dict[int, list[bytes]]()

    def add(self, number: int, entry: bytes) -> None:
        self._waiting.setdefault(number, []).append(entry)
        self._held += len(entry)
        if self._held > SPOOL_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        for number, entries in self._waiting.items():
            with (self._directory / f"{part_file(number)}.spool").open("ab") as file:
                for entry in entries:
                    file.write(len(entry).to_bytes(4, "big") + entry)
        self._waiting, self._held = {}, 0

    def entries(self, number: int) -> list[tuple[bytes, bytes]]:
        path = self._directory / f"{part_file(number)}.spool"
        if not path.exists():
            return []
        data, at, found = path.read_bytes(), 0, []
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            key, value = _ENTRY.decode(data[at + 4 : at + 4 + size])
            found.append((key, value))
            at += 4 + size
        path.unlink()
        return found


_ENTRY = Codec[tuple[bytes, bytes]](tuple[bytes, bytes])


# ------------------------------------------------------------------ restoring


def restore(
    path: Path,
    genesis: Genesis,
    genesis_root: bytes,
    manifest: Manifest,
    trusted: bytes,
    part: Callable[[int], bytes],
    named: bytes,
) -> Generator[None, None, None]:
    """Stepwise: make a ledger whose head is the block `trusted`, from a snapshot's parts.

    `part(number)` gives a part's bytes; a wrong part raises `Rejected(RANGE_MALFORMED)` and the
    restore can be started again. Raise `Fault` 2101, 2103, 2105, 2140, 2141. The commit's signatures
    are the caller's to check; blocks from the next one on are then asked for as usual.
    """
    check_manifest(manifest, genesis_hash(genesis), trusted)
    raws = NAMED.decode(named)
    if tuple(wtxid_of(raw) for raw in raws) != manifest.named:
        raise Fault(SNAPSHOT_MALFORMED, why="its named transactions are not those of the manifest")
    store = Store(path, create=True)
    try:
        if store.latest.get(Column.META, META_KEY) is not None:
            raise Fault(SNAPSHOT_MALFORMED, why=f"there is a ledger in {path} already")
        store.clear()
        for number, prefix in enumerate(manifest.prefixes):
            yield from _take_part(store, manifest, prefix, part(number))
        _finish(store, genesis, genesis_root, manifest, trusted, raws)
    finally:
        store.close()


def check_manifest(manifest: Manifest, genesis: bytes, trusted: bytes) -> None:
    """Refuse a manifest of another network or block, or whose parts do not cover the state once."""
    if (manifest.format, manifest.genesis) != (FORMAT, genesis):
        raise Fault(SNAPSHOT_MALFORMED, why="it is of another network or format")
    identity = block_id(genesis, manifest.header)
    if identity != trusted or manifest.commit.block_id != trusted:
        height = manifest.header.height
        raise Fault(SNAPSHOT_OF_OTHER_BLOCK, height=height, theirs=identity, trusted=trusted)
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


def _take_part(store: Store, manifest: Manifest, prefix: bytes, raw: bytes) -> Generator[None, None, None]:
    part: StateRange = STATE_RANGE.decode(raw)
    if part.prefix != prefix:
        raise Fault(SNAPSHOT_MALFORMED, why="a part is not the one that was asked for")
    position = verify_range(manifest.header.state_root, part)
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


def _finish(
    store: Store,
    genesis: Genesis,
    genesis_root: bytes,
    manifest: Manifest,
    trusted: bytes,
    raws: tuple[bytes, ...],
) -> None:
    """The rows that make it a ledger, in one synced batch."""
    header = manifest.header
    batch = store.batch()
    key = height_key(header.height)
    batch.put(Column.GENESIS.value, encode(genesis))
    batch.put(Column.HEADER + key, encode(header))
    batch.put(Column.COMMIT + key, encode(manifest.commit))
    batch.put(Column.HEIGHT_OF_BLOCK + trusted, key)
    for wtxid, raw in zip(manifest.named, raws, strict=True):
        batch.put(Column.KEPT_TRANSACTION + wtxid, raw)
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
