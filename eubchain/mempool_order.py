"""The two orders of what waits: what a block takes first, and what leaves first when there is no room.

Here: `Heads` (each sender's next transaction, those that are due, the order for a block), `Prices` (the
cheapest, without those that a live proposal needs).
Not here: what waits and its bounds (mempool.py), whether the state makes something due (the caller asks vm).
Keeps: both follow every entrance and leaving at once, so that nothing here looks at everything that waits in
one go; a transaction that was due lately comes first, all others of its type stand among the ordinary ones.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from typing import Any

import msgspec

from consensus.types.transaction import Candidate

SLICE_HEADS = 1_024
"""Senders put in order between two pauses: about a millisecond."""
DUE_CHECKS_MAX = 256
"""Waiting transactions that a block asks whether they have become due: some 5 ms, in slices."""
SLICE_DUE_CHECKS = 32
TIP_BITS, ORDER_BITS = 70, 64
"""Of a rank: tips and prices stay below 2**63, arrivals are counted."""
EMPTY_MAX = 1_000
"""Prices at which nothing waits any more and which may stay in the heap before it is made anew."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A waiting transaction."""

    candidate: Candidate[Any]
    cost_max: int
    """Grains it can cost at most: its fee and what it moves out."""
    order: int
    """Arrival, which breaks ties of price."""


IsDue = Callable[[Candidate[Any]], bool]
Queues = dict[bytes, dict[int, Entry]]
"""What each sender has waiting, by nonce."""


class Heads:
    """Each sender's next transaction, over the pool's own queues."""

    def __init__(self, queues: Queues, is_lane_type: IsDue) -> None:
        self._queues, self._is_lane_type = queues, is_lane_type
        self._next: dict[bytes, int] = {}
        """The nonce that each sender with something waiting has reached on the chain."""
        self._heads: dict[bytes, Entry] = {}
        self._due: dict[bytes, None] = {}
        """Senders whose head was due when it was last asked."""
        self._undue: OrderedDict[bytes, None] = OrderedDict()
        """Senders whose head could become due, those asked longest ago first."""

    def reached(self, sender: bytes, nonce: int) -> None:
        """Told of a sender's nonce on the chain, or that its queue has changed; finds its head."""
        queue = self._queues.get(sender)
        if queue is None:
            entry = None
            self._next.pop(sender, None)
        else:
            entry = queue.get(nonce)
            self._next[sender] = nonce
        if entry is self._heads.get(sender):
            return
        self._due.pop(sender, None)
        self._undue.pop(sender, None)
        if entry is None:
            del self._heads[sender]
            return
        self._heads[sender] = entry
        if self._is_lane_type(entry.candidate):
            self._undue[sender] = None

    def left(self, sender: bytes) -> None:
        """Told that one of a sender's transactions has gone."""
        self.reached(sender, self._next.get(sender, -1))

    def found_due(self, candidate: Candidate[Any]) -> None:
        """Told that a transaction is due; it matters while it is its sender's next."""
        sender = candidate.transaction.body.sender
        head = self._heads.get(sender)
        if head is not None and head.candidate is candidate and sender in self._undue:
            del self._undue[sender]
            self._due[sender] = None

    def found_undue(self, candidate: Candidate[Any]) -> None:
        """Told that a transaction was refused as not due: it is asked again in its turn."""
        sender = candidate.transaction.body.sender
        head = self._heads.get(sender)
        if head is not None and head.candidate is candidate and sender in self._due:
            del self._due[sender]
            self._undue[sender] = None

    def for_block(self, base_price: int, is_due: IsDue) -> Generator[None, None, Iterator[Candidate[Any]]]:
        """Stepwise: the order in which a block at this price takes what waits.

        What is due first, then by the tip that the proposer would get, each sender's in nonce order.
        """
        for count, sender in enumerate(list(self._undue)[:DUE_CHECKS_MAX], 1):
            head = self._heads.get(sender)
            if head is not None and sender in self._undue:
                self._undue.move_to_end(sender)
                if is_due(head.candidate):
                    self.found_due(head.candidate)
            if not count % SLICE_DUE_CHECKS:
                yield
        ranked = _Ranked()
        for count, sender in enumerate(list(self._heads), 1):
            head = self._heads.get(sender)
            if head is not None:
                ranked.add(head, base_price, is_due=sender in self._due)
            if not count % SLICE_HEADS:
                yield
        return self._taken(ranked, base_price)

    def _taken(self, ranked: _Ranked, base_price: int) -> Iterator[Candidate[Any]]:
        while (entry := ranked.take()) is not None:
            body = entry.candidate.transaction.body
            queue = self._queues.get(body.sender, {})
            if queue.get(body.nonce) is not entry:
                continue  # it left, or was replaced, while the order was made
            yield entry.candidate
            following = queue.get(body.nonce + 1)
            if following is not None:
                ranked.add(following, base_price, is_due=False)


class _Ranked:
    """A heap of what a block could take.

    Of plain integers, whose allocation wakes no garbage collector: fifty thousand tuples cost ten
    milliseconds in one go.
    """

    def __init__(self) -> None:
        self._ranks: list[int] = []
        self._entries: dict[int, Entry] = {}

    def add(self, entry: Entry, base_price: int, *, is_due: bool) -> None:
        """Add what is due, or can pay the price: the greater its tip the earlier, then as they came."""
        body = entry.candidate.transaction.body
        tip = min(body.tip, body.max_price - base_price)
        if is_due or tip >= 0:
            group = 0 if is_due else 1
            heapq.heappush(self._ranks, (((group << TIP_BITS) - tip) << ORDER_BITS) | entry.order)
            self._entries[entry.order] = entry

    def take(self) -> Entry | None:
        """The first; None when none is left."""
        if not self._ranks:
            return None
        return self._entries.pop(heapq.heappop(self._ranks) & (1 << ORDER_BITS) - 1)


class Prices:
    """What waits, by max_price, for eviction."""

    def __init__(self) -> None:
        self._at: dict[int, dict[bytes, None]] = {}
        """txids by price, the latest last."""
        self._sorted: list[int] = []
        """The prices, as a heap; one at which nothing waits any more stays until it is met."""
        self._empty = 0

    def add(self, price: int, txid: bytes) -> None:
        """Something waits."""
        alike = self._at.get(price)
        if alike is None:
            alike = self._at[price] = {}
            heapq.heappush(self._sorted, price)
        elif not alike:
            self._empty -= 1
        alike[txid] = None

    def remove(self, price: int, txid: bytes) -> None:
        """It left, or may not be evicted now."""
        alike = self._at.get(price)
        if alike is not None and txid in alike:
            del alike[txid]
            if not alike:
                self._empty += 1
        if self._empty > EMPTY_MAX + len(self._at) // 2:
            self._at = {price: alike for price, alike in self._at.items() if alike}
            self._sorted = list(self._at)
            heapq.heapify(self._sorted)
            self._empty = 0

    def cheapest(self) -> bytes | None:
        """What leaves first: the lowest price, of equal ones the latest; None if nothing may leave."""
        while self._sorted:
            alike = self._at[self._sorted[0]]
            if alike:
                return next(reversed(alike))
            del self._at[heapq.heappop(self._sorted)]
            self._empty -= 1
        return None
