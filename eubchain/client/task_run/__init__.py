"""Running a task from a program: post, match, grant, watch, fetch, answer.

    from eubchain.client.connection import Connection
    from eubchain.client.network import learn_network
    from eubchain.client.task_run import Order, Quiet, Requester, run_task

    async with Connection("http://127.0.0.1:26650") as node:
        requester = Requester(node, await learn_network(node), key.public, home, key)
        order = Order(maximum=eubc(1), time_s=60, module=Path("words.wasm"), input=Path("data"))
        ended = await run_task(requester, order, Quiet())
        print(ended.closing.money, ended.closing.facts["output"])

Here: `run_task` and the names above. Not here: each step (the modules beside), the command (eubchain/cli).
Keeps: repeating a call after a crash follows the task that was begun, and pays once.
"""

from __future__ import annotations

from eubchain.client.task_run.following import Followed, follow
from eubchain.client.task_run.market import Sight
from eubchain.client.task_run.order import Order
from eubchain.client.task_run.posting import find_begun, sign_post
from eubchain.client.task_run.preview import preview_order
from eubchain.client.task_run.requester import Requester
from eubchain.client.task_run.results import Fetched
from eubchain.client.task_run.telling import Event, Listener, Verdict
from spark_node.runtimes.log_lines import Progress

__all__ = ["Event", "Followed", "Listener", "Order", "Quiet", "Requester", "Verdict", "run_task"]


class Quiet:
    """A listener for programs: keeps events and lines; takes a result unless its check is below the mark."""

    def __init__(self, pass_mark: int = 60) -> None:
        self.events: list[Event] = []
        self.lines: list[str] = []
        self.pass_mark = pass_mark

    def told(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)

    def seen(self, sight: Sight) -> None:
        """Nobody watches the clock."""

    def line(self, text: str) -> None:
        """Keep it."""
        self.lines.append(text)

    def progress(self, progress: Progress) -> None:
        """Nobody watches it."""

    def transferred(self, what: str, done: int, total: int) -> None:
        """Nobody watches it."""

    async def judge(self, sight: Sight, fetched: Fetched, score: int | None) -> Verdict:
        """Take it, or leave it to a person."""
        if score is not None and score < self.pass_mark:
            return Verdict("leave", score)
        return Verdict("accept", 100 if score is None else score)


async def run_task(requester: Requester, order: Order, listener: Listener) -> Followed:
    """Post an order, or follow the one that this very order began before a crash, to its end."""
    async with requester.journals.held():
        journal = await find_begun(requester, order)
        if journal is None:
            journal = await sign_post(requester, await preview_order(requester, order))
    return await follow(requester, journal, listener)
