"""A pool of processes that check signatures, so that the event loop never does.

Here: the pool, its queue, restarting a worker that died.
Not here: what a worker does (verify_worker.py).
Keeps: a caller that is cancelled leaves no half-read answer behind; each batch is answered once.
Errors: 2530 workers_failing.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import structlog
import trio

from consensus.types.errors import Fault, Reason
from consensus.types.transaction import SignatureCheck
from eubchain.node.verify_worker import SIGNATURES, TRANSACTIONS, VERDICT_BYTES

QUEUE_MAX = 256
"""Batches that wait for a worker; a caller waits while it is full."""
BATCH_MAX = 512
"""Transactions handed to a worker at once: a larger batch is split, so that workers share it."""
ATTEMPTS_MAX = 3

log = structlog.get_logger("workers")

WORKERS_FAILING = Reason(
    2530,
    "workers_failing",
    "attempts:count",
    "The processes that check signatures died {attempts} times over one batch.",
    "Look for an out-of-memory message in the system log; the node goes on when the cause is gone.",
)


class Verdict(NamedTuple):
    """What a worker found about one transaction."""

    is_signed: bool
    txid: bytes
    wtxid: bytes


class _Job:
    """A batch and where its answer goes."""

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.answer: bytes | None = None
        self.done = trio.Event()


class VerifyPool:
    """Run with `nursery.start(pool.run)`; then any task may call its two questions."""

    def __init__(self, genesis: bytes, workers: int) -> None:
        assert workers >= 1, "a pool has a worker"
        self._genesis = genesis
        self._workers = workers
        self._send, self._receive = trio.open_memory_channel[_Job](QUEUE_MAX)
        self.pids: set[int] = set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the workers alive until cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(self._workers):
                await nursery.start(self._work)
            task_status.started()

    async def _work(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        process = await self._spawn()
        task_status.started()
        try:
            async for job in self._receive:
                for _ in range(ATTEMPTS_MAX):
                    try:
                        job.answer = await self._ask(process, job.frame)
                        break
                    except (trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
                        log.warning("a signature worker died and is started again", pid=process.pid)
                        await self._end(process)
                        process = await self._spawn()
                job.done.set()
        finally:
            with trio.CancelScope(shield=True):
                await self._end(process)

    async def _spawn(self) -> trio.Process:
        command = [sys.executable, "-m", "eubchain.node.verify_worker", self._genesis.hex()]
        process: trio.Process = await trio.lowlevel.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self.pids.add(process.pid)
        return process

    async def _end(self, process: trio.Process) -> None:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()
        self.pids.discard(process.pid)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                await trio.aclose_forcefully(stream)

    async def _ask(self, process: trio.Process, frame: bytes) -> bytes:
        assert process.stdin is not None, "stdin is a pipe"
        assert process.stdout is not None, "stdout is a pipe"
        # Shielded: an answer left half read would be taken for the next batch's.
        with trio.CancelScope(shield=True):
            await process.stdin.send_all(frame)
            head = await _read_exactly(process.stdout, 4)
            return await _read_exactly(process.stdout, int.from_bytes(head, "big"))

    async def _submit(self, kind: int, items: Sequence[bytes]) -> bytes:
        body = msgspec.msgpack.encode((kind, items))
        job = _Job(len(body).to_bytes(4, "big") + body)
        await self._send.send(job)
        await job.done.wait()
        if job.answer is None:
            raise Fault(WORKERS_FAILING, attempts=ATTEMPTS_MAX)
        return job.answer

    async def transactions(self, raws: Sequence[bytes]) -> list[Verdict]:
        """Check whole transactions; verdicts in order."""
        answers: dict[int, bytes] = {}

        async def one(start: int) -> None:
            answers[start] = await self._submit(TRANSACTIONS, raws[start : start + BATCH_MAX])

        async with trio.open_nursery() as nursery:
            for start in range(0, len(raws), BATCH_MAX):
                nursery.start_soon(one, start)
        body = b"".join(answers[start] for start in sorted(answers))
        return [
            Verdict(body[i] == 1, body[i + 1 : i + 33], body[i + 33 : i + VERDICT_BYTES])
            for i in range(0, len(body), VERDICT_BYTES)
        ]

    async def signatures(self, checks: Sequence[SignatureCheck]) -> list[bool]:
        """Check bare signatures; verdicts in order."""
        verdicts: list[bool] = []
        for start in range(0, len(checks), BATCH_MAX):
            items = [c.key + c.message + c.signature for c in checks[start : start + BATCH_MAX]]
            verdicts += [v == 1 for v in await self._submit(SIGNATURES, items)]
        return verdicts


async def _read_exactly(stream: trio.abc.ReceiveStream, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        chunk = await stream.receive_some(count - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)
