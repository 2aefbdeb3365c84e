"""Who is told about a task and decides about its result: what the screen, a program or a page implements.

Here: `Event`, `Verdict`, `Listener`. Not here: when they are told (following.py), words (story.py).
Keeps: an event is complete in itself: its text for a person, its facts for a program.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol

from eubchain.client.task_run.market import Sight
from eubchain.client.task_run.results import Fetched
from spark_node.runtimes.log_lines import Progress

Kind = Literal[
    "posted", "offers", "uploaded", "matched", "granted", "started", "delivered", "failed", "fetched",
    "scored", "answered", "left", "closed", "expired", "away", "log_lost", "reserved", "lost",
]  # fmt: skip


class Event(NamedTuple):
    """Something that happened, in words and as facts."""

    kind: Kind
    text: str
    facts: dict[str, Any]


class Verdict(NamedTuple):
    """What the requester says to a result."""

    answer: Literal["accept", "reject", "leave"]
    score: int = 100
    stars: int = 5


class Listener(Protocol):
    """Who is told, and who decides about a result."""

    def told(self, event: Event) -> None:
        """Something happened."""
        ...

    def seen(self, sight: Sight) -> None:
        """The task as it stands, at every look: for clocks that move."""
        ...

    def line(self, text: str) -> None:
        """A line that the program printed."""
        ...

    def progress(self, progress: Progress) -> None:
        """The program's own account of how far it is."""
        ...

    def transferred(self, what: str, done: int, total: int) -> None:
        """Bytes of an upload or download so far."""
        ...

    async def judge(self, sight: Sight, fetched: Fetched, score: int | None) -> Verdict:
        """Decide about a result; `score` is the local check's."""
        ...
