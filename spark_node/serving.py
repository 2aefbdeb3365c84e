"""The agent's own small store: results that a requester's store refused, served to the task's parties.

Here: who may reach what, the listening server. Not here: the store itself (storage/blob_server.py).
Keeps: only a task's requester and this spark reach its objects, each for its own direction, because the
chain says that they are parties; nothing is accepted from strangers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from consensus.types.errors import Fault
from spark_node.chain import Chain
from spark_node.storage.blob_server import blob_application
from spark_node.storage.http_serving import serve_http
from spark_node.storage.shelf import Shelf

READ = frozenset({"GET", "HEAD"})


def gate(chain: Chain) -> Callable[[bytes, bytes, int, str, str], Awaitable[bool]]:
    """The question that the store asks about every request."""

    async def ask(account: bytes, task: bytes, seat: int, kind: str, method: str) -> bool:
        try:
            view = await chain.task(task)
        except Fault:
            # Without the chain nobody can be told apart from a stranger.
            return False
        if view is None:
            return False
        is_own = any(s.number == seat and s.spark == chain.address for s in view.seats)
        if account == view.requester and is_own:
            return method in READ
        # The agent's own log goes through the same door as it would elsewhere.
        return account == chain.address and is_own and kind in ("out", "log", "error")

    return ask


async def serve_shelf(
    shelf: Shelf,
    chain: Chain,
    now_s: Callable[[], int],
    listen: str,
    *,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; tells its own URL once it listens. Raises OSError when it cannot."""
    application = blob_application(shelf, gate(chain), genesis=chain.genesis, now_s=now_s)
    await serve_http(application, listen, trio.Event(), task_status=task_status)
