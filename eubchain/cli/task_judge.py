"""A person's verdict on a result: score and stars asked or given, and what a no costs.

Here: `Judge`, the listener of `task run` and `task attach`.
Not here: what is shown meanwhile (task_screen.py), what an answer does (eubchain/client/task_run).
Keeps: where nobody can be asked a result is taken, unless its check is below the mark: then it is left
in review with the words about what each answer costs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from eubchain.cli.session import SESSION

if TYPE_CHECKING:
    from eubchain.cli.task_screen import Screen
    from eubchain.client.task_run.journal import JournalState
    from eubchain.client.task_run.market import Sight
    from eubchain.client.task_run.results import Fetched
    from eubchain.client.task_run.telling import Event, Verdict
    from spark_node.runtimes.log_lines import Progress

BEST_SCORE, BEST_STARS = 100, 5


class Judge:
    """Passes on to the screen what is told, and asks about the result."""

    def __init__(self, screen: Screen, state: JournalState, stars: int | None) -> None:
        self._screen, self._state, self._stars = screen, state, stars

    def told(self, event: Event) -> None:
        """Show it."""
        self._screen.told(event)

    def seen(self, sight: Sight) -> None:
        """Move the clock."""
        self._screen.seen(sight)

    def line(self, text: str) -> None:
        """Show it."""
        self._screen.line(text)

    def progress(self, progress: Progress) -> None:
        """Show it."""
        self._screen.progress(progress)

    def transferred(self, what: str, done: int, total: int) -> None:
        """Show it."""
        self._screen.transferred(what, done, total)

    async def judge(self, sight: Sight, fetched: Fetched, score: int | None) -> Verdict:
        """Ask where a person is there."""
        from eubchain.client.task_run.story import reject_words
        from eubchain.client.task_run.telling import Verdict

        can_ask = SESSION.can_ask and not SESSION.yes
        if score is not None and score < self._state.pass_mark:
            words = f"Rejecting: {reject_words(sight)}."
            SESSION.note(f"{words} Accepting pays the spark. Silence accepts.")
            if not can_ask:
                return Verdict("leave", score)
            return await self._paused(lambda: self._ask_about_bad(score))
        if not can_ask or self._stars is not None:
            return Verdict("accept", BEST_SCORE if score is None else score, self._stars or BEST_STARS)
        return await self._paused(lambda: self._ask_marks(score))

    async def _paused(self, ask: Callable[[], Verdict]) -> Verdict:
        """Ask in a thread, so that Ctrl-C detaches instead of waiting for an answer."""
        self._screen.pause()
        try:
            return await trio.to_thread.run_sync(ask, abandon_on_cancel=True)
        finally:
            self._screen.resume()

    def _ask_marks(self, score: int | None) -> Verdict:
        from eubchain.client.task_run.telling import Verdict

        marks = score if score is not None else _number("Score, 0 to 100", 0, 100, BEST_SCORE)
        return Verdict("accept", marks, _number("Stars, 1 to 5", 1, 5, BEST_STARS))

    def _ask_about_bad(self, score: int) -> Verdict:
        from eubchain.client.task_run.telling import Verdict

        if SESSION.ask("Reject it?"):
            return Verdict("reject", score)
        if SESSION.ask("Accept it?"):
            return Verdict("accept", score, self._stars or _number("Stars, 1 to 5", 1, 5, 1))
        return Verdict("leave", score)


def _number(question: str, least: int, most: int, usual: int) -> int:
    """Ask for a number until it is one; Enter, or the end of input, gives the usual one."""
    while True:
        print(f"{question} [{usual}] ", end="", file=sys.stderr, flush=True)
        text = sys.stdin.readline().strip()
        if not text:
            return usual
        if text.isascii() and text.isdigit() and least <= int(text) <= most:
            return int(text)
