"""A bounded cache of state values for keys that are read again and again.

Here: `ValueCache`. Not here: when it is filled and advanced (ledger/ledger.py).
Keeps: at most two generations of `entries_max` values; a key read within the last generation stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

ENTRIES_MAX = 100_000
"""Per generation: the accounts of some ten full blocks; about 25 MB."""
VALUE_BYTES_MAX = 512
"""Larger values are rare and not worth their room."""

_UNKNOWN = b"unknown"
"""Stands for itself by identity: no value read is this object."""


class ValueCache:
    """Values by key, None for a key known to be absent."""

    def __init__(self, read: Callable[[bytes], bytes | None], entries_max: int = ENTRIES_MAX) -> None:
        self._read, self._entries_max = read, entries_max
        self._young: dict[bytes, bytes | None] = {}
        self._old: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """The value, read when it is not here."""
        value = self._young.get(key, _UNKNOWN)
        if value is _UNKNOWN:
            value = self._old.pop(key, _UNKNOWN)
            if value is _UNKNOWN:
                value = self._read(key)
            self._put(key, value)
        return value

    def _put(self, key: bytes, value: bytes | None) -> None:
        if value is not None and len(value) > VALUE_BYTES_MAX:
            self._young.pop(key, None)
            return
        if len(self._young) >= self._entries_max:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def write(self, writes: Mapping[bytes, bytes | None]) -> None:
        """Take a block's writes: what the block wrote, the next one often reads."""
        for key, value in writes.items():
            self._old.pop(key, None)
            self._put(key, value)
