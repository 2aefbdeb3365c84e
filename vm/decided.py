"""A block that the network has decided, executed again: replay, inspection, what a rollback kept.

Here: `apply_decided`, which looks at proofs of resource only if it must.
Not here: the transition (vm/transition.py), the same beside an event loop (eubchain/node/execution.py), the
comparison with the state root (the caller has the tree).
Keeps: a share taken for true is a guess, so no refusal that stands on one is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consensus.types.block import Block
from consensus.types.reader import StateReader
from consensus.types.receipt import receipts_root
from consensus.types.transaction import Candidate
from vm.claims import Judge, judge_here, take_as_true
from vm.inclusion import Broken
from vm.rules import Rules
from vm.transition import Outcome, apply_block
from vm.validity import BlockInvalid


def apply_decided(
    reader: StateReader, rules: Rules, block: Block, candidates: Sequence[Candidate[Any]]
) -> Outcome:
    """Execute on the parent's state; raises `BlockInvalid` and `Broken` as strict application does.

    All shares are taken as true first. A false one shows: its slash is an event of the block, so receipts
    differ; or a transaction that stands in the block only since the slash is refused without it.
    """

    def apply(judge: Judge) -> Outcome:
        header = block.header
        return apply_block(reader, rules, header, block.last_commit, candidates, strict=True, judge=judge)

    try:
        outcome = apply(take_as_true)
    except (BlockInvalid, Broken):
        return apply(judge_here)
    if receipts_root(list(outcome.receipts)) == block.header.receipts_root:
        return outcome
    return apply(judge_here)
