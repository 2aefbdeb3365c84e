"""The ledger's rows in memory: each batch is there wholly or not at all, and may be the moment of a crash.

Here: `MemoryRows` (what a disk holds), `MemoryStore` (an open store over them).
Not here: LevelDB (eubchain/ledger/store.py), files of the log and the guard (tests/sim/disk.py).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from eubchain.ledger.store import Batch, Source, Store
from tests.sim.disk import MemoryDisk


class MemoryRows:
    """Sorted rows; a snapshot is a copy."""

    def __init__(self, entries: dict[bytes, bytes] | None = None, keys: list[bytes] | None = None) -> None:
        self.entries = entries if entries is not None else {}
        self.keys = keys if keys is not None else sorted(self.entries)

    def copy(self) -> MemoryRows:
        return MemoryRows(dict(self.entries), list(self.keys))

    def get(self, key: bytes, *, verify_checksums: bool) -> bytes | None:
        return self.entries.get(key)

    def iterator(
        self, *, start: bytes, stop: bytes, reverse: bool, verify_checksums: bool
    ) -> Iterator[tuple[bytes, bytes]]:
        keys = self.keys[bisect_left(self.keys, start) : bisect_left(self.keys, stop)]
        for key in reversed(keys) if reverse else keys:
            yield key, self.entries[key]

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.entries:
            insort(self.keys, key)
        self.entries[key] = value

    def delete(self, key: bytes) -> None:
        if self.entries.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]


class MemoryBatch:
    """Writes that `write` makes at once."""

    def __init__(self, rows: MemoryRows, disk: MemoryDisk) -> None:
        self._rows, self._disk = rows, disk
        self._writes: list[tuple[bytes, bytes | None]] = []

    def put(self, key: bytes, value: bytes) -> None:
        self._writes.append((bytes(key), bytes(value)))

    def delete(self, key: bytes) -> None:
        self._writes.append((bytes(key), None))

    def write(self) -> None:
        self._disk.touch("write ledger")
        for key, value in self._writes:
            if value is None:
                self._rows.delete(key)
            else:
                self._rows.put(key, value)
        self._disk.touch("written ledger")


class MemoryStore(Store):
    """A store over rows that outlive it."""

    def __init__(self, rows: MemoryRows, disk: MemoryDisk) -> None:
        self.path = "memory"
        self._rows, self._disk = rows, disk
        self.latest = Source(rows, self.path)

    def snapshot(self) -> Source:
        return Source(self._rows.copy(), self.path)

    def batch(self, *, sync: bool = True) -> Batch:
        return MemoryBatch(self._rows, self._disk)

    def write(self, batch: Batch) -> None:
        batch.write()

    def close(self) -> None:
        pass
