"""Directories as one file and back: a deterministic tar, compressed with Zstandard (RFC 8878).

Here: `pack`, `unpack`, `content_digests`, and the limits against archives made to fill a machine.
Not here: the tar headers (tar_entries.py), sealing (sealing.py), which runs these in a process of its
own: they block and compute.
Keeps: equal contents give equal archives under one library version; what `pack` accepts, `unpack`
accepts under the same limits; `unpack` shows a whole directory or none.
Errors: 3401, 3402 (tar_entries.py), 3403 archive_too_large, 3404 packing_refused, 3405 target_exists.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import zstandard

from consensus.types.codec import Hash32, Record, Uint
from consensus.types.errors import Fault, Reason
from spark_node.storage.tar_entries import (
    ARCHIVE_DAMAGED,
    ARCHIVE_UNSAFE,
    DEPTH_MAX,
    Entry,
    entry_header,
    padding,
    path_trouble,
    read_entry,
)

COPY_BYTES = 2**20
FEED_BYTES = 1024
"""Compressed bytes per decompression call. A block of 4 bytes can grow to 128 KiB, so one call
yields at most 32 MiB, whatever the archive claims."""
WINDOW_BYTES_MAX = 2**23
"""The memory a compressed stream may ask of its reader; level 3 asks for 2 MiB."""
LEVEL = 3
PARTIAL_PREFIX = ".eub-partial-"
"""What unfinished files and directories are called; a crash may leave one, `sweep_partials` removes it."""

ARCHIVE_TOO_LARGE = Reason(
    3403,
    "archive_too_large",
    "what:text have:count limit:count",
    "The archive has {have} {what}; at most {limit} are accepted.",
    "Send less, or raise the limit on the machine that unpacks, if its owner agrees.",
)
PACKING_REFUSED = Reason(
    3404,
    "packing_refused",
    "path:text why:text",
    "'{path}' cannot be packed: {why}.",
    "Remove it, or replace a link by a copy of what it points to.",
)
TARGET_EXISTS = Reason(
    3405,
    "target_exists",
    "path:text",
    "'{path}' exists already and is not empty.",
    "Name a directory that does not exist yet.",
)


class PackingLimits(Record, frozen=True):
    """What an archive may hold at most, both ways.

    `ratio_max` is unpacked bytes per compressed byte, and counts only beyond `ratio_free_bytes`,
    because a small file of zeros is no attack.
    """

    entries_max: Uint = 100_000
    file_bytes_max: Uint = 2**36
    total_bytes_max: Uint = 2**36
    ratio_max: Uint = 1_000
    ratio_free_bytes: Uint = 2**26


class Content(Record, frozen=True):
    """One file: its path in the archive, with slashes, and the SHA-256 of what it holds."""

    path: str
    digest: Hash32


DEFAULT_LIMITS = PackingLimits()


class _Tally:
    """Counts entries and bytes against the limits."""

    def __init__(self, limits: PackingLimits) -> None:
        self.limits, self.entries, self.total = limits, 0, 0

    def add(self, entry: Entry) -> None:
        limits = self.limits
        self.entries += 1
        self.total += entry.size
        _hold("entries", self.entries, limits.entries_max)
        _hold("bytes in one file", entry.size, limits.file_bytes_max)
        _hold("bytes", self.total, limits.total_bytes_max)

    def compare(self, unpacked: int, compressed: int) -> None:
        """Refuse what grows beyond the ratio."""
        if unpacked > self.limits.ratio_free_bytes:
            _hold("times its compressed size", unpacked // max(1, compressed), self.limits.ratio_max)


def _hold(what: str, have: int, limit: int) -> None:
    if have > limit:
        raise Fault(ARCHIVE_TOO_LARGE, what=what, have=have, limit=limit)


# ------------------------------------------------------------------------------------------ packing


class _Found(NamedTuple):
    """What a walk met: an entry, and an open descriptor if it is a file."""

    entry: Entry
    descriptor: int


def pack(
    sources: Path | Sequence[Path], target: BinaryIO, limits: PackingLimits = DEFAULT_LIMITS
) -> tuple[Content, ...]:
    """Write the archive of a directory, or of files and directories by their names; return the contents.

    Raise `Fault` 3403 beyond the limits, 3404 for links, devices and names that no archive may hold.
    Links are refused, not followed: a result directory is written by a stranger's program.
    """
    tally = _Tally(limits)
    contents: list[Content] = []
    counted = _Counted(target)
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    with compressor.stream_writer(cast("BinaryIO", counted), closefd=False) as out:
        for found in _walk_sources(sources):
            tally.add(found.entry)
            out.write(entry_header(found.entry))
            if not found.entry.is_directory:
                digest = _copy_exactly(found, out)
                contents.append(Content(found.entry.path, digest))
        out.write(bytes(1024))
    tally.compare(tally.total, counted.written)
    return tuple(sorted(contents, key=lambda content: content.path))


class _Counted:
    """A file that counts what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.written = file, 0

    def write(self, data: bytes) -> int:
        self.written += len(data)
        return self._file.write(data)


