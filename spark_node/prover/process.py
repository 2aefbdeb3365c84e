"""The prover as a child process: lowest priority, its own threads, gone when cancelled.

Here: `prove_in_process` and the child's environment. Not here: the child (__main__.py), the search.
Keeps: computing never runs in the agent's own process, whose clock and sockets must not wait for it.
Resource handling: cancelling the call kills the child.
Error handling: a child that fails or answers nonsense raises `Fault` 3283 with its last line.
Errors: 3283 prover_failed.
"""

from __future__ import annotations

import os
import sys
import time

import trio

from consensus.types.codec import encode
from consensus.types.errors import Fault, Reason, Rejected
from spark_node.prover.order import ANSWER_CODEC, Answer, Order

PROVER_FAILED = Reason(
    3283,
    "prover_failed",
    "why:text",
    "The prover stopped without a proof: {why}.",
    "Run the prover's self-test, or choose the numpy backend.",
)
WHY_MAX = 300
"""Characters of the child's last line that a report shows."""


def spare_threads(cores: int) -> int:
    """Threads of a prover on a machine with `cores`: all but one."""
    return max(1, cores - 1)


def child_environment(threads: int) -> dict[str, str]:
    """The agent's environment with BLAS and torch held to `threads`; read when the child imports them."""
    limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {**os.environ, **{name: str(threads) for name in limits}}


async def prove_in_process(order: Order, threads: int) -> Answer:
    """Run one order in a child and return its answer; raises `Fault` 3283.

    The budget runs from this call: on a busy machine a child takes seconds to begin.
    """
    done = await trio.run_process(
        [sys.executable, "-m", "spark_node.prover", str(time.monotonic_ns())],
        stdin=encode(order),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env=child_environment(threads),
    )
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        why = lines[-1][:WHY_MAX] if lines else f"it ended with status {done.returncode}"
        raise Fault(PROVER_FAILED, why=why)
    try:
        return ANSWER_CODEC.decode(done.stdout)
    except Rejected:
        raise Fault(PROVER_FAILED, why="its answer cannot be read") from None
