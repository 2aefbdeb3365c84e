"""Peers of a node that has no ledger yet, and the snapshots they offer.

Here: greeting, heartbeat and statuses of that time; asking every peer what it offers, again and again; who
may be asked for what; who gave something wrong.
Not here: choosing and taking a snapshot (snapshot_sync.py, snapshot_fetch.py), a running node's peers
(peers.py).
Keeps: an offer is a peer's word and nothing more; whoever gave something wrong is not asked again; whoever
did not answer, or lacks what it offered, is left alone for a while.
"""

from __future__ import annotations

from typing import NamedTuple

import structlog
import trio

from consensus.types.codec import encode
from consensus.types.errors import Fault
from p2p.faults import PeerFault
from p2p.frames import Kind
from p2p.messages import (
    SNAPSHOT_OFFERS,
    SNAPSHOTS_MAX,
    STATUS,
    GetSnapshots,
    SnapshotOffer,
    Status,
    read_body,
)
from p2p.net import REQUEST_TIMEOUT_S, Event, Frame, Net, PeerDown, PeerUp, Request

log = structlog.get_logger("snapshots")

TURN_S = 0.25
HEARTBEAT_S = 2.0
ASK_AGAIN_S = 10.0
REST_S = 15.0
"""How long a peer is not asked for a snapshot that it offered and did not give."""
RESTS_MAX = 3
"""After so many rests without a part between them a peer is not asked for this snapshot again."""
NAMES_MAX = 1024
"""Peers remembered for what they did wrong or did not do; the oldest is forgotten."""


class Choice(NamedTuple):
    """A snapshot that peers offer: equal ones have equal parts, whoever gives them."""

    height: int
    block_id: bytes
    layout: bytes


class _Supplier:
    """A connected peer."""

    def __init__(self, height: int) -> None:
        self.status = Status(height, 0, 0, None, 0)
        self.offers: dict[Choice, SnapshotOffer] = {}
        self.asked_s: float | None = None
        self.is_asking = False


