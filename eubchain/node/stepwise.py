"""Stepwise work on the event loop: everything else runs between two steps.

Here: `in_slices`. Not here: the work (vm/slices.py says how much lies between two steps).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import trio

T = TypeVar("T")


async def in_slices(steps: Generator[None, None, T], pause_s: float = 0.0) -> T:
    """Run stepwise work on the loop, letting everything else run between two steps.

    `pause_s` is slept after each: work that nobody waits for then leaves the loop to others.
    """
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        await trio.sleep(pause_s)
