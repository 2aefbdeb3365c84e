"""The parameters of a network: part of its genesis record, changed only by a new protocol version.

Here: the parameter records and the three published sets (`DEV`, `TEST`, `MAIN`).
Not here: what a node may choose for itself (timeouts, pool sizes: eubchain/node/config.py).
Units: `_ms` milliseconds, `_bytes` bytes, `_blocks` and `_epochs` as named, amounts in grains.
"""

from __future__ import annotations

from consensus.types.amounts import eubc
from consensus.types.codec import Record, Uint


class ChainParams(Record, frozen=True):
    """Blocks and time."""

    block_interval_ms: Uint
    precision_ms: Uint
    """How far two honest clocks may differ (PBTS)."""
    msg_delay_ms: Uint
    """How long a proposal's header may travel in round 0 (PBTS)."""
    epoch_blocks: Uint
    block_bytes_max: Uint
    block_transactions_max: Uint
    block_units_max: Uint
    transaction_bytes_max: Uint
    max_ttl_blocks: Uint
    """How far ahead `valid_until` may lie."""
    draw_delay_blocks: Uint
    """A draw asked for in block h uses beacon(h + this): no proposer picks its own judge."""
    max_due_per_block: Uint


class FeeParams(Record, frozen=True):
    """Units charged, in units; prices in grains per unit."""

    min_price: Uint
    byte: Uint
    transfer: Uint
    output: Uint
    """Each recipient of a multi_transfer."""
    other: Uint
    task: Uint
    proof: Uint
    share: Uint
    new_entry: Uint
    signature: Uint
    """Each signature of a multisig beyond the first."""


class ValidatorParams(Record, frozen=True):
    """Validators, stake and rewards."""

    max_validators: Uint
    min_bond: Uint
    evidence_epochs: Uint
    unbonding_epochs: Uint
    min_signed_percent: Uint
    reward: Uint
    """R₀, grains minted per block before the first halving."""
    halving_blocks: Uint


class ResourceParams(Record, frozen=True):
    """Proof of Resource and the coefficient."""

    window_wait_blocks: Uint
    """M: the mean wait between two windows."""
    window_blocks: Uint
    grace_blocks: Uint
    verify_blocks: Uint
    difficulty_min: Uint
    difficulty_start_max: Uint
    verify_budget: Uint
    max_sparks: Uint
    s_ref: Uint
    """S_ref in 2⁻¹⁶ tiles per window: the proved compute at which half of power is compute."""
    fade_shift: Uint
    """k: the four memories fade by (2ᵏ − 1)/2ᵏ per epoch."""
    evidence_price: Uint
    """v_price, grains per epoch: the least income that evidence is measured against."""
    gas_floor: Uint
    spark_bond: Uint


class WindowBounds(Record, frozen=True):
    """Least and most blocks of one of a task's windows."""

    least: Uint
    most: Uint


class MarketParams(Record, frozen=True):
    """The task market."""

    task_deposit: Uint
    """Grains per seat, held while the task's records are in state."""
    offer_deposit: Uint
    task_retain_blocks: Uint
    offer: WindowBounds
    grant: WindowBounds
    start: WindowBounds
    run: WindowBounds
    review: WindowBounds
    not_before_most: Uint
    seats_max: Uint
    judges_first: Uint
    judges_panel: Uint
    judges_appeal: Uint
    audit_seed: Uint


class Params(Record, frozen=True):
    """Everything that the rules of a network read."""

    chain: ChainParams
    fees: FeeParams
    validators: ValidatorParams
    resource: ResourceParams
    market: MarketParams


MIB = 2**20

DEV = Params(
    ChainParams(500, 500, 1_000, 20, 4 * MIB, 20_000, 8_000_000, 64 * 1024, 7_200, 2, 256),
    FeeParams(1, 1, 200, 120, 500, 1_000, 1_000, 25, 500, 100),
    ValidatorParams(16, eubc(100), 2, 4, 25, eubc(10), 100_000),
    ResourceParams(
        10, 4, 2, 6, 1, 2**10, 512, 64, 1_000 * 2**16, 6, eubc(1) // 100, 10_000, eubc(1)
    ),
    MarketParams(
        eubc(1) // 100, eubc(1) // 1_000, 200,
        WindowBounds(1, 100), WindowBounds(2, 100), WindowBounds(2, 600), WindowBounds(1, 7_200),
        WindowBounds(2, 600), 7_200, 8, 1, 2, 2, eubc(1_000),
    ),
)  # fmt: skip
"""One machine: blocks twice a second, epochs of ten seconds, small bonds."""

TEST = Params(
    ChainParams(1_000, 500, 2_000, 600, 4 * MIB, 20_000, 8_000_000, 64 * 1024, 36_000, 2, 512),
    FeeParams(10, 1, 200, 120, 500, 1_000, 1_000, 25, 500, 100),
    ValidatorParams(64, eubc(1_000), 48, 52, 50, eubc(10), 6_307_200),
    ResourceParams(
        446, 30, 4, 60, 16, 2**20, 32_768, 2_048, 10**6 * 2**16, 8, eubc(5) // 100, 100_000, eubc(10)
    ),
    MarketParams(
        eubc(1) // 10, eubc(1) // 100, 6_000,
        WindowBounds(5, 3_600), WindowBounds(5, 3_600), WindowBounds(10, 7_200),
        WindowBounds(1, 604_800), WindowBounds(10, 86_400), 604_800, 64, 1, 4, 10, eubc(1_000),
    ),
)  # fmt: skip
"""A public network without value."""

MAIN = Params(
    ChainParams(1_000, 500, 4_000, 3_600, 2 * MIB, 10_000, 4_000_000, 64 * 1024, 86_400, 2, 512),
    FeeParams(10, 1, 200, 120, 500, 1_000, 1_000, 25, 5_000, 100),
    ValidatorParams(100, eubc(10_000), 336, 504, 50, 158_000_000, 126_144_000),
    ResourceParams(
        2_966, 30, 4, 300, 64, 2**20, 65_536, 2_048, 10**9 * 2**16, 10, eubc(1) // 10, 1_000_000,
        eubc(100),
    ),
    MarketParams(
        eubc(1) // 10, eubc(1) // 100, 86_400,
        WindowBounds(5, 3_600), WindowBounds(5, 3_600), WindowBounds(10, 7_200),
        WindowBounds(1, 2_592_000), WindowBounds(10, 86_400), 2_592_000, 64, 1, 4, 10, eubc(10_000),
    ),
)  # fmt: skip
"""The network where EUBC has a price."""
