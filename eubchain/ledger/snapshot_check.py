"""Whether what somebody gave belongs to the snapshot of a block that is trusted, piece by piece.

Here: checks of the manifest, of a part, of the named transactions and of the ends of epochs.
Not here: making snapshots (ledger/snapshot.py), a ledger made from one (ledger/restore.py), which block is
trusted (the caller names it).
Keeps: nothing is believed that the trusted block does not lead to; a part is judged by itself, named
transactions and ends of epochs in their order, so whoever gave them all is to blame for any.
Errors: 2141 snapshot_of_other_block, 2142 snapshot_chunk_refused.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

from consensus.light import LightBlock, Terms, check_light_block
from consensus.types.block import block_id
from consensus.types.errors import Fault, Reason, Rejected
from consensus.types.transaction import wtxid_of
from consensus.types.tree import CHILDREN, DEPTH_MAX, ROOT
from consensus.types.tree_proof import STATE_RANGE, StateRange, verify_range
from consensus.validators import ValidatorSet, validators_hash
from eubchain.ledger.snapshot import (
    EPOCH_CHUNK,
    EPOCHS,
    NAMED,
    NAMED_CHUNK,
    PART,
    SNAPSHOT_FORMAT,
    SNAPSHOT_MALFORMED,
    EpochEnd,
    Manifest,
    chunk_file,
)

SNAPSHOT_OF_OTHER_BLOCK = Reason(
    2141,
    "snapshot_of_other_block",
    "height:height theirs:hash trusted:hash",
    "The snapshot is of block {theirs} at height {height}; the trusted block is {trusted}.",
    "Take the snapshot from another node, or compare the trusted hash with its source.",
)
SNAPSHOT_CHUNK_REFUSED = Reason(
    2142,
    "snapshot_chunk_refused",
    "chunk:text why:text",
    "The chunk {chunk} does not belong to the snapshot: {why}.",
    "Whoever gave it is faulty; take it from another node.",
)


def check_manifest(manifest: Manifest, terms: Terms, trusted: bytes) -> None:
    """Refuse a manifest of another network or block, or whose parts do not cover the state once.

    Raise `Fault` 2140, 2141; its commit is checked as well, 1922.
    """
    if (manifest.format, manifest.genesis) != (SNAPSHOT_FORMAT, terms.genesis):
        raise Fault(SNAPSHOT_MALFORMED, why="it is of another network or format")
    header = manifest.header
    identity = block_id(terms.genesis, header)
    if identity != trusted or manifest.commit.block_id != trusted:
        raise Fault(SNAPSHOT_OF_OTHER_BLOCK, height=header.height, theirs=identity, trusted=trusted)
    named_sets = (
        (manifest.validators, header.validators_hash),
        (manifest.next_validators, header.next_validators_hash),
    )
    if any(validators_hash(members) != stated for members, stated in named_sets):
        raise Fault(SNAPSHOT_MALFORMED, why="its validator sets are not those that its header names")
    too_many_named = manifest.named_chunks > len(manifest.named)
    if too_many_named or manifest.epoch_chunks > header.height // terms.epoch_blocks:
        raise Fault(SNAPSHOT_MALFORMED, why="it has more chunks than things to put into them")
    _check_cover(manifest)
    check_light_block(terms, LightBlock(header, manifest.commit, manifest.validators))


def _check_cover(manifest: Manifest) -> None:
    covered = 0
    for prefix in manifest.prefixes:
        if len(prefix) > DEPTH_MAX or any(nibble >= CHILDREN for nibble in prefix):
            raise Fault(SNAPSHOT_MALFORMED, why="a prefix is not made of nibbles")
        room = 4 * (DEPTH_MAX - len(prefix))
        if _position(prefix) - (1 << 4 * len(prefix)) << room != covered:
            raise Fault(SNAPSHOT_MALFORMED, why="its parts overlap or leave a gap")
        covered += 1 << room
    if covered != 1 << 4 * DEPTH_MAX:
        raise Fault(SNAPSHOT_MALFORMED, why="its parts do not cover the state")


def _position(prefix: bytes) -> int:
    position = ROOT
    for nibble in prefix:
        position = position << 4 | nibble
    return position


def _refuse(chunk: str, why: str) -> Fault:
    return Fault(SNAPSHOT_CHUNK_REFUSED, chunk=chunk, why=why)


# ------------------------------------------------------------------ parts


class CheckedPart(NamedTuple):
    """A part of the state, and where in the tree it stands."""

    position: int
    part: StateRange


def check_part(manifest: Manifest, number: int, raw: bytes) -> CheckedPart:
    """The part of this number, if its hashes lead to the state root; raise `Fault` 2142."""
    name = chunk_file(PART, number)
    try:
        part: StateRange = STATE_RANGE.decode(raw)
        if part.prefix != manifest.prefixes[number]:
            raise _refuse(name, "it is another one than was asked for")
        return CheckedPart(verify_range(manifest.header.state_root, part), part)
    except Rejected as refusal:
        raise _refuse(name, str(refusal)) from None


# ------------------------------------------------------------------ named transactions


class NamedCheck:
    """The transactions that state records name, chunk after chunk, in the manifest's order."""

    def __init__(self, manifest: Manifest) -> None:
        self._named, self._next = manifest.named, 0

    def take(self, number: int, raw: bytes) -> dict[bytes, bytes]:
        """The transactions of the next chunk by their wtxids; raise `Fault` 2142."""
        name = chunk_file(NAMED, number)
        try:
            raws = NAMED_CHUNK.decode(raw)
        except Rejected as refusal:
            raise _refuse(name, str(refusal)) from None
        found = {wtxid_of(transaction): transaction for transaction in raws}
        expected = self._named[self._next : self._next + len(raws)]
        if not raws or tuple(found) != expected:
            raise _refuse(name, "a transaction is not the one that the manifest names")
        self._next += len(raws)
        return found

    def finish(self) -> None:
        """Raise `Fault` 2140 unless every named transaction was there."""
        if self._next != len(self._named):
            raise Fault(SNAPSHOT_MALFORMED, why="transactions that its manifest names are missing")


