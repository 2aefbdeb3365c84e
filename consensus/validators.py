"""Validator sets: from weights to powers, their hash, quorums, and who proposes.

Here: the set's record and hash, water-filling under caps, quorum and f + 1, the proposer of a round.
Not here: where weights come from (consensus/resource/weight.py), when sets change (vm/epoch.py).
Keeps: powers of a set sum to T = 10⁹ exactly; the set is ordered by address; everyone in it has power.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from consensus.types.codec import Address, Codec, Key32, Record, Uint, encode
from consensus.types.draws import draw_point, index_at
from consensus.types.hashing import Tag, tagged_hash

TOTAL_POWER = 10**9
"""T: the power of every set."""
STAKE_CAP = 4
"""A validator's power is at most this many times its share of the stake, while others can take it."""


class Validator(Record, frozen=True):
    """One entry of a set."""

    address: Address
    key: Key32
    """The consensus key (BIP-340)."""
    power: Uint
    """Of T."""


ValidatorSet = tuple[Validator, ...]
"""Ordered by address."""

SET_CODEC: Codec[ValidatorSet] = Codec(tuple[Validator, ...])


class Candidate(NamedTuple):
    """Who may stand in a set: its weight u and its bond in grains."""

    address: bytes
    key: bytes
    weight: int
    bond: int


def validators_hash(validators: Sequence[Validator]) -> bytes:
    """The hash a header carries for a set."""
    return tagged_hash(Tag.VALIDATORS, encode(validators))


def is_quorum(power: int) -> bool:
    """Whether `power` is more than two thirds: two quorums share an honest validator."""
    return 3 * power > 2 * TOTAL_POWER


def is_honest_part(power: int) -> bool:
    """Whether `power` is more than a third (f + 1): at least one of it is honest."""
    return 3 * power > TOTAL_POWER


def proposer(validators: Sequence[Validator], beacon: bytes, height: int, round_: int) -> Validator:
    """Who proposes in this round; `beacon` is that of height − 1.

    Stateless and proportional to power: the first in address order whose cumulative power exceeds
    a point that H(beacon ‖ u64 height ‖ u32 round) draws.
    """
    drawn = tagged_hash(Tag.DRAW, beacon, height.to_bytes(8, "big"), round_.to_bytes(4, "big"))
    point = draw_point(drawn, TOTAL_POWER)
    return validators[index_at(point, (v.power for v in validators))]


def divide(total: int, weights: Sequence[int]) -> list[int]:
    """Divide `total` by weights with the largest remainders rounded up, ties to the earlier."""
    weight_total = sum(weights)
    assert weight_total > 0, "somebody has weight"
    parts = [total * weight // weight_total for weight in weights]
    short = total - sum(parts)
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(total * weights[i] % weight_total), i))
    for i in by_remainder[:short]:
        parts[i] += 1
    return parts


def fill(total: int, weights: Sequence[int], caps: Sequence[int]) -> list[int]:
    """Divide `total` by weights, none above its cap; by the caps alone where they are too small.

    Water-filling: whoever would get more than its cap is fixed at it, and the rest is shared anew.
    """
    if sum(caps) <= total:
        return divide(total, caps)
    parts, free, rest = list(caps), list(range(len(weights))), total
    while True:
        weight_free = sum(weights[i] for i in free)
        over = [i for i in free if weights[i] * rest > caps[i] * weight_free]
        if not over:
            break
        rest -= sum(caps[i] for i in over)
        free = [i for i in free if i not in over]
    for i, part in zip(free, divide(rest, [weights[i] for i in free]), strict=True):
        parts[i] = part
    return parts


def power_caps(bonds: Sequence[int]) -> list[int]:
    """The most power each bond may hold: four times its share of the stake, and below a third."""
    bond_total = sum(bonds)
    assert bond_total > 0, "a validator has a bond"
    third = (TOTAL_POWER - 1) // 3
    return [min(STAKE_CAP * TOTAL_POWER * bond // bond_total, third) for bond in bonds]


def make_set(candidates: Sequence[Candidate], validators_max: int) -> ValidatorSet:
    """The set that these candidates form: the heaviest `validators_max` with their powers.

    Only those selected enter caps and shares; ties go to the lower address. Empty if nobody has
    weight: the caller then keeps the set it has.
    """
    standing = [candidate for candidate in candidates if candidate.weight > 0]
    standing.sort(key=lambda candidate: (-candidate.weight, candidate.address))
    chosen = sorted(standing[:validators_max], key=lambda candidate: candidate.address)
    if not chosen:
        return ()
    caps = power_caps([candidate.bond for candidate in chosen])
    powers = fill(TOTAL_POWER, [candidate.weight for candidate in chosen], caps)
    assert sum(powers) == TOTAL_POWER, "powers sum to T"
    return tuple(
        Validator(candidate.address, candidate.key, power)
        for candidate, power in zip(chosen, powers, strict=True)
        if power > 0
    )
