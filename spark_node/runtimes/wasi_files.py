"""The files a wasi program sees: a tree of our own, not the host's.

Here: directories and files as the guest meets them, path resolution, the count of bytes and names.
Not here: the calls and their memory layout (wasi_calls.py), limits of time and memory (wasi_worker.py).
Keeps: no guest path ever reaches the host (files of the output live under numbers until the end), so
there is nothing to escape through; there are no links; times are 0, inode numbers follow the sorted
input and then the order of creation, and directories list in byte order, so every machine shows the
same; what a program holds on disk never exceeds its limit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

NAMES_MAX = 65_536
"""Files and directories that a program may hold; one more is 'no space left'."""
NAME_BYTES_MAX = 255
PATH_BYTES_MAX = 4096
DEPTH_MAX = 64

# WASI preview 1 error numbers, by the names of its specification.
E_BADF, E_EXIST, E_FAULT, E_FBIG, E_ILSEQ, E_INVAL = 8, 20, 21, 22, 25, 28
E_ISDIR, E_MFILE, E_NAMETOOLONG, E_NOENT, E_NOSPC, E_NOSYS = 31, 33, 37, 44, 51, 52
E_NOTDIR, E_NOTEMPTY, E_NOTSUP, E_ROFS, E_SPIPE, E_NOTCAPABLE = 54, 55, 58, 69, 70, 76


class Refusal(Exception):
    """A call that fails with a WASI error number; the program sees it and goes on."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class File:
    """A regular file; its bytes are at `host`, its size is known here."""

    __slots__ = ("handle", "host", "inode", "named", "opened", "size", "writable")

    def __init__(self, inode: int, host: Path, size: int, writable: bool) -> None:
        self.inode, self.host, self.size, self.writable = inode, host, size, writable
        self.handle = -1
        self.opened = 0
        self.named = True


class Directory:
    """A directory; the parent of a mount is itself, but no path may climb there."""

    __slots__ = ("depth", "entries", "inode", "parent", "writable")

    def __init__(self, inode: int, parent: Directory | None, writable: bool) -> None:
        self.inode, self.writable = inode, writable
        self.parent: Directory | None = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.entries: dict[str, File | Directory] = {}

    def listing(self) -> list[tuple[str, File | Directory]]:
        """Entries in byte order, with `.` and `..` first."""
        named = sorted(self.entries.items(), key=lambda entry: entry[0].encode())
        return [(".", self), ("..", self.parent or self), *named]


