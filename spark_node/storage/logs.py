"""A task's output on its way to the requester: sealed chunks while it runs, a report if it fails.

Here: `LogWriter` (spark), `LogReader` (requester), `ErrorReport` and its way through a store.
Not here: where lines come from (the runtimes), how they are shown (the command line).
A chunk is sealed before it touches the disk, waits in a spool directory until the store has it, and is
numbered without gaps, so a spark that restarts or loses its network loses no line, and a requester that
attaches again asks for the next number. A chunk is sealed, not signed: whoever holds the store could
write one, so a log informs and proves nothing.
Keeps: what the program writes never waits for the network; a log ends at its limit and says so.
Errors: 3480 log_out_of_order, 3481 record_damaged, and those of the store and of sealing.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import trio
from pyrage.x25519 import Identity

from consensus.types.codec import Codec, Record, Uint, encode
from consensus.types.errors import Fault, Reason, Rejected
from spark_node.storage.objects import ObjectName
from spark_node.storage.packing import PARTIAL_PREFIX
from spark_node.storage.seal_requests import DISK_REFUSES
from spark_node.storage.sealing import seal, unseal
from spark_node.storage.store import OBJECT_MISSING, Store, Stored

CHUNK_BYTES_MAX = 32 * 1024
FLUSH_S = 1.0
"""How long a line waits for company; with the reader's pace it is seen within 3 s."""
CHUNKS_PER_PACE = 20_000
"""After each so many chunks a line waits twice as long: a store holds a bounded number of objects, and
a log of a week must fit."""
POLL_S = 0.5
LOG_BYTES_MAX = 64 * 2**20
"""What a program may say unless its task grants another size; the rest is dropped and counted."""
TAIL_BYTES_MAX = 64 * 1024
SEALED_OVERHEAD_MAX = 1024
RETRY_S = 2.0
"""The pause after a place has used up its patience; the chunks wait on disk."""

LOG_OUT_OF_ORDER = Reason(
    3480,
    "log_out_of_order",
    "n:count expected:bytes found:bytes",
    "Chunk {n} of the log begins at byte {found} where {expected} was expected.",
    "The spark or its store rearranged the log; trust none of it, the result is checked on its own.",
)
RECORD_DAMAGED = Reason(
    3481,
    "record_damaged",
    "name:text why:text",
    "The object '{name}' opens but does not hold what it should: {why}.",
    "Whoever sealed it uses another version or sealed something else.",
)


class LogChunk(Record, frozen=True):
    """Bytes of output from `offset`; the last chunk says how many more were dropped."""

    offset: Uint
    data: Annotated[bytes, msgspec.Meta(max_length=CHUNK_BYTES_MAX)]
    is_last: bool
    dropped: Uint


class ErrorReport(Record, frozen=True):
    """Why a seat failed: exit status, a word for the cause, and the last 64 KiB of output."""

    exit_status: Uint
    cause: Annotated[str, msgspec.Meta(max_length=500)]
    tail: Annotated[bytes, msgspec.Meta(max_length=TAIL_BYTES_MAX)]


_CHUNK: Codec[LogChunk] = Codec(LogChunk)
_REPORT: Codec[ErrorReport] = Codec(ErrorReport)
_SPOOLED = re.compile(r"([0-9]+)-([0-9]+)(-last)?\.sealed", re.ASCII)
"""Number, offset after it: what a restart must know and a stranger may."""
_REACHED = "reached"
R = TypeVar("R", bound=Record)


# ------------------------------------------------------------------------------------------- writing


