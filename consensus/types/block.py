"""Blocks: the header that names everything, the transaction bytes, the commit of the block before.

Here: the records, the block id, the commit's own checks.
Not here: what makes a block valid (vm/transition.py), how one is agreed on (consensus/agreement).
Keeps: a header proves its own execution (roots are of this block, not of the one before).
Errors: 1901 commit_malformed.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from consensus.types.codec import Address, Codec, Hash32, Record, Sig64, Uint, encode
from consensus.types.errors import Reason, Rejected
from consensus.types.hashing import Tag, list_root, tagged_hash

BLOCK_TRANSPORT_BYTES_MAX = 8 * 2**20
"""No network's block is larger: twice the largest `block_bytes_max`, for header and commit."""

COMMIT_MALFORMED = Reason(
    1901,
    "commit_malformed",
    "why:text",
    "The commit is not well formed: {why}.",
    "The peer that sent it is faulty; the block is asked for elsewhere.",
)


class Header(Record, frozen=True):
    """What a block id commits to."""

    version: Uint
    height: Uint
    round: Uint
    """The round in which this block was first proposed; a re-proposal keeps it."""
    time_ms: Uint
    parent: Hash32
    proposer: Address
    last_commit_hash: Hash32
    txs_root: Hash32
    state_root: Hash32
    receipts_root: Hash32
    validators_hash: Hash32
    next_validators_hash: Hash32
    reveal: Hash32


class Commit(Record, frozen=True):
    """Precommits for one block by more than two thirds of the power of its height."""

    round: Uint
    block_id: Hash32
    bitmap: Annotated[bytes, Meta(max_length=64)]
    """Who signed, by position in the validator set, lowest bit first; ⌈n/8⌉ bytes."""
    signatures: tuple[Sig64, ...]

    def signers(self, validators: int) -> list[int]:
        """Positions of the signers among `validators`; raise `Rejected` when the form is wrong."""
        if len(self.bitmap) != (validators + 7) // 8:
            raise Rejected(COMMIT_MALFORMED, why="the bitmap has another size than the set")
        bits = int.from_bytes(self.bitmap, "little")
        if bits >> validators:
            raise Rejected(COMMIT_MALFORMED, why="the bitmap names a validator beyond the set")
        positions = [i for i in range(validators) if bits >> i & 1]
        if len(positions) != len(self.signatures):
            raise Rejected(COMMIT_MALFORMED, why="the bitmap and the signatures differ in number")
        return positions


class Block(Record, frozen=True):
    """A block on the wire, in the WAL and in the ledger."""

    header: Header
    transactions: tuple[bytes, ...]
    last_commit: Commit | None
    """None at height 1 only."""


BLOCK = Codec[Block](Block, BLOCK_TRANSPORT_BYTES_MAX)
COMMIT = Codec[Commit](Commit, 64 * 1024)
HEADER = Codec[Header](Header, 1024)


def block_id(genesis: bytes, header: Header) -> bytes:
    """The identity of a block on its network."""
    return tagged_hash(Tag.BLOCK, genesis, encode(header))


def commit_hash(commit: Commit | None) -> bytes:
    """What the next header's `last_commit_hash` says."""
    return tagged_hash(Tag.COMMIT, encode(commit))


def txs_root(wtxids: list[bytes]) -> bytes:
    """Commit to the transactions' exact bytes, in order."""
    return list_root(wtxids)
