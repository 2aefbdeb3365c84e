"""One life of the host: its connections, from the first byte of each to its end.

Here: links for connections, the choice between two to one peer, greetings, streams' handlers,
requests, the watchdog.
Not here: beginning another life after a death (service.py), whom to dial (discovery.py).
Keeps: no deadline around libp2p's reads and writes: a missed one ends the connection, socket first; of
two connections to a peer both sides keep the one that the smaller peer id dialled; a task of a link
that fails ends that link and nothing else.
Errors: 2401–2411 as they are met.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import trio
from libp2p.abc import INotifee

from consensus.types.codec import encode
from consensus.types.errors import Fault
from p2p import guard
from p2p.faults import (
    FRAME_OUT_OF_PLACE,
    HELLO_MISSING,
    IDENTITY_SHARED,
    PEER_SILENT,
    TOO_MANY_STREAMS,
    TOO_MUCH_UNREAD,
    PeerFault,
    Unsuited,
)
from p2p.frames import Channel, Kind, answer_frames
from p2p.greeting import read_hello
from p2p.host import open_stream, protocol
from p2p.identity import is_local, subnet
from p2p.link import Exchange, Link, ask_on_stream, read_request, read_stream, write_stream
from p2p.messages import GOODBYE, Goodbye, Hello, read_body
from p2p.net import (
    REQUEST_TIMEOUT_S,
    SILENCE_S_MAX,
    Frame,
    PeerDown,
    PeerUp,
    QueueFull,
    Request,
)
from p2p.owner import Owner

log = structlog.get_logger("p2p")

WATCH_S = 0.05
STREAMS_MAX = 40
"""Of one connection, both directions: 32 of the peer's and a handful of ours."""
UNREAD_BYTES_MAX = 8 * 2**20
RACE_S = 5.0
"""Two connections that begin within it are two dials at once; a later one may be of another process."""
SHARED_DO = "Nothing here: their operator stops one. If it is you, see `eubchain help error 2417`."
GOODBYE_S = 1.0
"""For the last frame to go out and be read."""


