"""Power, weight, the resource pool, κ and gas, by their published figures."""

from __future__ import annotations

import pytest

from consensus.resource import coefficient as co
from consensus.resource import weight as we
from consensus.types.amounts import PPB

REFERENCE = 10**3 << 16
"""S_ref of a development network, in 2⁻¹⁶ tiles."""


def test_without_proved_compute_power_is_stake():
    """ΣS = 0: P = s, so stake carries the chain."""
    assert we.resource_powers([(0, 60), (0, 40)], REFERENCE) == [600000000, 400000000]


def test_compute_is_half_of_power_from_the_reference_on():
    """f = ½ at S_ref and above; half of that at half of it."""
    assert we.compute_fraction(0, REFERENCE) == 0
    assert we.compute_fraction(REFERENCE // 2, REFERENCE) == PPB // 4
    assert we.compute_fraction(REFERENCE, REFERENCE) == PPB // 2
    assert we.compute_fraction(10 * REFERENCE, REFERENCE) == PPB // 2


def test_power_blends_compute_and_stake():
    """All compute against all stake at S_ref: half each."""
    assert we.resource_powers([(REFERENCE, 0), (0, 100)], REFERENCE) == [PPB // 2, PPB // 2]


def test_a_newcomer_votes_one_epoch_later():
    """u = min(x(e), x(e−1)); nothing for who may not vote."""
    assert we.voting_weight(500, 0, True) == 0
    assert we.voting_weight(500, 300, True) == 300
    assert we.voting_weight(200, 300, True) == 200
    assert we.voting_weight(500, 500, False) == 0


def test_the_pool_pays_by_speed_and_audited_standing():
    """y = S·ρ_w // B; the remainder stays, and nobody's share is nothing."""
    assert we.pool_payments(1000, [(100, PPB // 2), (100, PPB // 4)]) == [666, 333]
    assert we.pool_payments(1000, []) == []
    assert we.pool_payments(1000, [(0, PPB), (100, 0)]) == [0, 0]


def test_dust_accounts_do_not_move_the_typical_power():
    """P̂ of ten equal nodes stays what it is when a thousand accounts of nearly nothing join."""
    assert co.typical_power([PPB // 10] * 10) == PPB // 10
    assert co.typical_power([PPB // 10] * 10 + [1] * 1000) >= PPB // 10 - 101
    assert co.typical_power([]) == 0


def test_the_power_term_is_one_half_at_the_typical_power():
    """b = B·P // (P + P̂), and nothing without power."""
    assert co.power_term(100, 100) == PPB // 2
    assert co.power_term(0, 100) == 0
    assert co.power_term(0, 0) == 0
    assert co.power_term(300, 100) == 750000000


def test_kappa_is_two_thirds_reputation_and_a_third_power():
    """κ = (2ρ + b) // 3; a newcomer at registration has 2ρ // 3."""
    assert co.coefficient(PPB // 2, 0) == 333333333
    assert co.coefficient(PPB, PPB) == PPB


@pytest.mark.parametrize(
    ("kappa", "ratio"),
    [
        (0, 10 * PPB),
        (1, 10 * PPB),
        (333333333, 2200000003),
        (500000000, 1100000000),
        (520000000, 1015384615),
        (785714286, 300000000),
        (PPB, 300000000),
    ],
)
def test_the_gas_ratio_is_the_published_curve(kappa: int, ratio: int):
    """From ten times the price down to three tenths of it."""
    assert co.gas_ratio(kappa) == ratio


def test_gas_climbs_past_the_price_as_kappa_falls():
    """Above the price iff κ < 11/21 = 0.5238…"""
    assert co.gas(PPB, PPB, 523809523, 1) > PPB
    assert co.gas(PPB, PPB, 523809524, 1) <= PPB


def test_a_one_grain_bid_still_secures_half_of_the_maximum():
    """The base of gas is max(price, ⌈max/2⌉), rounded up, and never below the floor."""
    assert co.gas(1, 1001, PPB // 2, 1) == 552  # ⌈501·1.1⌉
    assert co.gas(1, 10, PPB // 2, 10_000) == 10_000
    assert co.gas(1001, 1001, PPB // 2, 1) == 1102