def content_digests(directory: Path) -> list[tuple[str, bytes]]:
    """Sorted (path, SHA-256) of every file below `directory`; raise `Fault` 3404 as `pack` does."""
    digests = []
    for found in _walk_sources(directory):
        if not found.entry.is_directory:
            with open(found.descriptor, "rb", closefd=False) as file:
                digests.append((found.entry.path, hashlib.file_digest(file, "sha256").digest()))
    return sorted(digests)


def _copy_exactly(found: _Found, out: BinaryIO | zstandard.ZstdCompressionWriter) -> bytes:
    """Copy a file whose header is already written, with its padding; return its SHA-256."""
    left, digest = found.entry.size, hashlib.sha256()
    while left:
        data = os.read(found.descriptor, min(COPY_BYTES, left))
        if not data:
            break
        digest.update(data)
        out.write(data)
        left -= len(data)
    if left or os.read(found.descriptor, 1):
        raise Fault(PACKING_REFUSED, path=found.entry.path, why="it changed while it was read")
    out.write(padding(found.entry.size))
    return digest.digest()


def _walk_sources(sources: Path | Sequence[Path]) -> Iterator[_Found]:
    if isinstance(sources, Path):
        descriptor = _open_at(str(sources), None, os.O_DIRECTORY, str(sources))
        try:
            yield from _walk(descriptor, "")
        finally:
            os.close(descriptor)
        return
    names = [source.name for source in sources]
    twice = sorted(name for name in set(names) if names.count(name) > 1)
    if twice:
        raise Fault(PACKING_REFUSED, path=twice[0], why="two sources have this name")
    for source in sorted(sources, key=lambda source: source.name):
        yield from _visit(str(source), None, source.name)


def _walk(directory: int, prefix: str) -> Iterator[_Found]:
    """Depth first, names in order. Descriptors, not paths, so that nothing swapped in is followed."""
    for name in sorted(os.listdir(directory)):
        yield from _visit(name, directory, prefix + name)


def _visit(name: str, directory: int | None, path: str) -> Iterator[_Found]:
    trouble = path_trouble(path)
    if trouble is not None:
        shown = path.encode("utf-8", "replace").decode()[:120]
        raise Fault(PACKING_REFUSED, path=shown, why=trouble)
    assert path.count("/") < DEPTH_MAX, "deeper paths are refused above"
    descriptor = _open_at(name, directory, 0, path)
    try:
        about = os.fstat(descriptor)
        if stat.S_ISDIR(about.st_mode):
            yield _Found(Entry(path, True, True, 0), descriptor)
            yield from _walk(descriptor, path + "/")
        elif stat.S_ISREG(about.st_mode):
            is_executable = bool(about.st_mode & 0o100)
            yield _Found(Entry(path, False, is_executable, about.st_size), descriptor)
        else:
            raise Fault(PACKING_REFUSED, path=path, why="it is a device, a pipe or a socket")
    finally:
        os.close(descriptor)


def _open_at(name: str, directory: int | None, flags: int, shown: str) -> int:
    """Open without following a link; non-blocking, because a pipe would wait for its other end."""
    try:
        return os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags, dir_fd=directory
        )
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else os.strerror(error.errno or 0).lower()
        raise Fault(PACKING_REFUSED, path=shown[-120:], why=why) from None


