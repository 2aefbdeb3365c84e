"""A wrong verdict in a node's memory costs it a vote at most: no chain splits by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from consensus.resource.proof import Claim, share_bytes
from consensus.types.block import Block
from eubchain.ledger.ledger import Ledger
from eubchain.node.execution import OTHER_ROOTS, Execution
from eubchain.node.verdicts import Verdicts
from tests.proving import TILES
from tests.unit.test_verdicts import Recorded
from vm.genesis import genesis_writes
from vm.measuring import FALSE_SHARE
from vm.registry import decode_candidate
from vm.validity import BlockInvalid

CLAIM = Claim(1, 7, bytes(32), bytes(20), 3, share_bytes(TILES[:9]), tuple(range(9)))
OTHERS: dict[str, Any] = {
    "profile": 2,
    "window": 8,
    "seed": bytes([1] * 32),
    "account": bytes([1] * 20),
    "difficulty": 4,
    "shares": share_bytes(TILES[1:10]),
    "checked": tuple(range(8)),
}


@pytest.mark.parametrize("field", Claim.__struct_fields__)
def test_a_verdict_is_remembered_for_exactly_what_was_judged(field: str) -> None:
    """Profile, and so K and r, window, seed, account, D, shares, sample: another is another claim."""
    verdicts = Verdicts()
    verdicts._known[CLAIM] = 4
    assert verdicts.judge(replace(CLAIM)) == 4
    assert replace(CLAIM, **{field: OTHERS[field]}) not in verdicts._known


class Poisoned(Verdicts):
    """Remembers the wrong verdict, until caches are dropped."""

    def __init__(self, wrong: Callable[[Claim], int]) -> None:
        super().__init__()
        self.wrong: Callable[[Claim], int] | None = wrong

    def judge(self, claim: Claim) -> int:
        """Wrong."""
        return super().judge(claim) if self.wrong is None else self.wrong(claim)

    def drop(self) -> None:
        """Right from now on."""
        super().drop()
        self.wrong = None


async def refused(execution: Execution, block: Block, *, is_decided: bool) -> bool:
    """Whether the block is invalid to this node."""
    candidates = [decode_candidate(raw, execution.rules) for raw in block.transactions]
    try:
        await execution.execute(block, candidates, is_decided=is_decided)
    except BlockInvalid as invalid:
        return invalid.reason is OTHER_ROOTS
    return False


async def close_of(path: Path, world: Recorded, poisoned: Poisoned) -> tuple[bool, bool, bool]:
    """At the last block: refused as proposed, refused as decided, refused with caches dropped."""
    writes = {key: value for key, value in genesis_writes(world.genesis).items() if value is not None}
    ledger = Ledger.create(path, world.genesis, writes)
    try:
        execution = Execution(ledger, world.rules, with_index=False, verdicts=poisoned)
        *earlier, (last, _) = world.made
        for block, commit in earlier:
            candidates = [decode_candidate(raw, world.rules) for raw in block.transactions]
            await execution.commit(await execution.execute(block, candidates, is_decided=True), commit)
        proposed = await refused(execution, last, is_decided=False)
        decided = await refused(execution, last, is_decided=True)
        execution.drop_caches()
        return proposed, decided, await refused(execution, last, is_decided=True)
    finally:
        ledger.close()


def test_a_true_proof_held_for_false_costs_a_vote_and_nothing_when_decided(tmp_path: Path) -> None:
    world = Recorded()
    world.all_prove("alice")
    assert not world.events(FALSE_SHARE.code)
    found = trio.run(close_of, tmp_path / "ledger", world, Poisoned(lambda claim: 0))
    assert found == (True, False, False)


def test_a_false_share_held_for_true_is_judged_again_before_a_node_believes_it(tmp_path: Path) -> None:
    """The network has slashed it; this node looks again with its caches dropped, and follows."""
    world = Recorded()
    world.all_prove("alice")
    world.all_prove("alice")
    assert world.made[-1][0].header.height == world.height
    assert world.events(FALSE_SHARE.code)
    found = trio.run(close_of, tmp_path / "ledger", world, Poisoned(lambda claim: len(claim.shares) // 8))
    assert found == (True, True, False)
