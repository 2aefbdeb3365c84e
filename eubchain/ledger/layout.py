"""What the ledger's rows hold: the meta record, undo records, index rows, and how keys are made.

Here: records and keys. Not here: columns (ledger/store.py), when they are written (ledger/ledger.py).
Keeps: heights and positions are big-endian, so the order of keys is the order of the chain.
"""

from __future__ import annotations

from typing import NamedTuple

from consensus.types.codec import Codec, Hash32, Record, Uint
from consensus.types.receipt import Receipt

FORMAT = 1
"""Of the ledger's rows; another number is refused at opening."""
META_KEY = b""
POSITION_BYTES = 4
PLACE_BYTES = 8 + POSITION_BYTES
SLICE_ROWS = 512
"""Rows put between two yields while a batch is built: about 1 ms of work."""


class Meta(Record, frozen=True):
    """Where the ledger stands; written in every batch."""

    format: Uint
    genesis: Hash32
    genesis_root: Hash32
    """State root of height 0."""
    height: Uint
    block_id: Hash32
    """Of the block at `height`; the genesis hash at height 0."""
    state_root: Hash32
    lowest: Uint
    """The lowest height whose block is kept; earlier ones are pruned."""
    stored: Uint
    """The highest height whose block is kept: above `height` after a rollback."""


class Undo(Record, frozen=True):
    """How to take a block's writes back: every written key with its old value, None for absence."""

    entries: tuple[tuple[bytes, bytes | None], ...]


class Place(NamedTuple):
    """Where a transaction stands; `position` = number of transactions means the block's own receipt."""

    height: int
    position: int

    def key(self) -> bytes:
        return self.height.to_bytes(8, "big") + self.position.to_bytes(POSITION_BYTES, "big")


class IndexRows(Record, frozen=True):
    """What the optional indexes learn of a block; positions as in `Place.position`."""

    txids: tuple[bytes, ...] = ()
    """All of the block's, in order; empty without the index by txid."""
    wtxids: tuple[tuple[bytes, Uint], ...] = ()
    """Those by which state records name transactions."""
    accounts: tuple[tuple[bytes, Uint], ...] = ()
    """(address, position) of everything that touched an account."""
    tasks: tuple[tuple[bytes, Uint], ...] = ()
    """(task, position) of everything that touched a task."""


NO_ROWS = IndexRows()

META = Codec[Meta](Meta, 1024)
UNDO = Codec[Undo](Undo, 2**30)
ROWS = Codec[IndexRows](IndexRows, 2**30)
RECEIPTS = Codec[tuple[Receipt, ...]](tuple[Receipt, ...], 2**30)


_LENGTHS = [bytes([length]) for length in range(256)]


def height_key(height: int) -> bytes:
    """The key of a height's row."""
    return height.to_bytes(8, "big")


def place_of(key: bytes) -> Place:
    """The place at the end of a row's key, or in a row's value."""
    return Place(int.from_bytes(key[-12:-4], "big"), int.from_bytes(key[-4:], "big"))


def history_prefix(subject: bytes) -> bytes:
    """The common prefix of an account's or task's rows; the length keeps prefixes apart."""
    return _LENGTHS[len(subject)] + subject


def bucket_key(position: int) -> bytes:
    """The key of a bucket: its position in hexadecimal digits, so that keys sort as prefixes do."""
    return b"%x" % position


def bucket_position(key: bytes) -> int:
    """The position of a bucket's key."""
    return int(key, 16)
