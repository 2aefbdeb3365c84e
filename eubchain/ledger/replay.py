"""Replay: every kept block executed again from genesis, each root compared with what was agreed on.

Here: `replay` into memory or into a second ledger.
Not here: the rules (handed in as `execute`), auditing without executing (ledger/inspect.py).
Keeps: the source is only read; the first difference stops the replay and is named.
Errors: 2130 replay_differs, 2131 replay_incomplete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from consensus.types.block import Block, block_id
from consensus.types.errors import Fault, Reason
from consensus.types.reader import MemoryState, StateReader
from consensus.types.receipt import Receipt, receipts_root
from consensus.types.tree import (
    TreeUpdate,
    empty_tree,
    finish,
    hash_writes,
    key_hash,
    update_steps,
    update_tree,
)
from eubchain.ledger.ledger import Ledger, NewBlock
from eubchain.ledger.reading import LedgerReader

REPLAY_DIFFERS = Reason(
    2130,
    "replay_differs",
    "height:height what:text agreed:hash replayed:hash",
    "Executing block {height} again gives the {what} {replayed}; the block says {agreed}.",
    "The ledger was written by other rules than this program's, or is damaged: run `eubchain inspect`.",
)
REPLAY_INCOMPLETE = Reason(
    2131,
    "replay_incomplete",
    "lowest:height",
    "A replay starts at block 1, but the lowest block kept is {lowest}.",
    "Replay on a node that prunes nothing.",
)

Writes = Mapping[bytes, bytes | None]
Execute = Callable[[StateReader, Block], tuple[Writes, list[Receipt]]]
"""The transition: what a block writes, and its receipts with the block's own one last."""


def replay(
    source: LedgerReader,
    start: Mapping[bytes, bytes],
    execute: Execute,
    target: Ledger | None = None,
) -> Iterator[int]:
    """Yield each height whose block was executed again with the agreed outcome.

    `start` is the genesis state. A `target` at height 0 takes the blocks; without one everything is
    done in memory. Raise `Fault` 2130, 2131.
    """
    if source.meta.lowest > 1:
        raise Fault(REPLAY_INCOMPLETE, lowest=source.meta.lowest)
    memory = MemoryState(start)
    reader: StateReader = memory if target is None else target
    tree = empty_tree() if target is None else target.tree
    if target is None:
        tree.apply(update_tree(tree, start))
    hash_of_key = key_hash if target is None else target.hash_of_key
    _compare(0, "state root", source.meta.genesis_root, tree.root)
    for height in range(1, source.height + 1):
        block = source.kept_block(height)
        writes, receipts = execute(reader, block)
        update = finish(update_steps(tree, finish(hash_writes(writes, hash_of_key))))
        _compare(height, "receipts root", block.header.receipts_root, receipts_root(receipts))
        _compare(height, "state root", block.header.state_root, update.root)
        if target is None:
            tree.apply(update)
            memory.write(writes)
        else:
            target.append(_taken(source, block, writes, receipts, update))
        yield height


def _taken(
    source: LedgerReader, block: Block, writes: Writes, receipts: list[Receipt], update: TreeUpdate
) -> NewBlock:
    identity = block_id(source.meta.genesis, block.header)
    header = block.header
    commit = source.commit(header.height)
    is_new = header.height == 1 or header.next_validators_hash != header.validators_hash
    next_set = (source.validator_set(header.next_validators_hash) if is_new else None) or ()
    return NewBlock(block, identity, commit, receipts, writes, update, next_set=next_set)


def _compare(height: int, what: str, agreed: bytes, replayed: bytes) -> None:
    if agreed != replayed:
        raise Fault(REPLAY_DIFFERS, height=height, what=what, agreed=agreed, replayed=replayed)
