"""Every type of transaction and every due entry's handler, gathered from the families.

Here: `OPERATIONS`, the union of their payloads, `TRANSACTION`, decoding with all stateless checks,
`DUE_HANDLERS`.
Not here: the families themselves; what needs state (vm/inclusion.py).
Keeps: type numbers are part of the protocol and never reused; an unknown number is malformed.
Errors: 1017 evidence_envelope.
"""

from __future__ import annotations

from typing import Any, Union

from consensus.types.codec import OVERSIZED, Codec, encode
from consensus.types.errors import Reason, Rejected
from consensus.types.transaction import (
    Candidate,
    EvidenceAuth,
    Transaction,
    check_network,
    check_signer,
    txid_of,
    wtxid_of,
)
from vm import account, evidence, resource, spark, stake, validator
from vm.due import DueKind, Handler
from vm.operation import Operation
from vm.rules import Rules
from vm.task.operations import DUE_HANDLERS as TASK_HANDLERS
from vm.task.operations import OPERATIONS as TASK_OPERATIONS

EVIDENCE_ENVELOPE = Reason(
    1017,
    "evidence_envelope",
    "type:text",
    "'{type}' and its authorisation do not go together: only evidence proves itself.",
    "Sign the transaction with its sender's key; build evidence with the client library.",
)

OPERATIONS: tuple[Operation, ...] = (
    *account.OPERATIONS,
    *stake.OPERATIONS,
    *validator.OPERATIONS,
    *spark.OPERATIONS,
    *resource.OPERATIONS,
    *TASK_OPERATIONS,
    *evidence.OPERATIONS,
)
OPERATION_OF: dict[type[Any], Operation] = {operation.payload: operation for operation in OPERATIONS}
OPERATION_NAMED: dict[str, Operation] = {operation.name: operation for operation in OPERATIONS}
assert len(OPERATION_OF) == len(OPERATION_NAMED) == len(OPERATIONS), "each type once"

PAYLOAD: Any = Union[tuple(operation.payload for operation in OPERATIONS)]  # noqa: UP007
"""The union of all payloads; their tags tell them apart."""
TRANSACTION: Codec[Transaction[Any]] = Codec(Transaction[PAYLOAD])

DUE_HANDLERS: dict[DueKind, Handler] = {DueKind.UNBONDING: stake.mature, **TASK_HANDLERS}


def decode_candidate(raw: bytes, rules: Rules) -> Candidate[Any]:
    """Decode and check whatever needs no state; raises `Rejected`. Signatures are checked apart."""
    limit = rules.params.chain.transaction_bytes_max
    if len(raw) > limit:
        raise Rejected(OVERSIZED, size=len(raw), limit=limit)
    transaction = TRANSACTION.decode(raw)
    check_stateless(transaction, rules)
    txid = txid_of(rules.genesis, encode(transaction.body))
    return Candidate(transaction, raw, txid, wtxid_of(raw))


def check_stateless(transaction: Transaction[Any], rules: Rules) -> None:
    """Refuse what no state could make valid, in the envelope and in the payload."""
    check_network(transaction.body, rules.chain_id)
    check_signer(transaction)
    check_operation(transaction, rules)


def check_signed(transaction: Transaction[Any], rules: Rules) -> None:
    """`check_stateless` of a transaction whose signatures, and whose sender by them, are known to hold."""
    check_network(transaction.body, rules.chain_id)
    check_operation(transaction, rules)


def check_operation(transaction: Transaction[Any], rules: Rules) -> None:
    """Refuse a payload that no state could make valid, or that does not go with its envelope."""
    body = transaction.body
    operation = OPERATION_OF[type(body.payload)]
    blank = not (body.nonce or body.max_price or body.tip or body.valid_until)
    if isinstance(transaction.auth, EvidenceAuth) != operation.proves_itself or (
        operation.proves_itself and not blank
    ):
        raise Rejected(EVIDENCE_ENVELOPE, type=operation.name)
    operation.check(body.payload, rules.params)
