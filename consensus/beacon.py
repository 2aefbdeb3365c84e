"""The chain's randomness: a hash chain per validator, the beacon they feed, and draws from it.

Here: `RevealChain`, the check of a reveal, the beacon of a height, weighted draws under it.
Not here: a draw's point (types/draws.py), who proposes (validators.py), what is drawn for a task
(vm/task), the file in which a node keeps the checkpoints of a long chain (eubchain/node).
Keeps: a reveal is the preimage of its validator's commitment, so a proposer can withhold it but not
choose it; a chain's position is found by walking to the commitment that the chain holds, never
remembered, so that a restore from words loses nothing. A secret appears in no repr and no exception.
Errors: 1390 commitment_of_another_chain, 1391 reveals_used_up, 1392 checkpoints_of_another_chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

from consensus.types.draws import draw_point, index_at
from consensus.types.errors import Fault, Reason
from consensus.types.hashing import HASH_BYTES, Tag, tagged_hash

CHAIN_LENGTH_MAX = 2**32

COMMITMENT_OF_ANOTHER_CHAIN = Reason(
    1390,
    "commitment_of_another_chain",
    "commitment:hash",
    "The reveal commitment {commitment} on the chain does not belong to this secret and generation.",
    "Restore the validator's own words, or renew the reveal chain with a higher generation.",
)
REVEALS_USED_UP = Reason(
    1391,
    "reveals_used_up",
    "length:count",
    "All {length} reveals of this chain are used; the validator cannot propose.",
    "Renew the reveal chain; the new one is effective two epochs later.",
)
CHECKPOINTS_OF_ANOTHER_CHAIN = Reason(
    1392,
    "checkpoints_of_another_chain",
    "found:count needed:count",
    "These {found} checkpoints do not belong to this reveal chain, which has {needed}.",
    "Delete the checkpoint file; it is made again from the validator's secret.",
)


def chain_start(secret: bytes, generation: int) -> bytes:
    """x₀ of a validator's chain: H(secret ‖ u64 generation)."""
    return tagged_hash(Tag.REVEAL, secret, generation.to_bytes(8, "big"))


def chain_step(value: bytes) -> bytes:
    """x_{i+1} of x_i."""
    return tagged_hash(Tag.CHAIN, value)


def is_reveal_of(reveal: bytes, commitment: bytes) -> bool:
    """Whether `reveal` is the preimage of `commitment`; it becomes the new commitment."""
    return len(reveal) == HASH_BYTES and chain_step(reveal) == commitment


class RevealChain:
    """A validator's chain x₀ … x_N, held as about √N checkpoints; x_N is its first commitment.

    Making one costs N hashes, about a microsecond each. A node with a long chain keeps
    `checkpoints` in a file, guarded by a checksum, and hands them back; those of another secret,
    generation or length raise `Fault` 1392.
    """

    __slots__ = ("_checkpoints", "_positions", "_segment", "_segment_start", "length", "spacing")

    def __init__(
        self, secret: bytes, generation: int, length: int, checkpoints: Sequence[bytes] = ()
    ) -> None:
        assert 1 <= length <= CHAIN_LENGTH_MAX, "a chain has at least one reveal"
        self.length = length
        self.spacing = max(1, isqrt(length))
        start, needed = chain_start(secret, generation), length // self.spacing + 1
        if checkpoints and (len(checkpoints) != needed or checkpoints[0] != start):
            raise Fault(CHECKPOINTS_OF_ANOTHER_CHAIN, found=len(checkpoints), needed=needed)
        self._checkpoints = list(checkpoints) or self._walk(start)
        self._positions = {value: i * self.spacing for i, value in enumerate(self._checkpoints)}
        self._segment: list[bytes] = []
        self._segment_start = 0

    def __repr__(self) -> str:
        return f"RevealChain(length={self.length})"

    @property
    def checkpoints(self) -> tuple[bytes, ...]:
        """x₀, x_s, x_{2s}, … for s = ⌊√N⌋. As secret as the chain: each gives away all above it."""
        return tuple(self._checkpoints)

    def _walk(self, value: bytes) -> list[bytes]:
        found = [value]
        for _ in range(self.length // self.spacing):
            for _ in range(self.spacing):
                value = chain_step(value)
            found.append(value)
        return found

    def _value(self, position: int) -> bytes:
        """x at `position`, from its segment, which neighbours share."""
        start = position - position % self.spacing
        if not self._segment or self._segment_start != start:
            values = [self._checkpoints[start // self.spacing]]
            while len(values) < self.spacing and start + len(values) <= self.length:
                values.append(chain_step(values[-1]))
            self._segment, self._segment_start = values, start
        return self._segment[position - start]

    @property
    def commitment(self) -> bytes:
        """x_N: what the validator registers."""
        return self._value(self.length)

    def position(self, commitment: bytes) -> int:
        """The i with x_i = `commitment`: the reveals left. Raises `Fault` 1390 if there is none.

        Walks up from the commitment to the next checkpoint: at most 2√N hashes.
        """
        offset = self._segment.index(commitment) if commitment in self._segment else None
        if offset is not None:
            return self._segment_start + offset
        value = commitment
        for steps in range(self.spacing + 1):
            if value in self._positions:
                position = self._positions[value] - steps
                if position >= 0 and self._value(position) == commitment:
                    return position
                break
            value = chain_step(value)
        # Above the last checkpoint there is none to meet: look through the chain's last segment.
        for position in range(self.length, self.length - self.length % self.spacing, -1):
            if self._value(position) == commitment:
                return position
        raise Fault(COMMITMENT_OF_ANOTHER_CHAIN, commitment=commitment)

    def reveal(self, commitment: bytes) -> bytes:
        """The preimage of `commitment`; raises `Fault` 1390 (another chain's) or 1391 (used up)."""
        position = self.position(commitment)
        if position == 0:
            raise Fault(REVEALS_USED_UP, length=self.length)
        value = self._value(position - 1)
        assert is_reveal_of(value, commitment), "the chain is consistent"
        return value


def genesis_beacon(genesis: bytes) -> bytes:
    """beacon(0), from the genesis hash."""
    return tagged_hash(Tag.BEACON, genesis)


def next_beacon(beacon: bytes, reveal: bytes) -> bytes:
    """beacon(h), from beacon(h − 1) and the reveal of block h."""
    return tagged_hash(Tag.BEACON, beacon, reveal)


def draw_weighted(beacon: bytes, context: bytes, weights: Sequence[int], count: int) -> list[int]:
    """Draw up to `count` different indices, each with its share of the weight still there.

    Draw k reads H(beacon ‖ context ‖ u32 k); `context` says what is drawn, so that two draws under
    one beacon are independent. Indices of weight 0 are never drawn; fewer come back if fewer have any.
    """
    assert len(context) > 8, "a shorter context could repeat a proposer's draw"
    assert all(weight >= 0 for weight in weights), "weights are not negative"
    left = list(weights)
    total = sum(left)
    drawn: list[int] = []
    while len(drawn) < count and total > 0:
        seed = tagged_hash(Tag.DRAW, beacon, context, len(drawn).to_bytes(4, "big"))
        index = index_at(draw_point(seed, total), left)
        drawn.append(index)
        total -= left[index]
        left[index] = 0
    return drawn
