"""A store that is a directory: for one machine, a shared mount, or tests (`file:`).

Here: `DirectoryStore`. Not here: the interface (store.py), a directory that strangers fill (shelf.py).
Keeps: an object is copied beside its name, compared, written through, and only then renamed.
Errors: 3430-3433 (store.py), 3416 disk_refuses.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import trio

from consensus.types.errors import Fault
from spark_node.storage.objects import ObjectName
from spark_node.storage.seal_requests import DISK_REFUSES
from spark_node.storage.store import (
    OBJECT_BYTES_MAX,
    OBJECT_FIXED,
    OBJECT_MISSING,
    OBJECT_TOO_LARGE,
    PIECE_BYTES,
    Progress,
    Stored,
    file_size,
    finish_file,
    measure_file,
    partial_path,
)

T = TypeVar("T")


class DirectoryStore:
    """Objects at ROOT/TASK/SEAT/KIND/N."""

    def __init__(self, root: Path) -> None:
        self.root = root

    async def put(self, name: ObjectName, source: Path, *, progress: Progress | None = None) -> Stored:
        """Copy a file under `name`; raise `Fault` 3432 if other content has that name."""
        target = self.root / name.text
        stored = await _in_thread(measure_file, source)
        if target.exists():
            if (await _in_thread(measure_file, target)) != stored:
                raise Fault(OBJECT_FIXED, name=name.text)
            return stored
        await _in_thread(_make_parents, target)
        return await _copy(name, source, target, stored, progress)

    async def get(
        self,
        name: ObjectName,
        target: Path,
        *,
        digest: bytes | None,
        bytes_max: int = OBJECT_BYTES_MAX,
        progress: Progress | None = None,
    ) -> Stored:
        """Copy an object to `target`; raise `Fault` 3430, 3431, 3433."""
        source = self.root / name.text
        if not source.is_file():
            raise Fault(OBJECT_MISSING, name=name.text)
        size = file_size(source)
        if size > bytes_max:
            raise Fault(OBJECT_TOO_LARGE, name=name.text, size=size, limit=bytes_max)
        if digest is None:
            digest = (await _in_thread(measure_file, source)).digest
        return await _copy(name, source, target, Stored(digest, size), progress)

    async def size(self, name: ObjectName) -> int | None:
        """Bytes of the object, None if there is none."""
        path = self.root / name.text
        return file_size(path) if path.is_file() else None

    async def delete(self, name: ObjectName) -> None:
        """Remove the object if it is there."""
        await _in_thread(lambda path: path.unlink(missing_ok=True), self.root / name.text)

    async def __aenter__(self) -> DirectoryStore:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


async def _in_thread(work: Callable[[Path], T], path: Path) -> T:
    try:
        return await trio.to_thread.run_sync(work, path)
    except OSError as error:
        raise _refused(path, error) from None


def _refused(path: Path, error: OSError) -> Fault:
    return Fault(DISK_REFUSES, path=str(path)[-120:], why=os.strerror(error.errno or 0).lower())


def _make_parents(target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


async def _copy(
    name: ObjectName, source: Path, target: Path, expected: Stored, progress: Progress | None
) -> Stored:
    """Copy from where an earlier attempt ended; the digest is compared over the whole copy."""
    partial = partial_path(target, expected.digest)
    if file_size(partial) > expected.size:
        partial.unlink()  # an attempt from a source that has changed

    def copy_pieces() -> Stored:
        done = file_size(partial)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with source.open("rb") as original, open(descriptor, "ab") as copy:
            original.seek(done)
            while piece := original.read(PIECE_BYTES):
                trio.from_thread.check_cancelled()
                copy.write(piece)
                done += len(piece)
                if progress is not None:
                    trio.from_thread.run_sync(progress, done, expected.size)
        return finish_file(partial, target, name, expected.digest)

    try:
        return await trio.to_thread.run_sync(copy_pieces)
    except OSError as error:
        raise _refused(target, error) from None
