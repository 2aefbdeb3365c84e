"""What must hold in every simulation, checked without the code that is tested.

Here: agreement, validity of the chain and its commits, no honest double signing.
Not here: liveness, which is a question of how long to wait (world.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from consensus.agreement.evidence import DoubleSign, Side
from consensus.agreement.messages import Proposal, Vote
from consensus.types.keys import verify
from consensus.types.vote import PROPOSAL, proposal_hash, vote_hash
from tests.sim.node import BLOCK, GENESIS, INTERVAL_MS, SimNode, id_of

verify_once = lru_cache(100_000)(verify)
"""A chain is checked again and again while it grows: each of its signatures is verified once."""


def check_agreement(nodes: Sequence[SimNode]) -> None:
    """No two honest ledgers differ where both have a block."""
    for height in range(max(len(node.ledger) for node in nodes)):
        ids = {id_of(node.ledger[height].data) for node in nodes if len(node.ledger) > height}
        assert len(ids) == 1, f"agreement: fork at height {height + 1}: {[i.hex()[:8] for i in sorted(ids)]}"


def check_chain(node: SimNode) -> None:
    """Blocks stand on each other, and each has the signatures of more than two thirds."""
    parent, time_ms = GENESIS, None
    validators = node.world.validators
    for height, stored in enumerate(node.ledger, 1):
        block = BLOCK.decode(stored.data)
        assert (block.height, block.parent) == (height, parent)
        assert time_ms is None or block.time_ms >= time_ms + INTERVAL_MS
        parent, time_ms = id_of(stored.data), block.time_ms
        commit = stored.commit
        assert commit.block_id == parent
        signers = [i for i in range(len(validators)) if commit.bitmap[i // 8] >> i % 8 & 1]
        message = vote_hash(GENESIS, 2, height, commit.round, parent)
        for index, signature in zip(signers, commit.signatures, strict=True):
            assert verify_once(validators[index].key, message, signature)
        total = sum(v.power for v in validators)
        power = sum(validators[i].power for i in signers)
        assert 3 * power > 2 * total, f"validity: weak commit at height {height}"


def is_proof(proof: DoubleSign) -> bool:
    """Whether the key really signed both sides, which differ and stand in order."""

    def message(side: Side) -> bytes:
        if proof.kind == PROPOSAL:
            assert side.block_id is not None
            return proposal_hash(GENESIS, proof.height, proof.round, side.block_id, side.valid_round)
        return vote_hash(GENESIS, proof.kind, proof.height, proof.round, side.block_id)

    is_ordered = (proof.a.block_id or b"") < (proof.b.block_id or b"")
    both = ((proof.a, proof.signature_a), (proof.b, proof.signature_b))
    return is_ordered and all(verify(proof.key, message(side), signed) for side, signed in both)


class SignatureLog:
    """Everything honest keys signed; nobody says two different things for one step."""

    def __init__(self) -> None:
        self._said: dict[tuple[int, int, int, int], Any] = {}

    def add(self, node: SimNode, message: Proposal | Vote) -> None:
        kind = message.kind if isinstance(message, Vote) else PROPOSAL
        step = (node.seat, message.height, message.round, kind)
        said = self._said.setdefault(step, message)
        assert said == message, f"double signing: {said} and {message}"