class LogWriter:
    """Collects output and brings it to the store; `spool` is a directory of this log alone.

    Start `run` in a nursery: it returns once `close` was called and the store has every chunk.
    """

    def __init__(
        self,
        store: Store,
        task: bytes,
        seat: int,
        recipient: str,
        spool: Path,
        *,
        bytes_max: int = LOG_BYTES_MAX,
    ) -> None:
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._store, self._recipient, self._spool, self._bytes_max = store, recipient, spool, bytes_max
        self._name = ObjectName(task, seat, "log", 0)
        self._waiting, self._dropped = bytearray(), 0
        self._cutting = trio.Lock()
        self._fault: Fault | None = None
        self._cut_or_closed = trio.Event()
        self._n, self._offset, self._is_closed = _spool_reached(spool)

    async def write(self, data: bytes) -> None:
        """Add output. Waits for the disk at most; beyond the limit it only counts."""
        assert not self._is_closed, "nothing is written after the end"
        room = max(0, self._bytes_max - self._offset - len(self._waiting))
        self._waiting += data[:room]
        self._dropped += max(0, len(data) - room)
        while len(self._waiting) >= CHUNK_BYTES_MAX:
            await self._cut(is_last=False)

    async def close(self) -> None:
        """Say that this was all. A log that a crash interrupted is continued or closed, as one likes."""
        if not self._is_closed:
            while len(self._waiting) > CHUNK_BYTES_MAX:
                await self._cut(is_last=False)
            await self._cut(is_last=True)

    async def run(self) -> None:
        """Flush and send until the log is closed and sent; an unreachable store is tried again for ever.

        Raise the store's `Fault` if it refuses: a log that nobody takes is no reason to end the task.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._note, nursery.cancel_scope, self._flush)
            await self._note(nursery.cancel_scope, self._send_all)
            nursery.cancel_scope.cancel()
        if self._fault is not None:
            raise self._fault

    async def _note(self, scope: trio.CancelScope, work: Callable[[], Awaitable[None]]) -> None:
        """Keep a fault and stop, so that it leaves `run` as itself and not in a group."""
        try:
            await work()
        except Fault as fault:
            self._fault = fault
            scope.cancel()

    async def _send_all(self) -> None:
        while True:
            more = self._cut_or_closed
            for path, match in _spooled(self._spool):
                await self._send(path, int(match[1]), int(match[2]))
            if self._is_closed and not _spooled(self._spool):
                return
            await more.wait()

    async def _flush(self) -> None:
        while not self._is_closed:
            await trio.sleep(FLUSH_S * 2 ** (self._n // CHUNKS_PER_PACE))
            if self._waiting and not self._is_closed:
                await self._cut(is_last=False)

    async def _cut(self, is_last: bool) -> None:
        """Seal what waits, up to a chunk, into the spool."""
        async with self._cutting:
            data = bytes(self._waiting[:CHUNK_BYTES_MAX])
            if self._is_closed or (not data and not is_last):
                return
            chunk = LogChunk(self._offset, data, is_last, self._dropped if is_last else 0)
            sealed = seal(encode(chunk), self._recipient, CHUNK_BYTES_MAX + SEALED_OVERHEAD_MAX)
            end = "-last" if is_last else ""
            path = self._spool / f"{self._n}-{self._offset + len(data)}{end}.sealed"
            with trio.CancelScope(shield=True):
                await _spool_file(path, sealed)
            # Only now: what a failing disk refused is still waiting.
            del self._waiting[: len(data)]
            self._n += 1
            self._offset += len(data)
            self._is_closed = is_last
        self._cut_or_closed.set()
        self._cut_or_closed = trio.Event()

    async def _send(self, path: Path, n: int, end: int) -> None:
        while True:
            try:
                await self._store.put(self._name._replace(n=n), path)
                break
            except Fault as fault:
                if fault.reason.name not in _PASSING:
                    raise
                await trio.sleep(RETRY_S)
        is_last = "-last" if path.stem.endswith("-last") else ""
        # First what was reached, then the chunk goes: between the two it is sent twice, which is nothing.
        reached = f"{n + 1}-{end}{is_last}".encode()
        await _spool_file(self._spool / _REACHED, reached)
        with _disk_faults(path):
            await trio.to_thread.run_sync(path.unlink)


_PASSING = frozenset({"place_unreachable", "upload_taken_over", "upload_stalled"})
"""Faults of a store that time may heal; by name, because any kind of store may raise them."""


def _spooled(spool: Path) -> list[tuple[Path, re.Match[str]]]:
    """The chunks that wait to be sent, in order."""
    with _disk_faults(spool):
        found = [(path, _SPOOLED.fullmatch(path.name)) for path in spool.iterdir()]
    return sorted(((p, m) for p, m in found if m is not None), key=lambda pair: int(pair[1][1]))


def _spool_reached(spool: Path) -> tuple[int, int, bool]:
    """Next number, next offset, and whether the log is closed."""
    waiting = _spooled(spool)
    if waiting:
        match = waiting[-1][1]
        return int(match[1]) + 1, int(match[2]), match[3] is not None
    try:
        n, offset, *end = (spool / _REACHED).read_text().split("-")
    except FileNotFoundError:
        return 0, 0, False
    return int(n), int(offset), bool(end)


async def _spool_file(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all; raise `Fault` 3416."""

    def write() -> None:
        partial = path.with_name(PARTIAL_PREFIX + path.name)
        partial.write_bytes(data)
        partial.replace(path)

    with _disk_faults(path):
        await trio.to_thread.run_sync(write)


