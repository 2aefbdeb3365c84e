"""The clock of a prover's process."""

from __future__ import annotations

import time

from msgspec.structs import replace

from spark_node.prover.__main__ import TELL_S, now_and_then, once_or_until
from spark_node.prover.order import NOT_BEGUN, Progress


def test_a_search_whose_time_is_over_tries_once() -> None:
    """On a busy machine the budget may be gone before the process has begun."""
    may_go_on = once_or_until(time.monotonic() - 1)
    assert [may_go_on() for _ in range(3)] == [True, False, False]
    assert all(once_or_until(time.monotonic() + 60)() for _ in range(3))


def test_reports_come_at_once_and_then_at_intervals() -> None:
    """Each is a write to the parent's disk."""
    clock, told = [0.0], list[Progress]()
    tell = now_and_then(told.append, lambda: clock[0])
    for clock[0] in (0.0, TELL_S / 2, TELL_S, TELL_S * 1.5, TELL_S * 2):
        tell(replace(NOT_BEGUN, tiles=int(clock[0] / TELL_S * 2)))
    assert [progress.tiles for progress in told] == [0, 2, 4]
