"""Finding peers: dialling known addresses with patience, asking peers for more.

Here: when to dial whom, the back-off, the exchange of signed addresses.
Not here: dialling itself (host.py), the addresses (book.py).
Keeps: one dial per peer at a time, few in all; delays double with jitter from half a second to thirty;
what peers tell is checked before it is kept.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import structlog
import trio

from consensus.types.codec import encode
from consensus.types.errors import Fault
from p2p.book import AddressBook
from p2p.faults import PeerFault
from p2p.frames import Kind
from p2p.guard import LIBRARY_ERRORS
from p2p.host import dial
from p2p.identity import PeerAddress
from p2p.messages import ADDRESS_RECORDS, RECORDS_MAX, GetPeers, read_body
from p2p.net import REQUEST_TIMEOUT_S

log = structlog.get_logger("p2p")

DELAY_S_MIN = 0.5
DELAY_S_MAX = 30.0
REFUSED_S_MIN = 60.0
REFUSED_S_MAX = 1800.0
"""Between two dials of a peer that says it takes no connection of this node."""
DIALS_MAX = 16
TURN_S = 0.1
BACKOFFS_SPARE = 100
"""Back-offs of peers that the book has dropped go once there are so many."""
EXCHANGE_S = 30.0
"""Between two questions for addresses, once there are peers enough."""
EXCHANGE_HUNGRY_S = 3.0


class Backoff:
    """When a peer may be dialled next."""

    def __init__(self, now_s: float, dice: random.Random) -> None:
        self._dice = dice
        self._delay_s = DELAY_S_MIN
        self._refused_s = REFUSED_S_MIN
        self._refused_until_s = now_s
        self.next_s = now_s

    def may_dial(self, now_s: float) -> bool:
        """Whether it is time."""
        return now_s >= max(self.next_s, self._refused_until_s)

    def failed(self, now_s: float) -> None:
        """Wait twice as long, more or less."""
        self.next_s = now_s + self._delay_s * self._dice.uniform(0.5, 1.5)
        self._delay_s = min(DELAY_S_MAX, self._delay_s * 2)

    def worked(self, now_s: float) -> None:
        """Begin anew; if the connection ends at once, still wait a moment."""
        self._delay_s = DELAY_S_MIN
        self.next_s = now_s + self._delay_s * self._dice.uniform(0.5, 1.5)

    def refused(self, now_s: float) -> None:
        """The peer takes no connection of this node, and said so: minutes, each time twice as many."""
        self._refused_until_s = now_s + self._refused_s * self._dice.uniform(0.5, 1.5)
        self._refused_s = min(REFUSED_S_MAX, self._refused_s * 2)

    def welcomed(self) -> None:
        """The peer took one: forget refusals."""
        self._refused_s = REFUSED_S_MIN


class Connections(Protocol):
    """What finding peers needs to know and do."""

    book: AddressBook

    @property
    def me(self) -> str:
        """This node's peer id."""
        ...

    def linked(self) -> set[str]:
        """Peers with a connection."""
        ...

    def upright(self) -> list[str]:
        """Peers that have greeted."""
        ...

    def is_banned(self, name: str) -> bool:
        """A peer id or an address."""
        ...

    def accuse(self, peer: str, fault: PeerFault) -> None:
        """A peer broke a rule."""
        ...

    async def request(self, peer: str, kind: Kind, body: bytes, deadline_s: float) -> bytes | None:
        """Ask a peer."""
        ...


class Dialler:
    """Keeps connections to known peers."""

    def __init__(
        self,
        net: Connections,
        connections_wanted: int,
        dice: random.Random,
        failed: Callable[[float], None],
    ) -> None:
        """`failed` is told of each dial that reached nobody, with the seconds it took."""
        self._net, self._wanted, self._dice = net, connections_wanted, dice
        self._tell_failed = failed
        self._backoffs: dict[str, Backoff] = {}
        self._dialling: set[str] = set()

    async def run(self, host: Any, nursery: trio.Nursery) -> None:
        """Dial whoever is missing until cancelled; each dial is a task of its own."""
        while True:
            now_s = trio.current_time()
            linked = self._net.linked()
            for peer in linked & self._backoffs.keys():
                self._backoffs[peer].worked(now_s)
            for peer in self._backoffs.keys() & set(self._net.upright()):
                self._backoffs[peer].welcomed()
            known = self._net.book.places()
            if len(self._backoffs) > 2 * len(known) + BACKOFFS_SPARE:
                self._backoffs = {p: b for p, b in self._backoffs.items() if p in known}
            for peer, places in known.items():
                if self._is_wanted(peer, linked, now_s):
                    self._dialling.add(peer)
                    nursery.start_soon(self._dial, host, places)
            await trio.sleep(TURN_S)

    def _is_wanted(self, peer: str, linked: set[str], now_s: float) -> bool:
        if peer in linked or peer in self._dialling or peer == self._net.me:
            return False
        if len(self._dialling) >= DIALS_MAX or self._net.is_banned(peer):
            return False
        if len(linked) >= self._wanted and not self._net.book.is_configured(peer):
            return False
        return self._backoff(peer, now_s).may_dial(now_s)

    def _backoff(self, peer: str, now_s: float) -> Backoff:
        return self._backoffs.setdefault(peer, Backoff(now_s, self._dice))

    def refused(self, peer: str) -> None:
        """A peer said that it takes no connection of this node."""
        now_s = trio.current_time()
        self._backoff(peer, now_s).refused(now_s)

    async def _dial(self, host: Any, places: Sequence[PeerAddress]) -> None:
        peer = places[0].peer
        backoff, begun_s = self._backoffs[peer], trio.current_time()
        try:
            await dial(host, self._dice.choice(places))
            backoff.worked(trio.current_time())
            self._net.book.reached(peer)
        except LIBRARY_ERRORS as error:
            # Refused, unreachable, another key than expected, a handshake gone wrong: all mean "later".
            backoff.failed(trio.current_time())
            self._tell_failed(trio.current_time() - begun_s)
            self._net.book.failed(peer)
            log.debug("dialling failed", peer=peer, why=f"{type(error).__name__}: {error}")
        finally:
            self._dialling.discard(peer)


async def exchange_addresses(net: Connections, enough: int, dice: random.Random, now_s: Any) -> None:
    """Ask peers for addresses until cancelled; often while there are few peers."""
    while True:
        peers = net.upright()
        await trio.sleep(EXCHANGE_S if len(peers) >= enough else EXCHANGE_HUNGRY_S)
        peers = net.upright()
        if not peers:
            continue
        peer = dice.choice(sorted(peers))
        try:
            body = await net.request(peer, Kind.GET_PEERS, encode(GetPeers(RECORDS_MAX)), REQUEST_TIMEOUT_S)
            if body is not None:
                records = read_body(ADDRESS_RECORDS, Kind.GET_PEERS, body).records
                false = net.book.add(records, now_s())
                if false:
                    log.warning("a peer told false addresses", peer=peer, count=false)
                await trio.to_thread.run_sync(net.book.save)
        except PeerFault as fault:
            net.accuse(peer, fault)
        except Fault as fault:
            log.debug("no addresses", peer=peer, why=str(fault))
