"""The write-ahead log: what the agreement of the current height was told, so that a crash forgets nothing.

Here: the file's frames, appending, making durable, beginning the next height's file, reading back.
Not here: replaying (consensus/agreement/replay.py), what follows from what was found (recovery.py).
Keeps: a record is durable once `sync` has returned, and everything before it too. The bytes of every block
that an input says is here stand before it, so a replay needs nobody else. A torn end is cut only
if no whole frame follows it; a hole before a whole frame is damage, and the node refuses to start.

File: the header frame, then frames. Frame = marker (8) ‖ crc32 (4) ‖ length (4) ‖ kind (1) ‖ payload; the
sum covers the marker and all behind it. The marker is drawn anew for every file and written in its header,
so that no block, whoever made it, contains something that looks like a frame of the file it stands in.
Errors: 2010 wal_damaged, 2011 wal_of_another_network, 2012 wal_of_another_format, 2013 wal_not_written.
"""

from __future__ import annotations

import secrets
import struct
import zlib
from typing import NamedTuple

from consensus.agreement.inputs import (
    INPUT,
    BlockBuilt,
    BlockReceived,
    ProposalReceived,
    RecordedInput,
    VoteReceived,
)
from consensus.types.block import BLOCK_TRANSPORT_BYTES_MAX
from consensus.types.codec import Codec, Hash32, Record, Uint, encode
from consensus.types.errors import Fault, Reason, Rejected
from consensus.types.vote import PROPOSAL
from eubchain.node.durable_files import DurableFile, DurableFiles

WAL_NAME = "wal"
WAL_NEW_NAME = "wal.new"
WAL_FORMAT = 1
BUFFER_BYTES_MAX = 2**20
"""Records wait in memory for the next `sync`; beyond this they are handed to the system early."""
PAYLOAD_BYTES_MAX = BLOCK_TRANSPORT_BYTES_MAX + 1024

WAL_DAMAGED = Reason(
    2010,
    "wal_damaged",
    "file:text offset:count why:text",
    "The write-ahead log {file} is damaged at byte {offset}: {why}.",
    "Check the disk. To go on without it, move the file away; the node then signs nothing at this height.",
)
WAL_OF_ANOTHER_NETWORK = Reason(
    2011,
    "wal_of_another_network",
    "file:text theirs:hash ours:hash",
    "The write-ahead log {file} is of the network with genesis {theirs}; this node's genesis is {ours}.",
    "Use the home folder that belongs to the genesis file, or make a new one with `eubchain init`.",
)
WAL_OF_ANOTHER_FORMAT = Reason(
    2012,
    "wal_of_another_format",
    "file:text found:count known:count",
    "The write-ahead log {file} has format {found}; this release reads format {known}.",
    "Start once with the release that wrote it and stop it cleanly, or move the file away.",
)
WAL_NOT_WRITTEN = Reason(
    2013,
    "wal_not_written",
    "file:text why:text",
    "The write-ahead log {file} cannot be written: {why}.",
    "The node signs nothing until the next height's log can be written. Make room, or check the disk.",
)

_FIXED_MARKER = b"EUBWAL01"
_MARKER_BYTES = 8
_HEAD = struct.Struct(">8sIIB")
_HEADER, _INPUT, _OWN, _BLOCK = 0, 1, 2, 3


class WalHeader(Record, frozen=True):
    """What the file is about."""

    format: Uint
    genesis: Hash32
    height: Uint
    marker: bytes


class InputEntry(NamedTuple):
    """An input of the machine; `is_own` if it is a message that this node signed."""

    input: RecordedInput
    is_own: bool


class BlockEntry(NamedTuple):
    """The bytes of a block that was built or received; they stand before the input that says so."""

    block_id: bytes
    data: bytes


