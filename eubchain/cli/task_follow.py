"""Following a task on a screen: until its end, or until Ctrl-C leaves it to itself.

Here: `drive`, the exit code of an end, detaching with the lines and prices of what may follow.
Not here: what is shown (task_screen.py), the verdict (task_judge.py), the following itself
(eubchain/client/task_run/following.py).
Keeps: Ctrl-C never ends a task by itself; before the job is handed over it asks, for nobody else can.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import trio

from eubchain.cli.session import FAILED, INTERRUPTED, SESSION

if TYPE_CHECKING:
    from eubchain.cli.task_screen import Screen
    from eubchain.client.task_run.following import Followed
    from eubchain.client.task_run.journal import Journal
    from eubchain.client.task_run.requester import Requester


def leave(code: int) -> NoReturn:
    """End the command with this code.

    Not by `typer.Exit`: its code 130 would be told as an interruption, and detaching has told its own.
    """
    sys.exit(code)


async def drive(requester: Requester, journal: Journal, stars: int | None) -> tuple[int, Followed | None]:
    """Follow on a screen until the end or Ctrl-C; returns the exit code."""
    from dataclasses import replace

    from eubchain.cli.task_screen import Screen

    screen = Screen(requester.interval_ms)
    requester = replace(requester, waiting=screen.waiting)
    while True:
        followed = await _follow_until_signal(requester, journal, screen, stars)
        if followed is not None:
            return _ended(followed, journal), followed
        if not await _detach(requester, journal, screen):
            return INTERRUPTED, None


async def _follow_until_signal(
    requester: Requester, journal: Journal, screen: Screen, stars: int | None
) -> Followed | None:
    from eubchain.cli.task_judge import Judge
    from eubchain.client.task_run.following import follow

    listener = Judge(screen, journal.state, stars)
    followed: Followed | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            nursery.start_soon(screen.tick)
            followed = await follow(requester, journal, listener)
            nursery.cancel_scope.cancel()
    return followed


def _ended(followed: Followed, journal: Journal) -> int:
    task = journal.state.task
    if followed.closing is None:
        what = "expired" if followed.sight is None else "left in review"
        SESSION.result({"task": task, "outcome": what, "ok": False}, f"task {task[:12]}: {what}")
        if followed.sight is not None:
            SESSION.follow(f"eubchain task accept {task[:12]}   or: eubchain task reject {task[:12]}")
        return FAILED
    closing = followed.closing
    if SESSION.json:
        SESSION.result({"ok": closing.is_good, **closing.facts})
    elif closing.is_good:
        SESSION.follow(f"ls {journal.state.result_path}")
    else:
        SESSION.follow(f"eubchain task report {task[:12]}")
    return 0 if closing.is_good else FAILED


async def _detach(requester: Requester, journal: Journal, screen: Screen) -> bool:
    """After Ctrl-C: say how to come back and what stopping costs; True to stay after all."""
    from consensus.types.amounts import format_eubc
    from eubchain.client.task_run.answering import cancel
    from eubchain.client.task_run.story import cancel_quote

    task = journal.state.task[:12]
    sight = screen.sight
    quote = None if sight is None or sight.is_final else cancel_quote(sight)
    costs = f" (costs about {format_eubc(quote.cost)} EUBC)" if quote is not None else ""
    if quote is not None and not screen.is_granted and SESSION.can_ask:
        # Without the job the task cannot go on: leaving now would pay the spark for waiting.
        SESSION.note("The job is not handed over yet; nobody else can do that.")
        if not SESSION.ask(f"Cancel the task{costs}? (n goes on)"):
            SESSION.note("going on with it")
            return True
        await cancel(requester, journal.task, journal)
        journal.note(is_told=True)
        SESSION.result({"task": journal.state.task, "outcome": "cancelled"}, f"task {task} cancelled")
        return False
    if quote is not None and not screen.is_granted:
        SESSION.note("the job is not handed over: attach soon, or the wait costs 5 % of the price")
    lines = {verb: SESSION.line(f"eubchain task {verb} {task}") for verb in ("attach", "cancel")}
    if SESSION.json:
        cost = None if quote is None else str(quote.cost)
        SESSION.result({"detached": True, "task": journal.state.task, **lines, "cancel_cost": cost})
    else:
        SESSION.note("detached; the task goes on.")
        SESSION.note(f"  follow: {lines['attach']}")
        if quote is not None:
            SESSION.note(f"  stop:   {lines['cancel']}{costs}")
    return False
