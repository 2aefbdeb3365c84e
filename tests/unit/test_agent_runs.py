"""The agent on a chain in memory: it wins a task, runs it, delivers, is paid; and says why when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_node.job import answer_digest, seal
from tests.market import REQUESTER
from tests.spark_world import ADDRESS, REQUESTER_IDENTITY, SALT, SparkWorld, hello
from vm.task.payloads import Accept
from vm.task.records import Ending, Stage


@pytest.fixture
def world(tmp_path: Path) -> SparkWorld:
    """A spark, a requester and a chain."""
    return SparkWorld(tmp_path)


async def test_a_task_is_won_run_delivered_and_paid(world: SparkWorld) -> None:
    """The whole way, with real sealing and a real module."""
    code = hello()
    async with world.running():
        task = await world.matched(code)
        await world.grant(task, code)
        await world.until(world.is_at(task, Stage.REVIEW))
        key, files = await world.fetched(task)
        assert set(files) == {"answer"}
        assert await world.log_of(task) == "EUB_PROGRESS 1/2\nhello\n"
        result = world.market.seat(task).result
        assert result is not None
        assert result.seal == seal(key.answer, ADDRESS, key.salt)
        world.chain.send(REQUESTER, Accept(task, 0, 100, 5))
        await world.until(lambda: world.agent.journal.notes[task, 0].end)
        assert world.agent.journal.notes[task, 0].end.ending == Ending.ACCEPTED.name.lower()
        await world.until(lambda: not (world.folder.sealed / f"{task.hex()}-0").exists())
    assert world.plaintext() == []
    import hashlib

    contents = [(name, hashlib.sha256(data).digest()) for name, data in files.items()]
    assert key.answer == answer_digest(SALT, 0, contents)
    assert REQUESTER_IDENTITY is not None