class Suppliers:
    """Run `run` beside whoever takes a snapshot."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self._peers: dict[str, _Supplier] = {}
        self._refused: dict[str, str] = {}
        self._resting: dict[tuple[str, Choice], tuple[float, int]] = {}
        """Until when a peer is not asked for a snapshot, and how often it was so since it gave a part."""
        self._news = trio.Event()

    # ------------------------------------------------------------ what is known

    def __len__(self) -> int:
        return len(self._peers)

    async def news(self, within_s: float) -> None:
        """Wait until something has changed, at most so long."""
        with trio.move_on_after(within_s):
            await self._news.wait()

    def peers(self) -> list[str]:
        """Connected peers that gave nothing wrong."""
        return [name for name in self._peers if name not in self._refused]

    def choices(self) -> dict[Choice, list[str]]:
        """What is offered, each with the peers that would give it; without heights no peer claims to have."""
        found: dict[Choice, list[str]] = {}
        for name in self.peers():
            for choice in self._peers[name].offers:
                if self._is_able(name, choice):
                    found.setdefault(choice, []).append(name)
        return found

    def sources(self, choice: Choice) -> list[str]:
        """Peers that would give this snapshot now."""
        return [name for name in self.peers() if self._is_able(name, choice)]

    def offer(self, peer: str, choice: Choice) -> SnapshotOffer | None:
        """What a peer says of a snapshot."""
        known = self._peers.get(peer)
        return None if known is None else known.offers.get(choice)

    def continue_from(self, height: int) -> bool:
        """Whether a peer keeps the block after this height: else a snapshot of it leads nowhere."""
        statuses = [peer.status for peer in self._peers.values()]
        return any(status.lowest <= height + 1 and height <= status.height for status in statuses)

    def height(self) -> int:
        """The highest height that a peer reports."""
        return max((peer.status.height for peer in self._peers.values()), default=0)

    def _is_able(self, name: str, choice: Choice) -> bool:
        peer = self._peers[name]
        if choice not in peer.offers or choice.height > peer.status.height:
            return False
        until_s, times = self._resting.get((name, choice), (0.0, 0))
        return times < RESTS_MAX and until_s <= trio.current_time()

    # ------------------------------------------------------------ what they did

    def accuse(self, peer: str, fault: PeerFault) -> None:
        """A peer gave something wrong: it loses points and its connection, and is asked for nothing more."""
        log.warning("a peer gave something wrong and is asked no more", peer=peer, why=str(fault))
        self._refused[peer] = str(fault)
        while len(self._refused) > NAMES_MAX:
            self._refused.pop(next(iter(self._refused)))
        self._net.accuse(peer, fault)
        self._tell()

    def rest(self, peer: str, choice: Choice, why: str) -> None:
        """A peer did not give what it offered: others are asked for a while, and it what it offers now."""
        until_s, times = self._resting.get((peer, choice), (0.0, 0))
        now_s = trio.current_time()
        if peer in self._refused or now_s < until_s:
            return
        log.info("a peer does not give its snapshot", peer=peer, height=choice.height, why=why)
        self._resting[peer, choice] = now_s + REST_S, times + 1
        while len(self._resting) > NAMES_MAX:
            self._resting.pop(next(iter(self._resting)))
        known = self._peers.get(peer)
        if known is not None:
            known.asked_s = None
        self._tell()

    def gave(self, peer: str, choice: Choice) -> None:
        """A peer gave a part: what it did not do before is forgotten."""
        self._resting.pop((peer, choice), None)

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    # ------------------------------------------------------------ tasks

    async def run(self) -> None:
        """Meet peers and ask them until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            nursery.start_soon(self._heartbeat)
            while True:
                now_s = trio.current_time()
                for name, peer in self._peers.items():
                    is_due = peer.asked_s is None or peer.asked_s + ASK_AGAIN_S <= now_s
                    if is_due and not peer.is_asking and name not in self._refused:
                        peer.is_asking, peer.asked_s = True, now_s
                        nursery.start_soon(self._ask, name, peer)
                await trio.sleep(TURN_S)

    async def _ask(self, name: str, peer: _Supplier) -> None:
        try:
            body = encode(GetSnapshots(SNAPSHOTS_MAX))
            answer = await self._net.request(name, Kind.GET_SNAPSHOTS, body, REQUEST_TIMEOUT_S)
            offers = () if answer is None else read_body(SNAPSHOT_OFFERS, Kind.GET_SNAPSHOTS, answer).offers
            peer.offers = {Choice(offer.height, offer.block_id, offer.layout): offer for offer in offers}
            self._tell()
        except PeerFault as fault:
            self.accuse(name, fault)
        except Fault as fault:
            log.debug("a peer did not say what it offers", peer=name, why=str(fault))
        finally:
            peer.is_asking = False

    async def _heartbeat(self) -> None:
        while True:
            self._net.broadcast(Kind.STATUS, encode(Status(0, 1, 0, None, 0)))
            await trio.sleep(HEARTBEAT_S)

    async def _listen(self) -> None:
        async for event in self._net.events:
            try:
                self._take(event)
            except PeerFault as fault:
                self.accuse(event.peer, fault)

    def _take(self, event: Event) -> None:
        match event:
            case PeerUp(peer=name, hello=hello):
                self._peers[name] = _Supplier(hello.height)
                log.info("peer joined", peer=name, moniker=hello.moniker, peers=len(self._peers))
                self._net.send(name, Kind.STATUS, encode(Status(0, 1, 0, None, 0)))
            case PeerDown(peer=name):
                self._peers.pop(name, None)
            case Frame(peer=name, kind=Kind.STATUS, body=body) if name in self._peers:
                self._peers[name].status = read_body(STATUS, Kind.STATUS, body)
            case Request():
                event.answer(None)  # there is nothing here yet
                return
            case _:
                return  # the business of nodes that have a ledger
        self._tell()
