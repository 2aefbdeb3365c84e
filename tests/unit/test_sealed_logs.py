"""Logs: nothing is missed, nothing plaintext touches the disk, nobody waits for the network."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import trio

from consensus.types.codec import encode
from consensus.types.errors import Fault
from spark_node.storage import logs
from spark_node.storage.age_keys import identity_from_secret, new_identity, recipient_of
from spark_node.storage.blob import PLACE_UNREACHABLE
from spark_node.storage.directory import DirectoryStore
from spark_node.storage.logs import (
    CHUNK_BYTES_MAX,
    LOG_OUT_OF_ORDER,
    RECORD_DAMAGED,
    TAIL_BYTES_MAX,
    LogChunk,
    LogReader,
    LogWriter,
    error_report,
    get_error,
    put_error,
)
from spark_node.storage.objects import ObjectName
from spark_node.storage.seal_requests import DISK_REFUSES, DOES_NOT_OPEN
from spark_node.storage.sealing import seal
from spark_node.storage.shelf import STORE_FULL, ShelfLimits
from spark_node.storage.store import OBJECT_DIFFERS, Progress, Stored

TASK = b"\5" * 32
IDENTITY = identity_from_secret(b"\3" * 32)
TO = recipient_of(IDENTITY)
LIMIT_S = 30


def writer(store: DirectoryStore, at: Path, **options: int) -> LogWriter:
    """A writer with its spool below `at`."""
    return LogWriter(store, TASK, 0, TO, at / "spool", **options)


async def read_all(store: DirectoryStore, next_n: int = 0) -> tuple[bytes, LogChunk]:
    """Everything from chunk `next_n` to the last one."""
    reader, text = LogReader(store, TASK, 0, IDENTITY, next_n=next_n), b""
    while True:
        chunk = await reader.wait(poll_s=0.01)
        text += chunk.data
        if chunk.is_last:
            return text, chunk


class Offline(DirectoryStore):
    """A store that cannot be reached until `online` is set."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.online = trio.Event()

    async def put(self, name: ObjectName, source: Path, *, progress: Progress | None = None) -> Stored:
        if not self.online.is_set():
            raise Fault(PLACE_UNREACHABLE, place="here", why="the cable is out")
        return await super().put(name, source, progress=progress)


@pytest.mark.trio
async def test_a_log_arrives_whole_and_in_order(tmp_path: Path) -> None:
    """Lines of all sizes; the reader gets every byte and learns the end."""
    store = DirectoryStore(tmp_path / "store")
    lines = [b"line %d\n" % i for i in range(2000)] + [b"x" * 100_000 + b"\n"]
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            log = writer(store, tmp_path)
            nursery.start_soon(log.run)
            for line in lines:
                await log.write(line)
            await log.close()
    text, last = await read_all(store)
    assert text == b"".join(lines)
    assert last.dropped == 0
    sealed = b"".join(p.read_bytes() for p in (tmp_path / "store").rglob("*") if p.is_file())
    assert b"line 1" not in sealed
    assert [p.name for p in (tmp_path / "spool").iterdir()] == ["reached"]


@pytest.mark.trio
async def test_a_line_is_seen_while_the_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One short line is flushed without company, and without the log's end."""
    monkeypatch.setattr(logs, "FLUSH_S", 0.01)
    store = DirectoryStore(tmp_path / "store")
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            log = writer(store, tmp_path)
            nursery.start_soon(log.run)
            await log.write(b"hello\n")
            chunk = await LogReader(store, TASK, 0, IDENTITY).wait(poll_s=0.01)
            assert chunk == LogChunk(0, b"hello\n", False, 0)
            nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_reader_that_attaches_again_misses_nothing(tmp_path: Path) -> None:
    """It goes on from the number it kept."""
    store = DirectoryStore(tmp_path / "store")
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            log = writer(store, tmp_path)
            nursery.start_soon(log.run)
            await log.write(bytes(range(256)) * 1024)
            await log.close()
        first = LogReader(store, TASK, 0, IDENTITY)
        seen = b"".join([(await first.wait()).data for _ in range(3)])
        rest, _ = await read_all(store, first.next_n)
    assert len(seen) == 3 * CHUNK_BYTES_MAX
    assert seen + rest == bytes(range(256)) * 1024


