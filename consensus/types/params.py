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
    """The least time between a block and its parent."""
    precision_ms: Uint
    """How far two honest clocks may differ (PBTS)."""
    msg_delay_ms: Uint
    """How long a proposal's header may travel in round 0 (PBTS)."""
    epoch_blocks: Uint
    """L: blocks of an epoch."""
    block_bytes_max: Uint
    """Of a block's transactions together."""
    block_transactions_max: Uint
    """Transactions of a block."""
    block_units_max: Uint
    """Units of a block; a quarter of them is the lane's."""
    transaction_bytes_max: Uint
    """Of one transaction."""
    max_ttl_blocks: Uint
    """How far ahead `valid_until` may lie."""
    draw_delay_blocks: Uint
    """A draw asked for in block h uses beacon(h + this): no proposer picks its own judge."""
    max_due_per_block: Uint
    """Work of the due queue in a block: entries and the records they touch; whoever leaves it pays units."""


class FeeParams(Record, frozen=True):
    """Units charged, in units; prices in grains per unit."""

    min_price: Uint
    """The least base price, and the price of the lane."""
    byte: Uint
    """Each byte of the transaction."""
    transfer: Uint
    """A transfer, and the first part of a multi_transfer."""
    output: Uint
    """Each recipient of a multi_transfer."""
    other: Uint
    """A transaction of stake, validators or sparks."""
    task: Uint
    """A transaction of the task market."""
    proof: Uint
    """A proof of resource."""
    share: Uint
    """Each share of a proof."""
    new_entry: Uint
    """Each entry that a transaction brings into state."""
    signature: Uint
    """Each signature of a multisig beyond the first."""


class ValidatorParams(Record, frozen=True):
    """Validators, stake and rewards."""

    max_validators: Uint
    """The size of a set; four times as many may register."""
    min_bond: Uint
    """The least bond of a validator, grains."""
    evidence_epochs: Uint
    """How long evidence of double signing counts."""
    unbonding_epochs: Uint
    """How long a bond is on its way back; longer than evidence counts."""
    min_signed_percent: Uint
    """A validator that signs less of an epoch's commits is jailed."""
    reward: Uint
    """R₀, grains minted per block before the first halving."""
    halving_blocks: Uint
    """Blocks after which the reward halves."""


class ResourceParams(Record, frozen=True):
    """Proof of Resource and the coefficient."""

    window_wait_blocks: Uint
    """M: the mean wait between two windows."""
    window_blocks: Uint
    """W: blocks to compute in."""
    grace_blocks: Uint
    """G: blocks more in which a proof may be included."""
    verify_blocks: Uint
    """V: blocks for verifying before verdicts enter state."""
    difficulty_min: Uint
    """The least D, tiles per share."""
    difficulty_start_max: Uint
    """The largest D that a spark may begin with."""
    verify_budget: Uint
    """Shares that a window's proofs may hold before verification samples."""
    max_sparks: Uint
    """Places in the register of sparks."""
    s_ref: Uint
    """S_ref in 2⁻¹⁶ tiles per window: the proved compute at which half of power is compute."""
    fade_shift: Uint
    """k: the four memories fade by (2ᵏ − 1)/2ᵏ per epoch."""
    evidence_price: Uint
    """v_price, grains per epoch: the least income that evidence is measured against."""
    gas_floor: Uint
    """The least gas deposit of a seat, grains."""
    spark_bond: Uint
    """The least bond of a spark, grains."""


class WindowBounds(Record, frozen=True):
    """Least and most blocks of one of a task's windows."""

    least: Uint
    most: Uint


class MarketParams(Record, frozen=True):
    """The task market."""

    task_deposit: Uint
    """Grains per seat, held while the task's records are in state."""
    offer_deposit: Uint
    """The least deposit of an offer, grains."""
    task_retain_blocks: Uint
    """How long the records of a final task stay."""
    offer: WindowBounds
    """Bounds of the offer window."""
    grant: WindowBounds
    """Bounds of the grant window."""
    start: WindowBounds
    """Bounds of the start window."""
    run: WindowBounds
    """Bounds of the run window."""
    review: WindowBounds
    """Bounds of the review window."""
    not_before_most: Uint
    """How far ahead a reservation may lie, blocks."""
    seats_max: Uint
    """Seats of a task."""
    judges_first: Uint
    """Judges of a first audit."""
    judges_panel: Uint
    """Judges more when the first disagrees."""
    judges_appeal: Uint
    """Judges of an appeal."""
    audit_seed: Uint
    """Grains in the audit pool at genesis; part of what is issued."""


class Params(Record, frozen=True):
    """Everything that the rules of a network read."""

    chain: ChainParams
    fees: FeeParams
    validators: ValidatorParams
    resource: ResourceParams
    market: MarketParams


MIB = 2**20

DEV = Params(
    ChainParams(500, 500, 1_000, 20, 4 * MIB, 20_000, 8_000_000, 64 * 1024, 7_200, 2, 4_096),
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
    ChainParams(1_000, 500, 2_000, 600, 4 * MIB, 20_000, 8_000_000, 64 * 1024, 36_000, 2, 4_096),
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
    ChainParams(1_000, 500, 4_000, 3_600, 2 * MIB, 10_000, 4_000_000, 64 * 1024, 86_400, 2, 4_096),
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
