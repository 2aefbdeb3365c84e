"""Amounts of EUBC: integers of grains inside, decimal text with up to 8 decimals outside.

Here: parsing and printing. Errors: 1101 amount_malformed.
"""

from __future__ import annotations

import re

from consensus.types.codec import SUPPLY_MAX
from consensus.types.errors import Reason, Rejected

Grains = int
"""1 EUBC = 10**8 grains."""
DECIMALS = 8
GRAINS_PER_EUBC = 100_000_000
PPB = 1_000_000_000
"""B of the protocol: one as parts per billion."""

AMOUNT_MALFORMED = Reason(
    1101,
    "amount_malformed",
    "text:text why:text",
    "'{text}' is not an amount of EUBC: {why}.",
    "Write digits with at most 8 decimals, as in 1.5 or 0.00000001.",
)


def eubc(whole: int) -> Grains:
    """Grains of a whole number of EUBC."""
    return whole * GRAINS_PER_EUBC


def parse_eubc(text: str) -> Grains:
    """Read an amount as a person types it; raise `Rejected(AMOUNT_MALFORMED)` saying what is wrong."""
    shown = text[:40]
    if text.startswith("-"):
        raise Rejected(AMOUNT_MALFORMED, text=shown, why="it is negative")
    match = re.fullmatch(r"([0-9]{1,10})(?:\.([0-9]+))?", text, re.ASCII)
    if match is None:
        raise Rejected(AMOUNT_MALFORMED, text=shown, why="only digits and one point may stand in it")
    whole, fraction = match[1], match[2] or ""
    if len(fraction) > DECIMALS:
        raise Rejected(AMOUNT_MALFORMED, text=shown, why=f"it has {len(fraction)} decimals, 8 is the most")
    grains = int(whole) * GRAINS_PER_EUBC + int(fraction.ljust(DECIMALS, "0"))
    if grains > SUPPLY_MAX:
        raise Rejected(AMOUNT_MALFORMED, text=shown, why="more than 1000000000 EUBC can never exist")
    return grains


def format_eubc(grains: Grains) -> str:
    """Print an amount with the decimals it needs, exactly: 150000000 is '1.5'."""
    sign, grains = ("-", -grains) if grains < 0 else ("", grains)
    whole, fraction = divmod(grains, GRAINS_PER_EUBC)
    tail = f"{fraction:08d}".rstrip("0")
    return f"{sign}{whole}.{tail}" if tail else f"{sign}{whole}"
