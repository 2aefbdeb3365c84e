"""Attacks on the measure: difficulties chosen to gain, bursts, many keys, early knowledge, held-back blocks.

Counting of shares is drawn (Poisson, seeded); D and S move by the rules of the chain. What is known when is
asked of a chain in memory.
"""

from __future__ import annotations

import math

import numpy as np

from consensus.resource.difficulty import credited_tiles, next_difficulty, next_speed
from consensus.resource.proof import SHARES_MAX
from consensus.resource.windows import opens_at
from consensus.types.params import MAIN
from scripts.experiments.verdict import COSTLY, IMPOSSIBLE, UNPROFITABLE, Figure
from tests.proving import Provers
from vm.rewards import block_reward
from vm.windows import faded

TILES = 10**6
"""What the machines of these experiments compute in a window."""
WINDOWS = 60
PROPOSE_TIMEOUT_MS = 1_000
"""How long a node waits for a proposal unless its operator says otherwise."""
WARM = 20
"""Windows until a steady S."""


def _mean_speed(difficulty: int, runs: int, seed: int, tiles: int = TILES, first: int = WARM) -> float:
    """Mean of S over T, from window `first` on, of machines that begin at this difficulty."""
    draw = np.random.default_rng(seed)
    total, count = 0.0, 0
    for _ in range(runs):
        d, s = difficulty, 0
        for window in range(WINDOWS):
            n = min(SHARES_MAX, int(draw.poisson(tiles / d)))
            s = next_speed(s, credited_tiles(n, d))
            d = next_difficulty(d, n, MAIN.resource.difficulty_min)
            if window >= first:
                total += s / 65536 / tiles
                count += 1
    return total / count


def difficulty_gaming() -> Figure:
    """Begin 32 times too low or too high: after the first windows nobody has more than it computes."""
    right = TILES // 32
    starts = (right // 32, right, min(2**20, right * 32))
    means = [_mean_speed(start, 60, 3 + i) for i, start in enumerate(starts)]
    worst = max(means)
    says = "S over T with D₀ 32 × too low, right, 32 × too high: " + ", ".join(f"{m:.3f}" for m in means)
    return Figure("difficulty gaming", UNPROFITABLE, worst, "S/T", says, worst < 1.02)


def difficulty_lottery() -> Figure:
    """A weak machine registers at 2²⁰ and hopes: fewer than eight wins earn nothing."""
    difficulty, tiles = 2**20, 2**20 // 10
    mean = tiles / difficulty
    expected = sum(
        credited_tiles(n, difficulty) * math.exp(-mean) * mean**n / math.factorial(n)
        for n in range(SHARES_MAX + 1)
    )
    ratio = expected / tiles
    says = f"a tenth of a share a window expects {ratio:.1e} of its honest credit in the first window"
    return Figure("D₀ lottery", IMPOSSIBLE, ratio, "of honest credit", says, ratio < 1e-9)


def many_keys() -> Figure:
    """One machine behind ten keys: each gets a tenth, together no more than the machine computes."""
    one = _mean_speed(TILES // 32, 40, 11)
    ten = 10 * _mean_speed(TILES // 320, 60, 12, TILES // 10) / 10
    ratio = ten / one
    says = f"ten keys prove {ratio:.3f} of what one does"
    return Figure("one GPU behind many keys", UNPROFITABLE, ratio, "times", says, ratio < 1.02)


def keys_in_turn() -> Figure:
    """Prove for account after account, retire each, and bring all back at once."""
    windows, accounts = 20, 20
    steady = 0
    for _ in range(windows):
        steady = next_speed(steady, TILES)
    whole = 0
    for _ in range(windows * accounts):
        whole = next_speed(whole, TILES)
    frozen = accounts * steady / whole
    together = sum(faded(steady, windows * later) for later in range(accounts)) / whole
    says = f"all back at once they hold {together:.2f} × one machine's S; {frozen:.1f} × if S did not fade"
    return Figure("keys in turn", UNPROFITABLE, together, "times", says, together < 1.01)


def rented_burst() -> Figure:
    """Ten machines for one window, then one again: S over all windows adds up to the work, no more."""
    honest = burst = 0
    area_honest = area_burst = 0
    for window in range(400):
        tiles = TILES if window >= 100 else 0
        honest = next_speed(honest, TILES)
        burst = next_speed(burst, TILES + (9 * TILES if window == 100 else 0) if tiles else TILES)
        area_honest += honest
        area_burst += burst
    gained = (area_burst - area_honest) / 65536 / (9 * TILES)
    says = f"S summed over time gains {gained:.3f} of the rented work; windows come by the beacon alone"
    return Figure("rented burst", UNPROFITABLE, gained, "of the work", says, gained < 1.001)


def early_beacon() -> Figure:
    """Whoever proposes the opening block knows its id before others; earlier if blocks before are its own.

    A proposer knows its reveals, so it foresees the beacons of heights in a row that are all its own; and it
    may hold the last block back for as long as others wait for a proposal.
    """
    params, power = MAIN.resource, 1 / 3
    waits = PROPOSE_TIMEOUT_MS / MAIN.chain.block_interval_ms
    gains = [100 * blocks / params.window_blocks for blocks in (power / (1 - power), power * waits)]
    gain = sum(gains)
    world = Provers()
    world.until_announced()
    world.until_height(opens_at(world.window.window))
    is_open_before = world.window.seed is not None
    world.block()
    says = (
        f"a third of power that proposes the opening block, or several in a row up to it, has {gains[0]:.1f} "
        f"% more time to compute on average, {gain:.1f} % if it holds that block back"
    )
    holds = gain < 3 and not is_open_before and world.window.seed is not None
    return Figure("early beacon", COSTLY, gain, "%", says, holds)


def withheld_block() -> Figure:
    """Hold back a block whose seed one dislikes: the reward is lost, and no seed is better than another."""
    lost = 0.4 * block_reward(MAIN.validators, 1) / 2 / 1e8
    draw = np.random.default_rng(5)
    counts = draw.poisson(32, 200_000)
    best = np.maximum(counts[0::2], counts[1::2]).mean() / counts.mean() - 1
    says = (
        f"costs {lost:.3f} EUBC each; even who could count its shares under both seeds before choosing, "
        f"which takes a whole window of computing for each, would gain {100 * best:.1f} % of one window"
    )
    return Figure("withheld block", UNPROFITABLE, lost, "EUBC lost", says, best < 0.12)


EXPERIMENTS = (
    difficulty_gaming,
    difficulty_lottery,
    many_keys,
    keys_in_turn,
    rented_burst,
    early_beacon,
    withheld_block,
)
