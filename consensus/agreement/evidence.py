"""Proof that a validator signed two different things for one height, round and kind.

Here: the value that two conflicting messages make, and the signatures that it stands on.
Not here: the transaction that carries it and what it costs the offender (vm/evidence.py).
Keeps: the proof needs nothing but itself, the genesis hash and the offender's key; the two sides are
ordered, so two nodes that saw the same offence make the same proof.
Errors: 2003 evidence_malformed.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from consensus.agreement.messages import Proposal, Round, Vote
from consensus.types.codec import Hash32, Key32, Record, Sig64, Uint
from consensus.types.errors import Reason, Rejected
from consensus.types.transaction import SignatureCheck
from consensus.types.vote import PRECOMMIT, PROPOSAL, proposal_hash, vote_hash

EVIDENCE_MALFORMED = Reason(
    2003,
    "evidence_malformed",
    "why:text",
    "This proves no double signing: {why}.",
    "Submit evidence only as a node made it.",
)


class Side(Record, frozen=True):
    """One of the two things said."""

    block_id: Hash32 | None
    valid_round: Round | None
    """None unless it is a proposal that says one."""


class DoubleSign(Record, frozen=True):
    """Two messages of one kind, height and round, under one key, for different blocks."""

    kind: Annotated[int, Meta(ge=PROPOSAL, le=PRECOMMIT)]
    height: Uint
    round: Round
    key: Key32
    a: Side
    """The side with the smaller block id, nil first."""
    signature_a: Sig64
    b: Side
    signature_b: Sig64


def _order(block_id: bytes | None) -> bytes:
    return b"" if block_id is None else block_id


def _make(
    kind: int, first: Proposal | Vote, second: Proposal | Vote, key: bytes, sides: tuple[Side, Side]
) -> DoubleSign:
    assert (first.height, first.round) == (second.height, second.round), "of one height and round"
    assert first.block_id != second.block_id, "for different blocks"
    a, b = (sides[0], first.signature), (sides[1], second.signature)
    if _order(a[0].block_id) > _order(b[0].block_id):
        a, b = b, a
    return DoubleSign(kind, first.height, first.round, key, *a, *b)


def double_vote(first: Vote, second: Vote, key: bytes) -> DoubleSign:
    """The proof that two conflicting votes of one validator make."""
    assert (first.kind, first.validator) == (second.kind, second.validator), "of one validator and kind"
    return _make(first.kind, first, second, key, (Side(first.block_id, None), Side(second.block_id, None)))


def double_proposal(first: Proposal, second: Proposal, key: bytes) -> DoubleSign:
    """The proof that two proposals of one round make."""
    sides = (Side(first.block_id, first.valid_round), Side(second.block_id, second.valid_round))
    return _make(PROPOSAL, first, second, key, sides)


def evidence_checks(evidence: DoubleSign, genesis: bytes) -> tuple[SignatureCheck, SignatureCheck]:
    """The two signatures that must verify; raise `Rejected` 2003 when the form proves nothing."""
    a, b = evidence.a, evidence.b
    if _order(a.block_id) >= _order(b.block_id):
        raise Rejected(EVIDENCE_MALFORMED, why="the block ids are equal or not in order")
    return (
        SignatureCheck(evidence.key, _message(evidence, a, genesis), evidence.signature_a),
        SignatureCheck(evidence.key, _message(evidence, b, genesis), evidence.signature_b),
    )


def _message(evidence: DoubleSign, side: Side, genesis: bytes) -> bytes:
    if evidence.kind == PROPOSAL:
        if side.block_id is None:
            raise Rejected(EVIDENCE_MALFORMED, why="a proposal names a block")
        return proposal_hash(genesis, evidence.height, evidence.round, side.block_id, side.valid_round)
    if side.valid_round is not None:
        raise Rejected(EVIDENCE_MALFORMED, why="a vote names no round of validity")
    return vote_hash(genesis, evidence.kind, evidence.height, evidence.round, side.block_id)
