"""The optional indexes: where a transaction stands, what touched an account or a task.

Here: putting a block's rows into a batch and taking them out again.
Not here: which rows a block has (its executor says), reading them (ledger/reading.py).
Keeps: a block's rows are noted under its height, so that pruning and forgetting find all of them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

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
    for count, (key, value) in enumerate(_rows(rows, height), 1):
        batch.put(key, value)
        if not count % SLICE_ROWS:
            yield
    batch.put(Column.ROWS + height_key(height), encode(rows))


def delete_rows(batch: Batch, rows: IndexRows, height: int) -> Generator[None, None, None]:
    """Stepwise: take a block's index rows out again."""
    for count, (key, _) in enumerate(_rows(rows, height), 1):
        batch.delete(key)
        if not count % SLICE_ROWS:
            yield
    batch.delete(Column.ROWS + height_key(height))


def _rows(rows: IndexRows, height: int) -> Iterator[tuple[bytes, bytes]]:
    # What rows have in common is made once: a full block has tens of thousands of them.
    at = height_key(height)
    of_txid, of_wtxid = Column.PLACE_OF_TXID.value, Column.PLACE_OF_WTXID.value
    of_account, of_task = Column.ACCOUNT_HISTORY.value, Column.TASK_HISTORY.value
    for position, txid in enumerate(rows.txids):
        yield of_txid + txid, at + position.to_bytes(POSITION_BYTES, "big")
    for wtxid, position in rows.wtxids:
        yield of_wtxid + wtxid, at + position.to_bytes(POSITION_BYTES, "big")
    for address, position in rows.accounts:
        yield of_account + history_prefix(address) + at + position.to_bytes(POSITION_BYTES, "big"), b""
    for task, position in rows.tasks:
        yield of_task + history_prefix(task) + at + position.to_bytes(POSITION_BYTES, "big"), b""
