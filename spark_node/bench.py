"""Practice: how much this machine proves, and what that may bring, spending nothing.

Here: a timed search with the real prover, the figures made of it, the range of a day.
Not here: the prover (prover/), asking the chain (eubchain/cli/spark_bench.py).
Keeps: nothing is sent or signed; a range says what it assumes, and its low end is nothing at all.
Units: grains, tiles, milliseconds.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from consensus.resource.difficulty import DIFFICULTY_MAX, SHARES_TARGET, SPEED_SHIFT
from consensus.resource.share import PROFILES
from consensus.types.params import Params
from spark_node.offering import Lent
from spark_node.policy import Policy
from spark_node.prover.order import NOT_BEGUN, Assignment, Order
from spark_node.prover.process import prove_in_process, spare_threads
from vm.rewards import block_reward
from vm.task.terms import fee_of

PROFILE = 1
OPERATIONS_PER_TILE = 2 * PROFILES[PROFILE].rows ** 2 * PROFILES[PROFILE].depth
PRACTICE_MS = 20_000
HOURS_PER_DAY = 24
MS_PER_DAY = 86_400_000


class Practice(NamedTuple):
    """What a search of `milliseconds` came to."""

    tiles: int
    milliseconds: int
    backend: str
    dropped: int
    """Shares that the second look did not confirm: more than none says that the hardware errs."""

    @property
    def operations_per_second(self) -> int:
        """Proved operations a second."""
        return self.tiles * OPERATIONS_PER_TILE * 1000 // self.milliseconds


class Outlook(NamedTuple):
    """What the machine may come to on a network; amounts are grains a day."""

    capacity: int
    """S that it would reach, in 2⁻¹⁶ tiles per window."""
    difficulty: int
    """D₀ to register with."""
    place: int
    """Among the registered sparks, by proved compute; from 1."""
    sparks: int
    least_a_day: int
    most_a_day: int
    """From tasks."""
    pool_a_day: int
    """From the resource pool, if it proves in every window and the others stay as they are."""


async def practise(backend: str, milliseconds: int = PRACTICE_MS) -> Practice:
    """Search for shares of nobody for so long, as in a window; raises `Fault` 3280–3283."""
    # The hardest difficulty: nothing is found, so all of the time goes into tiles.
    assignment = Assignment(PROFILE, 0, secrets.token_bytes(32), bytes(20), DIFFICULTY_MAX)
    threads = spare_threads(len(os.sched_getaffinity(0)))
    answer = await prove_in_process(Order(assignment, backend, milliseconds, NOT_BEGUN), threads)
    return Practice(answer.tiles, milliseconds, answer.backend, answer.dropped)


def outlook(
    practice: Practice, params: Params, policy: Policy, lent: Lent, capacities: Sequence[int], height: int = 1
) -> Outlook:
    """Place the machine among the `capacities` (S) of a network's sparks; price a day by the policy, and by
    the block reward at this height.
    """
    window_ms = params.resource.window_blocks * params.chain.block_interval_ms
    tiles = practice.tiles * window_ms // practice.milliseconds
    capacity = tiles << SPEED_SHIFT
    least, most = params.resource.difficulty_min, params.resource.difficulty_start_max
    return Outlook(
        capacity,
        max(least, min(most, tiles // SHARES_TARGET)),
        1 + sum(1 for other in capacities if other > capacity),
        len(capacities),
        0,
        full_day(policy, lent),
        pool_day(params, height) * capacity // max(1, capacity + sum(capacities)),
    )


def pool_day(params: Params, height: int) -> int:
    """Grains that a day's blocks put into the resource pool, if none is late."""
    return block_reward(params.validators, height) // 2 * MS_PER_DAY // params.chain.block_interval_ms


def full_day(policy: Policy, lent: Lent) -> int:
    """Grains that a day of work without a gap pays at the policy's prices, less the protocol's fee."""
    hourly = (1000 * lent.gpus * policy.gpu_hour + lent.cpu_milli * policy.cpu_hour) // 1000
    gross = hourly * HOURS_PER_DAY
    return gross - fee_of(gross)