class WalContents(NamedTuple):
    """A log as found."""

    height: int
    entries: tuple[InputEntry | BlockEntry, ...]
    size: int
    """Bytes up to the end of the last whole frame."""
    cut: int
    """Bytes of a torn end behind it."""
    marker: bytes

    def inputs(self) -> list[RecordedInput]:
        """The machine's inputs in order."""
        return [entry.input for entry in self.entries if isinstance(entry, InputEntry)]

    def last_signed(self) -> tuple[int, int] | None:
        """(round, kind) of the last message in it that this node signed."""
        signed = None
        for entry in self.entries:
            match entry:
                case InputEntry(input=ProposalReceived(proposal=proposal), is_own=True):
                    signed = (proposal.round, PROPOSAL)
                case InputEntry(input=VoteReceived(vote=vote), is_own=True):
                    signed = (vote.round, vote.kind)
        return signed

    def blocks(self) -> dict[bytes, bytes]:
        """Bytes of blocks by id."""
        return {entry.block_id: entry.data for entry in self.entries if isinstance(entry, BlockEntry)}


_HEADER_CODEC = Codec[WalHeader](WalHeader, 1024)


def _frame(marker: bytes, kind: int, payload: bytes) -> bytes:
    assert len(payload) <= PAYLOAD_BYTES_MAX, "records are bounded before they come here"
    head = struct.pack(">IB", len(payload), kind)
    return marker + zlib.crc32(marker + head + payload).to_bytes(4, "big") + head + payload


def _read_frame(data: bytes, offset: int, marker: bytes) -> tuple[int, memoryview, int] | None:
    """Kind, payload and end of the frame at `offset`; None if no whole frame stands there."""
    if offset + _HEAD.size > len(data):
        return None
    found, checksum, length, kind = _HEAD.unpack_from(data, offset)
    end = offset + _HEAD.size + length
    if found != marker or length > PAYLOAD_BYTES_MAX or end > len(data):
        return None
    covered = memoryview(data)[offset + 12 : end]
    if zlib.crc32(covered, zlib.crc32(marker)) != checksum:
        return None
    return kind, covered[5:], end


def read_wal(files: DurableFiles, genesis: bytes) -> WalContents | None:
    """Read the log; None if there is none. Changes nothing.

    Raises `Fault` 2010 (damaged), 2011 (another network's), 2012 (another format).
    """
    data = files.read(WAL_NAME)
    if data is None:
        return None
    file = files.describe(WAL_NAME)
    header, offset = _read_header(data, file)
    if header.format != WAL_FORMAT:
        raise Fault(WAL_OF_ANOTHER_FORMAT, file=file, found=header.format, known=WAL_FORMAT)
    if header.genesis != genesis:
        raise Fault(WAL_OF_ANOTHER_NETWORK, file=file, theirs=header.genesis, ours=genesis)
    entries = []
    while (frame := _read_frame(data, offset, header.marker)) is not None:
        entries.append(_entry(frame[0], bytes(frame[1]), file, offset))
        offset = frame[2]
    candidate = data.find(header.marker, offset + 1)
    while candidate != -1:
        if _read_frame(data, candidate, header.marker) is not None:
            raise Fault(WAL_DAMAGED, file=file, offset=offset, why="a whole record follows a broken one")
        candidate = data.find(header.marker, candidate + 1)
    return WalContents(header.height, tuple(entries), offset, len(data) - offset, header.marker)


def _read_header(data: bytes, file: str) -> tuple[WalHeader, int]:
    """The file gets its name only after its header is durable, so a broken header is damage."""
    frame = _read_frame(data, 0, _FIXED_MARKER)
    if frame is None or frame[0] != _HEADER:
        raise Fault(WAL_DAMAGED, file=file, offset=0, why="its header is broken")
    try:
        header = _HEADER_CODEC.decode(bytes(frame[1]))
    except Rejected as error:
        raise Fault(WAL_DAMAGED, file=file, offset=0, why=str(error)) from None
    return header, frame[2]


def _entry(kind: int, payload: bytes, file: str, offset: int) -> InputEntry | BlockEntry:
    if kind == _BLOCK and len(payload) >= 32:
        return BlockEntry(payload[:32], payload[32:])
    if kind not in (_INPUT, _OWN):
        raise Fault(WAL_DAMAGED, file=file, offset=offset, why=f"records of kind {kind} do not exist")
    try:
        return InputEntry(INPUT.decode(payload), kind == _OWN)
    except Rejected as error:
        raise Fault(WAL_DAMAGED, file=file, offset=offset, why=str(error)) from None


