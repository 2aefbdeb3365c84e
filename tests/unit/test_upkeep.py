"""What a node does to its ledger between blocks: no height waits for a look at all records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from consensus.types.codec import encode
from eubchain.ledger import prune
from eubchain.node import upkeep as module
from eubchain.node.upkeep import Upkeep
from tests.unit.test_node_service import OneNode
from tests.unit.test_task_world import found, matched
from vm.named import named_in_slices, named_transactions
from vm.slices import SLICE_RECORDS, to_the_end
from vm.state import State, Table
from vm.task.records import SEATS, TASKS


def test_the_look_at_all_records_pauses_after_every_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pruning node of a busy market would otherwise stand still for seconds."""
    world, count = found(), 5 * SLICE_RECORDS
    task = matched(world)
    for table, key in ((TASKS, task), (SEATS, task + bytes(1))):
        record: Any = world.read(table, key)
        names = [bytes(28) + number.to_bytes(4, "big") + key[32:] for number in range(count)]
        world.state.write({table.prefix + name: encode(record) for name in names})
    read: list[int] = []
    scan = State.scan

    def counted(state: State, table: Table[Any], **how: Any) -> list[Any]:
        rows = scan(state, table, **how)
        read.append(len(rows))
        return rows

    monkeypatch.setattr(State, "scan", counted)
    steps = named_in_slices(world.view)
    pauses = sum(1 for _ in steps)
    assert max(read) <= SLICE_RECORDS
    assert pauses >= sum(read) // SLICE_RECORDS >= 2 * count // SLICE_RECORDS
    assert named_transactions(world.view) == {world.read(TASKS, task).post}


def test_pruning_waits_for_the_look_beside_the_chain_and_then_drops_old_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chain goes on while records are read; what was named then is kept."""
    node, looked_at = OneNode(tmp_path), []
    node.ledger.undo_blocks = 4
    upkeep = Upkeep(
        node.ledger, node.world.rules, node.service.snapshots(), retain_blocks=10, every_epochs=0, keep=1
    )

    is_read = trio.Event()

    def slow(state: State) -> Any:
        looked_at.append(state.block.height)
        while not is_read.is_set():
            yield
        return to_the_end(named_in_slices(state))

    monkeypatch.setattr(module, "named_in_slices", slow)
    monkeypatch.setattr(module, "PAUSE_S", 0.001)

    async def story() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upkeep.run)
            for _ in range(30 + prune.STEP_BLOCKS):
                await node.block()
                await upkeep.after_block(node.ledger.height)
            assert node.ledger.meta.lowest == 1
            assert len(looked_at) == 1
            is_read.set()
            while node.ledger.meta.lowest == 1:
                await node.block()
                await upkeep.after_block(node.ledger.height)
            nursery.cancel_scope.cancel()

    trio.run(story)
    assert node.ledger.meta.lowest == 1 + prune.STEP_BLOCKS
    assert node.ledger.header(2) is None
    node.ledger.close()
