"""Powers from weights, quorums and proposers."""

from __future__ import annotations

import pytest

from consensus.types.codec import encode
from consensus.types.hashing import Tag, tagged_hash
from consensus.validators import (
    SET_CODEC,
    Candidate,
    Validator,
    fill,
    is_honest_part,
    is_quorum,
    make_set,
    proposer,
    validators_hash,
)

T = 10**9


def powers_of(candidates: list[tuple[int, int]], validators_max: int = 100) -> list[int]:
    """Powers of candidates given as (weight, bond), in address order."""
    made = make_set(
        [Candidate(bytes([i]) * 20, bytes([i]) * 32, *candidate) for i, candidate in enumerate(candidates)],
        validators_max,
    )
    return [validator.power for validator in made]


def test_one_two_and_three_equal_validators_share_alike():
    """1; ½ ½; ⅓ ⅓ ⅓, the odd grain of power to the lowest address."""
    assert powers_of([(7, 10)]) == [T]
    assert powers_of([(7, 10), (7, 10)]) == [T // 2, T // 2]
    assert powers_of([(7, 10)] * 3) == [333333334, 333333333, 333333333]


def test_a_giant_among_dwarfs_is_capped():
    """Stake 97/1/1/1 gives 73.5/8.8/8.8/8.8: the caps together are too small, so they set the shares."""
    assert powers_of([(970, 97), (10, 1), (10, 1), (10, 1)]) == [735294118, 88235294, 88235294, 88235294]


def test_power_follows_weight_below_the_caps():
    """Five of equal stake and unequal weight."""
    assert powers_of([(10, 1), (20, 1), (20, 1), (25, 1), (25, 1)]) == [
        100000000, 200000000, 200000000, 250000000, 250000000,
    ]  # fmt: skip


def test_what_a_capped_validator_leaves_is_shared_by_weight():
    """Weight 900 of 1,000 stops below a third; the rest goes 1 : 1 : 2."""
    assert powers_of([(900, 5), (25, 5), (25, 5), (50, 5)]) == [
        333333333, 166666667, 166666667, 333333333,
    ]  # fmt: skip
    assert sum(powers_of([(900, 5), (25, 5), (25, 5), (50, 5)])) == T


def test_compute_without_stake_stops_at_four_times_its_stake():
    """One per cent of the stake carries at most four per cent of the power."""
    assert powers_of([(1000, 1), (10, 33), (10, 33), (10, 33)])[0] == 40000000


def test_only_the_heaviest_enter_and_ties_go_to_the_lower_address():
    """Those left out count in no sum."""
    candidates = [Candidate(bytes([i]) * 20, bytes(32), w, 10) for i, w in enumerate([5, 9, 5, 5, 0])]
    made = make_set(candidates, 3)
    assert [validator.address[0] for validator in made] == [0, 1, 2]
    assert made == make_set(candidates[:3], 100) == make_set(candidates[::-1], 3)


def test_nobody_with_weight_makes_no_set():
    """The caller keeps the last one."""
    assert make_set([Candidate(bytes(20), bytes(32), 0, 10)], 10) == ()


def test_a_validator_without_power_leaves_the_set():
    """A weight too small for one part in 10⁹ rounds to nothing."""
    assert len(powers_of([(10**12, 100), (10**12, 100), (10**12, 100), (10**12, 100), (1, 100)])) == 4


@pytest.mark.parametrize(("power", "quorum", "part"), [
    (333333333, False, False), (333333334, False, True), (666666666, False, True), (666666667, True, True),
])  # fmt: skip
def test_quorum_is_more_than_two_thirds_and_f_plus_one_more_than_a_third(
    power: int, quorum: bool, part: bool
):
    """Exactly a third or two thirds of 10⁹ does not exist, so both neighbours are tried."""
    assert is_quorum(power) is quorum
    assert is_honest_part(power) is part


def test_a_set_is_hashed_over_its_encoding_and_decodes():
    """[[address, key, power]] under the tag of validator sets."""
    made = make_set([Candidate(bytes([i]) * 20, bytes([i]) * 32, 1, 1) for i in range(4)], 10)
    assert validators_hash(made) == tagged_hash(Tag.VALIDATORS, encode(made))
    assert SET_CODEC.decode(encode(made)) == made


def test_proposers_come_up_as_often_as_their_power_says():
    """Of 5,000 heights with powers ½ ¼ ¼ (χ² on two degrees < 13.8), and rounds differ."""
    made = tuple(
        Validator(bytes([i]) * 20, bytes(32), power) for i, power in enumerate((T // 2, T // 4, T // 4))
    )
    hits = [0, 0, 0]
    for height in range(5000):
        hits[proposer(made, bytes(32), height, 0).address[0]] += 1
    expected = (2500, 1250, 1250)
    assert sum((h - e) ** 2 * (2500 // e) for h, e in zip(hits, expected, strict=True)) < 138 * 2500 // 10
    assert len({proposer(made, bytes(32), 1, round_).address for round_ in range(20)}) > 1


def test_filling_fixes_again_who_would_exceed_after_the_first_round():
    """Capping one lifts another above its own cap: the rest is shared anew until nobody exceeds."""
    assert fill(100, [80, 15, 5], [40, 40, 40]) == [40, 40, 20]
