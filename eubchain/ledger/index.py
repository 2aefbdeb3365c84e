"""The optional indexes: where a transaction stands, what touched an account or a task.

Here: putting a block's rows into a batch and taking them out again.
Not here: which rows a block has (its executor says), reading them (ledger/reading.py).
Keeps: a block's rows are noted under its height, so that pruning and forgetting find all of them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

from consensus.types.codec import encode
from eubchain.ledger.layout import (
    NO_ROWS,
    POSITION_BYTES,
    SLICE_ROWS,
    IndexRows,
    height_key,
    history_prefix,
)
from eubchain.ledger.store import Batch, Column


def put_rows(batch: Batch, rows: IndexRows, height: int) -> Generator[None, None, None]:
    """Stepwise: add a block's index rows to a batch."""
    if rows == NO_ROWS:
        return
    for part in _rows(rows, height):
        for key, value in part:
            batch.put(key, value)
        yield
    batch.put(Column.ROWS + height_key(height), encode(rows))


def delete_rows(batch: Batch, rows: IndexRows, height: int) -> Generator[None, None, None]:
    """Stepwise: take a block's index rows out again."""
    for part in _rows(rows, height):
        for key, _ in part:
            batch.delete(key)
        yield
    batch.delete(Column.ROWS + height_key(height))


def _rows(rows: IndexRows, height: int) -> Iterator[list[tuple[bytes, bytes]]]:
    """Keys and values, in slices: a full block has tens of thousands, and lists cost less than yields."""
    at = height_key(height)
    of_txid, of_wtxid = Column.PLACE_OF_TXID.value, Column.PLACE_OF_WTXID.value
    of_account, of_task = Column.ACCOUNT_HISTORY.value, Column.TASK_HISTORY.value
    for start in range(0, len(rows.txids), SLICE_ROWS):
        some = enumerate(rows.txids[start : start + SLICE_ROWS], start)
        yield [(of_txid + txid, at + position.to_bytes(POSITION_BYTES, "big")) for position, txid in some]
    for part in _parts(rows.wtxids):
        yield [(of_wtxid + wtxid, at + position.to_bytes(POSITION_BYTES, "big")) for wtxid, position in part]
    for column, subjects in ((of_account, rows.accounts), (of_task, rows.tasks)):
        for part in _parts(subjects):
            yield [
                (column + history_prefix(subject) + at + position.to_bytes(POSITION_BYTES, "big"), b"")
                for subject, position in part
            ]


def _parts(rows: Sequence[tuple[bytes, int]]) -> Iterator[Sequence[tuple[bytes, int]]]:
    return (rows[start : start + SLICE_ROWS] for start in range(0, len(rows), SLICE_ROWS))
