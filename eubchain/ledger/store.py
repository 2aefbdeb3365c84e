"""A thin layer on LevelDB: columns, typed reads, one atomic synced batch, errors that name their cause.

Here: `Column`, `Source` (the database or a snapshot of it), `Store` (the open database).
Not here: what the columns hold (ledger/layout.py), blocks and state (ledger/ledger.py).
Keeps: one process at a time; what was read from the disk fits its checksum; a column is a one-byte
prefix and nothing reads across columns.
Errors: 2101 ledger_locked, 2102 ledger_missing, 2103 foreign_directory, 2104 ledger_damaged,
2105 ledger_write_failed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Protocol

import plyvel

from consensus.types.errors import Fault, Reason

BLOCK_CACHE_BYTES = 64 * 2**20
WRITE_BUFFER_BYTES = 16 * 2**20
"""What LevelDB gathers before it writes a table: several full blocks' batches."""
OWNER_FILE = "OWNER"
"""Locked while the ledger is open, and names the process. LevelDB's own lock does not do: a second
attempt to open within one process closes the lock file, and that releases it (POSIX record locks)."""
BLOOM_BITS = 10
"""Per key; one read in a hundred for an absent key then touches the disk."""

LEDGER_LOCKED = Reason(
    2101,
    "ledger_locked",
    "path:text process:text",
    "The ledger in {path} is in use by {process}.",
    "Stop that process first, or give this one another home.",
)
LEDGER_MISSING = Reason(
    2102,
    "ledger_missing",
    "path:text",
    "There is no ledger in {path}.",
    "Run `eubchain init`, or name the home that holds it.",
)
FOREIGN_DIRECTORY = Reason(
    2103,
    "foreign_directory",
    "path:text",
    "{path} holds something that is not a ledger.",
    "Name an empty or a new directory; nothing in this one was touched.",
)
LEDGER_DAMAGED = Reason(
    2104,
    "ledger_damaged",
    "path:text why:text",
    "The ledger in {path} is damaged: {why}.",
    "Run `eubchain inspect`; then restore the home from a snapshot or sync it anew.",
)
LEDGER_WRITE_FAILED = Reason(
    2105,
    "ledger_write_failed",
    "path:text why:text",
    "Writing to the ledger in {path} failed: {why}.",
    "Make room on the disk or repair it, then start again: what was reported as final is there.",
)


DISK_REFUSES = ("No space left", "quota exceeded", "Read-only file system", "File too large")
"""In LevelDB's words: opening needs to write, and a disk that refuses has damaged nothing."""


class Column(bytes, Enum):
    """Every kind of row, by the prefix of its key."""

    META = b"m"
    GENESIS = b"g"
    VALUE = b"s"
    BUCKET = b"b"
    BLOCK = b"k"
    HEADER = b"h"
    COMMIT = b"c"
    RECEIPTS = b"r"
    UNDO = b"u"
    HEIGHT_OF_BLOCK = b"i"
    PLACE_OF_TXID = b"t"
    PLACE_OF_WTXID = b"w"
    ACCOUNT_HISTORY = b"a"
    TASK_HISTORY = b"j"
    ROWS = b"x"
    KEPT_TRANSACTION = b"y"
    VALIDATOR_SET = b"v"


class Batch(Protocol):
    """Writes that happen together or not at all."""

    def put(self, key: bytes, value: bytes) -> None: ...

    def delete(self, key: bytes) -> None: ...

    def write(self) -> None: ...


class _Rows(Protocol):
    """What LevelDB's database and its snapshots have in common."""

    def get(self, key: bytes, *, verify_checksums: bool) -> bytes | None: ...

    def iterator(
        self, *, start: bytes, stop: bytes, reverse: bool, verify_checksums: bool
    ) -> Iterator[tuple[bytes, bytes]]: ...


