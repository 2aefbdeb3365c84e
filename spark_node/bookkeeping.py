"""Money that blocks move by themselves: proofs paid, forfeits burned or returned, deposits lost in a draw.

Here: `Bookkeeping`, which reads the account's events block by block into the journal.
Not here: what the agent's own transactions and seats move (workplace.py, seats.py), sums (earnings.py).
Keeps: every height is read once, also after a crash or a day offline: the newest mark in the journal says
where to go on, and an event that was read twice counts once.
"""

from __future__ import annotations

import trio

from spark_node.chain import EVENT_BLOCKS_MAX, OwnEvent
from spark_node.journal import Money, SeatNote, read_money
from spark_node.workplace import Workplace

KINDS = {
    "proof_paid": ("proof", 1),
    "reward_paid": ("reward", 1),
    "task_forfeit_returned": ("forfeit", 1),
}
"""Events that move the balance: kind of money, sign of `amount`."""
MARK_BLOCKS = 100
"""A mark is written at least so often, and whenever something was entered."""


class Bookkeeping:
    """How far the blocks' own events are entered."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._marked = 0

    async def catch_up(self, workplace: Workplace) -> None:
        """Enter what happened up to the newest height."""
        head = workplace.heights.height
        if self._next is None:
            self._next = await trio.to_thread.run_sync(_next_height, workplace, head)
            self._marked = self._next
        while self._next <= head:
            last = min(head, self._next + EVENT_BLOCKS_MAX - 1)
            events = await workplace.chain.events(self._next, last)
            for event in events:
                await _enter(workplace, event)
            if events or last - self._marked >= MARK_BLOCKS:
                mark = Money(workplace.now_ms(), last, "mark", 0)
                await trio.to_thread.run_sync(workplace.journal.pay, mark)
                self._marked = last
            self._next = last + 1


def _next_height(workplace: Workplace, head: int) -> int:
    """Behind the newest mark; a new journal begins with the present."""
    marks = [entry.height for entry in read_money(workplace.folder.money) if entry.kind == "mark"]
    if marks:
        return max(marks) + 1
    workplace.journal.pay(Money(workplace.now_ms(), head, "mark", 0))
    return head + 1


async def _enter(workplace: Workplace, event: OwnEvent) -> None:
    facts = event.facts
    task = str(facts.get("task", ""))
    if event.name in KINDS:
        kind, sign = KINDS[event.name]
        await _pay(workplace, event, kind, sign * int(facts["amount"]), task)
    elif event.name == "task_offer_forfeited":
        # The draw's follow-up takes every deposit for returned; this one was not.
        await _pay(workplace, event, "deposit", -int(facts["deposit"]), task)
    if event.name in ("task_forfeit_returned", "task_forfeit_burned"):
        note = workplace.journal.notes.get((bytes.fromhex(task), int(facts["seat"])))
        if note is not None:
            await _tell_forfeit(workplace, note, event)


async def _pay(workplace: Workplace, event: OwnEvent, kind: str, grains: int, task: str) -> None:
    entry = Money(
        workplace.now_ms(), event.height, kind, grains, task, event=f"{event.height}:{event.number}"
    )
    await trio.to_thread.run_sync(workplace.journal.pay, entry)


async def _tell_forfeit(workplace: Workplace, note: SeatNote, event: OwnEvent) -> None:
    if event.name == "task_forfeit_returned":
        what = "the epoch was an outage: the held gas came back, and nobody's memory changes"
    else:
        what = "the epoch closed and was no outage: the held gas is burned"
    await workplace.tell(note, f"{what} (block {event.height})")
