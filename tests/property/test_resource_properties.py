"""Proof of Resource for all inputs: fading, reputation, power, gas, difficulty, proofs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.resource import coefficient, difficulty, proof, reputation, share, weight
from consensus.resource.reputation import MEMORY_MAX, Standing
from consensus.types.amounts import PPB
from consensus.types.codec import INTEGER_MAX, Codec, encode
from consensus.types.errors import Rejected

memories = st.integers(0, MEMORY_MAX)
standings = st.builds(Standing, memories, memories, memories, memories, memories, st.just(0))
shifts = st.sampled_from([6, 8, 10])
epochs = st.integers(0, 30_000)
units = st.integers(1, 10**20)
fractions = st.integers(0, PPB)
prices = st.integers(1, 10**17)
nodes = st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 10**17)), min_size=1, max_size=12)
references = st.integers(1, 2**62)
shares = st.sets(st.tuples(st.integers(0, 2**24 - 1), st.integers(0, 2**24 - 1)), max_size=56)


@given(standings, epochs, epochs, shifts)
def test_fading_never_raises_a_memory_and_favours_nobody(now: Standing, one: int, two: int, shift: int):
    """Later reads are no larger; against the exact factor good is rounded down and bad up."""
    near, far = sorted((one, two))
    before, after = reputation.faded(now, near, shift), reputation.faded(now, far, shift)
    for name in ("good", "bad", "word_good", "word_bad", "cheats"):
        assert 0 <= getattr(after, name) <= getattr(before, name) <= getattr(now, name)
    table = reputation.fade_table(shift)
    factor = table[min(far, len(table) - 1)]
    assert after.good << 32 <= now.good * factor < (after.good + 1) << 32
    assert (after.bad - 1) << 32 < now.bad * factor <= after.bad << 32


@given(standings, epochs, shifts, prices, fractions)
def test_every_outcome_leaves_a_standing_that_can_be_stored(
    now: Standing, epoch: int, shift: int, price: int, quality: int
):
    """Within 2⁶², true at its epoch, and equal after encoding."""
    for after in (
        reputation.add_decided(now, epoch, shift, price, quality),
        reputation.add_audited(now, epoch, shift, price),
        reputation.add_lost(now, epoch, shift, price),
        reputation.add_posted(now, epoch, shift, price),
        reputation.add_blame(now, epoch, shift, price),
        reputation.add_cheat(now, epoch, shift),
    ):
        assert after.epoch == epoch
        assert Codec(Standing).decode(encode(after)) == after


@given(prices, fractions)
def test_a_decided_task_is_split_without_loss(price: int, quality: int):
    """What is not praise is blame, to the grain."""
    after = reputation.add_decided(reputation.NO_STANDING, 0, 6, price, quality)
    assert after.word_good + after.word_bad == price


@given(standings, units)
def test_reputations_lie_between_zero_and_one_and_words_move_no_weight(now: Standing, unit: int):
    """ρ and ρ_w are parts per billion; ρ_w ignores the word memories."""
    silent = Standing(now.good, now.bad, 0, 0, now.cheats, 0)
    assert 0 <= reputation.reputation(now, unit) <= PPB
    assert 0 <= reputation.weight_reputation(now, unit) <= PPB
    assert reputation.weight_reputation(now, unit) == reputation.weight_reputation(silent, unit)


@given(memories, memories, units)
def test_words_alone_never_exceed_two_thirds(word_good: int, word_bad: int, unit: int):
    """However many, with nothing audited."""
    assert reputation.reputation(Standing(0, 0, word_good, word_bad, 0, 0), unit) <= 666666666


@given(standings, units, prices)
def test_audited_good_never_lowers_and_audited_bad_never_raises(now: Standing, unit: int, price: int):
    """Both reputations are monotone in G and H."""
    better = reputation.add_audited(now, 0, 6, price)
    worse = reputation.add_lost(now, 0, 6, price)
    for rule in (reputation.reputation, reputation.weight_reputation):
        assert rule(worse, unit) <= rule(now, unit) <= rule(better, unit)


@given(nodes, references)
def test_powers_never_sum_to_more_than_one(given_nodes: list[tuple[int, int]], reference: int):
    """Every share rounds down."""
    powers = weight.resource_powers(given_nodes, reference)
    assert all(power >= 0 for power in powers)
    assert sum(powers) <= PPB


@given(nodes, references, fractions, fractions)
def test_an_identity_that_splits_itself_gains_no_power(
    given_nodes: list[tuple[int, int]], reference: int, compute: int, stake: int
):
    """P of the parts together is at most P of the whole, however compute and stake are divided."""
    speed, bond = given_nodes[0]
    part = (speed * compute // PPB, bond * stake // PPB)
    rest = (speed - part[0], bond - part[1])
    whole = weight.resource_powers(given_nodes, reference)
    split = weight.resource_powers([part, rest, *given_nodes[1:]], reference)
    assert split[0] + split[1] <= whole[0]
    assert split[2:] == whole[1:]


@given(st.integers(0, 10**17), st.lists(st.tuples(st.integers(0, 2**62), fractions), max_size=12))
def test_the_pool_is_never_overdrawn(pool: int, sparks: list[tuple[int, int]]):
    """Payments sum to at most the pool; the remainder is smaller than the number of sparks, if any earns."""
    paid = weight.pool_payments(pool, sparks)
    assert sum(paid) <= pool
    assert not any(paid) or pool - sum(paid) < len(sparks)


@given(fractions, fractions, prices, prices, st.integers(1, 10**9))
def test_gas_never_rises_with_kappa_and_never_falls_with_price(
    one: int, two: int, price: int, maximum: int, floor: int
):
    """The seed's law: as standing falls, the deposit climbs."""
    low, high = sorted((one, two))
    assert coefficient.gas(price, maximum, high, floor) <= coefficient.gas(price, maximum, low, floor)
    assert coefficient.gas(price, maximum, low, floor) <= coefficient.gas(price + 1, maximum, low, floor)
    assert coefficient.gas(price, maximum, low, floor) >= floor


