"""Gossip of transactions: each crosses a link once, in bundles.

Here: sending on what was submitted here, telling others what came from elsewhere, answering wants.
Not here: admission (service.py), verification (workers), transactions of a proposed block (proposed.py),
evidence (evidence_gossip.py).
Keeps: what was submitted here goes to every peer at once; what came from a peer is only announced, a
second later and to those not known to have it, for by then most of it is in a block; a transaction that
is known costs no check. Nothing depends on one delivery.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

import structlog
import trio

from consensus.types.codec import encode
from consensus.types.errors import Fault
from consensus.types.transaction import BAD_SIGNATURE, wtxids_of
from eubchain.mempool import Mempool
from eubchain.rpc.backend import Submitted
from p2p.frames import COALESCED_BYTES_MAX, Kind
from p2p.messages import TRANSACTIONS, WTXIDS, Transactions, Wtxids, read_body
from p2p.net import Net

log = structlog.get_logger("network")

BUNDLE_DELAY_S = 0.02
"""Submitted transactions are gathered for so long, so that they travel in bundles."""
BUNDLE_COUNT_MAX = 400
BUNDLE_BYTES_MAX = COALESCED_BYTES_MAX - 2048
ANNOUNCE_AFTER_S = 1.0
ANNOUNCE_MAX = 1500
"""Names in one frame."""
ANNOUNCES_WAITING_MAX = 50_000
BUNDLES_WAITING_MAX = 64
"""Bundles that wait for the workers; more are dropped, and their transactions announced again."""
WORKS = 2
HOLDERS_MAX = 50_000
"""Names in each of two generations of who has what; what is forgotten may be announced once more."""
BAD_TRANSACTION_POINTS = 20
GIVEN_BYTES_MAX = 2 * 2**20
"""Given for one want, which names many and costs its sender little; a peer's queue holds not much more."""
WANTED_AGAIN_S = 2.0
ASKED_PER_PEER_MAX = 20_000
"""Wanted of one peer at a time; whoever announces more than that in two seconds is not believed the rest."""


class Bundle(NamedTuple):
    """Transactions from a peer that wait for their check."""

    peer: str
    raws: dict[bytes, bytes]
    """By wtxid."""


Take = Callable[[list[bytes]], Awaitable[list[Submitted]]]


def bundles(raws: Sequence[bytes]) -> list[list[bytes]]:
    """Split into bundles that fit a frame; a single large transaction is one of its own."""
    made: list[list[bytes]] = []
    size = BUNDLE_BYTES_MAX
    for raw in raws:
        if size + len(raw) + 5 > BUNDLE_BYTES_MAX or len(made[-1]) >= BUNDLE_COUNT_MAX:
            made.append([])
            size = 0
        made[-1].append(raw)
        size += len(raw) + 5
    return made


