"""Looking for work: offers for open tasks, and what came of them.

Here: `Market`: one look at the open tasks, following offers to their draw, money that offers hold.
Not here: the decision (offering.py), the counts for `status` (market_notes.py).
Keeps: an offer is noted, with the gas that winning would lock, before it is sent; a task is asked of the
runtime once, before anything is locked.
"""

from __future__ import annotations

import trio

from consensus.types.errors import Fault
from spark_node.chain import Refused, TaskView
from spark_node.folder import Folder
from spark_node.market_notes import ENDED, LOST, STANDS, WON, MarketNotes, Row
from spark_node.offering import Bid, Lent, Situation, WhyNot, decide
from spark_node.policy import Policy
from spark_node.workplace import Workplace, log
from vm.task.payloads import Offer

ALREADY_OFFERED = "already_offered"


class Market:
    """The agent's side of the market."""

    def __init__(self, folder: Folder) -> None:
        self.notes = MarketNotes(folder.market)
        self._cannot: dict[bytes, str] = {}
        """Tasks that a runtime refused, with its words; asked once."""

    async def look(self, workplace: Workplace, policy: Policy, lent: Lent, now: Situation) -> None:
        """Look at every open task once; make the offers that pay."""
        rows = self.notes.rows
        for view in await workplace.chain.open_tasks():
            row = rows.get(view.task)
            if row is not None and row.result:
                continue
            if view.offers_end <= workplace.heights.height:
                continue
            decided = decide(policy, lent, now, view)
            if isinstance(decided, Bid) and not await self._can_run(workplace, view):
                self._refuse(workplace, view, WhyNot.CANNOT_RUN, decided.price)
            elif isinstance(decided, Bid):
                if await self._offer(workplace, view, decided):
                    reserved = view.post.not_before > now.height
                    now = now._replace(
                        spendable=now.spendable - decided.deposit,
                        committed=now.committed + decided.gas,
                        slots_free=now.slots_free - (not reserved),
                    )
            else:
                self._refuse(workplace, view, decided.why, decided.asks)
        await self._keep()

    def committed(self) -> int:
        """Gas that the offers which stand would lock; grains."""
        return sum(row.gas for row in self.notes.standing())

    def _refuse(self, workplace: Workplace, view: TaskView, why: WhyNot, asks: int) -> None:
        self.notes.refuse(view.task, view.offers_end, workplace.now_ms(), why, asks)

    async def _can_run(self, workplace: Workplace, view: TaskView) -> bool:
        """Whether the runtime would take it: a missing image is found before a deposit is locked."""
        assert view.spec is not None, "decided upon"
        if view.task not in self._cannot:
            try:
                await workplace.runtimes[view.spec.runtime].check(view.spec)
            except Fault as fault:
                self._cannot[view.task] = str(fault)
                log.info("cannot run a task", task=view.task.hex()[:16], why=str(fault))
            else:
                self._cannot[view.task] = ""
        return not self._cannot[view.task]

    async def _offer(self, workplace: Workplace, view: TaskView, bid: Bid) -> bool:
        row = Row(view.task, workplace.now_ms(), view.offers_end, "", bid.price, bid.gas, 0, STANDS)
        self.notes.rows[view.task] = row
        await self._keep()
        try:
            await workplace.submit(view.task, Offer(view.task, bid.role, bid.price, bid.promise))
        except Refused as refused:
            if refused.wording.name == ALREADY_OFFERED:
                return True
            row.result, row.why = "", WhyNot.REFUSED.value
            log.info("the chain refused an offer", task=view.task.hex()[:16], why=str(refused))
            return False
        except Fault:
            # Never sent, or expired: nothing is locked, and the next look decides anew.
            row.result = ""
            raise
        row.deposit = bid.deposit
        await workplace.pay("deposit", -bid.deposit, view.task, once="offered")
        log.info("offered", task=view.task.hex()[:16], price=bid.price, promise=bid.promise)
        return True

    def won(self) -> list[bytes]:
        """Tasks that were won, as far as they are remembered."""
        return [row.task for row in self.notes.rows.values() if row.result == WON]

    async def follow(self, workplace: Workplace) -> None:
        """See what came of the tasks whose draw has been."""
        height = workplace.heights.height
        found = False
        for row in self.notes.undecided():
            # An offer may be taken by hand at any time; tasks without one wait for their draw.
            if row.result != STANDS and row.offers_end >= height:
                continue
            view = await workplace.chain.task(row.task)
            if view is not None and view.is_open:
                continue
            found = True
            self._cannot.pop(row.task, None)
            stood = row.result == STANDS
            _settle(row, view, workplace.chain.address)
            if stood:
                # Taken for returned; bookkeeping.py enters the draw's own word where it was not.
                await workplace.pay("deposit", row.deposit, row.task, once="returned")
                log.info("the draw was held", task=row.task.hex()[:16], result=row.result)
        if found:
            await self._keep()

    async def _keep(self) -> None:
        await trio.to_thread.run_sync(self.notes.keep)


def _settle(row: Row, view: TaskView | None, address: bytes) -> None:
    seats = view.seats if view is not None else ()
    if not seats:
        row.result = ENDED
    elif any(seat.spark == address for seat in seats):
        row.result = WON
    else:
        row.result, row.won_at = LOST, min(seat.price for seat in seats)
