"""Votes and proposals as they are signed: `[kind, height, round, block_id | nil(, valid_round | nil)]`.

Here: kinds and the hash that a validator key signs.
Not here: counting (consensus/agreement/votes.py), proof of a double vote (vm/evidence.py).
Keeps: no time stamp stands in a vote, so a commit is one message under many signatures.
"""

from __future__ import annotations

from consensus.types.codec import encode
from consensus.types.hashing import Tag, tagged_hash

PROPOSAL, PREVOTE, PRECOMMIT = 0, 1, 2
"""Kinds, the first number of what is signed; evidence names them."""


def proposal_hash(
    genesis: bytes, height: int, round_: int, block_id: bytes, valid_round: int | None
) -> bytes:
    """What a proposer signs for its proposal in this round."""
    return tagged_hash(Tag.VOTE, genesis, encode([PROPOSAL, height, round_, block_id, valid_round]))


def vote_hash(genesis: bytes, kind: int, height: int, round_: int, block_id: bytes | None) -> bytes:
    """What a validator signs for a prevote or precommit; `block_id` None is a vote for nil."""
    assert kind in (PREVOTE, PRECOMMIT), "a proposal has its own hash"
    return tagged_hash(Tag.VOTE, genesis, encode([kind, height, round_, block_id]))
