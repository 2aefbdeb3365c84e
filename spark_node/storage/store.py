"""What every store offers: put, get, size and delete of named objects, each digest-checked.

Here: the interface, what a transfer returns, the reasons that all stores share.
Not here: the stores (directory.py, blob.py), where one is named and opened (places.py).
Keeps: an object is put whole or not at all and never changes afterwards; what `get` delivers under its
name has the digest that was asked for; both resume where an earlier attempt ended.
Errors: 3430 object_missing, 3431 object_differs, 3432 object_fixed, 3433 object_too_large.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

import trio

from consensus.types.errors import Fault, Reason
from spark_node.storage.objects import ObjectName

OBJECT_BYTES_MAX = 2**40
"""The bound of `get` where the caller knows no better one."""
PIECE_BYTES = 2**18
"""Bytes read or written at once: large enough that the change of threads costs nothing, small enough
that a cancellation does not wait."""

OBJECT_MISSING = Reason(
    3430,
    "object_missing",
    "name:text",
    "The store has no object '{name}'.",
    "It was not uploaded yet, or the task is settled and the store has cleared it.",
)
OBJECT_DIFFERS = Reason(
    3431,
    "object_differs",
    "name:text expected:hash found:hash",
    "The object '{name}' has the digest {found}, not {expected}.",
    "It was damaged on its way or replaced; ask its sender for another place.",
)
OBJECT_FIXED = Reason(
    3432,
    "object_fixed",
    "name:text",
    "The object '{name}' is there already, with other content.",
    "Objects never change once they are whole: use the next number.",
)
OBJECT_TOO_LARGE = Reason(
    3433,
    "object_too_large",
    "name:text size:bytes limit:bytes",
    "The object '{name}' has {size} bytes; at most {limit} are accepted.",
    "Send less, or ask the owner of the store for a higher limit.",
)

Progress = Callable[[int, int], None]
"""Called with bytes moved so far, of how many."""


class Stored(NamedTuple):
    """A whole object: SHA-256 and bytes."""

    digest: bytes
    size: int


class Store(Protocol):
    """A place where sealed objects lie. Use it as an async context manager."""

    async def put(self, name: ObjectName, source: Path, *, progress: Progress | None = None) -> Stored:
        """Store a file under `name`; putting the same content again changes nothing."""
        ...

    async def get(
        self,
        name: ObjectName,
        target: Path,
        *,
        digest: bytes | None,
        bytes_max: int = OBJECT_BYTES_MAX,
        progress: Progress | None = None,
    ) -> Stored:
        """Fetch an object as the new file `target`; None takes the store's word for its digest."""
        ...

    async def size(self, name: ObjectName) -> int | None:
        """Bytes of a whole object, or None if there is none."""
        ...

    async def delete(self, name: ObjectName) -> None:
        """Remove an object; one that is not there is no error."""
        ...

    async def __aenter__(self) -> Store: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def measure_file(path: Path) -> Stored:
    """SHA-256 and size of a file. Blocks: call it in a thread."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        return Stored(digest, file.tell())


def file_size(path: Path) -> int:
    """Bytes of a file, 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def partial_path(target: Path, digest: bytes) -> Path:
    """Where an unfinished transfer of this content to `target` waits to be resumed."""
    return target.with_name(f".{target.name}.{digest.hex()[:16]}.partial")


def finish_file(partial: Path, target: Path, name: ObjectName, digest: bytes) -> Stored:
    """Check a transferred file and name it; if it differs, remove it and raise `Fault` 3431. Blocks."""
    found = measure_file(partial)
    if found.digest != digest:
        partial.unlink()
        raise Fault(OBJECT_DIFFERS, name=name.text, expected=digest, found=found.digest)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)
    return found


def write_all(descriptor: int, piece: bytes) -> None:
    """Write a piece whole: the system may take less than it is given. Blocks."""
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


async def file_pieces(
    source: Path, offset: int, size: int, progress: Progress | None
) -> AsyncIterator[bytes]:
    """The bytes of a file from `offset` to `size`, a piece at a time."""
    async with await trio.open_file(source, "rb") as file:
        await file.seek(offset)
        while offset < size:
            piece = await file.read(min(PIECE_BYTES, size - offset))
            if not piece:  # it shrank: the receiver will miss the rest and say so
                return
            offset += len(piece)
            yield piece
            if progress is not None:
                progress(offset, size)
