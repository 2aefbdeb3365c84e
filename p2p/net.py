"""The network as the node sees it: sending, asking, and events, whatever carries them.

Here: the `Net` interface, its events, the queues in front of a peer, bounds shared by all carriers.
Not here: libp2p (host.py, service.py), the simulated network (sim_net.py), what messages mean (the node).
Keeps: sending never waits: a full agreement queue ends the connection, a full pool queue drops its
oldest; whoever reads events slows the sockets that fill them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

import trio

from p2p.faults import PeerFault
from p2p.frames import COALESCED_BYTES_MAX, Channel, Kind, channel_of, frame
from p2p.messages import Hello

EVENTS_MAX = 4096
"""Events that wait for the node; a full channel makes the readers wait."""
AGREEMENT_FRAMES_MAX = 1000
AGREEMENT_BYTES_MAX = 4 * 2**20
POOL_FRAMES_MAX = 200
EVENTS_AT_ONCE_MAX = 64
"""Events taken before other tasks have a turn."""
REQUESTS_PER_PEER_MAX = 4
REQUESTS_MAX = 16
REQUEST_TIMEOUT_S = 10.0
"""How long an answer is waited for; one who is asked answers within it or not at all."""
SILENCE_S_MAX = 10.0
"""Nothing heard for so long, status messages included, and the connection ends."""

PeerId = str
"""The libp2p peer id in its usual text form."""


class PeerUp(NamedTuple):
    """A peer has greeted and both its streams are open."""

    peer: PeerId
    hello: Hello


class PeerDown(NamedTuple):
    """The connection to a peer has ended."""

    peer: PeerId
    why: str


class Frame(NamedTuple):
    """A message from a peer."""

    peer: PeerId
    kind: Kind
    body: bytes
    arrived_ms: int
    """This node's clock when the bytes were read; a proposal's timeliness is judged by it."""


class Request(NamedTuple):
    """A question from a peer; call `answer` once, with None for nothing. It never waits."""

    peer: PeerId
    kind: Kind
    body: bytes
    answer: Callable[[bytes | None], None]


Event = PeerUp | PeerDown | Frame | Request


async def next_events(events: trio.MemoryReceiveChannel[Event]) -> list[Event]:
    """What has happened, at least one event: taking them together costs one turn of the loop, not one each.

    Raises `trio.EndOfChannel` when nothing will happen any more.
    """
    taken = [await events.receive()]
    while len(taken) < EVENTS_AT_ONCE_MAX:
        try:
            taken.append(events.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            break
    return taken


class PeerFacts(NamedTuple):
    """What can be told about a connection."""

    peer: PeerId
    address: str
    is_outbound: bool
    moniker: str
    score: int
    bytes_in: int
    bytes_out: int
    since_s: float


class Net(Protocol):
    """Connections to peers."""

    @property
    def me(self) -> PeerId:
        """This node's peer id."""
        ...

    @property
    def events(self) -> trio.MemoryReceiveChannel[Event]:
        """What happens, in order per peer; one reader."""
        ...

    def send(self, peer: PeerId, kind: Kind, body: bytes) -> bool:
        """Queue a message; False when the peer is not there. Never waits."""
        ...

    def broadcast(self, kind: Kind, body: bytes) -> None:
        """Queue a message for every peer. Never waits."""
        ...

    async def request(self, peer: PeerId, kind: Kind, body: bytes, deadline_s: float) -> bytes | None:
        """Ask a peer; None when it has nothing. Raise `Fault` 2410, 2411; a missed deadline ends the link."""
        ...

    def penalise(self, peer: PeerId, why: str, points: int) -> None:
        """Lower a peer's score; far below zero it is disconnected and banned."""
        ...

    def accuse(self, peer: PeerId, fault: PeerFault) -> None:
        """A peer broke a rule: lower its score and end the connection."""
        ...

    def peers(self) -> list[PeerFacts]:
        """The connected peers."""
        ...


class QueueFull(Exception):
    """The agreement queue of a peer that does not read is full."""


class OutQueue:
    """Frames that wait for one stream of one peer; taken out many at a time."""

    def __init__(self, channel: Channel) -> None:
        self._drops_oldest = channel is Channel.POOL
        self._frames: deque[bytes] = deque()
        self._arrived = trio.Event()
        self._is_closed = False
        self.bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, data: bytes) -> None:
        """Add a frame; raise `QueueFull` on an agreement stream, drop the oldest on a pool stream."""
        if self._drops_oldest:
            while len(self._frames) >= POOL_FRAMES_MAX:
                self.bytes -= len(self._frames.popleft())
                self.dropped += 1
        elif len(self._frames) >= AGREEMENT_FRAMES_MAX or self.bytes + len(data) > AGREEMENT_BYTES_MAX:
            raise QueueFull
        self._frames.append(data)
        self.bytes += len(data)
        self._arrived.set()

    async def wait(self) -> bool:
        """Return True when there is something to take, False when the queue was closed."""
        while not self._frames and not self._is_closed:
            self._arrived = trio.Event()
            await self._arrived.wait()
        return not self._is_closed

    def close(self) -> None:
        """Nothing more is taken; the writer ends."""
        self._is_closed = True
        self._arrived.set()

    def take(self) -> bytes:
        """What one write carries: as many whole frames as fit, one at least."""
        taken = [self._frames.popleft()]
        size = len(taken[0])
        while self._frames and size + len(self._frames[0]) <= COALESCED_BYTES_MAX:
            taken.append(self._frames.popleft())
            size += len(taken[-1])
        self.bytes -= size
        return b"".join(taken)


class OutQueues:
    """Both queues of one peer."""

    def __init__(self) -> None:
        self.agreement = OutQueue(Channel.AGREEMENT)
        self.pool = OutQueue(Channel.POOL)

    def put(self, kind: Kind, body: bytes) -> None:
        """Queue a message on the stream of its kind; raise `QueueFull`."""
        self.put_frame(kind, frame(kind, body))

    def put_frame(self, kind: Kind, data: bytes) -> None:
        """Queue a frame that was made before, for many peers."""
        channel = channel_of(kind)
        assert channel in (Channel.AGREEMENT, Channel.POOL), "requests have streams of their own"
        (self.agreement if channel is Channel.AGREEMENT else self.pool).put(data)


class Traffic:
    """Counters of one node's network, for its metrics."""

    def __init__(self) -> None:
        self.bytes_in = 0
        self.bytes_out = 0
        self.messages_in: dict[Kind, int] = dict.fromkeys(Kind, 0)
        self.messages_out: dict[Kind, int] = dict.fromkeys(Kind, 0)
        self.aborted = 0
        """Connections that this side ended."""
        self.deaths = 0
        """Hosts that failed and were rebuilt."""
