"""Proof that a validator signed two different things for one height, round and kind.

Here: the value that two conflicting messages make.
Not here: judging it, what it costs the offender, the transaction that carries it (vm/evidence.py).
Keeps: the proof needs nothing but itself, the genesis hash and the offender's key; the two sides are
ordered, so two nodes that saw the same two messages make the same proof.
"""

from __future__ import annotations

from consensus.agreement.messages import Proposal, Vote
from consensus.types.codec import Record
from consensus.types.vote import PROPOSAL


class Side(Record, frozen=True):
    """One of the two things said."""

    block_id: bytes | None
    valid_round: int | None
    """None unless it is a proposal that says one."""


class DoubleSign(Record, frozen=True):
    """Two messages of one kind, height and round, under one key, for different blocks."""

    kind: int
    height: int
    round: int
    key: bytes
    a: Side
    """The side with the smaller block id, nil first."""
    signature_a: bytes
    b: Side
    signature_b: bytes


def double_vote(first: Vote, second: Vote, key: bytes) -> DoubleSign:
    """The proof that two conflicting votes of one validator make."""
    assert (first.kind, first.validator) == (second.kind, second.validator), "of one validator and kind"
    return _make(first.kind, first, second, key, (Side(first.block_id, None), Side(second.block_id, None)))


def double_proposal(first: Proposal, second: Proposal, key: bytes) -> DoubleSign:
    """The proof that two proposals of one round make."""
    sides = (Side(first.block_id, first.valid_round), Side(second.block_id, second.valid_round))
    return _make(PROPOSAL, first, second, key, sides)


def _make(
    kind: int, first: Proposal | Vote, second: Proposal | Vote, key: bytes, sides: tuple[Side, Side]
) -> DoubleSign:
    assert (first.height, first.round) == (second.height, second.round), "of one height and round"
    assert first.block_id != second.block_id, "for different blocks"
    a, b = (sides[0], first.signature), (sides[1], second.signature)
    if (a[0].block_id or b"") > (b[0].block_id or b""):
        a, b = b, a
    return DoubleSign(kind, first.height, first.round, key, *a, *b)
