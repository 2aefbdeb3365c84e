"""Pruning: old blocks go, what the living still refer to stays.

Here: `prune`. Not here: how many blocks to retain (the node's configuration), which transactions the
state names (the caller reads its records).
Keeps: each epoch's last header and commit, for light clients; transactions that live records name by
wtxid; every block that a rollback could need.
"""

from __future__ import annotations

from collections.abc import Callable, Set

from consensus.types.block import BLOCK
from consensus.types.codec import encode
from consensus.types.transaction import wtxid_of
from consensus.types.tree import TreeUpdate
from eubchain.ledger.layout import META_KEY, Meta, height_key
from eubchain.ledger.ledger import Ledger, PreparedBatch
from eubchain.ledger.rollback import forget_block
from eubchain.ledger.store import Column

STEP_BLOCKS = 16
"""Pruned in one batch: a few milliseconds, so a node prunes a little after each block."""


def prune(
    ledger: Ledger,
    retain_blocks: int,
    named: Set[bytes],
    ends_epoch: Callable[[int], bool],
    step_blocks: int = STEP_BLOCKS,
) -> int:
    """Drop up to `step_blocks` of the oldest blocks beyond the last `retain_blocks`; return how many.

    `named` are the wtxids in live records: theirs are kept, and kept ones no longer named go.
    `ends_epoch` says of a height whether its header and commit stay. Never while a batch is under way.
    """
    meta = ledger.meta
    retained = max(retain_blocks, ledger.undo_blocks + 1)  # one more: the head of the deepest rollback
    stop = min(meta.height + 1 - retained, meta.lowest + step_blocks)
    if stop <= meta.lowest:
        return 0
    batch = ledger.store.batch()
    for wtxid, _ in ledger.store.latest.iterate(Column.KEPT_TRANSACTION):
        if wtxid not in named:
            batch.delete(Column.KEPT_TRANSACTION + wtxid)
    for height in range(meta.lowest, stop):
        raw = ledger.store.latest.get(Column.BLOCK, height_key(height))
        for transaction in BLOCK.decode(raw).transactions if raw is not None and named else ():
            wtxid = wtxid_of(transaction)
            if wtxid in named:
                batch.put(Column.KEPT_TRANSACTION + wtxid, transaction)
        forget_block(ledger, batch, height, keep_header=ends_epoch(height))
    after = Meta(
        meta.format,
        meta.genesis,
        meta.genesis_root,
        meta.height,
        meta.block_id,
        meta.state_root,
        stop,
        meta.stored,
    )
    batch.put(Column.META + META_KEY, encode(after))
    prepared = PreparedBatch(batch, meta, after, {}, TreeUpdate(meta.state_root, meta.state_root, {}, {}))
    ledger.write_batch(prepared)
    ledger.advance(prepared)
    return stop - meta.lowest
