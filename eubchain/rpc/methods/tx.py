"""`tx_*` and `mempool_*`: submitting, waiting, looking up, simulating.

Errors: 2330 no_such_transaction, 2331 not_final_in_time.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from msgspec import Meta

from consensus.resource.proof import SHARES_MAX
from consensus.types.errors import Fault, Reason
from consensus.types.params import FeeParams
from consensus.types.wording import word_fault
from eubchain.rpc.backend import Backend, Submitted
from eubchain.rpc.method import INVALID_PARAMETERS, Base64, Decimal, Hex, View, method
from eubchain.rpc.views import ReceiptView, TransactionView, error_view, receipt_view, transaction_view
from vm import head as heads
from vm.account import OUTPUTS_MAX, MultiTransfer
from vm.fees import due_units
from vm.operation import Cost, Operation
from vm.registry import OPERATION_NAMED, TRANSACTION
from vm.resource import Prove
from vm.stake import MATURE_DUE, Unbond
from vm.task.payloads import Grant, Post
from vm.task.posting import BEGIN_DUE, SEAT_DUE, TASK_DUE
from vm.task.posting import ENTRIES_MAX as POST_ENTRIES_MAX
from vm.validator import UpdateValidator

BATCH_MAX = 1_000
"""Transactions of one tx_submitBatch."""
WAIT_S_MAX = 60
SIZE_MAX = 2**20
"""Bytes for which a fee is estimated; no network takes larger transactions."""
OUTPUT_BYTES_LEAST, ENVELOPE_BYTES_LEAST = 24, 5
SEATS_NAMED_MAX = 256

NO_SUCH_TRANSACTION = Reason(
    2330,
    "no_such_transaction",
    "txid:hash",
    "No transaction {txid} is in a block or waiting here.",
    "If its valid_until has passed it was never included and it is safe to send again.",
)
NOT_FINAL_IN_TIME = Reason(
    2331,
    "not_final_in_time",
    "txid:hash seconds:count",
    "Transaction {txid} was not final within {seconds} s; it still waits.",
    "Do not send it again: ask for it with tx_get until its valid_until has passed.",
)


class SubmitView(View):
    """What became of a submitted transaction; `error` is None when it waits now."""

    txid: Hex | None
    is_new: bool
    error: dict[str, Any] | None


def _raw(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Fault(INVALID_PARAMETERS, method=name, why="a transaction is not base64") from None


def _submitted(backend: Backend, outcome: Submitted) -> SubmitView:
    error = None
    if outcome.fault is not None:
        error = error_view(word_fault(outcome.fault, backend.prefix))
    return SubmitView(
        txid=None if outcome.txid is None else "0x" + outcome.txid.hex(), is_new=outcome.is_new, error=error
    )


@method("tx_submit", example={"transaction": "kg=="})
async def submit(backend: Backend, transaction: Base64) -> SubmitView:
    """Queue one signed transaction; repeating the same bytes is harmless."""
    outcome = (await backend.submit([_raw("tx_submit", transaction)]))[0]
    if outcome.fault is not None:
        raise outcome.fault
    return _submitted(backend, outcome)


@method("tx_submitBatch", example={"transactions": ["kg=="]})
async def submit_batch(
    backend: Backend, transactions: Annotated[list[Base64], Meta(max_length=BATCH_MAX)]
) -> list[SubmitView]:
    """Queue up to 1,000 signed transactions; one answer each, in order."""
    raws = [_raw("tx_submitBatch", text) for text in transactions]
    return [_submitted(backend, outcome) for outcome in await backend.submit(raws)]


@method("tx_submitAndWait", example={"transaction": "kg=="})
async def submit_and_wait(
    backend: Backend, transaction: Base64, timeout_s: Annotated[int, Meta(ge=1, le=WAIT_S_MAX)] = 30
) -> TransactionView:
    """Queue one signed transaction and answer when it is final."""
    outcome = (await backend.submit([_raw("tx_submitAndWait", transaction)]))[0]
    if outcome.fault is not None:
        raise outcome.fault
    assert outcome.txid is not None, "what was queued has an identity"
    return await _wait(backend, outcome.txid, timeout_s)


async def _wait(backend: Backend, txid: bytes, timeout_s: int) -> TransactionView:
    included = await backend.wait_for(txid, timeout_s)
    if included is None:
        raise Fault(NOT_FINAL_IN_TIME, txid=txid, seconds=timeout_s)
    return _find(backend, txid)


@method("tx_wait", example={"txid": "0x" + "00" * 32})
async def wait(
    backend: Backend, txid: Hex, timeout_s: Annotated[int, Meta(ge=1, le=WAIT_S_MAX)] = 30
) -> TransactionView:
    """Answer when a transaction is final; it may not have been submitted yet."""
    return await _wait(backend, bytes.fromhex(txid[2:]), timeout_s)


@method("tx_get", example={"txid": "0x" + "00" * 32})
async def get(backend: Backend, txid: Hex) -> TransactionView:
    """A transaction with its outcome, or as it waits (height 0)."""
    return _find(backend, bytes.fromhex(txid[2:]))


def _find(backend: Backend, txid: bytes) -> TransactionView:
    ledger = backend.ledger()
    place = ledger.transaction(txid)
    if place is not None:
        block, receipts = ledger.block(place.height), ledger.receipts(place.height)
        if block is not None and receipts is not None:
            raw = block.transactions[place.position]
            decoded, receipt = TRANSACTION.decode(raw), receipts[place.position]
            return transaction_view(decoded, raw, backend.rules, place.height, place.position, receipt)
    waiting = backend.mempool.get(txid)
    if waiting is None:
        raise Fault(NO_SUCH_TRANSACTION, txid=txid)
    return transaction_view(waiting.transaction, waiting.raw, backend.rules, 0, 0, None)


class RawView(View):
    """A transaction's exact bytes."""

    transaction: Base64


