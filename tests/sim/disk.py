"""A disk in memory that forgets what was not synced and tears what was being written.

Here: `DurableFiles` over dictionaries, power cuts, crashes at a chosen operation.
Not here: the real one (eubchain/node/durable_files.py).
Keeps: what `sync` returned for survives every power cut; of the rest, a prefix of the writes survives,
the last of them perhaps in part.
"""

from __future__ import annotations

from random import Random


class Crash(Exception):
    """The machine stops here."""


class Inode:
    """A file's bytes: as the process sees them, as the disk holds them, and the writes between."""

    def __init__(self) -> None:
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
        self._disk.touch()
        _apply(self._inode.seen, offset, data)
        self._inode.pending.append((offset, data))

    def truncate(self, size: int) -> None:
        self._disk.touch()
        _apply(self._inode.seen, size, None)
        self._inode.pending.append((size, None))

    def sync(self) -> None:
        self._disk.touch()
        self._inode.durable = bytearray(self._inode.seen)
        self._inode.pending.clear()
        self._disk.touch()

    def close(self) -> None:
        pass


class MemoryDisk:
    """A folder. `crash_at` counts operations down; at zero `Crash` is raised, once."""

    def __init__(self) -> None:
        self.names: dict[str, Inode] = {}
        self._durable_names: dict[str, Inode] = {}
        self.crash_at: int | None = None

    def touch(self) -> None:
        """Count one operation, before or after which the machine may stop."""
        if self.crash_at is None:
            return
        self.crash_at -= 1
        if self.crash_at <= 0:
            self.crash_at = None
            raise Crash

    def read(self, name: str) -> bytes | None:
        inode = self.names.get(name)
        return None if inode is None else bytes(inode.seen)

    def create(self, name: str) -> MemoryFile:
        self.touch()
        inode = self.names[name] = Inode()
        return MemoryFile(self, inode)

    def open(self, name: str) -> MemoryFile:
        return MemoryFile(self, self.names[name])

    def rename(self, old: str, new: str) -> None:
        self.touch()
        self.names[new] = self.names.pop(old)

    def sync_folder(self) -> None:
        self.touch()
        self._durable_names = dict(self.names)
        self.touch()

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
