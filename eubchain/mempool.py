"""The mempool: transactions that wait for a block, in bounds and in the order a block takes them.

Here: admission, replacement, eviction, what a live proposal keeps here, what leaves after a block.
Not here: signatures (checked before admission, once per node: eubchain/node/workers.py), execution; the
orders for building and for eviction (mempool_order.py).
Keeps: one transaction per sender and nonce; never more than its counts and bytes; what evicts pays
more than what it evicts; nothing here decides validity, so a wrong guess costs a skipped candidate.
Errors: 2200–2204, 2208; 1011–1013 as blocks refuse them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from consensus.types.errors import Reason, Rejected
from consensus.types.transaction import Candidate
from eubchain.mempool_order import Entry, Heads, IsDue, Prices
from vm.inclusion import EXPIRED, LIFETIME_TOO_LONG, PRICE_TOO_LOW

NONCE_WINDOW = 64
"""How far ahead of the account's nonce a transaction may wait."""
REPLACEMENT_PERCENT = 110
"""What a replacement must offer of the price and tip that it replaces."""
SEEN_MAX = 200_000
"""Identities remembered after they left, so that gossip cannot bring them back to be checked again."""
EVIDENCE_MAX = 64
HELD_BLOCKS_MAX = 3
"""Live proposals whose transactions are kept: of two rounds, and one to come."""
SLICE_LEAVING = 128
"""Transactions that leave between two pauses: about a millisecond."""

NONCE_USED = Reason(
    2200,
    "nonce_used",
    "sender:address nonce:count next:count",
    "{sender} has used nonce {nonce} already; its next is {next}.",
    "If this is a payment sent before, it was included: see `eubchain wallet history`.",
)
NONCE_TOO_FAR = Reason(
    2201,
    "nonce_too_far",
    "sender:address nonce:count next:count",
    "Nonce {nonce} of {sender} is too far ahead; the next is {next}.",
    "Send the transactions in between first.",
)
REPLACEMENT_TOO_CHEAP = Reason(
    2202,
    "replacement_too_cheap",
    "sender:address nonce:count need:count",
    "{sender} has a transaction with nonce {nonce} waiting; replacing it needs a price of {need} or more.",
    "Raise the maximum price and the tip by a tenth, or wait for the first to be included.",
)
MEMPOOL_FULL = Reason(
    2203,
    "mempool_full",
    "need:count",
    "The node's queue is full; a transaction needs a price above {need} to enter.",
    "Raise the maximum price, or try again in a few blocks.",
)
SENDER_FULL = Reason(
    2204,
    "sender_full",
    "sender:address limit:count",
    "{sender} has {limit} transactions waiting, the most for one account.",
    "Wait until some are included.",
)
PENDING_EXCEEDS_BALANCE = Reason(
    2208,
    "pending_exceeds_balance",
    "sender:address have:eubc need:eubc",
    "{sender} has {have}; this and what already waits may cost {need}.",
    "Wait for the waiting ones, or send less.",
)


class Limits(NamedTuple):
    """How much may wait."""

    count_max: int = 50_000
    bytes_max: int = 64 * 2**20
    per_sender_max: int = 64


class Sender(msgspec.Struct, frozen=True, gc=False):
    """What admission needs to know of an account."""

    nonce: int
    spendable: int


class Pricing(NamedTuple):
    """What the rules say about a transaction's cost, injected so that this room knows no rules."""

    cost_max: Callable[[Candidate[Any]], int]
    is_lane_type: Callable[[Candidate[Any]], bool]
    is_evidence: Callable[[Candidate[Any]], bool]


