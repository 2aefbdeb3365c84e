"""The requester's answers: accept, agree to a failure, reject, cancel, match by hand.

Here: one function per transaction, each repeat-safe.
Not here: asking first (eubchain/cli), prices (story.py).
Keeps: what was answered before is found, not answered again.
"""

from __future__ import annotations

from eubchain.client.sending import Final
from eubchain.client.task_run.journal import Journal
from eubchain.client.task_run.market import SEAT
from eubchain.client.task_run.requester import Requester, send_step
from vm.task.payloads import Accept, Cancel, Match, Reject

FAILED_SCORE, FAILED_STARS = 0, 3
"""Marks of an agreed failure; no rule reads them."""


async def accept(requester: Requester, journal: Journal, score: int, stars: int) -> Final:
    """Take the result: the spark is paid. `score` 0–100, `stars` 1–5."""
    return await send_step(requester, Accept(journal.task, SEAT, score, stars), journal)


async def agree(requester: Requester, journal: Journal) -> Final:
    """Agree that the application failed: the spark is paid for its time."""
    return await send_step(requester, Accept(journal.task, SEAT, FAILED_SCORE, FAILED_STARS), journal)


async def reject(requester: Requester, journal: Journal) -> Final:
    """Refuse the result or the claim: what would have been paid is burned."""
    return await send_step(requester, Reject(journal.task, SEAT), journal)


async def cancel(requester: Requester, task: bytes, journal: Journal | None = None) -> Final:
    """End the task; running seats end two blocks later, unless they deliver first."""
    return await send_step(requester, Cancel(task), journal)


async def match(requester: Requester, journal: Journal, spark: bytes) -> Final:
    """Take an offer for a task that is matched by hand."""
    return await send_step(requester, Match(journal.task, spark), journal)
