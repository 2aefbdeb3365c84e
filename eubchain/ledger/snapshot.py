"""Snapshots: the state of one height in chunks that verify one by one on arrival.

Here: the manifest, the chunks' files, `cut` (stepwise, beside a running node).
Not here: a ledger made from them (ledger/restore.py), when one is cut (eubchain/node/upkeep.py), asking
others for chunks (eubchain/node/snapshot_sync.py, eubchain/client/snapshot.py), which transactions live
records name (vm/named.py).
Keeps: a part is all entries under one prefix of key hashes with its path to the state root; no chunk is
larger than 512 KiB, unless it is a single bucket or transaction; the manifest is written last, so a
directory without one is an interrupted cut.
Errors: 2140 snapshot_malformed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Iterable, Iterator
from pathlib import Path

from consensus.types.block import Commit, Header
from consensus.types.codec import Codec, Hash32, Record, Uint, encode
from consensus.types.errors import Reason
from consensus.types.hashing import Tag, tagged_hash
from consensus.types.transaction import wtxid_of
from consensus.types.tree import CHILDREN, StateTree, depth_of, key_hash, position_of
from consensus.types.tree_proof import make_range, range_positions
from consensus.validators import Validator, ValidatorSet
from eubchain.ledger.ledger import Ledger
from eubchain.ledger.reading import LedgerReader

SNAPSHOT_FORMAT = 1
MANIFEST_FILE = "manifest"
PART, NAMED, EPOCHS = "part", "named", "epochs"
CHUNK_NAME = re.compile(r"(part|named|epochs)-[0-9]{6}")
"""Every file of a snapshot but the manifest; others are never served."""
CHUNK_BYTES_MAX = 512 * 1024
PART_ENTRIES = 4096
"""Entries a part is meant to have; it is split where they are larger than usual."""
SPOOL_BYTES_MAX = 8 * 2**20
"""Entries held in memory while a snapshot is cut, over all parts together."""
SLICE_ENTRIES = 512

SNAPSHOT_MALFORMED = Reason(
    2140,
    "snapshot_malformed",
    "why:text",
    "The snapshot is not well formed: {why}.",
    "Take another one, or sync from the first block.",
)


class Manifest(Record, frozen=True):
    """What a snapshot consists of; asked for first."""

    format: Uint
    genesis: Hash32
    header: Header
    """Of the block after which the state stood so."""
    commit: Commit
    """For that block: the next one carries it."""
    validators: tuple[Validator, ...]
    """V(height)."""
    next_validators: tuple[Validator, ...]
    """V(height + 1)."""
    prefixes: tuple[bytes, ...]
    """Of the parts, in order: nibbles, one a byte."""
    named: tuple[Hash32, ...]
    """Wtxids of the transactions that state records name, in the order of the chunks that hold them."""
    named_chunks: Uint
    epoch_chunks: Uint

    def chunks(self) -> list[str]:
        """The names of all chunks."""
        counts = ((PART, len(self.prefixes)), (NAMED, self.named_chunks), (EPOCHS, self.epoch_chunks))
        return [chunk_file(kind, number) for kind, count in counts for number in range(count)]


def layout_of(manifest: Manifest) -> bytes:
    """The hash of all that nodes have alike in their snapshots of one block.

    Commits differ: a node keeps the precommits that it heard. So do the ends of epochs, which hold some.
    """
    alike = (manifest.header, manifest.prefixes, manifest.named, manifest.named_chunks)
    return tagged_hash(Tag.SNAPSHOT, manifest.genesis, encode(alike))


class EpochEnd(Record, frozen=True):
    """The last block of an epoch, for light clients; empty validators are those of the one before."""

    header: Header
    commit: Commit
    validators: tuple[Validator, ...]


MANIFEST = Codec[Manifest](Manifest, 2**24)
NAMED_CHUNK = Codec[tuple[bytes, ...]](tuple[bytes, ...], 2 * CHUNK_BYTES_MAX)
EPOCH_CHUNK = Codec[tuple[EpochEnd, ...]](tuple[EpochEnd, ...], 2 * CHUNK_BYTES_MAX)


def chunk_file(kind: str, number: int) -> str:
    """The name of a chunk, and of its file in a snapshot's directory."""
    return f"{kind}-{number:06}"


# ------------------------------------------------------------------ cutting


