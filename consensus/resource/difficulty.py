"""What a closed window does to a spark: its next difficulty D and its proved speed S.

Here: D', S', the work credited, the bar after a false share.
Not here: whether shares are true (share.py), slashing (the transition).
Keeps: D is fixed before the seed is known, so n·D is an unbiased count of tiles whatever D is; S stays
below 2⁶², since 56 shares at the largest D are.
Units: S in 2⁻¹⁶ tiles per window, work in tiles.
"""

from __future__ import annotations

from consensus.resource.proof import SHARES_MAX, SHARES_MIN

SHARES_TARGET = 32
"""λ: shares a window at which D stays where it is."""
DIFFICULTY_MAX = 2**40
SPEED_SHIFT = 16
"""S has 16 bits below the point."""
BARRED_EPOCHS = 8
"""How long a false share bars a spark from proving."""
SLASH_DIVISOR = 100
"""A false share takes one hundredth of bonded and unbonding, rounded up."""


def next_difficulty(difficulty: int, shares: int, difficulty_min: int) -> int:
    """D' of a spark that proved `shares` (0 … 56) at D; one that sent no proof keeps its D.

    A full proof says that D was far too low, fewer than 8 that it was far too high; between them D
    moves by half of the error, which damps the noise of counting.
    """
    assert 0 <= shares <= SHARES_MAX, "a checked proof"
    assert difficulty >= 1, "a registered spark has a difficulty"
    if shares == SHARES_MAX:
        raised = 4 * difficulty
    elif shares < SHARES_MIN:
        raised = difficulty // 4
    else:
        raised = difficulty * (shares + SHARES_TARGET) // (2 * SHARES_TARGET)
    return max(difficulty_min, min(raised, DIFFICULTY_MAX))


def credited_tiles(shares: int, difficulty: int) -> int:
    """Tiles credited: n·D, or none below 8 shares, so that a lottery ticket would need 8 wins."""
    return shares * difficulty if shares >= SHARES_MIN else 0


def next_speed(speed: int, tiles: int) -> int:
    """S' after a window that credits `tiles` (0 when the proof is missing or false), rounded down.

    An eighth of the way each window: a missed one costs an eighth of S.
    """
    return (7 * speed + (tiles << SPEED_SHIFT)) // 8


def false_share_slash(bonded: int, unbonding: int) -> int:
    """Grains a false share costs: one percent of what is bonded and unbonding, rounded up."""
    return -(-(bonded + unbonding) // SLASH_DIVISOR)


def difficulty_before(difficulty: int, shares: int) -> int:
    """About the D at which `shares` led to `difficulty`: for explanations, since rounding is not undone."""
    if shares == SHARES_MAX:
        return max(1, difficulty // 4)
    if shares < SHARES_MIN:
        return min(4 * difficulty, DIFFICULTY_MAX)
    return max(1, min(-(-difficulty * 2 * SHARES_TARGET // (shares + SHARES_TARGET)), DIFFICULTY_MAX))


def speed_before(speed: int, tiles: int) -> int:
    """About the S that a window with these tiles turned into `speed`: at most two units off."""
    return max(0, (8 * speed - (tiles << SPEED_SHIFT)) // 7)
