"""The sender of a seat's log: whoever leaves the log leaves nobody behind at its spool."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import trio

from consensus.types.errors import Fault
from spark_node.sealed_log import SealedLog
from spark_node.storage.age_keys import identity_from_secret, recipient_of
from spark_node.storage.blob import PLACE_UNREACHABLE
from spark_node.storage.directory import DirectoryStore
from spark_node.storage.objects import ObjectName
from spark_node.storage.store import Progress, Stored

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
