"""Files whose content must survive a crash: the few operations that WAL and signer guard rest on.

Here: the interface and its implementation in a folder of the real file system.
Not here: an implementation that tears writes and forgets what was not synced (tests/sim).
Keeps: nothing counts as stored before `sync` of the file, and no name before `sync_folder`. Files are
readable by their owner only.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

PRIVATE_MODE = 0o600


class DurableFile(Protocol):
    """An open file. Every method raises OSError as the system does."""

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of `data` at an offset."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to a size."""
        ...

    def sync(self) -> None:
        """Return once everything written is on the disk (fdatasync)."""
        ...

    def close(self) -> None:
        """Close; syncs nothing."""
        ...


class DurableFiles(Protocol):
    """A folder of files."""

    def read(self, name: str) -> bytes | None:
        """The whole content; None if there is no such file."""
        ...

    def create(self, name: str) -> DurableFile:
        """An empty file of this name, emptied if it exists."""
        ...

    def open(self, name: str) -> DurableFile:
        """An existing file, for writing."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing what had it, all at once."""
        ...

    def sync_folder(self) -> None:
        """Return once names are on the disk."""
        ...

    def describe(self, name: str) -> str:
        """Where the file is, for messages."""
        ...


class FolderFile:
    """A file by its descriptor."""

    __slots__ = ("_descriptor",)

    def __init__(self, path: Path, flags: int) -> None:
        self._descriptor = os.open(path, flags | os.O_RDWR | os.O_CLOEXEC, PRIVATE_MODE)

    def write_at(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view, offset = view[written:], offset + written

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class FolderFiles:
    """`DurableFiles` in one folder of the file system, which must exist."""

    __slots__ = ("folder",)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, name: str) -> bytes | None:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def create(self, name: str) -> FolderFile:
        return FolderFile(self.folder / name, os.O_CREAT | os.O_TRUNC)

    def open(self, name: str) -> FolderFile:
        return FolderFile(self.folder / name, 0)

    def rename(self, old: str, new: str) -> None:
        os.replace(self.folder / old, self.folder / new)

    def sync_folder(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def describe(self, name: str) -> str:
        return str(self.folder / name)
