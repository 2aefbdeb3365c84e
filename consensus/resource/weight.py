"""Resource power and voting weight: compute proved and EUBC bonded, scaled by reputation.

Here: the shares c and s, the blend f, power P, x and u, the resource pool's division.
Not here: turning u into the powers of a validator set (consensus/validators.py), ρ_w (reputation.py).
Keeps: P is linear in S and bond, so an identity that splits itself gains nothing; while nothing is
proved, stake carries the chain (P = s); every share rounds down.
Units: parts per billion, unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

from consensus.types.amounts import PPB


def share_of(part: int, total: int) -> int:
    """`part` of `total`, rounded down; nothing of nothing is nothing."""
    assert 0 <= part <= total, "a part is no more than its whole"
    return PPB * part // total if total else 0


def compute_fraction(speed_total: int, speed_reference: int) -> int:
    """f: how much of power is compute: it grows with ΣS and is one half from S_ref on."""
    assert speed_reference > 0, "S_ref is positive"
    return PPB // 2 * min(speed_total, speed_reference) // speed_reference


def resource_power(compute: int, stake: int, fraction: int) -> int:
    """P of an account with shares c = `compute` and s = `stake`, where f = `fraction`."""
    return (fraction * compute + (PPB - fraction) * stake) // PPB


def resource_powers(nodes: Sequence[tuple[int, int]], speed_reference: int) -> list[int]:
    """P of every account, each given as (S, bond in grains).

    The caller gives 0 for the S of barred and retired sparks and for the bond of jailed validators.
    """
    speed_total = sum(speed for speed, _ in nodes)
    bond_total = sum(bond for _, bond in nodes)
    fraction = compute_fraction(speed_total, speed_reference)
    return [
        resource_power(share_of(speed, speed_total), share_of(bond, bond_total), fraction)
        for speed, bond in nodes
    ]


def epoch_weight(power: int, weight_reputation: int) -> int:
    """x at an epoch's end: P scaled by ρ_w."""
    return power * weight_reputation // PPB


def voting_weight(now: int, before: int, may_vote: bool) -> int:
    """u: the smaller x of this epoch's end and the last one's.

    Newcomers earn at once and vote one epoch later, and nothing rented for a moment votes.
    `may_vote` is false when jailed, tombstoned or under the minimum bond.
    """
    return min(now, before) if may_vote else 0


def pool_payments(pool: int, sparks: Sequence[tuple[int, int]]) -> list[int]:
    """Divide `pool` grains by y = S·ρ_w // B over sparks given as (S, ρ_w); what is left stays.

    The sparks are those credited in the last window that closed and was not void.
    """
    weights = [epoch_weight(speed, standing) for speed, standing in sparks]
    total = sum(weights)
    return [pool * weight // total if total else 0 for weight in weights]
