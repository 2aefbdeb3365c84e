"""Pruning: old blocks go, what the living still refer to stays.

Here: `prune`, and `prune_steps` for a node that does other things between two steps.
Not here: how many blocks to retain (the node's configuration), which transactions the state names
(vm/named.py).
Keeps: each epoch's last header and commit, for light clients; transactions that live records name by
wtxid; every block that a rollback could need.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Set

from consensus.types.block import BLOCK
from consensus.types.codec import encode
from consensus.types.transaction import wtxid_of
from consensus.types.tree import TreeUpdate, finish
from eubchain.ledger.layout import META_KEY, SLICE_ROWS, Meta, height_key
from eubchain.ledger.ledger import Ledger, PreparedBatch
from eubchain.ledger.rollback import forget_block
from eubchain.ledger.store import Batch, Column

STEP_BLOCKS = 16
"""Pruned in one batch, so a node prunes a little after each block."""


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
    prepared = finish(prune_steps(ledger, retain_blocks, named, ends_epoch, step_blocks))
    if prepared is None:
        return 0
    ledger.write_batch(prepared)
    ledger.advance(prepared)
    return prepared.after.lowest - prepared.before.lowest


def prune_steps(
    ledger: Ledger,
    retain_blocks: int,
    named: Set[bytes],
    ends_epoch: Callable[[int], bool],
    step_blocks: int = STEP_BLOCKS,
) -> Generator[None, None, PreparedBatch | None]:
    """What `prune` writes, stepwise; the caller writes it and advances the ledger before anything else.

    `named` may be older than the head, if it is of no height that is dropped now: what a record begins to
    name stands in the same block.
    """
    meta = ledger.meta
    stop = meta.lowest + min(due(ledger, retain_blocks), step_blocks)
    if stop <= meta.lowest:
        return None
    batch = ledger.store.batch()
    for count, (wtxid, _) in enumerate(ledger.store.latest.iterate(Column.KEPT_TRANSACTION), 1):
        if wtxid not in named:
            batch.delete(Column.KEPT_TRANSACTION + wtxid)
        if not count % SLICE_ROWS:
            yield
    for height in range(meta.lowest, stop):
        raw = ledger.store.latest.get(Column.BLOCK, height_key(height))
        yield
        transactions = BLOCK.decode(raw).transactions if raw is not None and named else ()
        for count, transaction in enumerate(transactions, 1):
            wtxid = wtxid_of(transaction)
            if wtxid in named:
                batch.put(Column.KEPT_TRANSACTION + wtxid, transaction)
            if not count % SLICE_ROWS:
                yield
        yield from forget_block(ledger, batch, height, keep_header=ends_epoch(height))
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