@contextmanager
def _disk_faults(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise Fault(DISK_REFUSES, path=str(path)[-120:], why=why) from None


# ------------------------------------------------------------------------------------------- reading


class LogReader:
    """Reads a log from any chunk on. Keep `next_n` to attach again without missing one."""

    def __init__(self, store: Store, task: bytes, seat: int, identity: Identity, *, next_n: int = 0) -> None:
        self._store, self._identity = store, identity
        self._name = ObjectName(task, seat, "log", 0)
        self.next_n = next_n
        self._offset: int | None = 0 if next_n == 0 else None

    async def read(self) -> LogChunk | None:
        """The next chunk, or None if the store does not have it yet; raise `Fault` 3412, 3480, 3481, …

        A chunk that is refused stays the next one; `next_n += 1` steps over it.
        """
        name = self._name._replace(n=self.next_n)
        try:
            chunk = await _get_record(self._store, name, self._identity, _CHUNK, CHUNK_BYTES_MAX)
        except Fault as fault:
            if fault.reason is OBJECT_MISSING:
                return None
            raise
        if self._offset is not None and chunk.offset != self._offset:
            raise Fault(LOG_OUT_OF_ORDER, n=self.next_n, expected=self._offset, found=chunk.offset)
        self._offset = chunk.offset + len(chunk.data)
        self.next_n += 1
        return chunk

    async def wait(self, poll_s: float = POLL_S) -> LogChunk:
        """The next chunk, asked for every `poll_s` seconds until it is there."""
        while True:
            chunk = await self.read()
            if chunk is not None:
                return chunk
            await trio.sleep(poll_s)


# ------------------------------------------------------------------------------------------- failing


def error_report(exit_status: int, cause: str, output: bytes) -> ErrorReport:
    """The report of a failure: of the output only the last 64 KiB."""
    return ErrorReport(exit_status, cause[:500], output[-TAIL_BYTES_MAX:])


async def put_error(store: Store, name: ObjectName, report: ErrorReport, recipient: str) -> Stored:
    """Seal a report and store it; its digest goes into the transaction that claims the failure."""
    assert name.kind == "error", "a report is an error object"
    data = encode(report)
    sealed = seal(data, recipient, len(data) + SEALED_OVERHEAD_MAX)
    with tempfile.TemporaryDirectory(prefix="eub-") as directory:
        path = Path(directory, "report.sealed")
        await trio.to_thread.run_sync(path.write_bytes, sealed)
        return await store.put(name, path)


async def get_error(store: Store, name: ObjectName, identity: Identity, digest: bytes) -> ErrorReport:
    """Fetch and open the report with this ciphertext digest; raise `Fault` 3412, 3430, 3431, 3481."""
    return await _get_record(store, name, identity, _REPORT, TAIL_BYTES_MAX, digest)


async def _get_record(
    store: Store,
    name: ObjectName,
    identity: Identity,
    codec: Codec[R],
    bytes_max: int,
    digest: bytes | None = None,
) -> R:
    with tempfile.TemporaryDirectory(prefix="eub-") as directory:
        path = Path(directory, "sealed")  # ciphertext only: what opens stays in memory
        limit = bytes_max + 2 * SEALED_OVERHEAD_MAX
        await store.get(name, path, digest=digest, bytes_max=limit)
        sealed = await trio.to_thread.run_sync(path.read_bytes)
    data = unseal(sealed, identity, f"The object '{name.text}'")
    try:
        return codec.decode(data)
    except Rejected as rejected:
        why = str(rejected.facts.get("what", "it is too long"))
        raise Fault(RECORD_DAMAGED, name=name.text, why=why) from None
