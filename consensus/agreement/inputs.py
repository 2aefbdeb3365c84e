"""What may happen to the agreement of one height: the machine's inputs, as the WAL keeps them.

Here: the records and their codec. All but `StartHeight` are written to the WAL; replaying them in order
gives the same state.
Not here: what they cause (machine.py).
Keeps: an input is what is known *after* IO: signatures are verified, clocks were read, blocks executed.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from consensus.agreement.messages import Certificate, Proposal, Round, Vote
from consensus.types.codec import Codec, Hash32, Record
from consensus.validators import ValidatorSet

INPUT_BYTES_MAX = 128 * 1024
"""The largest input is a certificate of the largest set."""
TIMEOUT_MS_MAX = 300_000
"""Rounds wait longer and longer until the network is fast enough, but never more than five minutes."""


class TimeoutKind(IntEnum):
    """What was waited for."""

    PROPOSE = 0
    PREVOTE = 1
    PRECOMMIT = 2
    REBROADCAST = 3
    """Not of the paper: a height that is not decided says again what it has, for messages get lost."""


class Timeouts(NamedTuple):
    """How long this node waits, in milliseconds; its own choice, since safety does not rest on it."""

    propose_ms: int = 1_000
    propose_step_ms: int = 500
    """Added per round."""
    vote_ms: int = 500
    vote_step_ms: int = 250
    rebroadcast_ms: int = 2_000

    def duration_ms(self, kind: TimeoutKind, round_: int) -> int:
        """How long to wait in this round."""
        if kind is TimeoutKind.REBROADCAST:
            return self.rebroadcast_ms
        if kind is TimeoutKind.PROPOSE:
            return min(self.propose_ms + self.propose_step_ms * round_, TIMEOUT_MS_MAX)
        return min(self.vote_ms + self.vote_step_ms * round_, TIMEOUT_MS_MAX)


class StartHeight(NamedTuple):
    """Agree on the block of `height`: what holds from the height's first input to its last."""

    height: int
    validators: ValidatorSet
    """V(height)."""
    me: int | None
    """This node's position in the set; None follows without a voice."""
    beacon: bytes
    """beacon(height − 1): draws the proposers."""
    earliest_ms: int
    """Parent time + block interval: before it no block of this height is timely."""
    timeouts: Timeouts = Timeouts()


class ProposalReceived(Record, tag=0, frozen=True):
    """A proposal whose signature and block id (of the header that came along) were checked."""

    proposal: Proposal
    header_round: Round
    """The round that the block's header names."""
    is_timely: bool
    """Whether the header's time fitted the clock at its arrival; not asked for a re-proposal."""


class BlockReceived(Record, tag=1, frozen=True):
    """Every byte of a block that was asked for is here."""

    block_id: Hash32


class BlockChecked(Record, tag=2, frozen=True):
    """A block was executed: whether it is valid."""

    block_id: Hash32
    is_valid: bool


class BlockBuilt(Record, tag=3, frozen=True):
    """The block that this node wants to propose in this round stands in the WAL."""

    round: Round
    block_id: Hash32


class VoteReceived(Record, tag=4, frozen=True):
    """A verified vote, this node's own included."""

    vote: Vote


class CertificateReceived(Record, tag=5, frozen=True):
    """A verified polka or commit."""

    certificate: Certificate


class TimeoutFired(Record, tag=6, frozen=True):
    """A scheduled wait is over."""

    kind: TimeoutKind
    round: Round


RecordedInput = (
    ProposalReceived
    | BlockReceived
    | BlockChecked
    | BlockBuilt
    | VoteReceived
    | CertificateReceived
    | TimeoutFired
)
"""What the WAL holds."""
Input = StartHeight | RecordedInput

INPUT: Codec[RecordedInput] = Codec(RecordedInput, INPUT_BYTES_MAX)
