"""The Proof-of-Resource coefficient κ and what it costs to hold a low one: gas.

Here: the typical power P̂, the power term b, κ, the gas ratio and the gas deposit.
Not here: why κ is what it is (explain.py), locking gas (vm/task), ρ (reputation.py).
Keeps: gas never rises with κ; it is above the price iff κ < 11/21 (the law the chain was made for: as
standing falls, the deposit climbs past the reward).
Units: parts per billion and grains.
"""

from __future__ import annotations

from collections.abc import Iterable

from consensus.types.amounts import PPB, Grains

RATIO_MAX = 10 * PPB
RATIO_MIN = 3 * PPB // 10


def typical_power(powers: Iterable[int]) -> int:
    """P̂ = ΣP² // ΣP: the power of the account behind a random unit of power.

    Accounts of dust do not move it, as they would move a mean or a median.
    """
    total = squares = 0
    for power in powers:
        total += power
        squares += power * power
    return squares // total if total else 0


def power_term(power: int, typical: int) -> int:
    """b: 0 without power, one half at the typical power, towards one far above it."""
    return PPB * power // (power + typical) if power else 0


def coefficient(reputation: int, power_term_: int) -> int:
    """κ: two thirds reputation ρ, one third power b; sets gas and ranks offers."""
    return (2 * reputation + power_term_) // 3


def gas_ratio(kappa: int) -> int:
    """Gas per price: 1.1·(1 − κ)/κ within 0.3 … 10, and 10 at κ = 0."""
    assert 0 <= kappa <= PPB, "a coefficient is at most one"
    if kappa == 0:
        return RATIO_MAX
    return min(RATIO_MAX, max(RATIO_MIN, 11 * PPB * (PPB - kappa) // (10 * kappa)))


def gas(price: Grains, maximum: Grains, kappa: int, floor: Grains) -> Grains:
    """The deposit a spark locks for a task at `price` of at most `maximum`, never below `floor`.

    At least half of the maximum is secured: a bid of one grain must not win with a deposit of ten.
    """
    base = max(price, -(-maximum // 2))
    return max(floor, -(-base * gas_ratio(kappa) // PPB))