# ---------------------------------------------------------------------------------------- unpacking


def unpack(archive: BinaryIO, target: Path, limits: PackingLimits = DEFAULT_LIMITS) -> tuple[Content, ...]:
    """Unpack into `target`, which must not exist or be empty; return the contents, sorted by path.

    Everything is written to a sibling directory that only the owner may enter and that takes its
    name when whole; directories become 0755 and files 0644 or 0755 then, so the parent directory
    decides who may come in. Raise `Fault` 3401, 3402, 3403, 3405, and leave nothing behind.
    """
    refuse_occupied(target)
    partial = Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=target.parent))
    try:
        contents = _unpack_into(_Decompressed(archive, _Tally(limits)), partial)
        partial.chmod(0o755)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return tuple(sorted(contents, key=lambda content: content.path))


def refuse_occupied(target: Path) -> None:
    """Raise `Fault` 3405 unless `target` does not exist or is an empty directory."""
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise Fault(TARGET_EXISTS, path=str(target)[-120:])


class _Decompressed:
    """Reads exact numbers of bytes from one Zstandard frame, and knows when it is whole."""

    def __init__(self, file: BinaryIO, tally: _Tally) -> None:
        self._file, self.tally = file, tally
        self._frame = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX).decompressobj()
        self._ready = bytearray()
        self._compressed = self._unpacked = 0

    def read(self, size: int) -> bytes:
        while len(self._ready) < size:
            if not self._fill():
                raise Fault(ARCHIVE_DAMAGED, why="it ends too early")
        data = bytes(self._ready[:size])
        del self._ready[:size]
        return data

    def finish(self) -> None:
        """Read to the end of the frame, where its checksum is compared; nothing may follow."""
        while not self._ready and self._fill():
            pass
        if self._ready or self._frame.unused_data or self._file.read(1):
            raise Fault(ARCHIVE_DAMAGED, why="something follows the end mark")
        if not self._frame.eof:
            raise Fault(ARCHIVE_DAMAGED, why="it ends too early")

    def _fill(self) -> bool:
        if self._frame.eof:
            return False
        data = self._file.read(FEED_BYTES)
        if not data:
            return False
        self._compressed += len(data)
        try:
            grown = self._frame.decompress(data)
        except zstandard.ZstdError:
            raise Fault(ARCHIVE_DAMAGED, why="it does not decompress") from None
        self._unpacked += len(grown)
        self.tally.compare(self._unpacked, self._compressed)
        self._ready += grown
        return True


def _unpack_into(source: _Decompressed, directory: Path) -> list[Content]:
    contents: list[Content] = []
    seen = {"": True}  # path -> whether it is a directory
    while (entry := read_entry(source.read)) is not None:
        source.tally.add(entry)
        if entry.path in seen:
            raise Fault(ARCHIVE_UNSAFE, path=entry.path[:120], why="its name stands there twice")
        if not seen.get(entry.path.rpartition("/")[0], False):
            raise Fault(ARCHIVE_UNSAFE, path=entry.path[:120], why="it is in no directory of the archive")
        seen[entry.path] = entry.is_directory
        where = directory / entry.path
        if entry.is_directory:
            where.mkdir(mode=0o755)
        else:
            contents.append(Content(entry.path, _write_file(source, entry, where)))
    source.finish()
    return contents


def _write_file(source: _Decompressed, entry: Entry, where: Path) -> bytes:
    digest, left = hashlib.sha256(), entry.size
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(where, flags, 0o755 if entry.is_executable else 0o644)
    with open(descriptor, "wb") as file:
        while left:
            data = source.read(min(COPY_BYTES, left))
            digest.update(data)
            file.write(data)
            left -= len(data)
    if any(source.read(len(padding(entry.size)))):
        raise Fault(ARCHIVE_DAMAGED, why="the padding after a file is not zero")
    return digest.digest()


def sweep_partials(directory: Path) -> int:
    """Remove what a crash left unfinished in `directory`; return how many. Call it before work starts."""
    swept = 0
    for left in directory.glob(PARTIAL_PREFIX + "*"):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
        swept += 1
    return swept