class Wal:
    """The log of one height, open for appending.

    *Resource handling*: owns its file until `close`. *Error handling*: OSError becomes `Fault` 2013, and
    a log that failed once accepts nothing more, because nobody knows what of it is on the disk.
    """

    def __init__(self, file: DurableFile, name: str, height: int, marker: bytes, size: int) -> None:
        self.height = height
        self._file = file
        self._name = name
        self._marker = marker
        self._size = size
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._is_synced = True
        self._failure: str | None = None
        self._blocks: set[bytes] = set()

    @classmethod
    def create(cls, files: DurableFiles, genesis: bytes, height: int, marker: bytes | None = None) -> Wal:
        """Begin the log of a height, replacing the one before at once (F6).

        Call it when the block before is durable in the ledger, and before the height's first input.
        """
        marker = secrets.token_bytes(_MARKER_BYTES) if marker is None else marker
        assert len(marker) == _MARKER_BYTES, "as long as the fixed marker"
        header = _frame(_FIXED_MARKER, _HEADER, encode(WalHeader(WAL_FORMAT, genesis, height, marker)))
        name = files.describe(WAL_NAME)
        try:
            file = files.create(WAL_NEW_NAME)
            file.write_at(0, header)
            file.sync()
            files.rename(WAL_NEW_NAME, WAL_NAME)
            files.sync_folder()
        except OSError as error:
            raise Fault(WAL_NOT_WRITTEN, file=name, why=error.strerror or str(error)) from None
        return cls(file, name, height, marker, len(header))

    @classmethod
    def resume(cls, files: DurableFiles, contents: WalContents) -> Wal:
        """Go on with the log that `read_wal` found; cuts its torn end."""
        name = files.describe(WAL_NAME)
        try:
            file = files.open(WAL_NAME)
            if contents.cut:
                file.truncate(contents.size)
            # What was read may have been written and never synced, and so may its name, when a process
            # ended between the renaming and the folder's sync: both are about to be relied upon.
            file.sync()
            files.sync_folder()
        except OSError as error:
            raise Fault(WAL_NOT_WRITTEN, file=name, why=error.strerror or str(error)) from None
        wal = cls(file, name, contents.height, contents.marker, contents.size)
        wal._blocks = set(contents.blocks())
        return wal

    def append_input(self, event: RecordedInput, *, is_own: bool = False) -> None:
        """Add an input that changed the machine's state, or a message that this node has signed."""
        if isinstance(event, BlockReceived | BlockBuilt):
            # A replay that decides must have the block at hand, though its bytes came from a peer
            # long ago and this node never voted for it.
            assert event.block_id in self._blocks, "a block's bytes stand before the news of it"
        self._append(_OWN if is_own else _INPUT, encode(event))

    def holds(self, block_id: bytes) -> bool:
        """Whether a block's bytes stand in it already, so that nobody need encode them again."""
        return block_id in self._blocks

    def append_block(self, block_id: bytes, data: bytes) -> None:
        """Add a block's bytes, once per block id however often it is asked for."""
        if block_id not in self._blocks:
            self._append(_BLOCK, block_id + data)
            self._blocks.add(block_id)

    def sync(self) -> None:
        """Return once everything appended is on the disk (F1, F3); cheap if it already is."""
        self._check()
        if self._is_synced:
            return
        try:
            self._write()
            self._file.sync()
        except OSError as error:
            self._fail(error)
        self._is_synced = True

    def close(self) -> None:
        """Close the file; what was not synced may be lost."""
        self._file.close()

    def _append(self, kind: int, payload: bytes) -> None:
        self._check()
        frame = _frame(self._marker, kind, payload)
        self._buffer.append(frame)
        self._buffered += len(frame)
        self._is_synced = False
        if self._buffered > BUFFER_BYTES_MAX:
            try:
                self._write()
            except OSError as error:
                self._fail(error)

    def _write(self) -> None:
        if self._buffer:
            self._file.write_at(self._size, b"".join(self._buffer))
            self._size += self._buffered
            self._buffer, self._buffered = [], 0

    def _check(self) -> None:
        if self._failure is not None:
            raise Fault(WAL_NOT_WRITTEN, file=self._name, why=self._failure)

    def _fail(self, error: OSError) -> None:
        self._failure = error.strerror or str(error)
        self._check()
