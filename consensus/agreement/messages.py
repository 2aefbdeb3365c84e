"""What validators say to each other: proposals, votes, and certificates made of votes.

Here: the records as they travel and are kept, their codecs, what must hold in them, and which
signatures have to be checked.
Not here: what is signed (consensus/types/vote.py), counting (votes.py), frames and links (p2p).
Keeps: a message that passed its check names a validator of the set, and a certificate more than two
thirds of the power; no message carries a time stamp, so a certificate is one text with many signatures.
Errors: 2000 unknown_validator, 2001 certificate_without_quorum, 2002 proposal_malformed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from consensus.types.block import Commit
from consensus.types.codec import Codec, Hash32, Record, Sig64, Uint
from consensus.types.errors import Reason, Rejected
from consensus.types.transaction import SignatureCheck
from consensus.types.vote import PRECOMMIT, PREVOTE, proposal_hash, vote_hash
from consensus.validators import ValidatorSet, is_quorum

VALIDATORS_MAX = 512
"""More than any network's set; a commit's bitmap has room for as many."""
ROUND_MAX = 2**32 - 1
"""The draw of a proposer reads the round as u32. Nobody waits this long: timeouts grow with the round."""
VOTE_BYTES_MAX = 512
CERTIFICATE_BYTES_MAX = 64 * 1024

UNKNOWN_VALIDATOR = Reason(
    2000,
    "unknown_validator",
    "index:count size:count",
    "The message names validator {index}, but the set has {size}.",
    "The peer is faulty, or it is at another height's set.",
)
CERTIFICATE_WITHOUT_QUORUM = Reason(
    2001,
    "certificate_without_quorum",
    "power:count",
    "The certificate holds a power of {power} of 1000000000, which is not more than two thirds.",
    "The peer that sent it is faulty; the certificate is asked for elsewhere.",
)
PROPOSAL_MALFORMED = Reason(
    2002,
    "proposal_malformed",
    "round:count valid_round:count",
    "A proposal of round {round} names round {valid_round} as the one that made its block valid.",
    "The proposer is faulty: a block becomes valid in a round before the one that proposes it again.",
)

Round = Annotated[int, Meta(ge=0, le=ROUND_MAX)]
VoteKind = Annotated[int, Meta(ge=PREVOTE, le=PRECOMMIT)]
"""PREVOTE or PRECOMMIT, as in what is signed."""
ValidatorIndex = Annotated[int, Meta(ge=0, lt=VALIDATORS_MAX)]
"""Position in the validator set of the message's height."""


class Proposal(Record, frozen=True):
    """The round's proposer names a block; who that is follows from height and round."""

    height: Uint
    round: Round
    block_id: Hash32
    valid_round: Round | None
    """The round in which the block got a polka; None for a block that is proposed for the first time."""
    signature: Sig64


class Vote(Record, frozen=True):
    """One validator's prevote or precommit."""

    kind: VoteKind
    height: Uint
    round: Round
    block_id: Hash32 | None
    """None is a vote for nil: for no block in this round."""
    validator: ValidatorIndex
    signature: Sig64


class Certificate(Record, frozen=True):
    """Votes of one kind for one block in one round by more than two thirds of the power.

    Of prevotes it is a polka, of precommits a commit.
    """

    kind: VoteKind
    height: Uint
    round: Round
    block_id: Hash32
    bitmap: Annotated[bytes, Meta(max_length=VALIDATORS_MAX // 8)]
    """Who signed, by position in the set, lowest bit first; ⌈n/8⌉ bytes."""
    signatures: Annotated[tuple[Sig64, ...], Meta(max_length=VALIDATORS_MAX)]

    def commit(self) -> Commit:
        """The certificate as the next block carries it; for precommits."""
        assert self.kind == PRECOMMIT, "a polka commits nothing"
        return Commit(self.round, self.block_id, self.bitmap, self.signatures)

    def votes(self, validators: int) -> list[Vote]:
        """The votes it is made of; raise `Rejected` 1901 when its form is wrong."""
        form = Commit(self.round, self.block_id, self.bitmap, self.signatures)
        return [
            Vote(self.kind, self.height, self.round, self.block_id, index, signature)
            for index, signature in zip(form.signers(validators), self.signatures, strict=True)
        ]


PROPOSAL = Codec[Proposal](Proposal, VOTE_BYTES_MAX)
VOTE = Codec[Vote](Vote, VOTE_BYTES_MAX)
CERTIFICATE = Codec[Certificate](Certificate, CERTIFICATE_BYTES_MAX)


def commit_certificate(commit: Commit, height: int) -> Certificate:
    """A commit as the certificate that it is."""
    return Certificate(PRECOMMIT, height, commit.round, commit.block_id, commit.bitmap, commit.signatures)


def make_certificate(
    kind: int, height: int, round_: int, block_id: bytes, signatures: Mapping[int, bytes], validators: int
) -> Certificate:
    """Gather signatures, by position in a set of `validators`, for one block in one round."""
    positions = sorted(signatures)
    bits = sum(1 << index for index in positions)
    bitmap = bits.to_bytes((validators + 7) // 8, "little")
    return Certificate(kind, height, round_, block_id, bitmap, tuple(signatures[i] for i in positions))


def proposal_check(proposal: Proposal, genesis: bytes, proposer_key: bytes) -> SignatureCheck:
    """What must verify for the round's proposer to have said this; raise `Rejected` 2002."""
    valid_round = proposal.valid_round
    if valid_round is not None and valid_round >= proposal.round:
        raise Rejected(PROPOSAL_MALFORMED, round=proposal.round, valid_round=valid_round)
    message = proposal_hash(genesis, proposal.height, proposal.round, proposal.block_id, valid_round)
    return SignatureCheck(proposer_key, message, proposal.signature)


def vote_check(vote: Vote, genesis: bytes, validators: ValidatorSet) -> SignatureCheck:
    """What must verify for the validator to have said this; raise `Rejected` 2000."""
    if vote.validator >= len(validators):
        raise Rejected(UNKNOWN_VALIDATOR, index=vote.validator, size=len(validators))
    message = vote_hash(genesis, vote.kind, vote.height, vote.round, vote.block_id)
    return SignatureCheck(validators[vote.validator].key, message, vote.signature)


def certificate_checks(
    certificate: Certificate, genesis: bytes, validators: ValidatorSet
) -> list[SignatureCheck]:
    """What must verify for the certificate to hold; raise `Rejected` 1901 or 2001.

    `validators` is the set of the certificate's height. All checks are over one message.
    """
    votes = certificate.votes(len(validators))
    power = sum(validators[vote.validator].power for vote in votes)
    if not is_quorum(power):
        raise Rejected(CERTIFICATE_WITHOUT_QUORUM, power=power)
    message = vote_hash(
        genesis, certificate.kind, certificate.height, certificate.round, certificate.block_id
    )
    return [SignatureCheck(validators[v.validator].key, message, v.signature) for v in votes]
