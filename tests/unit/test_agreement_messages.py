"""Messages, certificates, evidence: what travels, what must hold, what is signed."""

from __future__ import annotations

import pytest

from consensus.agreement.evidence import Side, double_proposal, double_vote
from consensus.agreement.inputs import INPUT, TimeoutFired, TimeoutKind, VoteReceived
from consensus.agreement.messages import (
    CERTIFICATE,
    CERTIFICATE_WITHOUT_QUORUM,
    PROPOSAL,
    PROPOSAL_MALFORMED,
    UNKNOWN_VALIDATOR,
    VOTE,
    VOTE_BYTES_MAX,
    Certificate,
    Proposal,
    Vote,
    certificate_checks,
    commit_certificate,
    make_certificate,
    proposal_check,
    vote_check,
)
from consensus.types.block import COMMIT_MALFORMED
from consensus.types.codec import INTEGER_MAX, encode
from consensus.types.errors import Rejected
from consensus.types.keys import SecretKey, verify
from consensus.types.vote import PRECOMMIT, PREVOTE, proposal_hash, vote_hash
from consensus.validators import TOTAL_POWER, Validator
from tests.sim.checkers import is_proof
from tests.sim.node import GENESIS

KEYS = [SecretKey(bytes([i + 1]) * 32) for i in range(4)]
VALIDATORS = tuple(Validator(bytes([i]) * 20, key.public, TOTAL_POWER // 4) for i, key in enumerate(KEYS))
X, Y = b"x" * 32, b"y" * 32


def signed_vote(who: int, block_id: bytes | None, kind: int = PRECOMMIT) -> Vote:
    return Vote(kind, 9, 2, block_id, who, KEYS[who].sign(vote_hash(GENESIS, kind, 9, 2, block_id)))


def signed_proposal(block_id: bytes, valid_round: int | None = None) -> Proposal:
    signature = KEYS[0].sign(proposal_hash(GENESIS, 9, 2, block_id, valid_round))
    return Proposal(9, 2, block_id, valid_round, signature)


def commit_by(*who: int) -> Certificate:
    return make_certificate(PRECOMMIT, 9, 2, X, {i: signed_vote(i, X).signature for i in who}, 4)


def test_the_largest_messages_fit_their_frames():
    """A vote at its extremes stays far below the frame's cap, a certificate of a full set too."""
    vote = Vote(2, INTEGER_MAX, 2**32 - 1, X, 511, bytes(64))
    assert VOTE.decode(encode(vote)) == vote
    assert len(encode(vote)) < VOTE_BYTES_MAX // 3
    proposal = Proposal(INTEGER_MAX, 2**32 - 1, X, 2**32 - 1, bytes(64))
    assert PROPOSAL.decode(encode(proposal)) == proposal
    full = make_certificate(1, INTEGER_MAX, 2**32 - 1, X, dict.fromkeys(range(512), bytes(64)), 512)
    assert CERTIFICATE.decode(encode(full)) == full


@pytest.mark.parametrize(
    "wrong",
    [
        [0, 9, 2, X, 1, bytes(64)],
        [3, 9, 2, X, 1, bytes(64)],
        [1, -1, 2, X, 1, bytes(64)],
        [1, 9, 2**32, X, 1, bytes(64)],
        [1, 9, 2, X[:-1], 1, bytes(64)],
        [1, 9, 2, X, 512, bytes(64)],
        [1, 9, 2, X, 1, bytes(63)],
        [True, 9, 2, X, 1, bytes(64)],
        [1, 9, 2, X, 1, bytes(64), 0],
    ],
)
def test_a_vote_out_of_its_ranges_does_not_decode(wrong: list[object]):
    """Indices and kinds are checked before anything is counted."""
    with pytest.raises(Rejected):
        VOTE.decode(encode(wrong))


def test_votes_and_proposals_verify_under_their_validators():
    """And under no other."""
    vote, proposal = signed_vote(2, None), signed_proposal(X, 1)
    assert verify(*vote_check(vote, GENESIS, VALIDATORS))
    assert not verify(*vote_check(Vote(PRECOMMIT, 9, 2, None, 1, vote.signature), GENESIS, VALIDATORS))
    assert verify(*proposal_check(proposal, GENESIS, KEYS[0].public))
    assert not verify(*proposal_check(proposal, b"o" * 32, KEYS[0].public))


def test_a_vote_of_nobody_is_refused():
    """A position beyond the set."""
    with pytest.raises(Rejected) as caught:
        vote_check(Vote(PREVOTE, 9, 2, X, 4, bytes(64)), GENESIS, VALIDATORS)
    assert caught.value.reason is UNKNOWN_VALIDATOR


@pytest.mark.parametrize("valid_round", [2, 3])
def test_a_proposal_that_became_valid_in_the_future_is_refused(valid_round: int):
    """The valid round comes before the round."""
    with pytest.raises(Rejected) as caught:
        proposal_check(signed_proposal(X, valid_round), GENESIS, KEYS[0].public)
    assert caught.value.reason is PROPOSAL_MALFORMED


def test_a_certificate_is_one_text_under_many_signatures():
    """So it verifies as a batch, and turns into a block's last commit and back."""
    certificate = commit_by(0, 1, 3)
    checks = certificate_checks(certificate, GENESIS, VALIDATORS)
    assert len({check.message for check in checks}) == 1
    assert all(verify(*check) for check in checks)
    assert [v.validator for v in certificate.votes(4)] == [0, 1, 3]
    assert commit_certificate(certificate.commit(), 9) == certificate


def test_a_certificate_of_too_few_is_refused():
    """Two of four are not more than two thirds."""
    with pytest.raises(Rejected) as caught:
        certificate_checks(commit_by(0, 1), GENESIS, VALIDATORS)
    assert caught.value.reason is CERTIFICATE_WITHOUT_QUORUM


@pytest.mark.parametrize(("bitmap", "signatures"), [(b"\x17", 4), (b"\x07\x00", 3), (b"\x07", 2), (b"", 0)])
def test_a_certificate_of_wrong_form_is_refused(bitmap: bytes, signatures: int):
    """Bits beyond the set, a wrong size, or another number of signatures."""
    certificate = Certificate(PRECOMMIT, 9, 2, X, bitmap, (bytes(64),) * signatures)
    with pytest.raises(Rejected) as caught:
        certificate_checks(certificate, GENESIS, VALIDATORS)
    assert caught.value.reason is COMMIT_MALFORMED


def test_two_votes_make_the_same_proof_in_either_order():
    """Nil first, then by block id; both signatures verify."""
    for first, second in [(None, X), (X, None), (X, Y), (Y, X)]:
        one, other = signed_vote(1, first), signed_vote(1, second)
        proof = double_vote(one, other, KEYS[1].public)
        assert proof == double_vote(other, one, KEYS[1].public)
        assert (proof.a.block_id or b"") < (proof.b.block_id or b"")
        assert is_proof(proof)


def test_two_proposals_make_a_proof_with_their_valid_rounds():
    """They are part of what was signed."""
    proof = double_proposal(signed_proposal(Y, 1), signed_proposal(X), KEYS[0].public)
    assert (proof.a, proof.b) == (Side(X, None), Side(Y, 1))
    assert is_proof(proof)


def test_inputs_survive_the_log_with_their_types():
    """The kind of a timeout comes back as what it is."""
    for event in (TimeoutFired(TimeoutKind.PRECOMMIT, 3), VoteReceived(signed_vote(1, None))):
        assert INPUT.decode(encode(event)) == event
    back = INPUT.decode(encode(TimeoutFired(TimeoutKind.PRECOMMIT, 3)))
    assert isinstance(back, TimeoutFired)
    assert back.kind is TimeoutKind.PRECOMMIT
