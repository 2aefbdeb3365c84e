"""A node that is behind applies what it is brought, however long that takes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio

from consensus.agreement.inputs import Timeouts
from eubchain.node.engine import BLOCKS_WAIT_S, Engine
from eubchain.node.network import Final, NoPeers


class SlowExecution:
    """Applies a block in more time than the engine waits for one; the ledger is a height."""

    def __init__(self) -> None:
        self.ledger = SimpleNamespace(height=0)
        self.execution, self.rules = self, SimpleNamespace()

    async def execute(self, block: Any, *, is_decided: bool) -> Any:
        await trio.sleep(2 * BLOCKS_WAIT_S)
        return block

    async def commit(self, executed: Any, commit: Any) -> None:
        self.ledger.height = executed.header.height


@pytest.mark.trio
async def test_blocks_that_take_longer_than_the_wait_for_them_are_applied_to_the_last(autojump_clock):
    """The wait is for their arrival: cut short while they are applied, catching up would stop for good."""
    slow = SlowExecution()
    finished: list[int] = []

    async def note(executed: Any, commit: Any) -> None:
        finished.append(executed.header.height)

    production: Any = slow
    files: Any = None
    engine = Engine(
        production, files, NoPeers(), note, lambda proof: None, lambda: 0, Timeouts(), signer=None
    )
    blocks: list[Any] = [SimpleNamespace(header=SimpleNamespace(height=height)) for height in (1, 2, 3)]
    brought = [Final(block, bytes(32), SimpleNamespace()) for block in blocks]
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.overtake, brought)
            while slow.ledger.height < 3:
                await engine._wait_for_blocks()
    assert finished == [1, 2, 3]
