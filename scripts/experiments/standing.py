"""Attacks on power, reputation and coefficient: dust, splitting, bought words, revenge, exits.

Figures are differences between two calls of the rules in consensus/resource, or run the market in memory.
"""

from __future__ import annotations

from itertools import pairwise

from consensus.resource.coefficient import coefficient, gas, gas_ratio, power_term, typical_power
from consensus.resource.reputation import (
    NO_STANDING,
    Standing,
    add_audited,
    add_blame,
    add_cheat,
    add_decided,
    add_lost,
    faded,
    rating_quality,
    reputation,
    task_quality,
    weight_reputation,
)
from consensus.resource.weight import epoch_weight, pool_payments, resource_powers, voting_weight
from consensus.types.amounts import PPB, eubc
from consensus.types.errors import Rejected
from consensus.types.params import MAIN
from scripts.experiments.verdict import COSTLY, OPEN, UNPROFITABLE, Figure
from tests.market import PRICE, SPARK, WINDOWS, Market, post_of
from vm import standing as standings
from vm.task import posting
from vm.task.access import NOT_YET
from vm.task.payloads import Way

UNIT = eubc(1_000)
"""U of the account in question."""
S_REF = MAIN.resource.s_ref
SHIFT = MAIN.resource.fade_shift
PLAIN = 8 * PPB // 10
"""Validation and rating of silence."""


