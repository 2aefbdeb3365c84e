"""What execution costs: units, the base price and how it moves, the lane for what the protocol asks for.

Here: units of a transaction, next base price, the room a block has left, the fee split.
Not here: nonce, balance and receipt (vm/inclusion.py); gas, which is a spark's deposit
(consensus/resource/coefficient.py).
Keeps: the base part of every fee burns, the tip goes to the proposer; ordinary transactions cannot take
the lane's room, so a flood at any price leaves room for proofs and deadlines.
Units: `units` are fee units, prices grains per unit.
"""

from __future__ import annotations

from consensus.types.params import FeeParams, Params
from consensus.types.transaction import Auth, Body, MultisigAuth
from vm.operation import Cost

LANE_SHARE = 4
"""The lane has one part in so many of a block's units."""
LANE_BYTES_MAX = 256 * 1024
"""Bytes that only lane transactions use; a quarter of the block where that is less."""
PRICE_STEP = 64
"""A full or an empty block moves the base price by one part in so many."""
EVIDENCE_MAX = 16
"""Pieces of evidence in a block; they cost nothing, so their number is bounded."""


def lane_units(params: Params) -> int:
    """Units of a block that only lane transactions use."""
    return params.chain.block_units_max // LANE_SHARE


def lane_bytes(params: Params) -> int:
    """Bytes of a block that only lane transactions use."""
    return min(LANE_BYTES_MAX, params.chain.block_bytes_max // LANE_SHARE)


def ordinary_units(params: Params) -> int:
    """Units of a block for everything else: three quarters."""
    return params.chain.block_units_max - lane_units(params)


def fixed_units(size: int, auth: Auth, cost: Cost, fees: FeeParams) -> int:
    """Units that a transaction of `size` bytes costs before any new entry."""
    units = size * fees.byte + cost.fixed
    if isinstance(auth, MultisigAuth):
        units += (auth.threshold - 1) * fees.signature
    return units


def next_base_price(price: int, used: int, params: Params) -> int:
    """The base price after a block that used so many ordinary units; its target is half of them."""
    target = ordinary_units(params) // 2
    if used > target:
        return price + max(1, price * (used - target) // target // PRICE_STEP)
    if used < target:
        lowered = price - max(1, price * (target - used) // target // PRICE_STEP)
        return max(params.fees.min_price, lowered)
    return price


def due_units(params: Params) -> int:
    """Units of one entry or record that a transaction leaves to the due queue.

    The ordinary part of a block over what the queue does in one: whatever stands in a block, the work that
    it leaves is no more than a later block's. No lane transaction leaves any that was not paid before.
    """
    return -(-ordinary_units(params) // params.chain.max_due_per_block)


def tip_per_unit(base_price: int, body: Body[object]) -> int:
    """What the proposer gets per unit of a sender whose max_price reaches the base price; the base burns."""
    return min(body.tip, body.max_price - base_price)


class Room:
    """What a block has left while transactions are added; a transaction must fit with its most units."""

    __slots__ = ("bytes_left", "due_units", "evidence_left", "lane_bytes_left", "lane_units_left", "served",
                 "transactions_left", "units_left", "units_used")  # fmt: skip

    def __init__(self, params: Params) -> None:
        self.transactions_left = params.chain.block_transactions_max
        self.units_left = ordinary_units(params)
        self.bytes_left = params.chain.block_bytes_max - lane_bytes(params)
        self.lane_units_left = lane_units(params)
        self.lane_bytes_left = lane_bytes(params)
        self.evidence_left = EVIDENCE_MAX
        self.due_units = due_units(params)
        self.units_used = 0
        """Ordinary units charged: what moves the base price."""
        self.served: set[bytes] = set()
        """Accounts whose lane transaction stands in the block; asked, never walked."""

    def lane_fits(self, sender: bytes, units: int, size: int) -> bool:
        """Whether the lane would take one more of `sender`, of `units` at most and `size` bytes."""
        return sender not in self.served and units <= self.lane_units_left and size <= self.lane_bytes_left

    def ordinary_fits(self, units: int, size: int) -> bool:
        """Whether the rest of the block has room."""
        return units <= self.units_left and size <= self.bytes_left

    def charge_lane(self, sender: bytes, units: int, size: int) -> None:
        """Take the room of an executed lane transaction."""
        self.transactions_left -= 1
        self.lane_units_left -= units
        self.lane_bytes_left -= size
        self.served.add(sender)

    def charge_ordinary(self, units: int, size: int) -> None:
        """Take the room of an executed transaction."""
        self.transactions_left -= 1
        self.units_left -= units
        self.units_used += units
        self.bytes_left -= size

    def charge_evidence(self, size: int) -> None:
        """Take the room of evidence, which costs bytes and its number but no units."""
        self.transactions_left -= 1
        self.evidence_left -= 1
        self.bytes_left -= size
