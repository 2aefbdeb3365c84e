"""The prover's child process: an order on standard input, reports and at last an answer on standard output.

Here: priority and clock. Not here: the parent (process.py), the search (search.py).
Keeps: it computes at the lowest priority, so the machine's owner comes first.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from consensus.types.codec import encode
from consensus.types.errors import Fault
from spark_node.prover.backend import choose_backend
from spark_node.prover.order import LENGTH_BYTES, ORDER_CODEC, Answer, Progress
from spark_node.prover.search import Tell, prove

LOWEST_PRIORITY = 19
TELL_S = 1.0
"""Between two reports: what is lost when the machine goes down."""


def once_or_until(deadline: float) -> Callable[[], bool]:
    """Go on until the deadline, but once in any case.

    On a busy machine the time may be over when the search begins; a spark that never tried a tile would
    never be credited.
    """
    is_first = True

    def may_go_on() -> bool:
        nonlocal is_first
        was_first, is_first = is_first, False
        return was_first or time.monotonic() < deadline

    return may_go_on


def send(report: Progress | Answer) -> None:
    """Write one report with its length before it."""
    content = encode(report)
    sys.stdout.buffer.write(len(content).to_bytes(LENGTH_BYTES, "big") + content)
    sys.stdout.buffer.flush()


def now_and_then(tell: Tell, now_s: Callable[[], float]) -> Tell:
    """Pass on the first report, and each that comes `TELL_S` or more after the last one passed on."""
    due = now_s()

    def tell_if_due(progress: Progress) -> None:
        nonlocal due
        if now_s() >= due:
            due = now_s() + TELL_S
            tell(progress)

    return tell_if_due


def main() -> int:
    """Serve one order; a `Fault` is one line on standard error and status 1."""
    os.nice(LOWEST_PRIORITY)
    # The parent's clock when it asked, which is this process's clock too: they share a machine.
    started = int(sys.argv[1]) / 1e9 if len(sys.argv) > 1 else time.monotonic()
    try:
        order = ORDER_CODEC.decode(sys.stdin.buffer.read())
        deadline = started + order.budget_ms / 1000
        answer = prove(
            choose_backend(order.backend),
            order.assignment,
            once_or_until(deadline),
            order.begun,
            now_and_then(send, time.monotonic),
        )
    except Fault as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    send(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
