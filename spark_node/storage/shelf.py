"""Objects on disk under limits: what a blob server keeps, and how uploads grow to whole objects.

Here: `Shelf` (find, admit, append, remove, purge), its limits, its accounting.
Not here: HTTP and tokens (blob_server.py), the store of one directory without limits (directory.py).
Layout: ROOT/TASK/SEAT/KIND/N the object, N.sha256 its digest, .N.DIGEST.partial an upload on its way.
Keeps: bytes on disk and bytes promised to uploads in progress stay within the quota, each task's within
its own; an object appears whole, checked and written through; one writer per upload, the newest wins,
because the older one is most likely a connection that died unnoticed.
Errors: 3440 store_full, 3441 upload_out_of_place, 3442 upload_taken_over, 3443 upload_too_long,
and 3431-3433, 3416.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial as partial_function
from pathlib import Path
from typing import NamedTuple

import trio

from consensus.types.errors import Fault, Reason
from spark_node.storage.objects import ObjectName
from spark_node.storage.seal_requests import DISK_REFUSES
from spark_node.storage.store import (
    OBJECT_FIXED,
    OBJECT_TOO_LARGE,
    Stored,
    file_pieces,
    file_size,
    finish_file,
    measure_file,
    partial_path,
    write_all,
)

_PURGED_PREFIX = ".purged-"

STORE_FULL = Reason(
    3440,
    "store_full",
    "what:text have:count limit:count",
    "The store takes no more {what}: it has {have} with this one, and the limit is {limit}.",
    "Use another place, or wait until tasks are settled and their objects cleared.",
)
UPLOAD_OUT_OF_PLACE = Reason(
    3441,
    "upload_out_of_place",
    "have:bytes offset:bytes",
    "The upload continues at byte {offset}, but the store has {have}.",
    "Ask where to continue (a PUT without Upload-Offset), then send from there.",
)
UPLOAD_TAKEN_OVER = Reason(
    3442,
    "upload_taken_over",
    "name:text",
    "Another connection continues the upload of '{name}'.",
    "Nothing is lost: let that one finish.",
)
UPLOAD_TOO_LONG = Reason(
    3443,
    "upload_too_long",
    "limit:bytes",
    "The upload is longer than the {limit} bytes it announced.",
    "Announce the size of the file as it is, and send a file that does not change.",
)


@dataclass(frozen=True, slots=True)
class ShelfLimits:
    """What a store takes at most; sizes in bytes of ciphertext."""

    object_bytes_max: int = 2**36
    task_bytes_max: int = 2**37
    task_objects_max: int = 120_000
    """Small objects cost inodes; a week of log chunks fits."""
    quota_bytes: int = 2**38
    free_bytes_min: int = 2**30
    """What stays free on the disk for whoever else uses it."""


class Held(NamedTuple):
    """A whole object on disk."""

    path: Path
    size: int
    digest: bytes


class Admission(NamedTuple):
    """Where an upload goes on (bytes), and whether the object is whole already."""

    offset: int
    is_whole: bool


@dataclass(slots=True)
class _Use:
    bytes: int = 0
    objects: int = 0


@dataclass(eq=False, slots=True)
class _Writer:
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    done: trio.Event = field(default_factory=trio.Event)


class Shelf:
    """The objects of many tasks below one directory, which is this shelf's alone."""

    def __init__(self, root: Path, limits: ShelfLimits) -> None:
        """Count what is there. Blocks: make it in a thread if the directory is large."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root, self.limits = root, limits
        self._use: dict[bytes, _Use] = {}
        self._total = 0
        self._writers: dict[Path, _Writer] = {}
        for task, size in _existing(root):
            self._count(task, size, 1)

    def find(self, name: ObjectName) -> Held | None:
        """The whole object of this name, or None."""
        path = self.root / name.text
        try:
            digest = _digest_path(path).read_bytes()
            size = path.stat().st_size
        except FileNotFoundError:
            return None
        return Held(path, size, digest)

    def used_bytes(self) -> int:
        """Bytes on disk and promised to uploads in progress."""
        return self._total

    def admit(self, name: ObjectName, digest: bytes, length: int) -> Admission:
        """Say where an upload of this content goes on; raise `Fault` 3432, 3433 or 3440 if it may not."""
        held = self.find(name)
        if held is not None:
            if held.digest != digest:
                raise Fault(OBJECT_FIXED, name=name.text)
            return Admission(held.size, True)
        limits = self.limits
        if length > limits.object_bytes_max:
            raise Fault(OBJECT_TOO_LARGE, name=name.text, size=length, limit=limits.object_bytes_max)
        partial = self._partial(name, digest)
        have, is_new = file_size(partial), not partial.exists()
        use, more = self._use.get(name.task, _Use()), max(0, length - have)
        _hold("objects of this task", use.objects + is_new, limits.task_objects_max)
        _hold("bytes of this task", use.bytes + more, limits.task_bytes_max)
        _hold("bytes", self._total + more, limits.quota_bytes)
        free = shutil.disk_usage(self.root).free - limits.free_bytes_min
        _hold("bytes on this disk", more, max(0, free))
        return Admission(have, False)

    async def append(
        self, name: ObjectName, digest: bytes, length: int, offset: int, pieces: AsyncIterator[bytes]
    ) -> Admission:
        """Add pieces at `offset`; finish the object when all `length` bytes are there.

        A stream that breaks off leaves what arrived, to be continued. Raise `Fault` 3431 (and forget
        the upload), 3432, 3433, 3440-3443.
        """
        partial = self._partial(name, digest)
        async with self._alone(name, partial):
            admission = self.admit(name, digest, length)
            if admission.is_whole:
                return admission
            have = admission.offset
            if have != offset or have > length:
                raise Fault(UPLOAD_OUT_OF_PLACE, have=have, offset=offset)
            self._count(name.task, length - have, int(not partial.exists()))
            try:
                partial.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                await _write_pieces(partial, pieces, length - have, length)
            finally:
                self._count(name.task, file_size(partial) - length, -int(not partial.exists()))
            if file_size(partial) < length:
                return Admission(file_size(partial), False)
            await self._finish(name, partial, digest)
            return Admission(length, True)

    async def take(self, name: ObjectName, source: Path) -> Stored:
        """Put a file of this machine on the shelf, without a network; raise `Fault` as `append` does."""
        stored = await trio.to_thread.run_sync(measure_file, source, abandon_on_cancel=True)
        offset, is_whole = self.admit(name, stored.digest, stored.size)
        if not is_whole:
            pieces = file_pieces(source, offset, stored.size, None)
            offset, is_whole = await self.append(name, stored.digest, stored.size, offset, pieces)
        if not is_whole:  # it shrank while it was read
            raise Fault(UPLOAD_OUT_OF_PLACE, have=offset, offset=stored.size)
        return stored

    async def remove(self, name: ObjectName) -> None:
        """Remove a whole object, if there is one."""
        held = self.find(name)
        if held is not None:
            # The digest first: an object without one does not exist.
            _digest_path(held.path).unlink()
            held.path.unlink()
            self._count(name.task, -held.size, -1)

    async def purge(self, task: bytes) -> None:
        """Remove all objects of a settled task, and end its uploads."""
        directory = self.root / task.hex()
        while writers := [w for path, w in self._writers.items() if path.is_relative_to(directory)]:
            for writer in writers:
                writer.scope.cancel()
            for writer in writers:
                await writer.done.wait()
        if not directory.exists():
            return
        # Put aside and forgotten in one step, so that a late upload starts from nothing.
        aside = Path(tempfile.mkdtemp(prefix=_PURGED_PREFIX, dir=self.root))
        directory.rename(aside / directory.name)
        self._total -= self._use.pop(task, _Use()).bytes
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(partial_function(shutil.rmtree, aside, ignore_errors=True))

    async def _finish(self, name: ObjectName, partial: Path, digest: bytes) -> None:
        target = self.root / name.text
        size = file_size(partial)

        def finish() -> None:
            finish_file(partial, target, name, digest)
            # Last: until its digest is there the object does not exist.
            written = _digest_path(target).with_name(f".{target.name}.digest")
            written.write_bytes(digest)
            written.replace(_digest_path(target))

        try:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(finish)
        except Fault:
            self._count(name.task, -size, -1)
            raise

    def _partial(self, name: ObjectName, digest: bytes) -> Path:
        return partial_path(self.root / name.text, digest)

    def _count(self, task: bytes, size: int, objects: int) -> None:
        use = self._use.setdefault(task, _Use())
        use.bytes += size
        use.objects += objects
        self._total += size
        assert use.bytes >= 0, "the bytes that go were there"
        assert use.objects >= 0, "the object that goes was there"

    @asynccontextmanager
    async def _alone(self, name: ObjectName, partial: Path) -> AsyncIterator[None]:
        """Be the only writer of an upload: the one before is ended, the one after ends this one."""
        mine, before = _Writer(), self._writers.get(partial)
        self._writers[partial] = mine
        try:
            if before is not None:
                before.scope.cancel()
                await before.done.wait()
            with mine.scope:
                yield
        finally:
            mine.done.set()
            if self._writers.get(partial) is mine:
                del self._writers[partial]
        if mine.scope.cancelled_caught:
            raise Fault(UPLOAD_TAKEN_OVER, name=name.text)


def _hold(what: str, have: int, limit: int) -> None:
    if have > limit:
        raise Fault(STORE_FULL, what=what, have=have, limit=limit)


def _digest_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _existing(root: Path) -> Iterator[tuple[bytes, int]]:
    """Task and size of every object and upload of an earlier run; what its end left half done goes."""
    for purged in root.glob(_PURGED_PREFIX + "*"):
        shutil.rmtree(purged)
    for directory, _, files in os.walk(root):
        for file in files:
            path = Path(directory, file)
            if file.endswith(".sha256"):
                continue
            if not file.endswith(".partial") and not _digest_path(path).exists():
                path.unlink()
                continue
            yield bytes.fromhex(path.relative_to(root).parts[0]), path.stat().st_size


async def _write_pieces(partial: Path, pieces: AsyncIterator[bytes], bytes_max: int, length: int) -> None:
    """Append what comes, at most `bytes_max`; what arrived before a break is on disk."""
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        async for piece in pieces:
            if len(piece) > bytes_max:
                raise Fault(UPLOAD_TOO_LONG, limit=length)
            # Shielded: a piece is written whole or the offset would be a guess.
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(write_all, descriptor, piece)
            bytes_max -= len(piece)
    except OSError as error:
        raise Fault(DISK_REFUSES, path=partial.name, why=os.strerror(error.errno or 0).lower()) from None
    finally:
        os.close(descriptor)
