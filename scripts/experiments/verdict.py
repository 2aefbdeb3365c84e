"""What an experiment says: the attack, how it ends, and the one figure that shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

IMPOSSIBLE = "impossible"
UNPROFITABLE = "unprofitable"
COSTLY = "only made costly"
OPEN = "not covered"
ENDINGS = (IMPOSSIBLE, UNPROFITABLE, COSTLY, OPEN)


class Figure(NamedTuple):
    """One experiment's outcome."""

    attack: str
    ending: str
    value: float
    unit: str
    says: str
    """What the figure means, in a sentence."""
    holds: bool
    """Whether the outcome is the one that the page claims."""


Experiment = Callable[[], Figure]
