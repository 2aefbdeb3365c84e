"""One transaction in a block: what must hold for it to stand there, its run, its fee, its receipt.

Here: nonce, lifetime, price, funds and room; execution on the overlay; the receipt.
Not here: form and signature (vm/registry.py), what each type does (its family), the block around it
(vm/transition.py).
Keeps: a transaction that this module refuses is not in a block and pays nothing; one that its family
refuses pays its fee, consumes its nonce and changes nothing else; whatever else goes wrong is a bug of
ours (`Broken`) and never fails a transaction.
Errors: 1010–1016.
"""

from __future__ import annotations

from typing import Any

from consensus.types.errors import Fault, Reason, Rejected
from consensus.types.params import Params
from consensus.types.receipt import OK, Receipt
from consensus.types.transaction import Candidate
from vm import fees, funds
from vm.fees import Room
from vm.funds import ACCOUNTS, Account
from vm.operation import Operation
from vm.registry import OPERATION_OF
from vm.state import Call, State

WRONG_NONCE = Reason(
    1010,
    "wrong_nonce",
    "sender:address nonce:count expected:count",
    "The transaction has number {nonce} of {sender}; the next one is {expected}.",
    "Send the missing ones first, or sign again with number {expected}.",
)
EXPIRED = Reason(
    1011,
    "expired",
    "valid_until:height height:height",
    "The transaction was valid until height {valid_until}; this is height {height}.",
    "Sign it again: it can no longer be included, so nothing is paid twice.",
)
LIFETIME_TOO_LONG = Reason(
    1012,
    "lifetime_too_long",
    "valid_until:height latest:height",
    "valid_until is {valid_until}; at this height it may be {latest} at most.",
    "Sign it again with valid_until at most {latest}.",
)
PRICE_TOO_LOW = Reason(
    1013,
    "price_too_low",
    "max_price:grains price:grains",
    "The transaction pays at most {max_price} grains a unit; the price is {price}.",
    "Sign it again with max_price at least {price}, or wait until the price falls.",
)
FEE_NOT_COVERED = Reason(
    1014,
    "fee_not_covered",
    "sender:address have:eubc need:eubc",
    "{sender} can spend {have}; the fee may need {need}.",
    "Wait for an incoming transfer, or sign with a lower max_price.",
)
BLOCK_FULL = Reason(
    1015,
    "block_full",
    "units:count size:bytes",
    "The block has no room for {units} units and {size} bytes more.",
    "It stays in the pool for the next block.",
)
TOO_MUCH_EVIDENCE = Reason(
    1016,
    "too_much_evidence",
    "limit:count",
    "A block holds {limit} pieces of evidence at most.",
    "It stays in the pool for the next block.",
)