def _kappa(standing: Standing, term: int = PPB // 2) -> int:
    return coefficient(reputation(standing, UNIT), term)


def dust_accounts() -> Figure:
    """Ten thousand accounts of dust bring a mean down; the typical power hardly sees them."""
    honest = [PPB // 10] * 10
    crowd = honest + [1] * 10_000
    moved = typical_power(honest) - typical_power(crowd)
    mean = sum(honest) // len(honest) * len(crowd) / sum(crowd)
    rise = coefficient(PPB // 2, power_term(honest[0], typical_power(crowd))) - coefficient(
        PPB // 2, power_term(honest[0], typical_power(honest))
    )
    says = f"P̂ moves by {moved / 1e4:.1f} ‱, κ by {rise / PPB:.7f}; a mean would fall {mean:.0f} ×"
    return Figure("dust accounts against κ", UNPROFITABLE, rise / PPB, "κ", says, rise < 10_000)


def first_prover() -> Figure:
    """Alone with S_ref/100, all of compute is one's own, and compute is half a percent of power."""
    powers = resource_powers([(S_REF // 100, 0), *[(0, 1)] * 10], S_REF)
    share = powers[0] / PPB
    alone, beside = (pool_payments(1_000, [(S_REF // 100, PPB // 2)] * sparks)[0] / 10 for sparks in (1, 2))
    says = (
        f"the only prover, at S_ref/100, has {100 * share:.2f} % of power, no vote without a bond, and "
        f"{alone:.0f} % of the resource pool until a second one leaves it {beside:.0f} %"
    )
    return Figure("first prover at genesis", COSTLY, 100 * share, "% of power", says, share < 0.0051)


def identity_splitting() -> Figure:
    """An account in ten parts beside nine whole ones: P is linear, so the parts sum to no more."""
    others = [(S_REF // 10, eubc(10_000))] * 9
    whole = resource_powers([(S_REF // 10, eubc(10_000)), *others], S_REF)[0]
    parts = sum(resource_powers([(S_REF // 100, eubc(1_000))] * 10 + others, S_REF)[:10])
    says = f"ten parts hold {parts / whole:.9f} of the whole's power, by rounding"
    return Figure("identity splitting", UNPROFITABLE, parts / whole, "times", says, parts <= whole)


def bought_words() -> Figure:
    """Wash trading on one's own word: own check, own quorum, own hand match. Fifty units, five stars each."""
    standing = add_decided(NO_STANDING, 0, SHIFT, 50 * UNIT, PPB)
    weight = weight_reputation(standing, UNIT) - weight_reputation(NO_STANDING, UNIT)
    rise = _kappa(standing) - _kappa(NO_STANDING)
    ratios = gas_ratio(_kappa(NO_STANDING, 0)) / PPB, gas_ratio(_kappa(standing, 0)) / PPB
    says = (
        f"ρ stops at {reputation(standing, UNIT) / PPB:.3f}: κ {rise / PPB:+.3f}, gas of one without power "
        f"{ratios[0]:.2f} × → {ratios[1]:.2f} × the price; weight {weight / PPB:+.1f}"
    )
    return Figure("wash trading by word", COSTLY, rise / PPB, "κ", says, weight == 0 and rise < 112_000_000)


def paid_strangers() -> Figure:
    """Evidence that auditors confirm, bought at full price, half of it credited; what the weight then earns.

    U is 2ᵏ epochs of the account's own income, so each epoch's gain in weight brings that much of U / 2ᵏ.
    """
    newcomer = weight_reputation(NO_STANDING, UNIT)
    best = 0.0
    for parts in (10, 100, 400, 1_600):  # a tenth of a unit to sixteen, spent at once
        spent = parts * UNIT // 100
        standing = add_audited(NO_STANDING, 0, SHIFT, spent)
        earned = 0.0
        for epoch in range(0, 30_000, 10):
            raised = weight_reputation(faded(standing, epoch, SHIFT), UNIT) / newcomer - 1
            earned += 10 * raised * UNIT / 2**SHIFT
        best = max(best, earned / spent)
    says = f"until they have faded, bought audits bring back at most {best:.2f} of what strangers were paid"
    return Figure("paid strangers", UNPROFITABLE, best, "gain per cost", says, best < 1)


def rating_blackmail() -> Figure:
    """One star instead of five for a unit of work: the price of not giving in."""
    good = add_decided(NO_STANDING, 0, SHIFT, UNIT, task_quality(PPB, rating_quality(5), PPB))
    bad = add_decided(NO_STANDING, 0, SHIFT, UNIT, task_quality(PPB, rating_quality(1), PPB))
    audited = add_audited(bad, 0, SHIFT, UNIT)
    fall = _kappa(good) - _kappa(bad)
    weight = weight_reputation(audited, UNIT) - weight_reputation(add_audited(good, 0, SHIFT, UNIT), UNIT)
    says = f"κ {-fall / PPB:+.3f}; weight {weight / PPB:+.1f}: a rating moves words only, and fades"
    return Figure("rating blackmail", COSTLY, fall / PPB, "κ", says, weight == 0 and fall < 70_000_000)


def vanishing() -> Figure:
    """Take fifty tasks and vanish: what the gas costs at three coefficients, per task's price."""
    costs = [
        gas(eubc(1), eubc(1), kappa, MAIN.resource.gas_floor) / eubc(1)
        for kappa in (PPB // 3, PPB // 2, 785_714_286)
    ]
    standing = add_blame(add_audited(NO_STANDING, 0, SHIFT, 8 * UNIT), 0, SHIFT, 50 * UNIT)
    fall = _kappa(add_audited(NO_STANDING, 0, SHIFT, 8 * UNIT)) - _kappa(standing)
    shown = ", ".join(f"{c:.1f}" for c in costs)
    says = (
        f"each vanished task of price 1 burns {shown} at κ = ⅓, ½, 0.786, and brings nothing; "
        f"fifty units of it {-fall / PPB:+.3f} κ"
    )
    return Figure("exit scam by vanishing", UNPROFITABLE, costs[-1], "prices burnt", says, min(costs) > 0.29)


def unseen_garbage() -> Figure:
    """Deliver garbage on the way `none` to requesters that look away: paid, with nothing lost."""
    found = []
    for tasks in (1, 4, 50):
        market = Market()
        before = market.balance(SPARK)
        for _ in range(tasks):
            market.delivered(1)
            market.mine(WINDOWS.review + 1)
        gained = (market.balance(SPARK) - before) / PRICE
        found.append((tasks, gained, reputation(standings.faded(market.state, SPARK), UNIT) / PPB))
    shown = ", ".join(f"{tasks} tasks pay {gained:.2f} prices" for tasks, gained, _ in found)
    says = (
        f"silence accepts garbage: {shown}, and ρ rises to {found[-1][2]:.3f}; the answer is to look within "
        "the review window"
    )
    holds = all(gained > 0.97 * tasks and rho >= 0.5 for tasks, gained, rho in found)
    return Figure("exit scam by unseen garbage", OPEN, found[0][1], "prices gained", says, holds)


def proved_cheat() -> Figure:
    """A long good past against one proved cheat: what it costs, and for how long."""
    past = add_audited(add_decided(NO_STANDING, 0, SHIFT, 8 * UNIT, PLAIN), 0, SHIFT, 8 * UNIT)
    cheated = add_cheat(add_lost(past, 0, SHIFT, UNIT), 0, SHIFT)
    fall = _kappa(past) - _kappa(cheated)
    epochs = next(e for e in range(20_000) if 4 * faded(cheated, e, SHIFT).cheats < cheated.cheats)
    says = f"κ {-fall / PPB:+.3f}; three quarters of it are forgotten after {epochs} epochs"
    return Figure("proved cheat", UNPROFITABLE, fall / PPB, "κ", says, fall > 50_000_000)


def weight_returns() -> Figure:
    """Power that fell and rises again, or is rented for one epoch's end, votes only in the second."""
    powers = [PPB // 10, PPB // 100, PPB // 10, PPB // 10]
    xs = [epoch_weight(power, PPB // 2) for power in powers]
    us = [voting_weight(now, before, True) for before, now in pairwise(xs)]
    says = "x at four ends 50, 5, 50, 50 (10⁻³): u is " + ", ".join(f"{u / 1e6:.0f}" for u in us)
    holds = us == [xs[1], xs[1], xs[3]]
    return Figure("weights rise after falling", UNPROFITABLE, us[1] / xs[2], "of x", says, holds)


def colluding_judges() -> Figure:
    """Judges drawn by power, a share α of it colluding: two of three, the chance that a lie passes."""
    alpha = 0.25
    passes = 3 * alpha**2 - 2 * alpha**3
    refused = 0
    for way in (Way.CHECK, Way.QUORUM, Way.RERUN):
        try:
            posting.check(post_of(way=way, replicas=3 if way == Way.QUORUM else 0), MAIN)
        except Rejected as refusal:
            refused += refusal.reason is NOT_YET
    says = (
        f"with a quarter of the judges {100 * passes:.1f} % of lies pass; {refused} of 3 ways with judges "
        "are refused until then"
    )
    return Figure("colluding judges", OPEN, 100 * passes, "%", says, refused == 3)


EXPERIMENTS = (
    dust_accounts,
    first_prover,
    identity_splitting,
    bought_words,
    paid_strangers,
    rating_blackmail,
    vanishing,
    unseen_garbage,
    proved_cheat,
    weight_returns,
    colluding_judges,
)