# ------------------------------------------------------------------ the ends of epochs


class CheckedEnd(NamedTuple):
    """The last block of an epoch with the validators that signed it."""

    end: EpochEnd
    members: ValidatorSet


class EpochsCheck:
    """Each one final by its own set, and each set announced by the one before, up to the trusted block's.

    A node serves them to light clients, which check them themselves; it relies on none.
    """

    def __init__(self, manifest: Manifest, terms: Terms) -> None:
        self._manifest, self._terms = manifest, terms
        self._members: ValidatorSet = ()
        self._announced: bytes | None = None
        self._height = 0

    def take(self, number: int, raw: bytes) -> Generator[None, None, list[CheckedEnd]]:
        """Stepwise: the ends of epochs in the next chunk; raise `Fault` 2142."""
        name = chunk_file(EPOCHS, number)
        try:
            ends = EPOCH_CHUNK.decode(raw)
        except Rejected as refusal:
            raise _refuse(name, str(refusal)) from None
        if not ends:
            raise _refuse(name, "it is empty")
        found = []
        for end in ends:
            self._members = end.validators or self._members
            self._check(name, end)
            found.append(CheckedEnd(end, self._members))
            self._announced, self._height = end.header.next_validators_hash, end.header.height
            yield
        return found

    def _check(self, name: str, end: EpochEnd) -> None:
        header = end.header
        if header.height % self._terms.epoch_blocks or not self._height < header.height:
            raise _refuse(name, f"height {header.height} is no later end of an epoch")
        if header.height >= self._manifest.header.height:
            raise _refuse(name, f"height {header.height} lies beyond the snapshot")
        if self._announced is not None and header.validators_hash != self._announced:
            raise _refuse(name, f"the set of height {header.height} was not announced")
        try:
            check_light_block(self._terms, LightBlock(header, end.commit, self._members))
        except Fault as fault:
            raise _refuse(name, str(fault)) from None

    def finish(self) -> None:
        """Raise `Fault` 2140 unless they lead to the trusted block's set."""
        if self._announced not in (None, self._manifest.header.validators_hash):
            raise Fault(SNAPSHOT_MALFORMED, why="the ends of its epochs do not lead to its block")
