"""The market's arithmetic: what is secured, deposited, forfeited and shared, in whole grains.

Here: base, gas, deposits, the elapsed share, fees, run limits, the order of offers.
Not here: which ending uses which (settlement.py), the gas ratio (consensus/resource/coefficient.py).
Keeps: shares that people get round down, what is burned rounds up; no amount depends on a clock but
through heights.
Units: grains, blocks, parts per billion.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cmp_to_key

from consensus.resource.coefficient import gas
from consensus.types.amounts import PPB, Grains
from consensus.types.hashing import Tag, tagged_hash
from consensus.types.params import MarketParams, Params
from vm.task.payloads import Role
from vm.task.records import StandingOffer

MAXIMUM_PER_GAS_FLOOR = 40
"""M is at least this many gas floors, so that a forfeit could pay five judges."""
PRICE_FLOOR_DIVISOR = 10
"""An offer asks for at least a tenth of M: the order by price has no use for one-grain bids."""
PROMISE_FLOOR_DIVISOR = 8
OFFERS_LEAST = 64
OFFER_DEPOSIT_PERCENT = 2
FEE_PERCENT = 2
CANCEL_DELAY_BLOCKS = 2
"""A delivery that is under way comes before the cancellation: nobody fetches a result and cancels."""
RUN_LIMIT_PROMISES = 2


def rounded_up(part: int, of: int) -> int:
    """⌈part / of⌉."""
    return -(-part // of)


def base_of(price: Grains, maximum: Grains) -> Grains:
    """What deposits are measured by: a bid of one grain must not win with a deposit of ten."""
    return max(price, rounded_up(maximum, 2))


def gas_for(params: Params, kappa: int, maximum: Grains, price: Grains) -> Grains:
    """The gas that a seat at `price` of at most `maximum` locks from a spark with coefficient `kappa`."""
    return gas(price, maximum, kappa, params.resource.gas_floor)


def offer_deposit(params: MarketParams, price: Grains, maximum: Grains) -> Grains:
    """What an offer holds until the draw."""
    share = rounded_up(base_of(price, maximum) * OFFER_DEPOSIT_PERCENT, 100)
    return max(params.offer_deposit, share)


def forfeit(base: Grains) -> Grains:
    """F: what a spark loses that fails its availability; three tenths of base, within every gas."""
    return rounded_up(3 * base, 10)


def price_least(maximum: Grains) -> Grains:
    """The least price that an offer may name."""
    return rounded_up(maximum, PRICE_FLOOR_DIVISOR)


def promise_least(run: int) -> int:
    """The fewest blocks that an offer may promise."""
    return rounded_up(run, PROMISE_FLOOR_DIVISOR)


def run_limit(run: int, promise: int) -> int:
    """Blocks from start to the run timeout."""
    return min(run, RUN_LIMIT_PROMISES * promise)


def elapsed_share(blocks: int, promise: int) -> int:
    """e: how much of the promised time has passed, parts per billion, at most one."""
    assert blocks >= 0, "nothing is settled before it started"
    return min(PPB, blocks * PPB // promise)


def fee_of(pay: Grains) -> Grains:
    """The protocol's part of what a spark is paid; the spark's own part rounds down."""
    return pay - pay * (100 - FEE_PERCENT) // 100


def seats_of(roles: Sequence[Role], replicas: int) -> int:
    """Seats of a task; a quorum repeats its one role."""
    return replicas or sum(role.count for role in roles)


def escrow_of(roles: Sequence[Role], replicas: int) -> Grains:
    """What a task may cost at most."""
    return replicas * roles[0].maximum if replicas else sum(role.count * role.maximum for role in roles)


def offers_most(seats: int) -> int:
    """How many offers stand at one time."""
    return max(OFFERS_LEAST, 2 * seats)


def tie_hash(task: bytes, spark: bytes) -> bytes:
    """Decides between offers of equal rank; the smaller comes first."""
    return tagged_hash(Tag.TIE, task, spark)


def ranked(
    task: bytes, run: int, offers: Sequence[tuple[bytes, StandingOffer]]
) -> list[tuple[bytes, StandingOffer]]:
    """Order offers, given with their spark, best first: most coefficient for price and time.

    a before b iff κ_a·π_b·(run + p_b) > κ_b·π_a·(run + p_a), in integers, so that no rounding
    decides; ties by hash.
    """

    def compare(left: tuple[bytes, StandingOffer], right: tuple[bytes, StandingOffer]) -> int:
        a, b = left[1], right[1]
        ahead = a.kappa * b.price * (run + b.promise)
        behind = b.kappa * a.price * (run + a.promise)
        if ahead != behind:
            return -1 if ahead > behind else 1
        return -1 if tie_hash(task, left[0]) < tie_hash(task, right[0]) else 1

    return sorted(offers, key=cmp_to_key(compare))
