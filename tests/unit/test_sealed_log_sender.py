"""The sender of a seat's log: it leaves nobody behind at its spool, and says when a program begins again."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import trio
from wasmtime import wat2wasm

from consensus.types.errors import Fault
from spark_node.sealed_log import SealedLog
from spark_node.storage.age_keys import identity_from_secret, recipient_of
from spark_node.storage.blob import PLACE_UNREACHABLE
from spark_node.storage.directory import DirectoryStore
from spark_node.storage.logs import LogReader
from spark_node.storage.objects import ObjectName
from spark_node.storage.places import open_store
from spark_node.storage.store import Progress, Stored
from tests.spark_world import HELLO, REQUESTER_IDENTITY, SparkWorld
from vm.task.records import Stage

TO = recipient_of(identity_from_secret(b"\3" * 32))
LIMIT_S = 30


class Unreachable(DirectoryStore):
    """A store that says when it was asked and never takes anything."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked = trio.Event()

    async def put(self, name: ObjectName, source: Path, *, progress: Progress | None = None) -> Stored:
        self.asked.set()
        raise Fault(PLACE_UNREACHABLE, place="here", why="the cable is out")


async def test_a_seat_closed_while_its_log_is_on_the_way_leaves_no_sender_at_the_spool(
    tmp_path: Path,
) -> None:
    """The requester may settle before a long log has arrived; what is removed then is in nobody's hands."""
    store = Unreachable(tmp_path)
    limits = SimpleNamespace(log_bytes_max=10**6)

    @asynccontextmanager
    async def open_it(place: str) -> Any:
        yield store

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as background:
            workplace: Any = SimpleNamespace(
                background=background, own_place="file:///", open=open_it, sealed=lambda note: tmp_path
            )
            view: Any = SimpleNamespace(spec=SimpleNamespace(recipient=TO))
            note: Any = SimpleNamespace(task=b"\5" * 32, seat=0)
            job: Any = SimpleNamespace(log_place="file:///", limits=limits)
            with trio.CancelScope() as worker:
                async with SealedLog(workplace, view, note, job) as lines:
                    assert lines._writer is not None
                    await lines._writer.write(b"a line\n")
                    await lines.close()
                    await store.asked.wait()
                    worker.cancel()
            assert worker.cancelled_caught
            assert not background.child_tasks


SAYS_HELLO_AND_STAYS = HELLO.replace("(call $exit (i32.const STATUS))", "(loop $on (br $on))")


async def said_by(world: SparkWorld, task: bytes, words: str) -> str:
    """The log up to the chunk with these words."""
    text = ""
    async with open_store(world.place, world.signer, directory_allowed=world.root) as store:
        reader = LogReader(store, task, 0, REQUESTER_IDENTITY)
        while not text.endswith(words):
            text += (await reader.wait(0.05)).data.decode()
    return text


async def test_a_program_that_begins_again_says_so_before_its_lines_come_again(tmp_path: Path) -> None:
    """The agent was stopped in the run: what was said stays, and the requester sees why it is said twice."""
    world, code = SparkWorld(tmp_path), bytes(wat2wasm(SAYS_HELLO_AND_STAYS))
    lines = "EUB_PROGRESS 1/2\nhello\n"
    async with world.running():
        task = await world.matched(code)
        await world.grant(task, code)
        await world.until(world.is_at(task, Stage.RUNNING))
        assert await said_by(world, task, "hello\n") == lines
    again = "[spark] the spark's agent stopped; the program begins again, and its lines with it\n"
    async with world.running():
        assert await said_by(world, task, f"{again}{lines}") == f"{lines}{again}{lines}"