BUGS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    Fault,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a mistake of ours raises. Named, because an interrupt or a lack of memory is none."""


class Broken(Exception):
    """A bug of ours broke while this transaction ran; its cause is chained.

    A builder leaves the transaction out and logs it; a validator answers that the proposal is invalid;
    a node that applies a decided block stops there.
    """

    def __init__(self, candidate: Candidate[Any]) -> None:
        super().__init__(f"transaction {candidate.wtxid.hex()} broke the transition")
        self.candidate = candidate


def units_max(candidate: Candidate[Any], params: Params) -> int:
    """The most units the transaction can be charged: its sender must be able to pay all of them."""
    transaction = candidate.transaction
    cost = OPERATION_OF[type(transaction.body.payload)].cost(transaction.body.payload, params.fees)
    fixed = fees.fixed_units(len(candidate.raw), transaction.auth, cost, params.fees)
    most = fixed + cost.entries_max * params.fees.new_entry
    return most + cost.due * fees.due_units(params) if cost.due else most


def is_due(state: State, candidate: Candidate[Any]) -> bool:
    """Whether the state makes the transaction due, so that the lane would take it; reads only."""
    body = candidate.transaction.body
    operation = OPERATION_OF[type(body.payload)]
    if operation.is_due is None:
        return False
    try:
        return operation.is_due(state, Call(body.sender, candidate.txid, candidate.wtxid), body.payload)
    except BUGS as error:
        raise Broken(candidate) from error


def include(state: State, room: Room, candidate: Candidate[Any]) -> tuple[Receipt, int]:
    """Execute a transaction; returns its receipt and the proposer's tip, which the caller accrues.

    Raises `Rejected` when it may not stand in this block and `Broken` when a bug of ours is met; either
    leaves state and room as they were.
    """
    operation = OPERATION_OF[type(candidate.transaction.body.payload)]
    state.begin()
    try:
        if operation.proves_itself:
            return _include_evidence(state, room, candidate, operation), 0
        return _include_paid(state, room, candidate, operation)
    except Rejected:
        state.undo()
        raise
    except BUGS as error:
        state.undo()
        raise Broken(candidate) from error


def _include_paid(
    state: State, room: Room, candidate: Candidate[Any], operation: Operation
) -> tuple[Receipt, int]:
    body = candidate.transaction.body
    sender, block = body.sender, state.block
    before = state.get(ACCOUNTS, sender) or funds.NEW_ACCOUNT
    _check_order(body, before.nonce, block.height, block.params.chain.max_ttl_blocks)

    call = Call(sender, candidate.txid, candidate.wtxid)
    fee_params, size = block.params.fees, len(candidate.raw)
    cost = operation.cost(body.payload, fee_params)
    units = fees.fixed_units(size, candidate.transaction.auth, cost, fee_params)
    most = units + cost.entries_max * fee_params.new_entry + cost.due * room.due_units
    in_lane = (
        operation.is_due is not None
        and room.lane_fits(sender, most, size)
        and operation.is_due(state, call, body.payload)
    )
    base = fee_params.min_price if in_lane else block.base_price
    if body.max_price < base:
        raise Rejected(PRICE_TOO_LOW, max_price=body.max_price, price=base)
    reserve = most * body.max_price
    have = funds.unlocked(state, sender, before.balance)
    if have < reserve:
        raise Rejected(FEE_NOT_COVERED, sender=sender, have=have, need=reserve)
    if room.transactions_left < 1 or not (in_lane or room.ordinary_fits(most, size)):
        raise Rejected(BLOCK_FULL, units=most, size=size)

    # The reserve is out of reach of the operation; what is not charged returns below.
    reserved = Account(before.nonce + 1, before.balance - reserve)
    code, facts = _run(state, call, body.payload, operation, reserved)
    assert state.entries_created <= cost.entries_max, f"{operation.name} declares too few entries"
    units += state.entries_created * fee_params.new_entry
    if code == OK:
        units += cost.due * room.due_units
    burned = units * base
    tip = 0 if in_lane else units * fees.tip_per_unit(base, body)
    fee = burned + tip
    after = state.get(ACCOUNTS, sender)
    assert after is not None, "accounts are never deleted"
    state.put(ACCOUNTS, sender, Account(after.nonce, after.balance + reserve - fee))
    supply = state.supply
    supply.balances -= fee
    supply.burned += burned
    supply.accrued += tip
    if in_lane:
        room.charge_lane(sender, units, size)
    else:
        room.charge_ordinary(units, size)
    return Receipt(code, units, fee, facts, tuple(state.events)), tip


def _run(
    state: State, call: Call, payload: Any, operation: Operation, reserved: Account
) -> tuple[int, tuple[int | bytes, ...]]:
    """Run the operation; returns code and facts. A refusal leaves nonce and reserve, nothing else."""
    state.put(ACCOUNTS, call.sender, reserved)
    try:
        operation.apply(state, call, payload)
    except Rejected as refusal:
        state.undo()
        state.put(ACCOUNTS, call.sender, reserved)
        return refusal.reason.code, refusal.values()
    return OK, ()


def _check_order(body: Any, nonce: int, height: int, ttl: int) -> None:
    if body.nonce != nonce:
        raise Rejected(WRONG_NONCE, sender=body.sender, nonce=body.nonce, expected=nonce)
    if body.valid_until < height:
        raise Rejected(EXPIRED, valid_until=body.valid_until, height=height)
    if body.valid_until > height + ttl:
        raise Rejected(LIFETIME_TOO_LONG, valid_until=body.valid_until, latest=height + ttl)


def _include_evidence(state: State, room: Room, candidate: Candidate[Any], operation: Operation) -> Receipt:
    """Evidence has no sender to charge, so what it cannot show keeps it out of every block."""
    if room.evidence_left < 1:
        raise Rejected(TOO_MUCH_EVIDENCE, limit=fees.EVIDENCE_MAX)
    size = len(candidate.raw)
    if room.transactions_left < 1 or size > room.bytes_left:
        raise Rejected(BLOCK_FULL, units=0, size=size)
    body = candidate.transaction.body
    operation.apply(state, Call(body.sender, candidate.txid, candidate.wtxid), body.payload)
    room.charge_evidence(size)
    return Receipt(OK, 0, 0, (), tuple(state.events))
