"""The real network: libp2p under supervision, behind the `Net` interface.

Here: `LibP2PNet`; lives of the host, one after the other with the same key, until too many die.
Not here: connections (life.py), dialling (discovery.py), what messages mean (the node).
Keeps: joined to the node by channels and calls that do not wait; when the host dies, peers go down and
nothing else; its sockets are closed before the next life begins.
Errors: 2410 peer_gone, 2411 request_unanswered, 2412 address_taken, 2415 network_keeps_failing.
"""

from __future__ import annotations

import os
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import structlog
import trio
from msgspec.structs import replace

from consensus.types.codec import encode
from consensus.types.errors import Fault
from p2p import guard
from p2p.admission import Admission
from p2p.book import AddressBook
from p2p.discovery import Dialler, exchange_addresses
from p2p.faults import (
    ADDRESS_TAKEN,
    IDENTITY_SHARED,
    NETWORK_KEEPS_FAILING,
    PEER_GONE,
    REFUSED_BY_PEER,
    REQUEST_UNANSWERED,
    PeerFault,
)
from p2p.frames import Kind, frame
from p2p.greeting import SHARED_S, Identities
from p2p.host import claim_port, listen_address, make_host
from p2p.identity import NodeKey, parse_address
from p2p.lan import Lan
from p2p.life import Life
from p2p.link import Exchange, Link
from p2p.messages import GET_PEERS, AddressRecord, AddressRecords, Hello, read_body
from p2p.net import EVENTS_MAX, REQUESTS_MAX, Event, PeerFacts, QueueFull, Traffic
from p2p.peers import Scores
from p2p.solitude import Solitude

log = structlog.get_logger("p2p")

DEATHS_MAX = 5
DEATHS_WITHIN_S = 600.0
REBUILD_S_MIN = 0.2
REBUILD_S_MAX = 5.0
PEERS_ENOUGH = 8
TOLD_MAX = 1000


class Settings(NamedTuple):
    """What the configuration says of the network."""

    listen: str
    """`HOST:PORT`; port 0 for any free one."""
    announce: tuple[str, ...] = ()
    """Addresses at which others reach this node, without the peer id; where it listens if empty."""
    bootstrap: tuple[str, ...] = ()
    network_key: str = ""
    """64 hex digits that all nodes of a private network share; empty for none."""
    connections_max: int = 128
    connections_per_subnet_max: int = 4
    mdns: bool = False
    """Whether to look for nodes of the same local network; for development networks."""
    data: Path | None = None
    """Where bans and addresses are kept."""