class Gossip:
    """Spreads transactions between the mempools of peers."""

    def __init__(self, net: Net, mempool: Mempool, take: Take) -> None:
        self._net, self._mempool, self._take = net, mempool, take
        self._out: deque[bytes] = deque(maxlen=ANNOUNCES_WAITING_MAX)
        self._out_arrived = trio.Event()
        self._news: deque[tuple[float, bytes]] = deque(maxlen=ANNOUNCES_WAITING_MAX)
        """(when it came, wtxid) of what is to be announced."""
        self._slots: dict[str, int] = {}
        self._holders: dict[bytes, int] = {}
        """wtxid to a bit per peer that has it, by the peer's slot; a younger and an older generation."""
        self._holders_before: dict[bytes, int] = {}
        self._asked: dict[bytes, tuple[float, str]] = {}
        """When and of whom a transaction was wanted."""
        self._asking: Counter[str] = Counter()
        """How many of each peer."""
        self.arriving: dict[bytes, bytes] = {}
        """Transactions from peers whose check is not over, by wtxid: a proposed block may need them."""
        self._send, self._receive = trio.open_memory_channel[Bundle](BUNDLES_WAITING_MAX)

    # ------------------------------------------------------------ peers

    def peer_up(self, peer: str) -> None:
        """Tell a new peer of what waits here."""
        # The lowest that is free: were each connection given a new one, the sets of holders would grow with
        # every reconnection. What the slot's last owner had, this peer is told of below all the same.
        used = sum(self._slots.values())
        self._slots[peer] = ~used & (used + 1)
        waiting = [wtxid for wtxid in self._mempool.wtxids() if wtxid not in self.arriving]
        for start in range(0, len(waiting), ANNOUNCE_MAX):
            self._net.send(peer, Kind.ANNOUNCE, encode(Wtxids(tuple(waiting[start : start + ANNOUNCE_MAX]))))

    def peer_down(self, peer: str) -> None:
        """Forget what a peer had."""
        self._slots.pop(peer, None)
        if not self._slots:
            self._holders.clear()
            self._holders_before.clear()

    def _note(self, wtxids: Iterable[bytes], bit: int) -> None:
        holders = self._holders
        for wtxid in wtxids:
            holders[wtxid] = holders.get(wtxid, 0) | bit
        if len(holders) > HOLDERS_MAX:
            self._holders_before, self._holders = holders, {}

    def _has(self, wtxid: bytes, bit: int) -> bool:
        return (self._holders.get(wtxid, 0) | self._holders_before.get(wtxid, 0)) & bit != 0

    # ------------------------------------------------------------ out

    def spread(self, raws: Sequence[bytes]) -> None:
        """Send transactions that were submitted here to every peer, soon."""
        self._out.extend(raws)
        self._out_arrived.set()

    async def run(self) -> None:
        """Send, announce and check until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_out)
            nursery.start_soon(self._run_announcements)
            for _ in range(WORKS):
                nursery.start_soon(self._run_checks)

    async def _run_out(self) -> None:
        while True:
            await self._out_arrived.wait()
            await trio.sleep(BUNDLE_DELAY_S)
            self._out_arrived = trio.Event()
            everyone = sum(self._slots.values())
            raws = list(self._out)
            self._out.clear()
            for bundle in bundles(raws):
                self._net.broadcast(Kind.TRANSACTIONS, encode(Transactions(tuple(bundle))))
                self._note(wtxids_of(bundle), everyone)
                await trio.lowlevel.checkpoint()

    async def _run_announcements(self) -> None:
        while True:
            await trio.sleep(ANNOUNCE_AFTER_S / 4)
            now_s = trio.current_time()
            due: list[bytes] = []
            while self._news and self._news[0][0] + ANNOUNCE_AFTER_S <= now_s:
                wtxid = self._news.popleft()[1]
                if self._mempool.by_wtxid(wtxid) is not None:
                    due.append(wtxid)
            for peer, bit in self._slots.items():
                lacking = [wtxid for wtxid in due if not self._has(wtxid, bit)]
                for start in range(0, len(lacking), ANNOUNCE_MAX):
                    names = tuple(lacking[start : start + ANNOUNCE_MAX])
                    self._net.send(peer, Kind.ANNOUNCE, encode(Wtxids(names)))
            self._asked = {w: a for w, a in self._asked.items() if a[0] + WANTED_AGAIN_S > now_s}
            self._asking = Counter(peer for _, peer in self._asked.values())

    # ------------------------------------------------------------ in

    def take(self, peer: str, kind: Kind, body: bytes) -> None:
        """A message of a peer's pool stream; raise `PeerFault` 2402."""
        bit = self._slots.get(peer, 0)
        if kind is Kind.TRANSACTIONS:
            self._take_bundle(peer, bit, read_body(TRANSACTIONS, kind, body).raws)
        elif kind is Kind.ANNOUNCE:
            now_s = trio.current_time()
            wanted = []
            names = read_body(WTXIDS, kind, body).wtxids
            self._note(names, bit)
            for wtxid in names:
                if self._is_known(wtxid) or wtxid in self._asked:
                    continue
                if self._asking[peer] < ASKED_PER_PEER_MAX:
                    self._asking[peer] += 1
                    self._asked[wtxid] = now_s, peer
                    wanted.append(wtxid)
            if wanted:
                self._net.send(peer, Kind.WANT, encode(Wtxids(tuple(wanted))))
        else:
            given: dict[bytes, bytes] = {}
            size = 0
            for wtxid in read_body(WTXIDS, kind, body).wtxids:
                candidate = self._mempool.by_wtxid(wtxid)
                if candidate is not None and wtxid not in given and size < GIVEN_BYTES_MAX:
                    given[wtxid] = candidate.raw
                    size += len(candidate.raw)
            self._note(given, bit)
            for bundle in bundles(list(given.values())):
                self._net.send(peer, Kind.TRANSACTIONS, encode(Transactions(tuple(bundle))))

    def _is_known(self, wtxid: bytes) -> bool:
        return wtxid in self.arriving or self._mempool.knows(wtxid)

    def _take_bundle(self, peer: str, bit: int, raws: Sequence[bytes]) -> None:
        wtxids = wtxids_of(raws)
        self._note(wtxids, bit)
        fresh = {wtxid: raw for wtxid, raw in zip(wtxids, raws, strict=True) if not self._is_known(wtxid)}
        if not fresh:
            return
        try:
            self._send.send_nowait(Bundle(peer, fresh))
        except trio.WouldBlock:
            return
        self.arriving.update(fresh)

    async def _run_checks(self) -> None:
        async for bundle in self._receive:
            try:
                outcomes = await self._take(list(bundle.raws.values()))
            except Fault as fault:  # nobody could check them: unknown again, they may come again
                log.warning("transactions of a peer were not checked", why=str(fault))
                for wtxid in bundle.raws:
                    self.arriving.pop(wtxid, None)
                continue
            now_s = trio.current_time()
            bad = 0
            for wtxid, outcome in zip(bundle.raws, outcomes, strict=True):
                self.arriving.pop(wtxid, None)
                if outcome.is_new:
                    self._news.append((now_s, wtxid))
                bad += outcome.fault is not None and outcome.fault.reason is BAD_SIGNATURE
            if bad:
                self._net.penalise(
                    bundle.peer, f"{bad} transactions without a signature", BAD_TRANSACTION_POINTS
                )
