"""What a seed came to, for lines of JSON and a report.

Here: the record and how an error becomes a violation's words. Not here: running seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

VIOLATION_CHARACTERS_MAX = 400


class Outcome(NamedTuple):
    """Of one seed."""

    seed: int
    ok: bool
    heights: int
    faults: int
    """Misfortunes: crashes, splits, bad networks, liars."""
    violation: str
    """Which invariant was broken and how; empty when none was."""
    counts: Mapping[str, int]
    """For the report, added up over all seeds."""
    recoveries: tuple[int, ...] = ()
    """Virtual ms from each start after a crash to that life's first signature."""

    def line(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {name: getattr(self, name) for name in ("seed", "ok", "heights", "faults", "violation")}


def in_words(error: BaseException) -> str:
    """An error as a violation: the leaf of a group, and what caused it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    name = "" if isinstance(error, AssertionError) and str(error) else f"{type(error).__name__}: "
    words = f"{name}{error}"
    if error.__cause__ is not None:
        words += f" because {type(error.__cause__).__name__}: {error.__cause__}"
    return words[:VIOLATION_CHARACTERS_MAX]
