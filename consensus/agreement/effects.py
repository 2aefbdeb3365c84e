"""What the machine asks of the node: everything that touches keys, clocks, disks or the network.

Here: the effects. Not here: carrying them out (eubchain/node).
Keeps: an effect names all it needs, so that a node and a simulation can carry it out alike.
"""

from __future__ import annotations

from consensus.agreement.evidence import DoubleSign
from consensus.agreement.inputs import TimeoutKind
from consensus.agreement.messages import Certificate, Proposal, Vote
from consensus.types.block import Commit
from consensus.types.codec import Record


class Took(Record, frozen=True):
    """Which lines of the paper were taken: for the log, which can so be read beside the paper."""

    line: str
    round: int


class BuildBlock(Record, frozen=True):
    """Make a block for this round; answered by `BlockBuilt`."""

    round: int


class SignAndSendProposal(Record, frozen=True):
    """Sign and send this, and give it back as `ProposalReceived`; a refusal of the signer is silence."""

    height: int
    round: int
    block_id: bytes
    valid_round: int | None
    polka: Certificate | None
    """Sent along with a re-proposal: others vote for it only once they know its polka."""


class SignVote(Record, frozen=True):
    """Sign and send this, and give it back as `VoteReceived`; a refusal of the signer is silence."""

    kind: int
    height: int
    round: int
    block_id: bytes | None


class ScheduleTimeout(Record, frozen=True):
    """Give back `TimeoutFired` when `after_ms` have passed from now, or from `not_before_ms` if later."""

    kind: TimeoutKind
    round: int
    after_ms: int
    not_before_ms: int
    """On this node's clock, milliseconds of Unix time; 0 for from now."""


class RequestBlock(Record, frozen=True):
    """Get every byte of this block; answered by `BlockReceived`, at once if it is here."""

    block_id: bytes


class RequestValidity(Record, frozen=True):
    """Execute this block, which is here; answered by `BlockChecked`."""

    block_id: bytes


class Rebroadcast(Record, frozen=True):
    """Send these again to everybody: the height is not decided and something may have been lost."""

    messages: tuple[Proposal | Vote | Certificate, ...]


class Decide(Record, frozen=True):
    """The height is decided: apply the block and store it with this commit."""

    height: int
    block_id: bytes
    round: int
    commit: Commit


class ReportEvidence(Record, frozen=True):
    """A validator signed two different things; if the key is this node's own, another signs with it."""

    evidence: DoubleSign


class Diverged(Record, frozen=True):
    """More than two thirds stand behind a block that this node finds invalid: this node is wrong.

    Execute it once more with caches dropped and answer with `BlockChecked`, or stop signing and exit.
    """

    certificate: Certificate


Effect = (
    Took
    | BuildBlock
    | SignAndSendProposal
    | SignVote
    | ScheduleTimeout
    | RequestBlock
    | RequestValidity
    | Rebroadcast
    | Decide
    | ReportEvidence
    | Diverged
)
Effects = tuple[Effect, ...]
