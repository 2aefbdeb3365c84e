"""A disk in memory that forgets what was not synced and tears what was being written.

Here: `DurableFiles` over dictionaries, power cuts, crashes at a chosen operation.
Not here: the real one (eubchain/node/durable_files.py).
Keeps: what `sync` returned for survives every power cut; of the rest, a prefix of the writes survives,
the last of them perhaps in part.
"""

from __future__ import annotations

import errno
from random import Random


class Crash(Exception):
    """The machine stops here."""


DISK_FULL = OSError(errno.ENOSPC, "No space left on device")


class Inode:
    """A file's bytes: as the process sees them, as the disk holds them, and the writes between."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        """What a crash here is called."""
        self.seen = bytearray()
        self.durable = bytearray()
        self.pending: list[tuple[int, bytes | None]] = []


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class MemoryFile:
    """An open file of a `MemoryDisk`."""

    def __init__(self, disk: MemoryDisk, inode: Inode) -> None:
        self._disk, self._inode = disk, inode

    def write_at(self, offset: int, data: bytes) -> None:
        self._disk.touch(f"write {self._inode.name}")
        if self._disk.is_full:
            raise DISK_FULL
        _apply(self._inode.seen, offset, data)
        self._inode.pending.append((offset, data))

    def truncate(self, size: int) -> None:
        self._disk.touch(f"truncate {self._inode.name}")
        _apply(self._inode.seen, size, None)
        self._inode.pending.append((size, None))

    def sync(self) -> None:
        self._disk.touch(f"sync {self._inode.name}")
        self._inode.durable = bytearray(self._inode.seen)
        self._inode.pending.clear()
        self._disk.touch(f"synced {self._inode.name}")

    def close(self) -> None:
        pass


class MemoryDisk:
    """A folder. `crash_at` counts operations down; at zero `Crash` is raised, once.

    `crash_on` counts only operations of one name, such as "sync wal" (before it) or "synced wal" (after
    it). A disk that is off crashes whoever touches it.
    """

    def __init__(self) -> None:
        self.names: dict[str, Inode] = {}
        self._durable_names: dict[str, Inode] = {}
        self.crash_at: int | None = None
        self.crash_on: tuple[str, int] | None = None
        self.context = ""
        """What the machine is doing, put before the name of an operation: "vote sync wal"."""
        self.is_off = False
        self.is_full = False
        self.crashes: list[str] = []
        """Where it crashed."""

    def touch(self, operation: str = "") -> None:
        """Count one operation, before or after which the machine may stop."""
        if self.is_off:
            raise Crash
        name = f"{self.context} {operation}".strip()
        if self.crash_on is not None and self.crash_on[0] == name:
            left = self.crash_on[1] - 1
            self.crash_on = (name, left) if left else None
            if not left:
                self._crash(name)
        if self.crash_at is not None:
            self.crash_at -= 1
            if self.crash_at <= 0:
                self.crash_at = None
                self._crash(name)

    def _crash(self, name: str) -> None:
        self.crashes.append(name)
        raise Crash

    def read(self, name: str) -> bytes | None:
        inode = self.names.get(name)
        return None if inode is None else bytes(inode.seen)

    def create(self, name: str) -> MemoryFile:
        self.touch(f"create {name}")
        if self.is_full:
            raise DISK_FULL
        inode = self.names[name] = Inode(name)
        return MemoryFile(self, inode)

    def open(self, name: str) -> MemoryFile:
        return MemoryFile(self, self.names[name])

    def rename(self, old: str, new: str) -> None:
        self.touch(f"rename {old}")
        inode = self.names[new] = self.names.pop(old)
        inode.name = new

    def sync_folder(self) -> None:
        self.touch("sync folder")
        self._durable_names = dict(self.names)
        self.touch("synced folder")

    def describe(self, name: str) -> str:
        return f"memory/{name}"

    def cut_power(self, random: Random) -> None:
        """Lose what was not synced; how much of it is drawn."""
        # Names unsynced may be on the disk nevertheless.
        if random.random() < 0.5:
            self.names = dict(self._durable_names)
        for inode in {id(inode): inode for inode in self.names.values()}.values():
            kept = random.randint(0, len(inode.pending))
            for offset, data in inode.pending[:kept]:
                _apply(inode.durable, offset, data)
            if kept < len(inode.pending) and inode.pending[kept][1]:
                offset, data = inode.pending[kept]
                assert data is not None
                _apply(inode.durable, offset, data[: random.randint(0, len(data))])
            inode.pending.clear()
            inode.seen = bytearray(inode.durable)
        self._durable_names = dict(self.names)
