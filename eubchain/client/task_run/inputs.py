"""What a program gets: measured, packed, sealed and uploaded.

Here: the sources of a task's one sealed input, what it is measured by, the upload.
Not here: packing and sealing themselves (spark_node/storage), which spark may open it (granting.py).
Keeps: only ciphertext leaves this machine; an upload goes on where it was interrupted.
Errors: 3152 for an input that cannot be read; 3312, 340x, 341x, 346x of packing, sealing and stores.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import trio

from consensus.types.errors import Fault
from eubchain.client.task_run.journal import INPUT, Journal, Keys
from eubchain.client.task_run.market import SEAT
from eubchain.client.task_run.order import Order, refuse
from eubchain.client.task_run.requester import Requester
from spark_node.envelopes import input_object
from spark_node.job import MODULE_NAME
from spark_node.runtimes.wasi import MODULE_TOO_LARGE
from spark_node.runtimes.wasi_profile import MODULE_BYTES_MAX
from spark_node.storage.age_keys import parse_identity, recipient_of
from spark_node.storage.seal_requests import Sealed
from spark_node.storage.sealing import seal_directory
from spark_node.storage.store import Progress

MODULE_BEGINNING = b"\0asm\1\0\0\0"
"""Of every module of WebAssembly 1 and 2; components begin otherwise and are not run."""


class Measured(NamedTuple):
    """What an input is before it is packed."""

    files: int
    size: int
    """Bytes, unpacked."""
    module_digest: bytes | None
    """SHA-256 of the module of a wasi task."""
    mark: bytes
    """Changes when a name, size or time of change does: tells a repetition from another input."""


async def measure(order: Order) -> Measured:
    """Look through the input without reading it all; raise `Fault` 3152, 3312."""
    return await trio.to_thread.run_sync(_measure, order)


def _measure(order: Order) -> Measured:
    files, size, mark, module_digest = 0, 0, hashlib.sha256(), None
    for path in _files(order):
        try:
            status = path.stat()
        except OSError as error:
            refuse("input", f"{path}: {(error.strerror or '').lower()}")
        files, size = files + 1, size + status.st_size
        mark.update(repr((str(path), status.st_size, status.st_mtime_ns)).encode())
    if order.module is not None:
        content = order.module.read_bytes()
        if len(content) > MODULE_BYTES_MAX:
            raise Fault(MODULE_TOO_LARGE, size=len(content), limit=MODULE_BYTES_MAX)
        if not content.startswith(MODULE_BEGINNING):
            refuse("module", f"{order.module} is no WebAssembly module (in its binary format)")
        module_digest = hashlib.sha256(content).digest()
        mark.update(module_digest)
        files, size = files + 1, size + len(content)
    return Measured(files, size, module_digest, mark.digest())


def _files(order: Order) -> list[Path]:
    if order.input is None:
        return []
    if not order.input.is_dir():
        return [order.input]
    return [Path(root, name) for root, _, names in os.walk(order.input) for name in sorted(names)]


async def seal_input(order: Order, keys: Keys, staged: Path) -> Sealed | None:
    """Pack and seal the input beside the keys; None when the task has none. Raise `Fault` 340x, 341x."""
    sources: list[Path] = []
    if order.input is not None and order.input.is_dir():
        if order.module is None:
            return await _seal(order.input, keys, staged)
        sources = sorted(order.input.iterdir())
    elif order.input is not None:
        sources = [order.input]
    if order.module is not None:
        module = staged / MODULE_NAME
        await trio.to_thread.run_sync(shutil.copyfile, order.module, module)
        sources.append(module)
    if not sources:
        return None
    try:
        return await _seal(sources, keys, staged)
    finally:
        (staged / MODULE_NAME).unlink(missing_ok=True)


async def _seal(sources: Path | list[Path], keys: Keys, staged: Path) -> Sealed:
    recipient = recipient_of(parse_identity(keys.input))
    return await seal_directory(sources, staged / INPUT, recipient)


async def upload_input(requester: Requester, journal: Journal, progress: Progress) -> None:
    """Bring the sealed input to the task's place; repeating is harmless. Raise `Fault` 343x, 346x."""
    if journal.state.is_uploaded or not journal.state.input_digest:
        return
    async with requester.store(journal.state.place, journal.state.place) as store:
        await store.put(input_object(journal.task, SEAT, 0), journal.input, progress=progress)
    journal.note(is_uploaded=True)
