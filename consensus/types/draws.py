"""From a hash to a choice: a point below a total, and whose weight it falls on.

Here: the two steps that every draw shares. Not here: which hash (consensus/beacon.py for draws under a
beacon, consensus/validators.py for proposers).
Keeps: integers only, so that everybody draws the same.
"""

from __future__ import annotations

from collections.abc import Iterable

DRAW_BYTES = 16
"""A draw reads 128 bits: with a total below 2³⁰ its bias is below 2⁻⁹⁸."""


def draw_point(drawn: bytes, total: int) -> int:
    """A point in 0 … total − 1 from a hash: its first 128 bits, scaled and rounded down."""
    assert total >= 1, "there is something to draw from"
    assert len(drawn) >= DRAW_BYTES, "a hash holds 128 bits"
    return int.from_bytes(drawn[:DRAW_BYTES], "big") * total >> 8 * DRAW_BYTES


def index_at(point: int, weights: Iterable[int]) -> int:
    """The first index whose cumulative weight exceeds `point`."""
    reached = 0
    for index, weight in enumerate(weights):
        reached += weight
        if reached > point:
            return index
    raise AssertionError("the point lies below the total")