@pytest.mark.trio
async def test_a_spark_without_network_keeps_writing_and_sends_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program is never held up; the chunks wait, sealed, on disk."""
    monkeypatch.setattr(logs, "RETRY_S", 0.01)
    store = Offline(tmp_path / "store")
    text = b"training\n" * 20_000
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            log = writer(store, tmp_path)
            nursery.start_soon(log.run)
            await log.write(text)
            await log.close()
            waiting = b"".join(p.read_bytes() for p in (tmp_path / "spool").iterdir())
            assert len(waiting) > len(text)
            assert b"training" not in waiting
            store.online.set()
    assert (await read_all(store))[0] == text


@pytest.mark.trio
async def test_a_restarted_spark_continues_its_log(tmp_path: Path) -> None:
    """Twice: with chunks still waiting, and with all sent; numbers and offsets go on without a gap."""
    store = DirectoryStore(tmp_path / "store")
    part = b"p" * CHUNK_BYTES_MAX
    await writer(store, tmp_path).write(part)  # never sent: the process ends here
    with trio.fail_after(LIMIT_S):
        for run in range(2):
            async with trio.open_nursery() as nursery:
                log = writer(store, tmp_path)
                nursery.start_soon(log.run)
                await log.write(part)
                await LogReader(store, TASK, 0, IDENTITY, next_n=run + 1).wait(poll_s=0.01)
                nursery.cancel_scope.cancel()
        log = writer(store, tmp_path)
        await log.close()
        await log.run()
        again = writer(store, tmp_path)
        await again.close()
        await again.run()
        text, last = await read_all(store)
    assert text == part * 3
    assert last.offset == len(part) * 3


@pytest.mark.trio
async def test_a_log_ends_at_its_limit_and_says_how_much_is_missing(tmp_path: Path) -> None:
    """The first bytes are kept, the rest is counted."""
    store = DirectoryStore(tmp_path / "store")
    log = writer(store, tmp_path, bytes_max=50_000)
    for _ in range(10):
        await log.write(b"y" * 10_000)
    await log.close()
    await log.run()
    text, last = await read_all(store)
    assert len(text) == 50_000
    assert last.dropped == 50_000


class Full(DirectoryStore):
    """A store that refuses."""

    async def put(self, name: ObjectName, source: Path, *, progress: Progress | None = None) -> Stored:
        raise Fault(STORE_FULL, what="bytes", have=2, limit=1)


@pytest.mark.trio
async def test_a_store_that_refuses_and_a_disk_that_refuses_end_the_log_with_their_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As themselves and not in a group, so that the agent can go on with the task without a log."""
    monkeypatch.setattr(logs, "FLUSH_S", 0.01)
    for store, reason in (
        (Full(tmp_path / "store"), STORE_FULL),
        (DirectoryStore(tmp_path / "store"), DISK_REFUSES),
    ):
        log = writer(store, tmp_path)
        await log.write(b"line\n")
        if reason is DISK_REFUSES:
            shutil.rmtree(tmp_path / "spool")
        with pytest.raises(Fault) as caught, trio.fail_after(LIMIT_S):
            await log.run()
        assert caught.value.reason is reason
        shutil.rmtree(tmp_path / "spool", ignore_errors=True)


async def put_chunk(store: DirectoryStore, at: Path, n: int, data: bytes) -> None:
    """Store sealed bytes as chunk n."""
    (at / "chunk").write_bytes(seal(data, TO, 100_000))
    await store.put(ObjectName(TASK, 0, "log", n), at / "chunk")


@pytest.mark.trio
async def test_a_rearranged_damaged_or_foreign_chunk_is_refused(tmp_path: Path) -> None:
    """Each with its own reason; stepping over it goes on."""
    store = DirectoryStore(tmp_path / "store")
    await put_chunk(store, tmp_path, 0, encode(LogChunk(0, b"abc", False, 0)))
    await put_chunk(store, tmp_path, 1, encode(LogChunk(2, b"def", False, 0)))
    await put_chunk(store, tmp_path, 2, b"no record")
    await put_chunk(store, tmp_path, 3, encode(LogChunk(3, b"ghi", True, 0)))
    reader = LogReader(store, TASK, 0, IDENTITY)
    assert await reader.wait() == LogChunk(0, b"abc", False, 0)
    for reason in (LOG_OUT_OF_ORDER, RECORD_DAMAGED):
        with pytest.raises(Fault) as caught:
            await reader.read()
        assert caught.value.reason is reason
        reader.next_n += 1
    assert (await reader.wait()).is_last
    assert await reader.read() is None
    with pytest.raises(Fault) as caught:
        await LogReader(store, TASK, 0, new_identity()).read()
    assert caught.value.reason is DOES_NOT_OPEN


@pytest.mark.trio
async def test_a_failure_report_keeps_the_end_of_the_output(tmp_path: Path) -> None:
    """Exit status, cause and the last 64 KiB; only as the chain's digest names it."""
    store, name = DirectoryStore(tmp_path / "store"), ObjectName(TASK, 0, "error", 0)
    output = b"".join(b"%d\n" % i for i in range(50_000))
    report = error_report(127, "command not found: eho", output)
    stored = await put_error(store, name, report, TO)
    back = await get_error(store, name, IDENTITY, stored.digest)
    assert back == report
    assert len(back.tail) == TAIL_BYTES_MAX
    assert back.tail.endswith(b"49999\n")
    with pytest.raises(Fault) as caught:
        await get_error(store, name, IDENTITY, bytes(32))
    assert caught.value.reason is OBJECT_DIFFERS


def test_a_week_of_lines_fits_into_a_store() -> None:
    """One line a second: the pace slows down before the store's number of objects is used up."""
    chunks, seconds = 0, 0.0
    while seconds < 7 * 86_400:
        seconds += logs.FLUSH_S * 2 ** (chunks // logs.CHUNKS_PER_PACE)
        chunks += 1
    assert chunks < ShelfLimits().task_objects_max
    assert math.isfinite(seconds)
