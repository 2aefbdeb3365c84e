"""Reading a ledger at one height: state, blocks, receipts, commits and the indexes.

Here: `LedgerReader`, a `StateReader` that later blocks do not change.
Not here: appending (ledger/ledger.py), proofs (ledger/ledger.py, which holds the tree).
Keeps: whatever one reader answers belongs to one height; rows above it do not exist for it.
Errors: 2110 not_kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from consensus.light import LightBlock
from consensus.types.block import BLOCK, COMMIT, HEADER, Block, Commit, Header
from consensus.types.errors import Fault, Reason
from consensus.types.genesis import GENESIS, Genesis
from consensus.types.receipt import Receipt
from consensus.validators import SET_CODEC, ValidatorSet
from eubchain.ledger.layout import (
    PLACE_BYTES,
    RECEIPTS,
    Meta,
    Place,
    height_key,
    history_prefix,
    place_of,
)
from eubchain.ledger.store import LEDGER_DAMAGED, Column, Source

PAGE_ENTRIES_MAX = 1000

NOT_KEPT = Reason(
    2110,
    "not_kept",
    "height:height lowest:height head:height",
    "Block {height} is not here: this node keeps {lowest} to {head}.",
    "Ask a node that keeps more, or start one with `retain_blocks = 0`.",
)


class Page(NamedTuple):
    """Part of a history, newest first."""

    places: list[Place]
    cursor: bytes | None
    """Where the next page begins; None when this is the last."""


class LedgerReader:
    """The ledger as it stood after one block. Safe to use while the ledger goes on, in any thread."""

    def __init__(self, source: Source, meta: Meta) -> None:
        self._source, self._meta = source, meta

    @property
    def meta(self) -> Meta:
        """Where this reader stands."""
        return self._meta

    @property
    def source(self) -> Source:
        """The rows themselves, for audits."""
        return self._source

    @property
    def height(self) -> int:
        """The height of the last block; 0 at genesis."""
        return self._meta.height

    @property
    def state_root(self) -> bytes:
        """The root of the state after that block."""
        return self._meta.state_root

    def genesis(self) -> Genesis:
        """The record that the network started from."""
        raw = self._source.get(Column.GENESIS, b"")
        if raw is None:
            raise Fault(LEDGER_DAMAGED, path=self._source.path, why="the genesis record is missing")
        return GENESIS.decode(raw)

    # -------------------------------------------------------------- state

    def get(self, key: bytes) -> bytes | None:
        """The value of a state key, or None."""
        return self._source.get(Column.VALUE, key)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """State entries with start <= key < stop, ascending."""
        return self._source.iterate(Column.VALUE, start, stop)

    # -------------------------------------------------------------- blocks

    def _row(self, column: Column, height: int) -> bytes | None:
        return self._source.get(column, height_key(height)) if 0 < height <= self.height else None

    def block_bytes(self, height: int) -> bytes | None:
        """A block's encoding; None above the head and below what is kept."""
        return self._row(Column.BLOCK, height)

    def block(self, height: int) -> Block | None:
        """A block; None above the head and below what is kept."""
        raw = self.block_bytes(height)
        return None if raw is None else BLOCK.decode(raw)

    def kept_block(self, height: int) -> Block:
        """A block that must be here; raise `Fault(NOT_KEPT)`."""
        block = self.block(height)
        if block is None:
            raise Fault(NOT_KEPT, height=height, lowest=self._meta.lowest, head=self.height)
        return block

    def header(self, height: int) -> Header | None:
        """A block's header; those of the last blocks of epochs outlive pruning."""
        raw = self._row(Column.HEADER, height)
        return None if raw is None else HEADER.decode(raw)

    def commit(self, height: int) -> Commit | None:
        """The commit for the block at `height`: the one it was decided with, else the next block's."""
        raw = self._row(Column.COMMIT, height)
        if raw is not None:
            return COMMIT.decode(raw)
        following = self.block(height + 1)
        return None if following is None else following.last_commit

    def receipts(self, height: int) -> tuple[Receipt, ...] | None:
        """One receipt per transaction of the block and, last, the block's own."""
        raw = self._row(Column.RECEIPTS, height)
        return None if raw is None else RECEIPTS.decode(raw)

    def validator_set(self, digest: bytes) -> ValidatorSet | None:
        """A validator set of the past or present, by the hash that headers name it with."""
        raw = self._source.get(Column.VALIDATOR_SET, digest)
        return None if raw is None else SET_CODEC.decode(raw)

    def light_block(self, height: int) -> LightBlock | None:
        """What a light client is given of a height: header, commit, validators; None when one is not kept."""
        header, commit = self.header(height), self.commit(height)
        if header is None or commit is None:
            return None
        validators = self.validator_set(header.validators_hash)
        return None if validators is None else LightBlock(header, commit, validators)

    def height_of(self, block_id: bytes) -> int | None:
        """The height of a block by its id."""
        raw = self._source.get(Column.HEIGHT_OF_BLOCK, block_id)
        height = self.height + 1 if raw is None else int.from_bytes(raw, "big")
        return height if height <= self.height else None

    # -------------------------------------------------------------- indexes

    def transaction(self, txid: bytes) -> Place | None:
        """Where a transaction stands; None when it is unknown or the index is off."""
        return self._place(Column.PLACE_OF_TXID, txid)

    def named_transaction(self, wtxid: bytes) -> bytes | None:
        """The bytes of a transaction that a state record names, also when its block is pruned."""
        kept = self._source.get(Column.KEPT_TRANSACTION, wtxid)
        place = self._place(Column.PLACE_OF_WTXID, wtxid)
        if kept is not None or place is None:
            return kept
        block = self.block(place.height)
        return None if block is None else block.transactions[place.position]

    def _place(self, column: Column, identity: bytes) -> Place | None:
        raw = self._source.get(column, identity)
        place = None if raw is None else place_of(raw)
        return place if place is not None and place.height <= self.height else None

    def history(self, address: bytes, cursor: bytes | None = None, limit: int = 100) -> Page:
        """What touched an account, newest first; empty when the index is off."""
        return self._history(Column.ACCOUNT_HISTORY, address, cursor, limit)

    def task_history(self, task: bytes, cursor: bytes | None = None, limit: int = 100) -> Page:
        """What touched a task, newest first; empty when the index is off."""
        return self._history(Column.TASK_HISTORY, task, cursor, limit)

    def _history(self, column: Column, subject: bytes, cursor: bytes | None, limit: int) -> Page:
        assert 0 < limit <= PAGE_ENTRIES_MAX, "pages are bounded where requests come in"
        prefix = history_prefix(subject)
        above = height_key(self.height + 1)
        stop = prefix + (above if cursor is None or len(cursor) != PLACE_BYTES else min(cursor, above))
        places: list[Place] = []
        for key, _ in self._source.iterate(column, prefix, stop, reverse=True):
            if len(places) == limit:
                return Page(places, places[-1].key())
            places.append(place_of(key))
        return Page(places, None)
