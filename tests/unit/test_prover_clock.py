"""The clock of a prover's process."""

from __future__ import annotations

import time

from spark_node.prover.__main__ import once_or_until


def test_a_search_whose_time_is_over_tries_once() -> None:
    """On a busy machine the budget may be gone before the process has begun."""
    may_go_on = once_or_until(time.monotonic() - 1)
    assert [may_go_on() for _ in range(3)] == [True, False, False]
    assert all(once_or_until(time.monotonic() + 60)() for _ in range(3))