class LibP2PNet:
    """`Net` over libp2p. `run` it in a nursery; everything else may be called at any time."""

    def __init__(
        self,
        settings: Settings,
        key: NodeKey,
        genesis: bytes,
        chain_id: str,
        make_hello: Callable[[], Hello],
        clock_ms: Callable[[], int],
    ) -> None:
        guard.check_internals()
        self._settings, self._key = settings, key
        self.genesis, self.chain_id = genesis, chain_id
        self.make_hello, self.clock_ms = make_hello, clock_ms
        self.connections_per_subnet_max = settings.connections_per_subnet_max
        self.traffic = Traffic()
        data = settings.data
        configured = [parse_address(text) for text in settings.bootstrap]
        self.book = AddressBook(data / "addresses" if data else None, genesis, configured)
        self._scores = Scores(data / "bans.json" if data else None)
        self._send_events, self._events = trio.open_memory_channel[Event](EVENTS_MAX)
        self._life: Life | None = None
        self.identities = Identities()
        self._instance = os.urandom(16)
        self._told: set[tuple[str, int]] = set()
        """What was said of refusals: once each."""
        self._told_shared_s = float("-inf")
        self._door = Admission(self.is_banned, settings.connections_per_subnet_max)
        self._asking = trio.Semaphore(REQUESTS_MAX)
        self._dice = random.Random()
        self.solitude = Solitude(self)
        self._dialler = Dialler(self, settings.connections_max // 2, self._dice, self.solitude.dial_failed)
        self._bound = ""
        self.address = ""
        """Where this node listens, with its peer id; empty before it does."""

    # ------------------------------------------------------------ Net

    @property
    def me(self) -> str:
        """This node's peer id."""
        return self._key.peer_id

    @property
    def events(self) -> trio.MemoryReceiveChannel[Event]:
        """What happens; one reader."""
        return self._events

    def send(self, peer: str, kind: Kind, body: bytes) -> bool:
        """Queue a message; False when the peer is not there or does not read."""
        link = self._life.up.get(peer) if self._life else None
        return link is not None and self._queue(link, kind, frame(kind, body))

    def broadcast(self, kind: Kind, body: bytes) -> None:
        """Queue a message for every peer."""
        if self._life is not None:
            data = frame(kind, body)
            for link in list(self._life.up.values()):
                self._queue(link, kind, data)

    def _queue(self, link: Link, kind: Kind, data: bytes) -> bool:
        assert self._life is not None, "a link belongs to a life"
        try:
            link.queues.put_frame(kind, data)
        except QueueFull:
            self._life.end(link, "its queue is full: it does not read")
            return False
        self.traffic.messages_out[kind] += 1
        return True

    async def request(self, peer: str, kind: Kind, body: bytes, deadline_s: float) -> bytes | None:
        """Ask a peer; None when it has nothing. Raise `Fault` 2410, 2411."""
        link = self._life.up.get(peer) if self._life else None
        if link is None:
            raise Fault(PEER_GONE, peer=peer)
        await link.slots.acquire()
        try:
            await self._asking.acquire()
        except trio.Cancelled:
            link.slots.release()
            raise

        def over() -> None:
            self._asking.release()
            link.slots.release()

        if self._life is None or link.ended:
            over()
            raise Fault(PEER_GONE, peer=peer)
        exchange = Exchange(kind, body, trio.current_time() + deadline_s)
        self.traffic.messages_out[kind] += 1
        # The slots are free again when the exchange is over, not when its caller gives up.
        self._life.start_exchange(link, exchange, over)
        await exchange.done.wait()
        if exchange.failed:
            raise Fault(REQUEST_UNANSWERED, peer=peer, kind=int(kind), why=exchange.failed)
        return exchange.answer

    def penalise(self, peer: str, why: str, points: int) -> None:
        """Take points from a peer's score; end the connection when it is banned by that."""
        link = self._life.up.get(peer) if self._life else None
        if link is not None and self._life is not None:
            self.punish(link, why, points)
            if self.is_banned(peer):
                self._life.end(link, "banned")

    def disconnect(self, peer: str, why: str) -> None:
        """End the connection to a peer."""
        link = self._life.up.get(peer) if self._life else None
        if link is not None and self._life is not None:
            self._life.end(link, why)

    def peers(self) -> list[PeerFacts]:
        """The connected peers."""
        now_s = trio.current_time()
        return [
            PeerFacts(
                link.peer, link.address, link.is_outbound, link.hello.moniker if link.hello else "",
                self._scores.score(link.peer, time.time()), link.bytes_in, link.bytes_out,
                now_s - link.since_s,
            )
            for link in (self._life.up.values() if self._life else ())
        ]  # fmt: skip

    # ------------------------------------------------------------ for a life, and for finding peers

    def emit(self, event: Event) -> bool:
        """Hand an event to the node if there is room at once."""
        try:
            self._send_events.send_nowait(event)
        except trio.WouldBlock:
            return False
        return True

    async def emit_patiently(self, event: Event) -> None:
        """Hand an event to the node, waiting while it is busy."""
        await self._send_events.send(event)

    def is_banned(self, name: str) -> bool:
        """A peer id or an address."""
        return self._scores.is_banned(name, time.time())

    def punish(self, link: Link, why: str, points: int) -> None:
        """Take points from a peer's score."""
        is_banned = self._scores.penalise(link.peer, link.address, points, time.time())
        log.warning("a peer broke a rule", peer=link.peer, address=link.address, why=why, banned=is_banned)

    def accuse(self, peer: str, fault: PeerFault) -> None:
        """A peer broke a rule in an answer."""
        link = self._life.up.get(peer) if self._life else None
        if link is not None and self._life is not None:
            self._life.blame(link, fault)

    def hello(self) -> Hello:
        """This node's greeting, with the mark of this process."""
        return replace(self.make_hello(), instance=self._instance)

    def refused(self, peer: str, code: int) -> None:
        """A peer does not take this node's connection: say so once, and leave it in peace for a while."""
        self._dialler.refused(peer)
        fault = Fault(REFUSED_BY_PEER, peer=peer, code=code)
        about = (peer, code)
        if code == IDENTITY_SHARED.code:
            self._told_shared_s = trio.current_time()
            fault, about = Fault(IDENTITY_SHARED, peer=self.me), ("", code)
        if about not in self._told and len(self._told) < TOLD_MAX:
            self._told.add(about)
            log.error(str(fault), told_by=peer, hint=fault.reason.hint.format(**fault.facts))

    @property
    def trouble(self) -> str:
        """What the owner has to put right, as a peer told within the hour, or why nobody is met."""
        if trio.current_time() - self._told_shared_s < SHARED_S:
            return str(Fault(IDENTITY_SHARED, peer=self.me))
        return str(self.solitude.fault or "")

    @property
    def known_addresses(self) -> int:
        """Peers that could be dialled."""
        return len(self.book)

    def linked(self) -> set[str]:
        """Peers with a connection."""
        return self._life.linked() if self._life else set()

    def upright(self) -> list[str]:
        """Peers that have greeted."""
        return list(self._life.up) if self._life else []

    def answer_itself(self, link: Link, kind: Kind, body: bytes) -> bytes | None:
        """Addresses for a peer: this node's own and some of its book."""
        count = read_body(GET_PEERS, kind, body).count
        own = self._key.address_record(self.genesis, self.announced(), int(time.time()))
        return encode(AddressRecords((own, *self.book.some(count - 1, link.peer))))

    def announced(self) -> tuple[str, ...]:
        """Where others reach this node, with its peer id."""
        if self._settings.announce:
            return tuple(f"{address}/p2p/{self.me}" for address in self._settings.announce)
        return (self.address,) if self.address and "/0.0.0.0/" not in self.address else ()

    # ------------------------------------------------------------ for the local network

    def record_at(self, places: Sequence[str]) -> AddressRecord | None:
        """This node's signed addresses; where it listens on all, at these of its machine."""
        addresses = self.announced()
        if not addresses and self.address and places:
            port = self._bound.rpartition(":")[2]
            addresses = tuple(f"/ip4/{place}/tcp/{port}/p2p/{self.me}" for place in places)
        return self._key.address_record(self.genesis, addresses, _unix_s()) if addresses else None

    def found_nearby(self, records: Sequence[AddressRecord]) -> None:
        """Nodes that said where they are; nobody answers for false ones, for packets name no sender."""
        false = self.book.add([record for record in records if record.peer != self.me], _unix_s())
        if false:
            log.debug("false addresses on the local network", count=false)

    # ------------------------------------------------------------ lives

    async def run(self, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen, dial and serve until cancelled; raise `Fault` 2412 at once, 2415 after many deaths."""
        claim_port(self._settings.listen)
        deaths: deque[float] = deque(maxlen=DEATHS_MAX)
        pause_s = REBUILD_S_MIN
        while True:
            born_s = trio.current_time()
            try:
                await self._live(task_status)
            except guard.LIBRARY_ERRORS as error:
                # A host takes its nursery down with it; nothing of the node depends on this one's life.
                now_s = trio.current_time()
                deaths.append(now_s)
                self.traffic.deaths += 1
                log.error("the network part failed and is rebuilt", exc_info=error)
                if len(deaths) == DEATHS_MAX and now_s - deaths[0] < DEATHS_WITHIN_S:
                    facts = {"deaths": DEATHS_MAX, "seconds": int(now_s - deaths[0])}
                    raise Fault(NETWORK_KEEPS_FAILING, last=type(error).__name__, **facts) from error
                pause_s = REBUILD_S_MIN if now_s - born_s > 60 else min(REBUILD_S_MAX, pause_s * 2)
            task_status = trio.TASK_STATUS_IGNORED
            await trio.sleep(pause_s)

    async def _live(self, task_status: trio.TaskStatus[str]) -> None:
        settings = self._settings
        # The port stays the same in the next life.
        listen = [listen_address(settings.listen if not self.address else self._bound)]
        host = make_host(self._key, listen, settings.announce, settings.connections_max, settings.network_key)
        guard.guard_streams(host, self._report)
        guard.guard_inbound(host, lambda address: self._door.admits(address, trio.current_time()))
        try:
            async with host.run(listen_addrs=listen):
                bound = [
                    a for listener in host.get_network().listeners.values() for a in listener.get_addrs()
                ]
                if not bound:
                    raise Fault(ADDRESS_TAKEN, address=settings.listen, why="listening failed")
                place = str(listen[0].value_for_protocol(listen[0].protocols()[0].name))
                self._bound = f"{place}:{bound[0].value_for_protocol('tcp')}"
                self.address = f"{listen_address(self._bound)}/p2p/{self.me}"
                async with trio.open_nursery() as nursery:
                    life = self._life = Life(self, host, self.me, nursery)
                    nursery.start_soon(life.watch)
                    nursery.start_soon(self._dialler.run, host, nursery)
                    nursery.start_soon(self.solitude.watch)
                    nursery.start_soon(exchange_addresses, self, PEERS_ENOUGH, self._dice, _unix_s)
                    if settings.mdns:
                        nursery.start_soon(Lan(self).run)
                    log.info("listening for peers", address=self.address)
                    task_status.started(self.address)
        finally:
            life_over, self._life = self._life, None
            if life_over is not None:
                await life_over.end_all("the network part stops")
            await guard.close_listeners(host)

    def _report(self, stream: Any, error: Exception) -> None:
        peer = str(stream.muxed_conn.peer_id)
        log.debug("a stream failed", peer=peer, why=f"{type(error).__name__}: {error}")


def _unix_s() -> int:
    return int(time.time())
