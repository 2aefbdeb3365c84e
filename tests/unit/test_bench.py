"""What `spark bench` makes of a practice: D₀, the place among sparks, a day's range, the pool's part."""

from __future__ import annotations

from consensus.types.amounts import eubc
from consensus.types.params import DEV, MAIN
from spark_node.bench import OPERATIONS_PER_TILE, Practice, full_day, outlook, pool_day
from spark_node.offering import Lent
from spark_node.policy import default_policy_text, parse_policy

POLICY = parse_policy(default_policy_text())
LENT = Lent(1, 24 * 2**30, 4_000, 2**34, 2**36, ("wasi",))
PRACTICE = Practice(tiles=20_000, milliseconds=10_000, backend="numpy:float32", dropped=0)
"""4,000 tiles in the two seconds of a development network's window."""


def test_a_practice_becomes_tiles_of_a_window_and_a_first_difficulty() -> None:
    found = outlook(PRACTICE, DEV, POLICY, LENT, [5_000 << 16, 3_000 << 16])
    assert found.capacity == 4_000 << 16
    assert found.difficulty == 4_000 // 32
    assert (found.place, found.sparks) == (2, 2)
    assert PRACTICE.operations_per_second == 2_000 * OPERATIONS_PER_TILE


def test_a_day_is_the_policys_prices_and_a_share_of_the_pool() -> None:
    """172,800 blocks that put five EUBC each into the pool, of which a third falls to this machine."""
    found = outlook(PRACTICE, DEV, POLICY, LENT, [5_000 << 16, 3_000 << 16])
    assert pool_day(DEV, 1) == eubc(864_000)
    assert found.pool_a_day == eubc(288_000)
    assert found.most_a_day == full_day(POLICY, LENT) == eubc(24) * 6 // 5 * 98 // 100
    assert found.least_a_day == 0


def test_the_pool_halves_with_the_reward_and_a_lone_prover_has_all_of_it() -> None:
    later = MAIN.validators.halving_blocks + 1
    assert pool_day(MAIN, later) == pool_day(MAIN, 1) // 2
    assert outlook(PRACTICE, MAIN, POLICY, LENT, [], later).pool_a_day == pool_day(MAIN, later)