class Source:
    """Reads by column from the database, or from a snapshot that later writes do not change."""

    __slots__ = ("_rows", "path")

    def __init__(self, rows: _Rows, path: str) -> None:
        self._rows, self.path = rows, path

    def get(self, column: Column, key: bytes) -> bytes | None:
        """The row, or None; raise `Fault(LEDGER_DAMAGED)`."""
        try:
            return self._rows.get(column + key, verify_checksums=True)
        except plyvel.Error as error:
            raise Fault(LEDGER_DAMAGED, path=self.path, why=_words(error)) from error

    def iterate(
        self,
        column: Column,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop in order of keys; raise `Fault(LEDGER_DAMAGED)`."""
        end = bytes([column[0] + 1]) if stop is None else column + stop
        try:
            rows = self._rows.iterator(start=column + start, stop=end, reverse=reverse, verify_checksums=True)
            for key, value in rows:
                yield key[1:], value
        except plyvel.Error as error:
            raise Fault(LEDGER_DAMAGED, path=self.path, why=_words(error)) from error


class Store:
    """An open LevelDB directory, held exclusively until `close`."""

    def __init__(self, path: Path, *, create: bool) -> None:
        """Open or create; raise `Fault` 2101–2104."""
        self.path = str(path)
        self._prepare(path, create)
        self._owner = self._lock(path)
        try:
            self._database = plyvel.DB(
                self.path,
                create_if_missing=create,
                lru_cache_size=BLOCK_CACHE_BYTES,
                write_buffer_size=WRITE_BUFFER_BYTES,
                bloom_filter_bits=BLOOM_BITS,
                compression=None,  # of hashes and signatures: 2 % of the disk for a third of the merging
            )
        except plyvel.Error as error:
            os.close(self._owner)
            if "LOCK" in _words(error):  # a program that opens LevelDB without our lock
                raise Fault(LEDGER_LOCKED, path=self.path, process="another process") from error
            is_refused = any(words in _words(error) for words in DISK_REFUSES)
            reason = LEDGER_WRITE_FAILED if is_refused else LEDGER_DAMAGED
            raise Fault(reason, path=self.path, why=_words(error)) from error
        self.latest = Source(self._database, self.path)

    def _prepare(self, path: Path, create: bool) -> None:
        if path.is_dir() and (path / "CURRENT").exists():
            return
        if path.exists() and (not path.is_dir() or any(p.name != OWNER_FILE for p in path.iterdir())):
            raise Fault(FOREIGN_DIRECTORY, path=self.path)
        if not create:
            raise Fault(LEDGER_MISSING, path=self.path)
        path.mkdir(parents=True, exist_ok=True)

    def _lock(self, path: Path) -> int:
        owner = os.open(path / OWNER_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process = os.read(owner, 64).decode(errors="replace") or "another process"
            os.close(owner)
            raise Fault(LEDGER_LOCKED, path=self.path, process=process) from None
        os.ftruncate(owner, 0)
        with suppress(OSError):  # on a full disk the lock holds as well without saying whose it is
            os.pwrite(owner, f"process {os.getpid()}".encode(), 0)
        return owner

    def snapshot(self) -> Source:
        """Everything as it is now; cheap, and released with its last reader."""
        return Source(self._database.snapshot(), self.path)

    def batch(self, *, sync: bool = True) -> Batch:
        """An empty batch; its `write` returns once it is on the disk when `sync`."""
        batch: Batch = self._database.write_batch(transaction=False, sync=sync)
        return batch

    def write(self, batch: Batch) -> None:
        """Write a batch; callable in a thread. Raise `Fault(LEDGER_WRITE_FAILED)`.

        After a failure the store takes no further writes. Whether the batch is there shows when it is
        opened again: wholly or not at all.
        """
        try:
            batch.write()
        except plyvel.Error as error:
            raise Fault(LEDGER_WRITE_FAILED, path=self.path, why=_words(error)) from error

    def clear(self) -> None:
        """Delete every row: what an interrupted creation left."""
        for column in Column:
            batch = self.batch(sync=False)
            for key, _ in self.latest.iterate(column):
                batch.delete(column + key)
            self.write(batch)

    def compact(self) -> None:
        """Give back the room of deleted rows; blocks for as long as it takes."""
        self._database.compact_range()

    def close(self) -> None:
        """Release the directory. Snapshots of it end with it; a second call does nothing."""
        self._database.close()
        if self._owner >= 0:
            os.close(self._owner)
            self._owner = -1


def _words(error: BaseException) -> str:
    """What LevelDB says, as text: the binding hands it over as bytes."""
    said = error.args[0] if error.args else ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
