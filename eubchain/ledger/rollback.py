"""Taking blocks back: the state returns to an earlier height, the blocks stay unless forgotten.

Here: `roll_back`, how far it can go.
Not here: re-executing the kept blocks (eubchain/node), asking the operator (eubchain/cli).
Keeps: one batch, so a crash leaves the ledger at either height; the root reached is the one that the
chain recorded for it.
Errors: 2120 rollback_too_far.
"""

from __future__ import annotations

from collections.abc import Generator

from consensus.types.block import BLOCK, HEADER, Block, block_id
from consensus.types.codec import encode
from consensus.types.errors import Fault, Reason
from consensus.types.tree import finish, update_tree
from eubchain.ledger.buckets import put_buckets
from eubchain.ledger.index import delete_rows
from eubchain.ledger.layout import META_KEY, ROWS, Meta, height_key
from eubchain.ledger.ledger import ROOT_MISMATCH, Ledger, PreparedBatch
from eubchain.ledger.store import Batch, Column

ROLLBACK_TOO_FAR = Reason(
    2120,
    "rollback_too_far",
    "height:height lowest:height head:height",
    "The ledger stands at {head} and can go back to {lowest}, not to {height}.",
    "Choose a height between the two, or restore a snapshot.",
)


def lowest_rollback(ledger: Ledger) -> int:
    """The lowest height that the ledger can go back to."""
    height = ledger.height
    while height and ledger.undo(height) is not None:
        if height > 1 and ledger.header(height - 1) is None:
            break  # pruned: the root to reach is no longer known
        height -= 1
    return height


def kept_block(ledger: Ledger, height: int) -> Block | None:
    """A block above the head that a rollback left for re-execution."""
    if not ledger.height < height <= ledger.meta.stored:
        return None
    raw = ledger.store.latest.get(Column.BLOCK, height_key(height))
    return None if raw is None else BLOCK.decode(raw)


def roll_back(ledger: Ledger, height: int, *, forget: bool = False) -> None:
    """Return the state to the one after `height`. Raise `Fault` 2105, 2114, 2120.

    The blocks above stay, to be executed again, and the ledger takes no others at their heights.
    `forget` drops them: a validator that signed at these heights must then not sign them again.
    With `height` equal to the head, `forget` drops what an earlier rollback left.
    """
    lowest = lowest_rollback(ledger)
    if not lowest <= height <= ledger.height:
        raise Fault(ROLLBACK_TOO_FAR, height=height, lowest=lowest, head=ledger.height)
    writes = ledger.writes_back_to(height)
    assert writes is not None, "there are undo records down to the lowest height"
    meta = ledger.meta
    identity, root = meta.genesis, meta.genesis_root
    if height:
        header = ledger.header(height)
        assert header is not None, "the lowest height has its header"
        identity, root = block_id(meta.genesis, header), header.state_root
    update = update_tree(ledger.tree, writes)
    if update.root != root:
        raise Fault(ROOT_MISMATCH, height=height, stored=root, rebuilt=update.root)
    batch = ledger.store.batch()
    for key, value in writes.items():
        if value is None:
            batch.delete(Column.VALUE + key)
        else:
            batch.put(Column.VALUE + key, value)
    finish(put_buckets(batch, update))
    for undone in range(height + 1, meta.height + 1):
        batch.delete(Column.UNDO + height_key(undone))
    if forget:
        for forgotten in range(height + 1, meta.stored + 1):
            finish(forget_block(ledger, batch, forgotten))
    stored = height if forget else meta.stored
    kept_from = min(meta.lowest, height + 1)
    after = Meta(meta.format, meta.genesis, meta.genesis_root, height, identity, root, kept_from, stored)
    batch.put(Column.META + META_KEY, encode(after))
    prepared = PreparedBatch(batch, meta, after, writes, update)
    ledger.write_batch(prepared)
    ledger.advance(prepared)


def forget_block(
    ledger: Ledger, batch: Batch, height: int, *, keep_header: bool = False
) -> Generator[None, None, None]:
    """Stepwise: drop a block with its receipts and index rows; `keep_header` spares header and commit."""
    key, rows_of = height_key(height), ledger.store.latest.get
    header, rows = rows_of(Column.HEADER, key), rows_of(Column.ROWS, key)
    if rows is not None:
        yield from delete_rows(batch, ROWS.decode(rows), height)
    batch.delete(Column.BLOCK + key)
    batch.delete(Column.RECEIPTS + key)
    if keep_header or header is None:
        return
    batch.delete(Column.HEIGHT_OF_BLOCK + block_id(ledger.meta.genesis, HEADER.decode(header)))
    batch.delete(Column.HEADER + key)
    batch.delete(Column.COMMIT + key)
