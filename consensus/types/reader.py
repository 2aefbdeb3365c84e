"""Reading state: the one interface between the rules and wherever state is kept.

Here: `StateReader` and an implementation over a dict (tests, simulation, building a genesis).
Not here: typed access and writes (vm/state.py), LevelDB (eubchain/ledger).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from typing import Protocol


class StateReader(Protocol):
    """State at one height: keys are a namespace byte and the rest, values canonical encodings."""

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        ...

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Entries with start <= key < stop in ascending order; the caller writes nothing meanwhile."""
        ...


class MemoryState:
    """A `StateReader` in memory that takes a block's writes (None deletes)."""

    def __init__(self, entries: Mapping[bytes, bytes] | None = None) -> None:
        self.entries: dict[bytes, bytes] = dict(entries or {})
        self._keys = sorted(self.entries)

    def get(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        position = bisect_left(self._keys, start)
        while position < len(self._keys) and self._keys[position] < stop:
            key = self._keys[position]
            yield key, self.entries[key]
            position += 1

    def write(self, writes: Mapping[bytes, bytes | None]) -> None:
        """Take a block's writes."""
        for key, value in writes.items():
            if value is not None:
                if key not in self.entries:
                    insort(self._keys, key)
                self.entries[key] = value
            elif key in self.entries:
                del self.entries[key]
                del self._keys[bisect_left(self._keys, key)]
