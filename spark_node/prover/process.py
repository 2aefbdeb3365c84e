"""The prover as a child process: lowest priority, its own threads, gone when cancelled.

Here: `prove_in_process` and the child's environment. Not here: the child (__main__.py), the search.
Keeps: computing never runs in the agent's own process, whose clock and sockets must not wait for it.
Resource handling: cancelling the call kills the child.
Error handling: a child that fails or answers nonsense raises `Fault` 3283 with its last line.
Errors: 3283 prover_failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import trio

from consensus.types.codec import OVERSIZED, encode
from consensus.types.errors import Fault, Reason, Rejected
from spark_node.prover.order import LENGTH_BYTES, REPORT_CODEC, Answer, Order, Progress

PROVER_FAILED = Reason(
    3283,
    "prover_failed",
    "why:text",
    "The prover stopped without a proof: {why}.",
    "Run the prover's self-test, or choose the numpy backend.",
)
WHY_MAX = 300
"""Characters of the child's last line that a report shows."""
REPORT_BYTES_MAX = 2**16

Tell = Callable[[Progress], Awaitable[None]]


def spare_threads(cores: int) -> int:
    """Threads of a prover on a machine with `cores`: all but one."""
    return max(1, cores - 1)


def child_environment(threads: int) -> dict[str, str]:
    """The agent's environment with BLAS and torch held to `threads`; read when the child imports them."""
    limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    # Else CUDA numbers cards by their speed, and the driver's inventory by their place.
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return {**os.environ, **order, **{name: str(threads) for name in limits}}


async def tell_nobody(progress: Progress) -> None:
    """For a search that nobody follows."""


async def prove_in_process(order: Order, threads: int, tell: Tell = tell_nobody) -> Answer:
    """Run one order in a child and return its answer; raises `Fault` 3283. `tell` is told how far it came.

    The budget runs from this call: on a busy machine a child takes seconds to begin.
    """
    ended: list[subprocess.CompletedProcess[bytes]] = []
    answer: Answer | None = None
    is_readable = True
    async with trio.open_nursery() as nursery:

        async def run(*, task_status: trio.TaskStatus[trio.Process]) -> None:
            done = await trio.run_process(
                [sys.executable, "-m", "spark_node.prover", str(time.monotonic_ns())],
                stdin=encode(order),
                stdout=subprocess.PIPE,
                capture_stderr=True,
                check=False,
                env=child_environment(threads),
                task_status=task_status,
            )
            ended.append(done)

        process: trio.Process = await nursery.start(run)
        assert process.stdout is not None, "it is a pipe"
        try:
            async for report in _reports(process.stdout):
                if isinstance(report, Answer):
                    answer = report
                else:
                    await tell(report)
        except Rejected:
            # Raised below as itself, not in a group; a child that talks nonsense is not waited for.
            is_readable = False
            nursery.cancel_scope.cancel()
    if not is_readable:
        raise Fault(PROVER_FAILED, why="its answer cannot be read")
    done = ended[0]
    if done.returncode != 0 or answer is None:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        why = lines[-1][:WHY_MAX] if lines else f"it ended with status {done.returncode}"
        raise Fault(PROVER_FAILED, why=why)
    return answer


async def _reports(stream: trio.abc.ReceiveStream) -> AsyncIterator[Progress | Answer]:
    """The reports of a child as they come; what it cut short is left out. Raises `Rejected`."""
    held = bytearray()
    async for chunk in stream:
        held += chunk
        while len(held) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(held[:LENGTH_BYTES], "big")
            if end > REPORT_BYTES_MAX:
                raise Rejected(OVERSIZED, size=end, limit=REPORT_BYTES_MAX)
            if len(held) < end:
                break
            yield REPORT_CODEC.decode(bytes(held[LENGTH_BYTES:end]))
            del held[:end]
