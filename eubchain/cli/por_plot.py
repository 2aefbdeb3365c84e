"""`eubchain por plot`: a picture of the share of blocks per validator against its share of power.

Here: the verb, the binomial band, the layout. Not here: counting (eubchain/rpc/methods/shares.py), the
pixels (eubchain/client/picture.py).
Keeps: the band is exact: proposers are drawn anew for every block, so a validator's blocks are binomial.
Errors: 1593 picture_unwritable.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from consensus.types.amounts import PPB
from consensus.types.errors import Fault, Reason
from eubchain.cli.query import por
from eubchain.cli.session import SESSION

if TYPE_CHECKING:
    from eubchain.client.picture import Canvas

PICTURE_UNWRITABLE = Reason(
    1593,
    "picture_unwritable",
    "path:text why:text",
    "'{path}' cannot be written: {why}.",
    "Name another file with --output.",
)

TAIL = 0.025
"""Of the distribution on either side of the band, which holds the middle 95 %."""
SHOWN_MAX = 40
"""Validators drawn, the most powerful first; the facts hold all."""

HEIGHT, LEFT, TOP, BOTTOM, RIGHT = 540, 90, 90, 60, 30
SLOT_LEAST, WIDTH_LEAST = 48, 840
INK, GRID, BAND, BAR, OUTSIDE = (34, 34, 34), (221, 221, 221), (200, 214, 229), (0, 114, 178), (213, 94, 0)


class Row(NamedTuple):
    """One validator; shares of one."""

    label: str
    share: float
    expected: float
    low: float
    high: float

    @property
    def is_inside(self) -> bool:
        """Whether its blocks are what its power lets expect."""
        return self.low <= self.share <= self.high


def binomial_band(count: int, chance: float) -> tuple[int, int]:
    """The fewest and the most of `count` draws with this `chance`, 2.5 % or less left on either side."""
    if not 0 < chance < 1:
        certain = count if chance >= 1 else 0
        return certain, certain
    below, low = 0.0, None
    for hits in range(count + 1):
        ways = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
        below += math.exp(ways + hits * math.log(chance) + (count - hits) * math.log1p(-chance))
        if low is None and below > TAIL:
            low = hits
        if below >= 1 - TAIL:
            return low or 0, hits
    # Only rounding can leave the sum short of one.
    return low or 0, count


def rows_of(found: dict[str, Any]) -> list[Row]:
    """The rows of the picture from what `validator_shares` answered."""
    blocks, rows = max(1, found["blocks"]), []
    for view in found["validators"]:
        chance = view["power"] / PPB
        low, high = binomial_band(found["blocks"], chance)
        label = view["name"] or view["address"][-6:]
        rows.append(Row(label, view["blocks"] / blocks, chance, low / blocks, high / blocks))
    return rows


@por.command("plot")
def plot(
    output: Annotated[Path, typer.Option("--output", help="The PNG file to write.")],
    blocks: Annotated[int, typer.Option("--blocks", min=1, max=10_000, help="The latest blocks.")] = 1_000,
) -> None:
    """Draw each validator's share of blocks against its share of power, with the band that chance allows.

    Example: eubchain por plot --output shares.png --blocks 500
    """
    found = SESSION.asked("validator_shares", blocks=blocks)
    rows = rows_of(found)
    title = f"BLOCKS {found['first']} TO {found['last']}: SHARE OF BLOCKS AND OF POWER"
    try:
        output.write_bytes(draw(rows[:SHOWN_MAX], title).png())
    except OSError as error:
        why = (error.strerror or "unknown").lower()
        raise Fault(PICTURE_UNWRITABLE, path=str(output), why=why) from None
    for view, row in zip(found["validators"], rows, strict=True):
        view |= {"low": row.low, "high": row.high, "is_inside": row.is_inside}
    lines = [
        f"{row.share:7.2%} of blocks  {row.expected:7.2%} of power  "
        f"95 % band {row.low:.2%} to {row.high:.2%}  {'' if row.is_inside else 'outside  '}{row.label}"
        for row in rows
    ]
    inside = sum(row.is_inside for row in rows)
    lines.append(
        f"{inside} of {len(rows)} validators within the band over {found['blocks']} blocks: {output}"
    )
    SESSION.result({"output": str(output), **found}, "\n".join(lines))


def draw(rows: list[Row], title: str) -> Canvas:
    """The picture: a bar for blocks, a black line for power, the band behind them."""
    from eubchain.client.picture import Canvas

    slot = max(SLOT_LEAST, (WIDTH_LEAST - LEFT - RIGHT) // max(1, len(rows)))
    canvas = Canvas(LEFT + RIGHT + slot * max(1, len(rows)), HEIGHT)
    step = _step(max([row.high for row in rows] + [row.share for row in rows] + [0.01]))
    top = step * math.ceil(max([step] + [max(row.high, row.share) for row in rows]) / step)
    floor = HEIGHT - BOTTOM

    def place(share: float) -> int:
        return floor - round((floor - TOP) * share / top)

    canvas.text(LEFT, 18, title, INK)
    _legend(canvas)
    for tick in range(round(top / step) + 1):
        y, words = place(tick * step), f"{tick * step * 100:.3g} %"
        canvas.line((LEFT, y), (canvas.width - RIGHT, y), GRID)
        canvas.text(LEFT - 10 - _width(words), y - 5, words, INK)
    for index, row in enumerate(rows):
        left = LEFT + index * slot
        wide, narrow = slot * 4 // 5, slot * 2 // 5
        band_left, bar_left = left + (slot - wide) // 2, left + (slot - narrow) // 2
        high, low = place(row.high), place(row.low)
        canvas.bar(band_left, high, wide, max(1, low - high), BAND)
        bar_top = place(row.share)
        canvas.bar(bar_left, bar_top, narrow, floor - bar_top, BAR if row.is_inside else OUTSIDE)
        expected = place(row.expected)
        canvas.line((band_left, expected), (band_left + wide - 1, expected), INK, 2)
        label = row.label[: max(1, slot // 8 - 1)]
        canvas.text(left + (slot - _width(label)) // 2, floor + 14, label, INK)
    canvas.line((LEFT, floor), (canvas.width - RIGHT, floor), INK, 2)
    return canvas


def _legend(canvas: Canvas) -> None:
    x = LEFT
    for colour, words in (
        (BAR, "BLOCKS"), (OUTSIDE, "BLOCKS OUTSIDE THE BAND"), (BAND, "95 % BAND"), (INK, "POWER"),
    ):  # fmt: skip
        canvas.bar(x, 50, 14, 3 if colour == INK else 10, colour)
        canvas.text(x + 20, 50, words, INK)
        x += 20 + _width(words) + 28


def _width(words: str) -> int:
    from eubchain.client.picture import text_width

    return text_width(words)


def _step(most: float) -> float:
    """Between two lines of the grid: 1, 2 or 5 times a power of ten, at most ten steps."""
    power: float = 10.0 ** math.floor(math.log10(most / 10))
    return next(power * times for times in (1, 2, 5, 10) if most <= 10 * power * times)
