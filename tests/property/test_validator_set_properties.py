"""Validator sets, reveal chains and draws for all inputs."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus import beacon
from consensus.types.draws import draw_point, index_at
from consensus.validators import (
    TOTAL_POWER,
    Candidate,
    divide,
    fill,
    is_quorum,
    make_set,
    power_caps,
    proposer,
)

weights = st.integers(0, 10**9)
bonds = st.integers(1, 10**17)


@st.composite
def candidates(draw: st.DrawFn, most: int = 20) -> list[Candidate]:
    """Up to `most` candidates with different addresses."""
    addresses = draw(st.lists(st.binary(min_size=20, max_size=20), unique=True, min_size=1, max_size=most))
    return [Candidate(address, address + bytes(12), draw(weights), draw(bonds)) for address in addresses]


@given(candidates(), st.integers(1, 12), st.randoms(use_true_random=False))
def test_powers_sum_to_t_and_the_order_of_candidates_does_not_matter(
    given_candidates: list[Candidate], most: int, shuffler
):
    """Exactly T over at most `most`, ascending by address, nobody at zero."""
    made = make_set(given_candidates, most)
    assert len(made) <= most
    if any(candidate.weight for candidate in given_candidates):
        assert sum(validator.power for validator in made) == TOTAL_POWER
    assert [v.address for v in made] == sorted({v.address for v in made})
    assert all(validator.power > 0 for validator in made)
    shuffled = list(given_candidates)
    shuffler.shuffle(shuffled)
    assert make_set(shuffled, most) == made


@given(st.lists(st.tuples(st.integers(1, 10**9), bonds), min_size=1, max_size=20))
def test_caps_hold_wherever_they_can(pairs: list[tuple[int, int]]):
    """Where the caps together allow T, nobody exceeds its cap, by rounding neither."""
    caps = power_caps([bond for _, bond in pairs])
    powers = fill(TOTAL_POWER, [weight for weight, _ in pairs], caps)
    assert sum(powers) == TOTAL_POWER
    if sum(caps) >= TOTAL_POWER:
        assert all(power <= cap for power, cap in zip(powers, caps, strict=True))


@given(st.lists(st.tuples(st.integers(1, 10**9), bonds), min_size=2, max_size=12), st.integers(1, 10**9))
def test_more_weight_never_costs_power(pairs: list[tuple[int, int]], more: int):
    """Beyond one part in 10⁹, which the largest remainder may take."""
    caps = power_caps([bond for _, bond in pairs])
    own = [weight for weight, _ in pairs]
    before = fill(TOTAL_POWER, own, caps)[0]
    assert fill(TOTAL_POWER, [own[0] + more, *own[1:]], caps)[0] >= before - 1


@given(st.integers(0, 10**12), st.lists(st.integers(0, 10**12), min_size=1, max_size=12).filter(any))
def test_division_is_exact_and_within_one_of_proportional(total: int, parts: list[int]):
    """Largest remainder: the sum is right and nobody is off by a whole unit."""
    divided = divide(total, parts)
    assert sum(divided) == total
    for part, share in zip(divided, parts, strict=True):
        assert abs(part * sum(parts) - total * share) < sum(parts)


@given(candidates(), st.binary(min_size=32, max_size=32), st.integers(1, 2**40), st.integers(0, 50))
def test_every_round_has_a_proposer_of_the_set(
    given_candidates: list[Candidate], seed: bytes, height: int, round_: int
):
    """A member with power, the same for everybody."""
    made = make_set(given_candidates, 10)
    if made:
        assert proposer(made, seed, height, round_) in made


@given(candidates(most=8), st.data())
def test_two_quorums_overlap_in_more_than_a_third(given_candidates: list[Candidate], data: st.DataObject):
    """So two different decisions need a third of power to sign both."""
    made = make_set(given_candidates, 8)
    one = [data.draw(st.booleans()) for _ in made]
    two = [data.draw(st.booleans()) for _ in made]
    of = [sum(v.power for v, member in zip(made, members, strict=True) if member) for members in (one, two)]
    if all(is_quorum(power) for power in of):
        both = sum(v.power for v, a, b in zip(made, one, two, strict=True) if a and b)
        assert 3 * both > TOTAL_POWER


@given(st.binary(min_size=32, max_size=32), st.integers(1, 2**70))
def test_a_draw_point_lies_below_its_total(drawn: bytes, total: int):
    """For any hash."""
    assert 0 <= draw_point(drawn, total) < total


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20).filter(any), st.data())
def test_a_point_never_falls_on_an_index_without_weight(parts: list[int], data: st.DataObject):
    """And the weight before it is at most the point."""
    point = data.draw(st.integers(0, sum(parts) - 1))
    index = index_at(point, parts)
    assert sum(parts[:index]) <= point < sum(parts[: index + 1])


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.integers(0, 5), st.integers(1, 300), st.data())
def test_a_reveal_is_found_from_any_place_of_the_chain(
    secret: bytes, generation: int, length: int, data: st.DataObject
):
    """Jumping about (restores, other rounds) never confuses the walk."""
    values = [beacon.chain_start(secret, generation)]
    for _ in range(length):
        values.append(beacon.chain_step(values[-1]))
    chain = beacon.RevealChain(secret, generation, length)
    for position in data.draw(st.lists(st.integers(1, length), min_size=1, max_size=8)):
        assert chain.reveal(values[position]) == values[position - 1]


def water_level(pairs: list[tuple[int, int]], caps: list[int]) -> list[Fraction]:
    """The exact powers min(cap, λ·weight) that sum to T, found by sorting, with fractions."""
    order = sorted(range(len(pairs)), key=lambda i: Fraction(caps[i], pairs[i][0]))
    rest, weight_left = Fraction(TOTAL_POWER), sum(weight for weight, _ in pairs)
    exact = [Fraction(0)] * len(pairs)
    for i in order:
        weight = pairs[i][0]
        exact[i] = min(Fraction(caps[i]), rest * weight / weight_left)
        rest -= exact[i]
        weight_left -= weight
    return exact


@given(st.lists(st.tuples(st.integers(1, 10**9), bonds), min_size=4, max_size=20))
def test_filling_agrees_with_an_exact_water_level(pairs: list[tuple[int, int]]):
    """A second solution, by sorting and fractions, differs by less than one part in 10⁹."""
    caps = power_caps([bond for _, bond in pairs])
    if sum(caps) > TOTAL_POWER:
        powers = fill(TOTAL_POWER, [weight for weight, _ in pairs], caps)
        for power, exact in zip(powers, water_level(pairs, caps), strict=True):
            assert abs(power - exact) < 1