class Files:
    """The two mounts of one run."""

    def __init__(
        self, input_files: list[tuple[str, int]], source: Path, store: Path, disk_bytes: int
    ) -> None:
        """`input_files` are sorted relative paths and sizes below `source`; -1 marks a directory."""
        self._next_inode = 1
        self._store = store
        self._disk_bytes = disk_bytes
        self.used = 0
        self.names = 0
        self.was_full = False
        """Whether the program ever met 'no space left'."""
        self.input = Directory(self._inode(), None, False)
        self.output = Directory(self._inode(), None, True)
        for path, size in input_files:
            *parents, name = path.split("/")
            place = self.input
            for parent in parents:
                below = place.entries[parent]
                assert isinstance(below, Directory), "a directory comes before what is in it"
                place = below
            place.entries[name] = (
                Directory(self._inode(), place, False)
                if size < 0
                else File(self._inode(), source / path, size, False)
            )

    def _inode(self) -> int:
        self._next_inode += 1
        return self._next_inode - 1

    def _full(self) -> Refusal:
        self.was_full = True
        return Refusal(E_NOSPC)

    def resolve(self, start: Directory, path: bytes) -> tuple[Directory, str]:
        """Walk to the parent of the last name; returns it and the name (`.` for the start itself).

        Refuses absolute paths and whatever climbs above the mount (`NOTCAPABLE`).
        """
        try:
            text = path.decode("utf-8")
        except UnicodeDecodeError:
            raise Refusal(E_ILSEQ) from None
        if not text:
            raise Refusal(E_NOENT)
        if "\0" in text:
            raise Refusal(E_INVAL)
        if text.startswith("/"):
            raise Refusal(E_NOTCAPABLE)
        parts = [part for part in text.split("/") if part not in ("", ".")]
        if any(len(part.encode()) > NAME_BYTES_MAX for part in parts):
            raise Refusal(E_NAMETOOLONG)
        place = start
        for index, part in enumerate(parts):
            if part == "..":
                if place.parent is None:
                    raise Refusal(E_NOTCAPABLE)
                place = place.parent
            elif index == len(parts) - 1:
                return place, part
            else:
                below = place.entries.get(part)
                if below is None:
                    raise Refusal(E_NOENT)
                if not isinstance(below, Directory):
                    raise Refusal(E_NOTDIR)
                place = below
        return place, "."

    def find(self, start: Directory, path: bytes) -> File | Directory:
        """What is at `path`; a trailing slash demands a directory."""
        parent, name = self.resolve(start, path)
        found = parent if name == "." else parent.entries.get(name)
        if found is None:
            raise Refusal(E_NOENT)
        if path.endswith(b"/") and not isinstance(found, Directory):
            raise Refusal(E_NOTDIR)
        return found

    def create(self, parent: Directory, name: str, directory: bool) -> File | Directory:
        """Add an empty file or directory."""
        if not parent.writable:
            raise Refusal(E_ROFS)
        if name == "." or name in parent.entries:
            raise Refusal(E_EXIST)
        if self.names >= NAMES_MAX:
            raise self._full()
        if parent.depth >= DEPTH_MAX:
            raise Refusal(E_NAMETOOLONG)
        inode = self._inode()
        made: File | Directory = Directory(inode, parent, True)
        if not directory:
            made = File(inode, self._store / str(inode), 0, True)
            os.close(os.open(made.host, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        parent.entries[name] = made
        self.names += 1
        return made

    def remove(self, parent: Directory, name: str, directory: bool) -> None:
        """Unlink a file or remove an empty directory; an open file keeps its bytes until closed."""
        found = parent.entries.get(name)
        if not parent.writable:
            raise Refusal(E_ROFS)
        if name == ".":
            raise Refusal(E_INVAL)
        if found is None:
            raise Refusal(E_NOENT)
        if isinstance(found, Directory):
            if not directory:
                raise Refusal(E_ISDIR)
            if found.entries:
                raise Refusal(E_NOTEMPTY)
            # A handle may still point here; nothing can be created in what has no name.
            found.writable = False
        elif directory:
            raise Refusal(E_NOTDIR)
        else:
            found.named = False
            self._forget(found)
        del parent.entries[name]
        self.names -= 1

    def rename(self, source: Directory, old: str, target: Directory, new: str) -> None:
        """Move within the output, replacing a file or an empty directory of the same kind."""
        if not (source.writable and target.writable):
            raise Refusal(E_ROFS)
        moved = source.entries.get(old)
        if moved is None:
            raise Refusal(E_INVAL if old == "." else E_NOENT)
        if new == ".":
            raise Refusal(E_INVAL)
        above: Directory | None = target
        while above is not None:
            if above is moved:
                raise Refusal(E_INVAL)
            above = above.parent
        if isinstance(moved, Directory) and target.depth + _height(moved) > DEPTH_MAX:
            raise Refusal(E_NAMETOOLONG)
        replaced = target.entries.get(new)
        if replaced is moved:
            return
        if replaced is not None:
            if isinstance(replaced, Directory) and not isinstance(moved, Directory):
                raise Refusal(E_ISDIR)
            self.remove(target, new, isinstance(moved, Directory))
        del source.entries[old]
        target.entries[new] = moved
        if isinstance(moved, Directory):
            moved.parent = target
            _set_depth(moved, target.depth + 1)

    def open(self, file: File) -> None:
        """Count one more handle."""
        if file.handle < 0:
            mode = os.O_RDWR if file.writable else os.O_RDONLY
            file.handle = os.open(file.host, mode | os.O_NOFOLLOW | os.O_CLOEXEC)
        file.opened += 1

    def close(self, file: File) -> None:
        """Count one handle less."""
        file.opened -= 1
        if file.opened == 0:
            os.close(file.handle)
            file.handle = -1
            self._forget(file)

    def _forget(self, file: File) -> None:
        if not file.named and file.opened == 0:
            self.used -= file.size
            file.size = 0
            file.host.unlink()

    def resize(self, file: File, size: int) -> None:
        """Set the size; growing beyond the disk limit is `NOSPC`. Holes count like bytes."""
        if not file.writable:
            raise Refusal(E_BADF)
        if self.used + size - file.size > self._disk_bytes:
            raise self._full()
        os.ftruncate(file.handle, size)
        self.used += size - file.size
        file.size = size

    def read(self, file: File, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset`; fewer only at the end of the file."""
        size = min(size, max(0, file.size - offset))
        blocks: list[bytes] = []
        while size > 0:
            block = os.pread(file.handle, size, offset)
            if not block:
                break
            blocks.append(block)
            offset += len(block)
            size -= len(block)
        return b"".join(blocks)

    def write(self, file: File, offset: int, data: bytes) -> int:
        """Write what still fits, at least one byte or `NOSPC`; returns how many."""
        if not file.writable:
            raise Refusal(E_BADF)
        if offset > self._disk_bytes:
            raise Refusal(E_FBIG)
        free = self._disk_bytes - self.used
        room = max(0, file.size + free - offset)
        kept = data[:room]
        if data and not kept:
            raise self._full()
        written = 0
        while written < len(kept):
            written += os.pwrite(file.handle, memoryview(kept)[written:], offset + written)
        if kept and offset + len(kept) > file.size:
            self.used += offset + len(kept) - file.size
            file.size = offset + len(kept)
        return len(kept)

    def publish(self, target: Path) -> None:
        """Give the output files their names below `target`, once the program is over."""
        for path, found in _walk(self.output, target):
            if isinstance(found, Directory):
                path.mkdir(mode=0o700)
            else:
                found.host.rename(path)


def _walk(place: Directory, path: Path) -> Iterator[tuple[Path, File | Directory]]:
    for name, found in sorted(place.entries.items()):
        yield path / name, found
        if isinstance(found, Directory):
            yield from _walk(found, path / name)


def _height(place: Directory) -> int:
    return 1 + max((_height(e) for e in place.entries.values() if isinstance(e, Directory)), default=0)


def _set_depth(place: Directory, depth: int) -> None:
    place.depth = depth
    for below in place.entries.values():
        if isinstance(below, Directory):
            _set_depth(below, depth + 1)