class Mempool:
    """The waiting transactions of one node."""

    def __init__(self, pricing: Pricing, min_price: int, max_ttl: int, limits: Limits | None = None) -> None:
        self._pricing = pricing
        self._min_price = min_price
        self._max_ttl = max_ttl
        self._limits = limits or Limits()
        self._queues: dict[bytes, dict[int, Entry]] = {}
        self._waiting_cost: dict[bytes, int] = {}
        """What each sender's waiting transactions can cost together, grains."""
        self._by_txid: dict[bytes, Entry] = {}
        self._by_wtxid: dict[bytes, Entry] = {}
        self._by_raw: dict[bytes, Candidate[Any]] = {}
        """By their bytes, which are of these very objects: finding one costs less than naming it."""
        self._evidence: OrderedDict[bytes, Candidate[Any]] = OrderedDict()
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._heads = Heads(self._queues, pricing.is_lane_type)
        self._prices = Prices()
        self._held: OrderedDict[bytes, frozenset[bytes]] = OrderedDict()
        """wtxids by live proposal: nothing of them is evicted."""
        self._replaced: dict[bytes, Candidate[Any]] = {}
        """Transactions of live proposals that were replaced meanwhile: their bytes stay at hand."""
        self._spared: list[Entry] = []
        """What eviction met and passed over, for a live proposal's sake."""
        self._until: dict[int, set[bytes]] = {}
        """txids by the last height that may include them, so that expiry looks at one set a block."""
        self._order = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._by_txid)

    def get(self, txid: bytes) -> Candidate[Any] | None:
        """The waiting transaction with this txid."""
        entry = self._by_txid.get(txid)
        return entry.candidate if entry else None

    def by_wtxid(self, wtxid: bytes) -> Candidate[Any] | None:
        """The waiting transaction with exactly these bytes."""
        entry = self._by_wtxid.get(wtxid)
        return entry.candidate if entry else self._evidence.get(wtxid) or self._replaced.get(wtxid)

    def by_raw(self, raw: bytes) -> Candidate[Any] | None:
        """The waiting transaction with exactly these bytes, evidence apart, for whoever has no name of it."""
        return self._by_raw.get(raw)

    def knows(self, wtxid: bytes) -> bool:
        """Whether these bytes wait here or were here lately; gossip asks before it checks a signature."""
        return wtxid in self._by_wtxid or wtxid in self._seen or wtxid in self._evidence

    def wtxids(self) -> list[bytes]:
        """The names of everything that waits, evidence apart: what a new peer is told of."""
        return list(self._by_wtxid)

    def evidence(self) -> list[bytes]:
        """Evidence that waits for a block, the oldest first."""
        return [candidate.raw for candidate in self._evidence.values()]

    def pending_nonce(self, sender: bytes, nonce: int) -> int:
        """The nonce after the account's waiting run that starts at `nonce`."""
        queue = self._queues.get(sender, {})
        while nonce in queue:
            nonce += 1
        return nonce

    def of_sender(self, sender: bytes) -> list[Candidate[Any]]:
        """An account's waiting transactions by nonce."""
        queue = self._queues.get(sender, {})
        return [queue[nonce].candidate for nonce in sorted(queue)]

    def add(
        self, candidate: Candidate[Any], sender: Sender, next_height: int, *, is_due: bool = False
    ) -> bool:
        """Take a transaction whose signature verified; False when it waits already; raise `Rejected`.

        `is_due` says that the state at the head makes it due: a block looks at it first.
        """
        if candidate.txid in self._by_txid:
            return False
        if self._pricing.is_evidence(candidate):
            return self._add_evidence(candidate)
        self._check(candidate, sender, next_height)
        body = candidate.transaction.body
        queue = self._queues.get(body.sender, {})
        replaced = queue.get(body.nonce)
        if replaced is not None:
            self._check_replacement(candidate, replaced)
        elif len(queue) >= self._limits.per_sender_max:
            raise Rejected(SENDER_FULL, sender=body.sender, limit=self._limits.per_sender_max)
        cost = self._pricing.cost_max(candidate)
        waiting = self._waiting_cost.get(body.sender, 0) - (replaced.cost_max if replaced else 0)
        if waiting + cost > sender.spendable:
            raise Rejected(
                PENDING_EXCEEDS_BALANCE, sender=body.sender, have=sender.spendable, need=waiting + cost
            )
        if replaced is not None:
            self._remove(replaced)
        try:
            self._make_room(candidate)
        except Rejected:
            if replaced is not None:
                self._insert(replaced)  # whoever cannot replace it keeps it; its room is still there
                self._heads.reached(body.sender, sender.nonce)
            raise
        self._insert(Entry(candidate, cost, self._order))
        self._heads.reached(body.sender, sender.nonce)
        if is_due:
            self._heads.found_due(candidate)
        if replaced is not None and self._is_held(replaced.candidate.wtxid):
            self._replaced[replaced.candidate.wtxid] = replaced.candidate
        return True

    def _check(self, candidate: Candidate[Any], sender: Sender, next_height: int) -> None:
        body = candidate.transaction.body
        if body.nonce < sender.nonce:
            raise Rejected(NONCE_USED, sender=body.sender, nonce=body.nonce, next=sender.nonce)
        if body.nonce >= sender.nonce + NONCE_WINDOW:
            raise Rejected(NONCE_TOO_FAR, sender=body.sender, nonce=body.nonce, next=sender.nonce)
        if body.valid_until < next_height:
            raise Rejected(EXPIRED, valid_until=body.valid_until, height=next_height)
        if body.valid_until > next_height + self._max_ttl:
            raise Rejected(
                LIFETIME_TOO_LONG, valid_until=body.valid_until, latest=next_height + self._max_ttl
            )
        if body.max_price < self._min_price:
            raise Rejected(PRICE_TOO_LOW, max_price=body.max_price, price=self._min_price)

    def _check_replacement(self, candidate: Candidate[Any], old: Entry) -> None:
        new, before = candidate.transaction.body, old.candidate.transaction.body
        need = -(-before.max_price * REPLACEMENT_PERCENT // 100)
        tip = -(-before.tip * REPLACEMENT_PERCENT // 100)
        if new.max_price < need or new.tip < tip:
            raise Rejected(REPLACEMENT_TOO_CHEAP, sender=new.sender, nonce=new.nonce, need=need)

    def _add_evidence(self, candidate: Candidate[Any]) -> bool:
        if candidate.wtxid in self._evidence or len(self._evidence) >= EVIDENCE_MAX:
            return False
        offender = candidate.transaction.body.payload.key
        if any(c.transaction.body.payload.key == offender for c in self._evidence.values()):
            return False
        self._evidence[candidate.wtxid] = candidate
        return True

    def _make_room(self, candidate: Candidate[Any]) -> None:
        """Evict the cheapest, never for something that pays no more, nor what a live proposal names."""
        size = len(candidate.raw)
        price = candidate.transaction.body.max_price
        while len(self._by_txid) >= self._limits.count_max or self.bytes + size > self._limits.bytes_max:
            txid = self._prices.cheapest()
            if txid is None:
                raise Rejected(MEMPOOL_FULL, need=price)
            cheapest = self._by_txid[txid]
            least = cheapest.candidate.transaction.body.max_price
            if least >= price:
                raise Rejected(MEMPOOL_FULL, need=least)
            if self._is_held(cheapest.candidate.wtxid):
                self._prices.remove(least, txid)
                self._spared.append(cheapest)
            else:
                self._remove(cheapest)

    def _is_held(self, wtxid: bytes) -> bool:
        return any(wtxid in names for names in self._held.values())

    def hold(self, block: bytes, wtxids: Iterable[bytes]) -> None:
        """A proposal is alive: what it names is not evicted, and found also once it was replaced.

        Of more than a few at a time, the oldest is let go.
        """
        self._held[block] = frozenset(wtxids)
        while len(self._held) > HELD_BLOCKS_MAX:
            self._held.popitem(last=False)

    def release(self) -> None:
        """No proposal is alive: its height is over."""
        self._held.clear()
        self._replaced.clear()

    def _insert(self, entry: Entry) -> None:
        candidate = entry.candidate
        body = candidate.transaction.body
        self._queues.setdefault(body.sender, {})[body.nonce] = entry
        self._waiting_cost[body.sender] = self._waiting_cost.get(body.sender, 0) + entry.cost_max
        self._by_txid[candidate.txid] = entry
        self._by_wtxid[candidate.wtxid] = entry
        self._by_raw[candidate.raw] = candidate
        alike = self._until.get(body.valid_until)
        if alike is None:
            alike = self._until[body.valid_until] = set()
        alike.add(candidate.txid)
        self.bytes += len(candidate.raw)
        self._order += 1
        self._prices.add(body.max_price, candidate.txid)

    def _remove(self, entry: Entry) -> None:
        self._take_out(entry)
        self._heads.left(entry.candidate.transaction.body.sender)

    def _take_out(self, entry: Entry) -> None:
        """Remove what waits; whoever calls tells the heads."""
        candidate = entry.candidate
        body = candidate.transaction.body
        queue = self._queues[body.sender]
        del queue[body.nonce]
        self._waiting_cost[body.sender] -= entry.cost_max
        if not queue:
            del self._queues[body.sender], self._waiting_cost[body.sender]
        del self._by_txid[candidate.txid]
        del self._by_wtxid[candidate.wtxid]
        del self._by_raw[candidate.raw]
        alike = self._until[body.valid_until]
        alike.discard(candidate.txid)
        if not alike:
            del self._until[body.valid_until]
        self._prices.remove(body.max_price, candidate.txid)
        self.bytes -= len(candidate.raw)
        self._seen[candidate.wtxid] = None
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)

    def drop(self, txid: bytes) -> None:
        """Forget one transaction."""
        entry = self._by_txid.get(txid)
        if entry is not None:
            self._remove(entry)
        elif self._evidence:
            for evidence in [c for c in self._evidence.values() if c.txid == txid]:
                del self._evidence[evidence.wtxid]

    def for_block(self, base_price: int, is_due: IsDue) -> Generator[None, None, Iterator[Candidate[Any]]]:
        """Stepwise: waiting transactions in the order a block takes them.

        Evidence first, then what is due, then by the tip that the proposer would get; each sender's in
        nonce order. The caller stops when the block is full. `is_due` is asked of a bounded number.
        """
        evidence = list(self._evidence.values())
        taken = yield from self._heads.for_block(base_price, is_due)
        return chain(evidence, taken)

    def not_due(self, candidate: Candidate[Any]) -> None:
        """A block refused it its place among what is due: it waits among the ordinary ones."""
        self._heads.found_undue(candidate)

    def after_block(
        self, included: Iterable[Candidate[Any]], height: int, nonce_of: Callable[[bytes], int]
    ) -> Generator[None, None, list[Candidate[Any]]]:
        """Stepwise: forget what a block included or made impossible; returns what expired."""
        touched: dict[bytes, None] = {}
        for count, candidate in enumerate(included, 1):
            touched[candidate.transaction.body.sender] = None
            entry = self._by_txid.get(candidate.txid)
            if entry is not None:
                self._take_out(entry)  # the heads are told below, once a sender
            elif self._evidence and self._pricing.is_evidence(candidate):
                self._forget_offender(candidate.transaction.body.payload.key)
            if not count % SLICE_LEAVING:
                yield
        for count, sender in enumerate(touched, 1):
            nonce = nonce_of(sender)
            for stale in [e for n, e in self._queues.get(sender, {}).items() if n < nonce]:
                self._remove(stale)
            self._heads.reached(sender, nonce)
            if not count % SLICE_LEAVING:
                yield
        expired: list[Candidate[Any]] = []
        for until in sorted(u for u in self._until if u <= height):
            for txid in sorted(self._until[until]):
                entry = self._by_txid.get(txid)
                if entry is None:
                    continue  # it left while this paused
                self._remove(entry)
                expired.append(entry.candidate)
                if not len(expired) % SLICE_LEAVING:
                    yield
        yield from self._unspare()
        return expired

    def _unspare(self) -> Generator[None, None, None]:
        """What was passed over for a proposal that is over may be evicted again."""
        spared, self._spared = self._spared, []
        for count, entry in enumerate(spared, 1):
            if self._by_txid.get(entry.candidate.txid) is entry:
                if self._is_held(entry.candidate.wtxid):
                    self._spared.append(entry)
                else:
                    self._prices.add(entry.candidate.transaction.body.max_price, entry.candidate.txid)
            if not count % SLICE_LEAVING:
                yield

    def _forget_offender(self, key: bytes) -> None:
        """Whoever is punished is punished once: other evidence against the key is of no more use."""
        for wtxid in [w for w, c in self._evidence.items() if c.transaction.body.payload.key == key]:
            del self._evidence[wtxid]

    def place(self, txid: bytes) -> int | None:
        """How many waiting transactions pay a higher tip or came earlier at the same one."""
        entry = self._by_txid.get(txid)
        if entry is None:
            return None
        mine = (-entry.candidate.transaction.body.tip, entry.order)
        return sum(1 for e in self._by_txid.values() if (-e.candidate.transaction.body.tip, e.order) < mine)
