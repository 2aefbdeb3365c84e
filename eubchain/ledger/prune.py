"""Pruning: old blocks go, what the living still refer to stays.

Here: `prune`, and `prune_batch` for a node that writes in a thread.
Not here: how many blocks to retain (the node's configuration), which transactions the state names
(vm/named.py).
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
from eubchain.ledger.store import Batch, Column

STEP_BLOCKS = 16
"""Pruned in one batch: a few milliseconds, so a node prunes a little after each block."""


def due(ledger: Ledger, retain_blocks: int) -> int:
    """How many blocks are kept beyond the last `retain_blocks`."""
    retained = max(retain_blocks, ledger.undo_blocks + 1)  # one more: the head of the deepest rollback
    return max(0, ledger.height + 1 - retained - ledger.meta.lowest)


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
    prepared = prune_batch(ledger, retain_blocks, named, ends_epoch, step_blocks)
    if prepared is None:
        return 0
    ledger.write_batch(prepared)
    ledger.advance(prepared)
    return prepared.after.lowest - prepared.before.lowest


def prune_batch(
    ledger: Ledger,
    retain_blocks: int,
    named: Set[bytes],
    ends_epoch: Callable[[int], bool],
    step_blocks: int = STEP_BLOCKS,
) -> PreparedBatch | None:
    """What `prune` writes; the caller writes it and advances the ledger before anything else."""
    meta = ledger.meta
    stop = meta.lowest + min(due(ledger, retain_blocks), step_blocks)
    if stop <= meta.lowest:
        return None
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
        if ends_epoch(height):
            _keep_commit(ledger, batch, height)
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
    return PreparedBatch(batch, meta, after, {}, TreeUpdate(meta.state_root, meta.state_root, {}, {}))


def _keep_commit(ledger: Ledger, batch: Batch, height: int) -> None:
    """A block taken without its commit has it in the next one, which will go too."""
    commit = ledger.commit(height)
    if commit is not None:
        batch.put(Column.COMMIT + height_key(height), encode(commit))