@given(st.lists(fractions, min_size=1, max_size=20), fractions)
def test_kappa_is_a_fraction_and_rises_with_reputation(powers: list[int], rho: int):
    """κ in 0 … B for any powers; the typical power lies between the least and the most."""
    typical = coefficient.typical_power(powers)
    assert typical <= max(powers)
    term = coefficient.power_term(powers[0], typical)
    kappa = coefficient.coefficient(rho, term)
    assert 0 <= kappa <= PPB
    assert kappa <= coefficient.coefficient(min(PPB, rho + 1000), term)


@given(st.integers(1, 2**40), st.lists(st.integers(0, 56), max_size=60))
def test_difficulty_and_speed_stay_storable(start: int, found: list[int]):
    """D within its bounds, S below 2⁶², whatever a spark proves."""
    held, speed = start, 0
    for count in found:
        speed = difficulty.next_speed(speed, difficulty.credited_tiles(count, held))
        held = difficulty.next_difficulty(held, count, 1)
        assert 1 <= held <= difficulty.DIFFICULTY_MAX
        assert 0 <= speed < 2**62 < INTEGER_MAX


@given(shares, st.integers(0, INTEGER_MAX))
def test_every_set_of_tiles_makes_a_proof_that_reads_back(tiles: set[tuple[int, int]], window: int):
    """Sorting is the encoder's work; the order is by p, then q."""
    made = proof.make_proof(window, list(tiles))
    proof.check_proof(Codec[proof.Proof](proof.Proof).decode(encode(made)))
    assert proof.parse_shares(made.shares) == sorted(tiles)


@given(shares.filter(bool), st.data())
def test_a_changed_proof_is_refused_or_says_something_else(tiles: set[tuple[int, int]], data: st.DataObject):
    """No two byte strings are one proof."""
    encoded = bytearray(encode(proof.make_proof(9, list(tiles))))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    try:
        changed = Codec[proof.Proof](proof.Proof).decode(bytes(encoded))
        proof.check_proof(changed)
    except Rejected:
        return
    assert changed.window != 9 or set(proof.parse_shares(changed.shares)) != tiles


@given(
    st.binary(min_size=32, max_size=32), st.binary(min_size=20, max_size=20), st.integers(0, 56), st.data()
)
def test_samples_are_nested_and_ascending(beacon: bytes, account: bytes, count: int, data: st.DataObject):
    """The sample of a smaller budget is part of the larger one's."""
    large = data.draw(st.integers(0, count))
    small = data.draw(st.integers(0, large))
    wide, narrow = (proof.sampled(beacon, account, count, size) for size in (large, small))
    assert len(wide) == large
    assert list(wide) == sorted(set(wide))
    assert set(narrow) <= set(wide) <= set(range(count))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]))
def test_products_are_exact_for_any_panels(seed: int, kind: type[np.floating]):
    """Floating-point chunks against integer arithmetic, extremes over-represented."""
    random = np.random.Generator(np.random.PCG64(seed))
    values = np.array([-128, -128, -127, -1, 0, 1, 127, 127], dtype=np.int8)
    a, b = (values[random.integers(0, 8, (8, 8192))] for _ in range(2))
    expected = a.astype(np.int64) @ b.astype(np.int64).T
    assert np.array_equal(share.product(a.astype(kind), b.astype(kind)), expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_word_mixer_and_the_array_mixer_agree(word: int):
    """One rule in plain integers and in numpy."""
    assert int(share.mix_words(np.array([word], dtype=np.uint32))[0]) == share.mix(word)


def test_asking_for_a_panel_beyond_the_range_is_our_bug():
    """Range is checked before; here it is asserted."""
    keys = share.panel_keys(share.PROFILES[1], 0, bytes(32), bytes(32))
    with pytest.raises(AssertionError):
        share.panel_a(keys, share.PROFILES[1], 2**24)