class Life(INotifee):
    """The connections of one host."""

    def __init__(self, owner: Owner, host: Any, me: str, nursery: trio.Nursery) -> None:
        self._owner, self._host, self._me, self._nursery = owner, host, me, nursery
        self._traffic = owner.traffic
        self._links: dict[Any, Link] = {}
        """Every connection, by the library's object."""
        self.up: dict[str, Link] = {}
        """Peers that have greeted, each with its one connection."""
        self._names = {channel: protocol(owner.genesis, channel.value) for channel in Channel}
        host.set_stream_handler(self._names[Channel.AGREEMENT], self._on_agreement)
        host.set_stream_handler(self._names[Channel.POOL], self._on_pool)
        host.set_stream_handler(self._names[Channel.REQUEST], self._on_request)
        host.get_network().register_notifee(self)

    # ------------------------------------------------------------ what the library tells

    async def connected(self, network: Any, conn: Any) -> None:
        """A connection stands; its link is set up in a task of its own."""
        self._nursery.start_soon(self._establish, self._link(conn))

    async def disconnected(self, network: Any, conn: Any) -> None:
        """A connection is gone."""
        link = self._links.get(conn)
        if link is not None:
            self.end(link, "the connection was closed")

    async def opened_stream(self, network: Any, stream: Any) -> None:
        """Nothing to do: streams are counted by the watchdog."""

    async def closed_stream(self, network: Any, stream: Any) -> None:
        """Nothing to do."""

    async def listen(self, network: Any, multiaddr: Any) -> None:
        """Nothing to do."""

    async def listen_close(self, network: Any, multiaddr: Any) -> None:
        """Nothing to do."""

    # ------------------------------------------------------------ links

    def _link(self, connection: Any) -> Link:
        link = self._links.get(connection)
        if link is None:
            link = self._links[connection] = Link(connection, trio.current_time())
        return link

    def linked(self) -> set[str]:
        """Peers with any connection, greeted or not."""
        return {link.peer for link in self._links.values()}

    async def _establish(self, link: Link) -> None:
        if why := self._unwelcome(link):
            self.end(link, why)
            return
        shared = self._owner.identities.is_shared(link.peer, link.since_s)
        for other in [o for o in self._links.values() if o.peer == link.peer and o is not link]:
            if not other.is_up or (link.since_s - other.since_s < RACE_S and not shared):
                self.end(self._loser(other, link), "another connection to the same peer is kept")
        if not link.ended:
            async with self._contained(link):
                agreement = await open_stream(self._host, link.connection, self._names[Channel.AGREEMENT])
                pool = await open_stream(self._host, link.connection, self._names[Channel.POOL])
                link.queues.put(Kind.HELLO, encode(self._owner.hello()))
                self._nursery.start_soon(self._write, link, agreement, link.queues.agreement)
                self._nursery.start_soon(self._write, link, pool, link.queues.pool)
                link.has_streams = True
                await self._come_up(link)

    def _unwelcome(self, link: Link) -> str:
        if self._owner.is_banned(link.peer) or self._owner.is_banned(link.address):
            return "banned"
        around = subnet(link.address)
        alike = sum(1 for other in self._links.values() if subnet(other.address) == around)
        if not is_local(link.address) and alike > self._owner.connections_per_subnet_max:
            return "too many connections from its part of the network"
        return ""

    def _loser(self, old: Link, new: Link) -> Link:
        """Rule of both sides: keep what the smaller id dialled; of two alike the newer one."""
        if old.is_outbound == new.is_outbound:
            return old
        keeps_outbound = self._me < new.peer
        return old if new.is_outbound == keeps_outbound else new

    async def _come_up(self, link: Link) -> None:
        if link.is_up or link.ended or link.is_refused or link.hello is None or not link.has_streams:
            return
        link.is_up = True
        self.up[link.peer] = link
        await self._owner.emit_patiently(PeerUp(link.peer, link.hello))
        link.settled.set()

    def end(self, link: Link, why: str) -> None:
        """End a connection now: the socket first, the rest in a task of its own. Never waits."""
        if link.ended:
            return
        link.end(why)
        self._links.pop(link.connection, None)
        self._traffic.aborted += 1
        guard.close_socket(link.connection)
        log.debug("link ended", peer=link.peer, why=why, was_up=link.is_up)
        self._nursery.start_soon(guard.close, link.connection)
        if self.up.get(link.peer) is link:
            del self.up[link.peer]
            event = PeerDown(link.peer, why)
            if not self._owner.emit(event):
                self._nursery.start_soon(self._owner.emit_patiently, event)

    async def end_all(self, why: str) -> None:
        """End every connection and wait until all are closed."""
        with trio.CancelScope(shield=True):
            links = list(self._links.values())
            for link in links:
                link.end(why)
                guard.close_socket(link.connection)
                if self.up.pop(link.peer, None) is not None:
                    self._owner.emit(PeerDown(link.peer, why))
            async with trio.open_nursery() as nursery:
                for link in links:
                    nursery.start_soon(guard.close, link.connection)

    def _contained(self, link: Link) -> _Contained:
        return _Contained(self, link)

    def blame(self, link: Link, fault: PeerFault) -> None:
        """A rule was broken: take points, end the link."""
        self._owner.punish(link, str(fault), fault.penalty)
        self.end(link, str(fault))

    # ------------------------------------------------------------ streams

    async def _write(self, link: Link, stream: Any, queue: Any) -> None:
        async with self._contained(link):
            await write_stream(link, stream, queue, self._traffic)

    async def _on_agreement(self, stream: Any) -> None:
        await self._read(stream, Channel.AGREEMENT, self._take_agreement)

    async def _on_pool(self, stream: Any) -> None:
        await self._read(stream, Channel.POOL, self._take_pool)

    async def _read(
        self, stream: Any, channel: Channel, take: Callable[[Link, Kind, bytes], Awaitable[None]]
    ) -> None:
        link = self._link(stream.swarm_conn)
        async with self._contained(link):
            if channel in link.inbound:
                raise PeerFault(FRAME_OUT_OF_PLACE, kind=0, stream=f"a second {channel.value}")
            link.inbound.add(channel)
            await read_stream(link, stream, channel, take, self._traffic)
        self.end(link, f"the peer closed its {channel.value} stream")

    async def _take_agreement(self, link: Link, kind: Kind, body: bytes) -> None:
        if link.is_refused:
            return
        if kind is Kind.GOODBYE:
            self._owner.refused(link.peer, read_body(GOODBYE, kind, body).code)
            self.end(link, "the peer does not take this node's connection")
        elif kind is Kind.HELLO:
            if link.hello is not None:
                raise PeerFault(FRAME_OUT_OF_PLACE, kind=int(kind), stream=Channel.AGREEMENT.value)
            try:
                self._greeted(link, read_hello(body, self._owner.genesis, self._owner.chain_id))
            except Unsuited as unsuited:
                self._refuse(link, unsuited)
            await self._come_up(link)
        elif link.hello is None:
            raise PeerFault(HELLO_MISSING, kind=int(kind))
        else:
            await self._pass_on(link, kind, body, self._owner.clock_ms())

    async def _take_pool(self, link: Link, kind: Kind, body: bytes) -> None:
        await self._pass_on(link, kind, body, self._owner.clock_ms())

    async def _pass_on(self, link: Link, kind: Kind, body: bytes, arrived_ms: int) -> None:
        if not link.is_up:
            await link.settled.wait()
        if link.ended:
            return
        event = Frame(link.peer, kind, body, arrived_ms)
        # Waiting costs a turn of the loop for each message, so it is only done where there is no room.
        if not self._owner.emit(event):
            await self._owner.emit_patiently(event)

    def _greeted(self, link: Link, hello: Hello) -> None:
        """Take a greeting; raise `Unsuited` 2417 for another node of the identity of one that is here."""
        link.hello, other, now_s = hello, self.up.get(link.peer), trio.current_time()
        if self._owner.identities.greeted(link.peer, hello.instance, now_s):
            log.warning("two running nodes share one network identity", peer=link.peer, do=SHARED_DO)
        if other is None or other is link or other.hello is None:
            return
        if other.hello.instance == hello.instance:
            self.end(self._loser(other, link), "another connection to the same peer is kept")
        elif self._owner.identities.is_shared(link.peer, now_s):
            raise Unsuited(IDENTITY_SHARED, peer=link.peer)
        else:
            self.end(other, "the peer was started again")

    def _refuse(self, link: Link, why: Unsuited) -> None:
        """End a connection that broke no rule, a moment after saying why."""
        link.is_refused = True
        log.debug("a connection is refused", peer=link.peer, why=str(why))
        self._nursery.start_soon(self._say_goodbye, link, why)

    async def _say_goodbye(self, link: Link, why: Unsuited) -> None:
        async with self._contained(link):
            link.queues.put(Kind.GOODBYE, encode(Goodbye(why.reason.code)))
            await trio.sleep(GOODBYE_S)
        self.end(link, str(why))

    # ------------------------------------------------------------ requests

    def start_exchange(self, link: Link, exchange: Exchange, over: Callable[[], None]) -> None:
        """Begin a request in a task that nobody cancels; the watchdog ends the link at its deadline.

        `over` is called when it has really ended, which may be long after its caller gave up.
        """
        link.exchanges.add(exchange)
        self._nursery.start_soon(self._exchange, link, exchange, over)

    async def _exchange(self, link: Link, exchange: Exchange, over: Callable[[], None]) -> None:
        try:
            async with self._contained(link):
                stream = await open_stream(self._host, link.connection, self._names[Channel.REQUEST])
                await ask_on_stream(link, stream, exchange)
                await stream.close()
        finally:
            link.exchanges.discard(exchange)
            exchange.fail(link.ended or "the stream failed")
            over()

    async def _on_request(self, stream: Any) -> None:
        link = self._link(stream.swarm_conn)
        async with self._contained(link):
            asked = await read_request(link, stream)
            if asked is None:
                return
            self._traffic.messages_in[asked[0]] += 1
            async with link.answering:
                await self._give(link, stream, *asked)
            await stream.close()

    async def _give(self, link: Link, stream: Any, kind: Kind, body: bytes) -> None:
        """Answer on the stream; a peer that asks for much and reads slowly holds up nobody but itself."""
        pause_s = link.intake.request(trio.current_time())
        if pause_s:
            await trio.sleep(pause_s)
        await link.settled.wait()
        if link.ended:
            return
        answer = await self._answer(link, kind, body)
        link.intake.answered(kind, len(answer or b""), trio.current_time())
        for data in answer_frames(answer):
            await stream.write(data)
            link.bytes_out += len(data)
            self._traffic.bytes_out += len(data)
        pause_s = link.intake.served(len(answer or b""), trio.current_time())
        answer = None
        if pause_s:
            await trio.sleep(pause_s)

    async def _answer(self, link: Link, kind: Kind, body: bytes) -> bytes | None:
        if kind is Kind.GET_PEERS:
            return self._owner.answer_itself(link, kind, body)
        answered = trio.Event()
        answers: list[bytes | None] = []

        def answer(found: bytes | None) -> None:
            assert not answers, "a request is answered once"
            answers.append(found)
            answered.set()

        await self._owner.emit_patiently(Request(link.peer, kind, body, answer))
        with trio.move_on_after(REQUEST_TIMEOUT_S / 2):
            await answered.wait()
        return answers[0] if answers else None

    # ------------------------------------------------------------ watchdog

    async def watch(self) -> None:
        """Look at every connection twenty times a second and end what is over a bound."""
        while True:
            await trio.sleep(WATCH_S)
            now_s = trio.current_time()
            for link in list(self._links.values()):
                try:
                    self._look_at(link, now_s)
                except PeerFault as fault:
                    self.blame(link, fault)

    def _look_at(self, link: Link, now_s: float) -> None:
        streams, unread = guard.stream_count(link.connection), guard.unread_bytes(link.connection)
        if streams > STREAMS_MAX:
            raise PeerFault(TOO_MANY_STREAMS, streams=streams)
        if unread > UNREAD_BYTES_MAX:
            raise PeerFault(TOO_MUCH_UNREAD, size=unread)
        if now_s - link.heard_s > SILENCE_S_MAX or (not link.is_up and now_s - link.since_s > SILENCE_S_MAX):
            self.end(link, str(Fault(PEER_SILENT, seconds=int(SILENCE_S_MAX))))
        elif any(exchange.deadline_s < now_s for exchange in link.exchanges):
            self.end(link, "a request was not answered in time")


class _Contained:
    """`async with`: whatever a peer's bytes or its connection's end raise inside ends that link only."""

    def __init__(self, life: Life, link: Link) -> None:
        self._life, self._link = life, link

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if error is None:
            return False
        if isinstance(error, PeerFault):
            self._life.blame(self._link, error)
            return True
        if isinstance(error, QueueFull):
            self._life.end(self._link, "its queue is full")
            return True
        if not isinstance(error, guard.LIBRARY_ERRORS):
            return False  # a cancellation
        if isinstance(error, AssertionError):
            log.error("a link met a bug, of ours or of the library", peer=self._link.peer, exc_info=error)
        self._life.end(self._link, f"{type(error).__name__}: {error}")
        return True
