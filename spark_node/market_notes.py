"""What the agent saw on the market and what came of it: for `status`, and for what offers lock.

Here: a row per task seen, its file, the counts and the sentence that says why there is no work.
Not here: deciding (offering.py), the seats that were won (journal.py).
Keeps: rows of offers that stand are never dropped, the others are the newest `ROWS_MAX`; a task is
counted once, by the last reason that kept the agent from it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from consensus.types.amounts import format_eubc
from spark_node.folder import write_durably
from spark_node.offering import ADVICE, WORDS, WhyNot

ROWS_MAX = 500
DAY_MS = 86_400_000
STANDS, WON, LOST, ENDED = "stands", "won", "lost", "ended"


class Row(msgspec.Struct):
    """One task seen."""

    task: bytes
    seen_ms: int
    offers_end: int
    why: str = ""
    """The reason not to offer; empty where an offer was made."""
    asks: int = 0
    """What this spark asked, or would have asked; grains, 0 where it came to no price."""
    gas: int = 0
    deposit: int = 0
    result: str = ""
    """`stands` while an offer does; then `won`, `lost` or `ended` (cancelled, expired)."""
    won_at: int = 0
    """Another's winning price."""


class MarketNotes:
    """Rows by task."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: dict[bytes, Row] = {}
        try:
            rows = msgspec.json.decode(path.read_bytes(), type=list[Row])
        except (FileNotFoundError, msgspec.DecodeError):
            rows = []
        self.rows = {row.task: row for row in rows}

    def keep(self) -> None:
        """Make the rows durable; raises `Fault` 3221. Blocks."""
        if len(self.rows) > ROWS_MAX:
            settled = [row for row in self.rows.values() if row.result != STANDS]
            for row in sorted(settled, key=lambda row: row.seen_ms)[: len(self.rows) - ROWS_MAX]:
                del self.rows[row.task]
        write_durably(self._path, msgspec.json.encode(list(self.rows.values())))

    def refuse(self, task: bytes, offers_end: int, now_ms: int, why: WhyNot, asks: int) -> None:
        """Note why there is no offer for a task; a later reason replaces an earlier one."""
        row = self.rows.setdefault(task, Row(task, now_ms, offers_end))
        row.why, row.asks = why.value, asks

    def standing(self) -> list[Row]:
        """Offers whose draw is not known yet."""
        return [row for row in self.rows.values() if row.result == STANDS]

    def undecided(self) -> list[Row]:
        """Rows whose winner is not known yet, offered or not."""
        return [row for row in self.rows.values() if row.result in ("", STANDS)]


class Tally(msgspec.Struct):
    """The market of the last day in numbers; prices in grains."""

    seen: int
    offered: int
    won: int
    lost: int
    above: int
    """Tasks that others won for less than this spark asked, offered or not."""
    asked: int
    """The newest such asking price."""
    won_at: int
    """And what it was won at."""
    reasons: dict[str, int]


def tally(rows: list[Row], now_ms: int) -> Tally:
    """Count the rows of the last day."""
    recent = [row for row in rows if now_ms - row.seen_ms < DAY_MS]
    dearer = [row for row in recent if row.won_at and row.asks > row.won_at]
    dearer.sort(key=lambda row: row.seen_ms)
    above = {row.task for row in dearer}
    reasons = Counter(row.why for row in recent if row.why and row.task not in above)
    return Tally(
        seen=len(recent),
        offered=sum(1 for row in recent if not row.why),
        won=sum(1 for row in recent if row.result == WON),
        lost=sum(1 for row in recent if row.result == LOST and not row.why),
        above=len(dearer),
        asked=dearer[-1].asks if dearer else 0,
        won_at=dearer[-1].won_at if dearer else 0,
        reasons=dict(reasons.most_common()),
    )


def market_sentence(found: Tally) -> str:
    """As in '14 seen, 9 above the winning price (yours 4, won at 2.6), 5 need more VRAM'."""
    if not found.seen:
        return "no task seen in the last day"
    parts = [f"{found.seen} seen"]
    if found.offered:
        parts.append(f"{found.offered} offered, {found.won} won")
    if found.above:
        prices = f"yours {format_eubc(found.asked)}, won at {format_eubc(found.won_at)}"
        parts.append(f"{found.above} above the winning price ({prices})")
    parts += [f"{count} {WORDS[WhyNot(why)]}" for why, count in found.reasons.items()]
    return ", ".join(parts)


def advice(found: Tally, gpu_hour: int) -> str:
    """What would bring more work, as a command or a setting; empty when nothing stands out."""
    best = max(found.reasons.values(), default=0)
    if found.above and found.above >= best:
        # The same share off the hourly price as off the task's.
        cheaper = max(1, gpu_hour * found.won_at // max(1, found.asked))
        return f"eubchain spark set price {format_eubc(_rounded(cheaper))}"
    for why in found.reasons:
        if WhyNot(why) in ADVICE:
            return ADVICE[WhyNot(why)]
    return ""


def _rounded(grains: int) -> int:
    """Two digits are enough for advice; rounded down, so that it stays below the winner."""
    step: int = 10 ** max(0, len(str(grains)) - 2)
    return max(1, grains // step * step)