def cut(ledger: Ledger, directory: Path, named: Collection[bytes]) -> Generator[None, None, Manifest]:
    """Stepwise: write a snapshot of the present head into an empty directory; blocks may go on.

    `named` are the wtxids that live records name; they are looked at after the state's entries, so that
    the caller may gather them after this call, from a reader at the same head.
    """
    reader, nodes = ledger.view(), dict(ledger.tree.nodes)
    header, commit = reader.header(reader.height), reader.commit(reader.height)
    assert header is not None, "a snapshot is cut after a block"
    assert commit is not None, "a decided block has its commit"
    sets = (
        reader.validator_set(header.validators_hash) or (),
        reader.validator_set(header.next_validators_hash) or (),
    )
    return _cut(reader, nodes, header, commit, sets, directory, named)


def _cut(
    reader: LedgerReader,
    nodes: dict[int, bytes],
    header: Header,
    commit: Commit,
    sets: tuple[ValidatorSet, ValidatorSet],
    directory: Path,
    named: Collection[bytes],
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
    prefixes: list[bytes] = []
    for number, position in enumerate(positions):
        for prefix, part in _parts(tree, position, spool.entries(number)):
            (directory / chunk_file(PART, len(prefixes))).write_bytes(part)
            prefixes.append(prefix)
            yield
    raws = []
    for wtxid in sorted(named):
        raw = reader.named_transaction(wtxid)  # out of a whole block, where it is not kept apart
        if raw is not None:
            raws.append(raw)
        yield
    named_chunks = _write_chunks(directory, NAMED, raws)
    yield
    epoch_chunks = yield from _write_epochs(reader, directory)
    manifest = Manifest(
        SNAPSHOT_FORMAT, reader.meta.genesis, header, commit, sets[0], sets[1], tuple(prefixes),
        tuple(wtxid_of(raw) for raw in raws), named_chunks, epoch_chunks,
    )  # fmt: skip
    unfinished = directory / f"{MANIFEST_FILE}.new"
    unfinished.write_bytes(encode(manifest))
    unfinished.replace(directory / MANIFEST_FILE)
    return manifest


def _parts(
    tree: StateTree, position: int, entries: list[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, bytes]]:
    """(prefix, encoding) of the parts under a position: one, or its children's where it is too large."""
    part = make_range(tree, position, dict(entries))
    raw = encode(part)
    if len(raw) <= CHUNK_BYTES_MAX or position not in tree.nodes:
        yield part.prefix, raw
        return
    depth = depth_of(position) + 1
    below: dict[int, list[tuple[bytes, bytes]]] = {}
    for key, value in entries:
        below.setdefault(position_of(key_hash(key), depth), []).append((key, value))
    for nibble in range(CHILDREN):
        child = position << 4 | nibble
        yield from _parts(tree, child, below.get(child, []))


def _write_chunks(directory: Path, kind: str, items: Iterable[bytes]) -> int:
    """Files that each hold an array of encodings, no larger than a chunk may be; returns how many."""
    count, waiting, size = 0, list[bytes](), 0
    for item in items:
        if waiting and size + len(item) > CHUNK_BYTES_MAX - 64:
            (directory / chunk_file(kind, count)).write_bytes(encode(waiting))
            count, waiting, size = count + 1, [], 0
        waiting.append(item)
        size += len(item) + 8
    if waiting:
        (directory / chunk_file(kind, count)).write_bytes(encode(waiting))
        count += 1
    return count


def _write_epochs(reader: LedgerReader, directory: Path) -> Generator[None, None, int]:
    """The ends of all finished epochs before the head, as far back as they are kept."""
    length = reader.genesis().params.chain.epoch_blocks
    ends: list[EpochEnd] = []
    before = b""
    for height in range(length, reader.height, length):
        block = reader.light_block(height)
        if block is None:
            ends, before = [], b""  # what stands before a gap leads nowhere
            continue
        is_same = block.header.validators_hash == before
        ends.append(EpochEnd(block.header, block.commit, () if is_same else block.validators))
        before = block.header.validators_hash
        yield
    count, waiting, size = 0, list[EpochEnd](), 0
    for end in ends:
        bytes_more = len(encode(end))
        if waiting and size + bytes_more > CHUNK_BYTES_MAX - 64:
            (directory / chunk_file(EPOCHS, count)).write_bytes(encode(waiting))
            count, waiting, size = count + 1, [], 0
            yield
        waiting.append(end)
        size += bytes_more
    if waiting:
        (directory / chunk_file(EPOCHS, count)).write_bytes(encode(waiting))
        count += 1
    return count


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
            with (self._directory / f"{chunk_file(PART, number)}.spool").open("ab") as file:
                for entry in entries:
                    file.write(len(entry).to_bytes(4, "big") + entry)
        self._waiting, self._held = {}, 0

    def entries(self, number: int) -> list[tuple[bytes, bytes]]:
        path = self._directory / f"{chunk_file(PART, number)}.spool"
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
