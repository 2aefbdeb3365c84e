"""What all seeds of a campaign met, in a few lines.

Here: adding outcomes up and wording the sum. Not here: running seeds (campaign.py).
Keeps: the last line is the sum; before it a line each for faults, liars, crashes, recoveries and the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tests.sim.outcome import Outcome

GROUPS = {
    "fault: ": "faults",
    "liar: ": "liars",
    "crash at: ": "crashes at a durable operation",
    "recovery: ": "starts after a crash",
}
"""Counts whose names begin so share a line under this title."""


def report(outcomes: Iterable[Outcome], unit: str = "seeds") -> str:
    """What all seeds met, added up; `unit` is what a seed is called here."""
    seeds = heights = faults = failed = 0
    counts: Counter[str] = Counter()
    recoveries: list[int] = []
    for outcome in outcomes:
        seeds, heights, faults = seeds + 1, heights + outcome.heights, faults + outcome.faults
        failed += not outcome.ok
        counts.update(outcome.counts)
        recoveries += outcome.recoveries
    lines = [_group(counts, prefix, title) for prefix, title in GROUPS.items()]
    lines += [
        f"{name}: {count:,}"
        for name, count in sorted(counts.items())
        if count and not name.startswith(tuple(GROUPS))
    ]
    lines.append(distribution(recoveries))
    last = f"{seeds} {unit}, {heights} heights, {faults} faults, {failed} failed"
    return "\n".join([line for line in lines if line] + [last])


def _group(counts: Counter[str], prefix: str, title: str) -> str:
    found = {name.removeprefix(prefix): n for name, n in counts.items() if n and name.startswith(prefix)}
    if not found:
        return ""
    largest_first = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return f"{title}, {sum(found.values()):,}: " + ", ".join(f"{n:,} {name}" for name, n in largest_first)


def distribution(recoveries: Sequence[int]) -> str:
    """How long a crashed validator took to sign again, in virtual time from its start."""
    if not recoveries:
        return ""
    ordered = sorted(recoveries)

    def at(share: float) -> str:
        return f"{ordered[min(len(ordered) - 1, int(share * len(ordered)))]:,} ms"

    return (
        f"from start to signing again, {len(ordered):,} recoveries: half within {at(0.5)}, "
        f"nine of ten within {at(0.9)}, 99 of 100 within {at(0.99)}, the longest {ordered[-1]:,} ms"
    )
