"""Generate agreement.json: messages of agreement, their encodings, what is signed, and signatures.

python -m tests.vectors.generate_agreement > tests/vectors/agreement.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

from consensus.agreement.inputs import (
    BlockBuilt,
    BlockChecked,
    BlockReceived,
    CertificateReceived,
    ProposalReceived,
    TimeoutFired,
    TimeoutKind,
    VoteReceived,
)
from consensus.agreement.messages import Proposal, Vote, make_certificate
from consensus.types.codec import encode
from consensus.types.keys import SecretKey
from consensus.types.vote import PRECOMMIT, PREVOTE, proposal_hash, vote_hash

GENESIS = bytes(range(32))
BLOCK_ID = bytes(range(32, 64))
KEYS = [SecretKey(bytes([number]) * 32) for number in (1, 2, 3, 4)]
HEIGHT, ROUND = 1_000_000, 3


def row(words: str, message: Any, signed: bytes | None = None) -> dict[str, Any]:
    """One vector."""
    told = {"words": words, "encoding": encode(message).hex()}
    if signed is not None:
        told["sign_hash"] = signed.hex()
    return told


def vectors() -> dict[str, Any]:
    """All of them."""
    messages, votes = [], {}
    for words, valid_round in (("a new proposal", None), ("a re-proposal", 1)):
        hashed = proposal_hash(GENESIS, HEIGHT, ROUND, BLOCK_ID, valid_round)
        proposal = Proposal(HEIGHT, ROUND, BLOCK_ID, valid_round, KEYS[0].sign(hashed))
        messages.append(row(words, proposal, hashed))
    for words, kind, block_id in (
        ("a prevote", PREVOTE, BLOCK_ID),
        ("a prevote for nil", PREVOTE, None),
        ("a precommit", PRECOMMIT, BLOCK_ID),
        ("a precommit for nil", PRECOMMIT, None),
    ):
        hashed = vote_hash(GENESIS, kind, HEIGHT, ROUND, block_id)
        votes[kind, block_id] = Vote(kind, HEIGHT, ROUND, block_id, 2, KEYS[2].sign(hashed))
        messages.append(row(words, votes[kind, block_id], hashed))
    hashed = vote_hash(GENESIS, PRECOMMIT, HEIGHT, ROUND, BLOCK_ID)
    signatures = {index: KEYS[index].sign(hashed) for index in (0, 2, 3)}
    certificate = make_certificate(PRECOMMIT, HEIGHT, ROUND, BLOCK_ID, signatures, 4)
    messages.append(row("a commit by validators 0, 2 and 3 of 4", certificate, hashed))
    inputs = [
        ProposalReceived(Proposal(HEIGHT, ROUND, BLOCK_ID, None, bytes(64)), ROUND, True),
        BlockReceived(BLOCK_ID),
        BlockChecked(BLOCK_ID, False),
        BlockBuilt(ROUND, BLOCK_ID),
        VoteReceived(votes[PREVOTE, None]),
        CertificateReceived(certificate),
        *(TimeoutFired(kind, ROUND) for kind in TimeoutKind),
    ]
    return {
        "genesis": GENESIS.hex(),
        "block_id": BLOCK_ID.hex(),
        "keys": [key.public.hex() for key in KEYS],
        "messages": messages,
        "inputs": [row(type(event).__name__, event) for event in inputs],
    }


if __name__ == "__main__":
    json.dump(vectors(), sys.stdout, indent=1)
    sys.stdout.write("\n")