@method("tx_getRaw", example={"wtxid": "0x" + "00" * 32})
async def get_raw(backend: Backend, wtxid: Hex) -> RawView:
    """The bytes of a transaction that a state record names by wtxid: a task's post, grant or delivery."""
    identity = bytes.fromhex(wtxid[2:])
    raw = backend.ledger().named_transaction(identity)
    if raw is None:
        raise Fault(NO_SUCH_TRANSACTION, txid=identity)
    return RawView(transaction=base64.b64encode(raw).decode())


class Simulation(View):
    """What a transaction would do now."""

    receipt: ReceiptView
    price: int
    """Grains per unit it would pay."""


@method("tx_simulate", example={"transaction": "kg=="})
async def simulate(backend: Backend, transaction: Base64) -> Simulation:
    """Run a transaction on the present state, ignoring its signature; nothing is queued."""
    receipt, price = backend.simulate(_raw("tx_simulate", transaction))
    return Simulation(receipt=receipt_view(receipt, backend.prefix), price=price)


class FeeEstimate(View):
    """What a transaction costs now; grains."""

    base_price: int
    suggested_max_price: int
    suggested_tip: int
    fee_max: Decimal
    """For a transaction of this type and size that creates as many entries as it can."""


@method("tx_estimateFee", example={"type": "transfer", "size": 200})
async def estimate_fee(
    backend: Backend, type: str, size: Annotated[int, Meta(ge=0, le=SIZE_MAX)] = 200
) -> FeeEstimate:
    """Prices that get a transaction included soon."""
    operation = OPERATION_NAMED.get(type)
    if operation is None:
        raise Fault(INVALID_PARAMETERS, method="tx_estimateFee", why=f"there is no type {type[:40]}")
    fees, price = backend.rules.params.fees, heads.head(backend.view()).base_price
    suggested = max(2 * price, price + 2)
    cost = _cost_most(operation, size, fees)
    units = size * fees.byte + cost.fixed + cost.entries_max * fees.new_entry
    units += cost.due * due_units(backend.rules.params)
    return FeeEstimate(
        base_price=price, suggested_max_price=suggested, suggested_tip=1, fee_max=str(units * suggested)
    )


def _cost_most(operation: Operation, size: int, fees: FeeParams) -> Cost:
    """The most that a transaction of this type and size costs besides its bytes."""
    if operation.payload is MultiTransfer:
        outputs = min(OUTPUTS_MAX, size // OUTPUT_BYTES_LEAST)
        return Cost(fees.transfer + outputs * fees.output, outputs)
    if operation.payload is Grant:
        return Cost(fees.task, min(SEATS_NAMED_MAX, size // ENVELOPE_BYTES_LEAST))
    if operation.payload is Post:
        return Cost(fees.task, POST_ENTRIES_MAX, TASK_DUE + SEAT_DUE + BEGIN_DUE)
    if operation.payload is Unbond:
        return Cost(fees.other, 3, MATURE_DUE)
    if operation.payload is Prove:
        return Cost(fees.proof + SHARES_MAX * fees.share, 1)
    if operation.payload is UpdateValidator:
        return Cost(fees.other + fees.signature, 1)
    return operation.cost(None, fees)  # every other type costs the same whatever it says


class MempoolStatus(View):
    """How much waits."""

    transactions: int
    bytes: int


@method("mempool_status", example={})
async def mempool_status(backend: Backend) -> MempoolStatus:
    """How many transactions wait and their bytes."""
    return MempoolStatus(transactions=len(backend.mempool), bytes=backend.mempool.bytes)


class Place(View):
    """Where a waiting transaction stands."""

    waiting: bool
    ahead: int | None
    """How many pay a higher tip or came earlier."""
    valid_until: int | None


@method("mempool_place", example={"txid": "0x" + "00" * 32})
async def mempool_place(backend: Backend, txid: Hex) -> Place:
    """How many transactions are ahead of a waiting one, and until when it may be included."""
    identity = bytes.fromhex(txid[2:])
    waiting = backend.mempool.get(identity)
    if waiting is None:
        return Place(waiting=False, ahead=None, valid_until=None)
    ahead = backend.mempool.place(identity)
    return Place(waiting=True, ahead=ahead, valid_until=waiting.transaction.body.valid_until)
