"""The optional indexes: where a transaction stands, what touched an account or a task.

Here: putting a block's rows into a batch and taking them out again.
Not here: which rows a block has (its executor says), reading them (ledger/reading.py).
Keeps: a block's rows are noted under its height, so that pruning and forgetting find all of them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from consensus.types.codec import encode
from eubchain.ledger.layout import NO_ROWS, SLICE_ROWS, IndexRows, Place, height_key, history_prefix
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


def delete_rows(batch: Batch, rows: IndexRows, height: int) -> None:
    """Take a block's index rows out again."""
    for key, _ in _rows(rows, height):
        batch.delete(key)
    batch.delete(Column.ROWS + height_key(height))


def _rows(rows: IndexRows, height: int) -> Iterator[tuple[bytes, bytes]]:
    for position, txid in enumerate(rows.txids):
        yield Column.PLACE_OF_TXID + txid, Place(height, position).key()
    for wtxid, position in rows.wtxids:
        yield Column.PLACE_OF_WTXID + wtxid, Place(height, position).key()
    for address, position in rows.accounts:
        yield Column.ACCOUNT_HISTORY + history_prefix(address) + Place(height, position).key(), b""
    for task, position in rows.tasks:
        yield Column.TASK_HISTORY + history_prefix(task) + Place(height, position).key(), b""
