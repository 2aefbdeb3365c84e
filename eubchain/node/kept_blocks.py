"""Blocks that a rollback left above the head: executed again before anything else happens.

Here: `execute_kept`, at the opening of a home, without an event loop.
Not here: rolling back (eubchain/ledger/rollback.py), execution beside agreement (execution.py).
Keeps: the network has decided these blocks, so no signature is checked again; their roots are. The ledger
ends where it was, so the log and the signer guard fit it as if there had been no rollback.
"""

from __future__ import annotations

import structlog

from consensus.types.block import COMMIT, Block, block_id
from consensus.types.receipt import receipts_root
from consensus.types.tree import finish, hash_writes, update_steps
from eubchain.ledger.layout import height_key
from eubchain.ledger.ledger import Ledger, NewBlock
from eubchain.ledger.replay import REPLAY_DIFFERS
from eubchain.ledger.rollback import kept_block
from eubchain.ledger.store import Column
from eubchain.node.execution import index_rows, is_new_set, named_rows
from vm.decided import apply_decided
from vm.registry import decode_candidate
from vm.rules import Rules
from vm.transition import Outcome
from vm.validity import BlockInvalid

log = structlog.get_logger("node")


def execute_kept(ledger: Ledger, rules: Rules, *, with_index: bool) -> int:
    """Execute what is kept above the head; returns how many blocks. Raise `BlockInvalid` 1902, 2130."""
    count = 0
    while (block := kept_block(ledger, ledger.height + 1)) is not None:
        rows_of = index_rows if with_index else named_rows
        raw = ledger.store.latest.get(Column.COMMIT, height_key(block.header.height))
        commit = None if raw is None else COMMIT.decode(raw)
        outcome = _outcome(ledger, rules, block)
        update = finish(update_steps(ledger.tree, finish(hash_writes(outcome.writes, ledger.hash_of_key))))
        _compare(block, "state root", block.header.state_root, update.root)
        next_set = outcome.next_set if is_new_set(block.header) else ()
        identity = block_id(rules.genesis, block.header)
        receipts, rows = outcome.receipts, finish(rows_of(outcome))
        ledger.append(NewBlock(block, identity, commit, receipts, outcome.writes, update, rows, next_set))
        count += 1
    if count:
        log.info("executed the blocks that a rollback had kept", count=count, height=ledger.height)
    return count


def _outcome(ledger: Ledger, rules: Rules, block: Block) -> Outcome:
    candidates = [decode_candidate(raw, rules) for raw in block.transactions]
    outcome = apply_decided(ledger, rules, block, candidates)
    _compare(block, "receipts root", block.header.receipts_root, receipts_root(list(outcome.receipts)))
    return outcome


def _compare(block: Block, what: str, agreed: bytes, replayed: bytes) -> None:
    if agreed != replayed:
        raise BlockInvalid(
            REPLAY_DIFFERS, height=block.header.height, what=what, agreed=agreed, replayed=replayed
        )
