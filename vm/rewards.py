"""Block rewards: what a block mints and who accrues it.

Here: the schedule and its division. Not here: paying it out (vm/epoch.py).
Keeps: half of a block's reward goes to the resource pool; what absent validators would have earned is
never minted; no schedule mints more than 2·R₀·halving in all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from consensus.types.params import ValidatorParams
from consensus.validators import TOTAL_POWER, Validator
from vm import pools
from vm.state import State
from vm.tally import Counting

HALVINGS_MAX = 64
"""After so many halvings nothing is left of any reward."""


def block_reward(params: ValidatorParams, height: int) -> int:
    """R of a height, grains: R₀ halved every `halving_blocks`."""
    return params.reward >> min(HALVINGS_MAX, (height - 1) // params.halving_blocks)


def most_ever_minted(params: ValidatorParams) -> int:
    """Bound of all rewards together, grains."""
    return 2 * params.reward * params.halving_blocks


def mint(
    state: State,
    counting: Counting,
    validators: Sequence[Validator],
    signers: Iterable[int],
    power_signed: int,
    proposer: bytes,
) -> None:
    """Mint a block's reward: half to the pool, of the rest two fifths to the proposer, scaled by the
    power that signed the last block, and three fifths to its signers by power.

    `validators` and `signers` are of the last commit; at height 1 there are none and only the pool's
    half is minted.
    """
    reward = block_reward(state.block.params.validators, state.block.height)
    to_pool = reward // 2
    active = reward - to_pool
    minted = 4 * active * power_signed // (10 * TOTAL_POWER)
    if minted:
        counting.accrue(proposer, minted)
    for position in signers:
        validator = validators[position]
        part = 6 * active * validator.power // (10 * TOTAL_POWER)
        counting.accrue(validator.address, part)
        minted += part
    state.supply.issued += minted + to_pool
    state.supply.accrued += minted
    pools.add(state, pools.RESOURCE, to_pool)
