"""The state of one height's agreement: the variables of the paper's Algorithm 1, and what was heard.

Here: the record and questions that only read it. Not here: the rules that change it (machine.py).
Keeps: a state is a value: nothing in it is ever changed in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from consensus.agreement.inputs import ProposalReceived, StartHeight
from consensus.agreement.messages import Certificate
from consensus.agreement.votes import VoteBook, quorum_of
from consensus.types.vote import PREVOTE

PROPOSALS_PER_ROUND_MAX = 2
"""One counts; a second, different one is evidence. More would only be memory."""


class Stage(IntEnum):
    """step_p of the paper, and the end."""

    PROPOSE = 0
    PREVOTE = 1
    PRECOMMIT = 2
    DECIDED = 3


class BlockStatus(IntEnum):
    """What is known of a block that matters to this height."""

    WANTED = 0
    """Asked for; its bytes are not all here."""
    HELD = 1
    """Here, being executed."""
    VALID = 2
    INVALID = 3


class Point(NamedTuple):
    """A block and the round of its polka: locked or valid value and round of the paper."""

    round: int
    block_id: bytes


class State(NamedTuple):
    """Everything that agreement on one height depends on."""

    start: StartHeight
    round: int
    stage: Stage
    locked: Point | None
    """lockedValue, lockedRound: what this node precommitted last."""
    valid: Point | None
    """validValue, validRound: what it would propose."""
    votes: VoteBook
    proposals: Mapping[int, tuple[ProposalReceived, ...]]
    """By round up to the current one, at most two each; the first counts."""
    blocks: Mapping[bytes, BlockStatus]
    """Blocks asked for. At most three come from a round: its proposals and its polka."""
    commit: Certificate | None
    """More than two thirds have precommitted this; only the block itself may be missing."""
    has_proposed: bool
    """These four are of the current round."""
    has_prevote_timeout: bool
    has_precommit_timeout: bool
    has_polka: bool
    """L36 was taken."""
    diverged: tuple[bytes, ...]
    """Blocks for which `Diverged` was said."""

    @property
    def height(self) -> int:
        """h_p of the paper."""
        return self.start.height


def proposal_of(state: State) -> ProposalReceived | None:
    """The proposal of the current round that counts."""
    held = state.proposals.get(state.round)
    return held[0] if held else None


def is_free(state: State, block_id: bytes, valid_round: int | None) -> bool:
    """L23, L29: whether the lock allows a prevote for this block."""
    locked = state.locked
    if locked is None or locked.block_id == block_id:
        return True
    return valid_round is not None and locked.round <= valid_round


def is_acceptable(received: ProposalReceived) -> bool:
    """Whether header and clock fit the proposal; asked before it is voted for, never after a quorum.

    A block proposed for the first time belongs to this round and to this moment. One proposed again was
    judged then by those who made its polka.
    """
    proposal = received.proposal
    if proposal.valid_round is None:
        return received.header_round == proposal.round and received.is_timely
    return received.header_round <= proposal.valid_round < proposal.round


def has_its_polka(state: State, received: ProposalReceived) -> bool:
    """Whether what the proposal rests on was seen: a re-proposal rests on its valid round's polka."""
    valid_round = received.proposal.valid_round
    if valid_round is None:
        return True
    quorum = quorum_of(state.votes, valid_round, PREVOTE)
    return quorum is not None and quorum.block_id == received.proposal.block_id


def is_under_execution(state: State) -> bool:
    """Whether only the verdict of execution is missing for a prevote: then a timeout waits for it."""
    received = proposal_of(state)
    if received is None:
        return False
    proposal = received.proposal
    return (
        state.blocks.get(proposal.block_id) is BlockStatus.HELD
        and is_acceptable(received)
        and has_its_polka(state, received)
        and is_free(state, proposal.block_id, proposal.valid_round)
    )
