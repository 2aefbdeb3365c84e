"""Moving EUBC between accounts: `transfer` and `multi_transfer`.

Here: the payloads, their stateless checks, their costs, their effect on balances.
Not here: balances and locks (vm/funds.py), nonce and fee (vm/inclusion.py, vm/fees.py).
Keeps: the sum of balances; no balance below zero; what a vesting lock holds stays.
Errors: 1111 outputs_too_large (and 1110 short_of_funds of vm/funds.py).
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from consensus.types.codec import SUPPLY_MAX, Address, Amount, Record
from consensus.types.errors import Reason, Rejected
from consensus.types.params import FeeParams, Params
from vm.funds import credit, debit
from vm.operation import Cost, Operation, check_nothing
from vm.state import Call, State

OUTPUTS_MAX = 256

OUTPUTS_TOO_LARGE = Reason(
    1111,
    "outputs_too_large",
    "total:eubc limit:eubc",
    "The outputs sum to {total}; {limit} is all that can ever exist.",
    "Check the amounts: they are grains, 10**8 to one EUBC.",
)


class Transfer(Record, tag=1, frozen=True):
    """Pay one account."""

    recipient: Address
    amount: Amount
    """Grains."""


class Output(Record, frozen=True):
    """One recipient of a multi_transfer."""

    recipient: Address
    amount: Amount


class MultiTransfer(Record, tag=2, frozen=True):
    """Pay up to 256 accounts in one transaction, all or none; one account may stand in it twice."""

    outputs: Annotated[tuple[Output, ...], Meta(min_length=1, max_length=OUTPUTS_MAX)]


def transfer_cost(payload: Transfer, fees: FeeParams) -> Cost:
    """Two balances; the recipient may be new."""
    return Cost(fees.transfer, 1)


def transfer(state: State, call: Call, payload: Transfer) -> None:
    """Move the amount; refused with `SHORT_OF_FUNDS` when it is not free."""
    debit(state, call.sender, payload.amount)
    # Read after the debit: sender and recipient may be one account.
    credit(state, payload.recipient, payload.amount)


def check_multi_transfer(payload: MultiTransfer, params: Params) -> None:
    """Refuse a sum that cannot exist."""
    total = sum(output.amount for output in payload.outputs)
    if total > SUPPLY_MAX:
        raise Rejected(OUTPUTS_TOO_LARGE, total=total, limit=SUPPLY_MAX)


def multi_transfer_cost(payload: MultiTransfer, fees: FeeParams) -> Cost:
    """A transfer and so much for each output; every recipient may be new."""
    count = len(payload.outputs)
    return Cost(fees.transfer + fees.output * count, count)


def multi_transfer(state: State, call: Call, payload: MultiTransfer) -> None:
    """Move all amounts, or refuse with `SHORT_OF_FUNDS` and move none."""
    debit(state, call.sender, sum(output.amount for output in payload.outputs))
    for output in payload.outputs:
        credit(state, output.recipient, output.amount)


OPERATIONS = (
    Operation("transfer", Transfer, check_nothing, transfer_cost, transfer),
    Operation("multi_transfer", MultiTransfer, check_multi_transfer, multi_transfer_cost, multi_transfer),
)
