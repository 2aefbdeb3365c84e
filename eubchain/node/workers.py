"""A pool of processes that check signatures, so that the event loop does not, a few at a time apart.

Here: the pool, its queue, replacing a worker that died, hangs or talks nonsense; checking a few at once.
Not here: what a worker does (verify_worker.py).
Keeps: a caller that is cancelled leaves no half-read answer behind; each batch is answered once; trouble with
workers is never an answer, so no block or message is held for unsigned because of it.
Errors: 2530 workers_failing.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence

import msgspec
import structlog
import trio

from consensus.types.errors import Fault, Reason
from consensus.types.keys import verify
from consensus.types.transaction import SignatureCheck
from eubchain.node.verify_worker import SIGNATURES, TRANSACTIONS, VERDICT_BYTES

QUEUE_MAX = 256
"""Batches that wait for a worker; a caller waits while it is full."""
BATCH_MAX = 512
"""Transactions handed to a worker at once: a larger batch is split, so that workers share it."""
AT_ONCE_MAX = 16
"""Bare signatures that the loop checks itself, in half a millisecond: handing them over would take it 0.3 ms,
and votes would wait behind the transactions that are queued."""
ATTEMPTS_MAX = 3
ANSWER_S = 30.0
"""A batch takes some 20 ms; a worker that needs a thousand times as long will not answer."""
AGAIN_S = 1.0
"""Between two tries when processes cannot be started, or when a batch found no worker that lived."""

log = structlog.get_logger("workers")

WORKERS_FAILING = Reason(
    2530,
    "workers_failing",
    "attempts:count",
    "The processes that check signatures died {attempts} times over one batch.",
    "Look for an out-of-memory message in the system log; the node goes on when the cause is gone.",
)


ANSWER_BYTES = {TRANSACTIONS: VERDICT_BYTES, SIGNATURES: 1}
"""Of each item of a batch, by its kind."""
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, EOFError, OSError)
"""What a worker that died, hangs, talks nonsense or cannot be started looks like."""


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What a worker found about one transaction."""

    is_signed: bool
    txid: bytes
    wtxid: bytes


class _Job:
    """A batch and where its answer goes."""

    def __init__(self, frame: bytes, answer_bytes: int) -> None:
        self.frame = frame
        self.answer_bytes = answer_bytes
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
        process: trio.Process | None = await self._spawn()
        task_status.started()
        try:
            async for job in self._receive:
                for _ in range(ATTEMPTS_MAX):
                    try:
                        process = process or await self._spawn()
                        job.answer = await self._ask(process, job)
                        break
                    except _BROKEN as error:
                        log.warning("a signature worker is replaced", why=repr(error))
                        if process is None:
                            await trio.sleep(AGAIN_S)
                        else:
                            await self._end(process)
                            process = None
                job.done.set()
        finally:
            if process is not None:
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

    async def _ask(self, process: trio.Process, job: _Job) -> bytes:
        assert process.stdin is not None, "stdin is a pipe"
        assert process.stdout is not None, "stdout is a pipe"
        # Shielded: an answer left half read would be taken for the next batch's.
        with trio.fail_after(ANSWER_S, shield=True):
            await process.stdin.send_all(job.frame)
            head = await _read_exactly(process.stdout, 4)
            if int.from_bytes(head, "big") != job.answer_bytes:
                raise EOFError("an answer of another length")
            return await _read_exactly(process.stdout, job.answer_bytes)

    async def _submit(self, kind: int, items: Sequence[bytes]) -> bytes:
        """The answer to a batch; raise `Fault` 2530."""
        body = msgspec.msgpack.encode((kind, items))
        job = _Job(len(body).to_bytes(4, "big") + body, len(items) * ANSWER_BYTES[kind])
        await self._send.send(job)
        await job.done.wait()
        if job.answer is None:
            raise Fault(WORKERS_FAILING, attempts=ATTEMPTS_MAX)
        return job.answer

    async def transactions(self, raws: Sequence[bytes]) -> list[Verdict]:
        """Check whole transactions; verdicts in order. Raise `Fault` 2530: whoever sent them sends again."""
        answers: dict[int, bytes] = {}

        async def one(start: int) -> None:
            try:
                answers[start] = await self._submit(TRANSACTIONS, raws[start : start + BATCH_MAX])
            except Fault as fault:
                failed.append(fault)

        failed: list[Fault] = []
        async with trio.open_nursery() as nursery:
            for start in range(0, len(raws), BATCH_MAX):
                nursery.start_soon(one, start)
        if failed:
            raise failed[0]
        body = b"".join(answers[start] for start in sorted(answers))
        return [
            Verdict(body[i] == 1, body[i + 1 : i + 33], body[i + 33 : i + VERDICT_BYTES])
            for i in range(0, len(body), VERDICT_BYTES)
        ]

    async def signatures(self, checks: Sequence[SignatureCheck]) -> list[bool]:
        """Check bare signatures; verdicts in order.

        Asks until there is an answer: blocks and votes stand on it, and none would be taken for a false one.
        """
        if len(checks) <= AT_ONCE_MAX:
            await trio.lowlevel.checkpoint()
            return [verify(c.key, c.message, c.signature) for c in checks]
        verdicts: list[bool] = []
        for start in range(0, len(checks), BATCH_MAX):
            items = [c.key + c.message + c.signature for c in checks[start : start + BATCH_MAX]]
            answer = await self._try(items)
            while answer is None:
                await trio.sleep(AGAIN_S)
                answer = await self._try(items)
            verdicts += [v == 1 for v in answer]
        return verdicts

    async def _try(self, items: Sequence[bytes]) -> bytes | None:
        try:
            return await self._submit(SIGNATURES, items)
        except Fault as fault:
            log.error("signatures cannot be checked yet; asking again", why=str(fault))
            return None


async def _read_exactly(stream: trio.abc.ReceiveStream, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        chunk = await stream.receive_some(count - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)
