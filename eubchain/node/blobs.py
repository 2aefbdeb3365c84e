"""The blob store that a node serves: who the chain lets in, and when objects go.

Here: the question that the store asks about every request; purging what nobody needs any more.
Not here: the store itself (spark_node/storage), tasks (vm/task).
Keeps: only the requester and the spark of a seat reach its objects, each for its own direction: being
matched on chain is the authorisation, and no other list exists.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from consensus.types.receipt import Receipt
from vm.state import State
from vm.task.events import FORGOTTEN
from vm.task.records import SEATS, TASKS, seat_key

READ = frozenset({"GET", "HEAD"})
WRITE = frozenset({"PUT", "GET", "HEAD", "DELETE"})
REQUESTER_MAY = {"in": WRITE, "out": READ, "log": READ, "error": READ}
SPARK_MAY = {"in": READ, "out": WRITE, "log": WRITE, "error": WRITE}


def may_access(
    state: State, account: bytes, task_id: bytes, seat_number: int, kind: str, method: str
) -> bool:
    """Whether the chain makes `account` a party to this seat that may use `method` on `kind`."""
    task = state.get(TASKS, task_id)
    if task is None:
        return False
    if account == task.requester:
        return method in REQUESTER_MAY[kind]
    seat = state.get(SEATS, seat_key(task_id, seat_number))
    return seat is not None and seat.spark == account and method in SPARK_MAY[kind]


def gate(view: Callable[[], State]) -> Callable[[bytes, bytes, int, str, str], Awaitable[bool]]:
    """The question in the form that the store asks it."""

    async def ask(account: bytes, task_id: bytes, seat: int, kind: str, method: str) -> bool:
        return may_access(view(), account, task_id, seat, kind, method)

    return ask


def forgotten_tasks(receipts: tuple[Receipt, ...]) -> list[bytes]:
    """Tasks whose records the block deleted: their objects may go."""
    return [
        fact
        for receipt in receipts
        for event in receipt.events
        if event.code == FORGOTTEN.code and isinstance(fact := event.facts[0], bytes)
    ]
