"""Stepwise work: long loops of the rules as generators that pause, so that votes are never delayed.

Here: how much lies between two pauses, and running stepwise work in one go.
Not here: who runs it with other work in between (eubchain/node/execution.py).
Keeps: pausing changes no result; every slice stays within a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

SLICE_TRANSACTIONS = 64
"""Transactions between two pauses: about a millisecond of transfers."""
SLICE_RECORDS = 64
"""Records read or written between two pauses of an epoch's end or of the due queue."""
SLICE_CLAIMS = 16
"""Proofs read between two pauses: the sample of a crowded window takes 56 hashes of each, a tenth of a
millisecond."""
SLICE_DRAWS = 128
"""Proposers drawn between two pauses: a millisecond with a set of a hundred."""
SLICE_WRITES = 1_024
"""Written keys encoded between two pauses."""


def to_the_end(steps: Generator[None, None, T]) -> T:
    """Run stepwise work without pausing; returns its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
