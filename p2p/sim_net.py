"""The simulated network: many nodes in one process, under a seed, over the same frames and queues.

Here: `SimWorld` (links with latency, loss, duplication, reordering, partitions, stalled peers) and
`SimNet`, its `Net`.
Not here: the real network (service.py). Time is trio's, so a test's autojump clock rules it.
Keeps: equal seeds and equal sends give equal deliveries; bytes cross a link as frames, checked against
the same caps; a full agreement queue ends a connection here too, and both sides learn of it.
Loss and reordering are of whole frames, which TCP would not do: whatever stands them stands TCP.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import trio

from consensus.types.errors import Fault
from p2p.faults import PEER_GONE, REQUEST_UNANSWERED, PeerFault
from p2p.frames import (
    ANSWER_BYTES_MAX,
    AnswerReader,
    FrameReader,
    Kind,
    answer_bytes_max,
    answer_frames,
    channel_of,
    frame,
)
from p2p.messages import Hello
from p2p.net import (
    EVENTS_MAX,
    REQUESTS_MAX,
    Event,
    Frame,
    OutQueue,
    OutQueues,
    PeerDown,
    PeerFacts,
    PeerUp,
    QueueFull,
    Request,
    Traffic,
)
from p2p.peers import Scores


class Weather(NamedTuple):
    """How links behave; probabilities are of one frame."""

    latency_s_min: float = 0.001
    latency_s_max: float = 0.02
    """Drawn for each frame: frames overtake each other when the two differ."""
    loss: float = 0.0
    duplication: float = 0.0
    redial_s: float = 0.5
    """Until a connection that ended is made again, links permitting."""


class _SimLink:
    """One direction of a connection: what `sender` has queued for `receiver`."""

    def __init__(self) -> None:
        self.queues = OutQueues()
        self.bytes = 0


class SimNet:
    """One node's `Net` in a `SimWorld`."""

    def __init__(self, world: SimWorld, name: str, make_hello: Callable[[], Hello]) -> None:
        self._world, self._name, self.make_hello = world, name, make_hello
        self._send_events, self._events = trio.open_memory_channel[Event](EVENTS_MAX)
        self.links: dict[str, _SimLink] = {}
        self.scores = Scores(None)
        self.traffic = Traffic()
        self.stalled = trio.Event()
        self.stalled.set()
        """Unset while the node takes nothing from its links, like a paused process."""
        self._asking = trio.Semaphore(REQUESTS_MAX)

    @property
    def me(self) -> str:
        """This node's name."""
        return self._name

    @property
    def events(self) -> trio.MemoryReceiveChannel[Event]:
        """What happens; one reader."""
        return self._events

    def send(self, peer: str, kind: Kind, body: bytes) -> bool:
        """Queue a message; False when the peer is not there."""
        link = self.links.get(peer)
        if link is None:
            return False
        try:
            link.queues.put_frame(kind, frame(kind, body))
        except QueueFull:
            self._world.disconnect(self._name, peer, "its queue is full")
            return False
        self.traffic.messages_out[kind] += 1
        return True

    def broadcast(self, kind: Kind, body: bytes) -> None:
        """Queue a message for every peer."""
        for peer in list(self.links):
            self.send(peer, kind, body)

    async def request(self, peer: str, kind: Kind, body: bytes, deadline_s: float) -> bytes | None:
        """Ask a peer; a missed deadline ends the connection, as on the real network."""
        if peer not in self.links:
            raise Fault(PEER_GONE, peer=peer)
        async with self._asking:
            with trio.move_on_after(deadline_s):
                return await self._world.carry_request(self._name, peer, kind, body)
        self._world.disconnect(self._name, peer, "a request was not answered in time")
        raise Fault(REQUEST_UNANSWERED, peer=peer, kind=int(kind), why="it took too long")

    def penalise(self, peer: str, why: str, points: int) -> None:
        """Lower a peer's score; a banned one is disconnected and stays away."""
        if self.scores.penalise(peer, "", points, trio.current_time()):
            self._world.disconnect(self._name, peer, f"banned: {why}")

    def accuse(self, peer: str, fault: PeerFault) -> None:
        """A peer broke a rule: its score falls and the connection ends."""
        self._world.accused.append((self._name, peer, str(fault)))
        self.scores.penalise(peer, "", fault.penalty, trio.current_time())
        self._world.disconnect(self._name, peer, str(fault))

    def peers(self) -> list[PeerFacts]:
        """The connected peers."""
        now_s = trio.current_time()
        return [
            PeerFacts(name, "", self._name < name, name, self.scores.score(name, now_s), 0, link.bytes, 0.0)
            for name, link in self.links.items()
        ]

    async def deliver(self, event: Event) -> None:
        """An event for this node; waits while the node is stalled or busy."""
        await self.stalled.wait()
        await self._send_events.send(event)

    def deliver_now(self, event: Event) -> None:
        """A connection's beginning or end, which no stall delays in being known."""
        self._send_events.send_nowait(event)


class SimWorld:
    """All nodes and the links between them; `run` it in a nursery."""

    def __init__(self, seed: int, weather: Weather | None = None, epoch_ms: int = 1_700_000_000_000) -> None:
        self.dice = random.Random(seed)
        self.weather = weather or Weather()
        self._epoch_ms = epoch_ms
        self.nets: dict[str, SimNet] = {}
        self._parted: set[tuple[str, str]] = set()
        self._nursery: trio.Nursery | None = None
        self.accused: list[tuple[str, str, str]] = []
        """(who, whom, why) of every broken rule, for tests to look at."""

    def clock_ms(self) -> int:
        """Unix milliseconds of the simulated time."""
        return self._epoch_ms + int(trio.current_time() * 1000)

    def add(self, name: str, make_hello: Callable[[], Hello]) -> SimNet:
        """A node on the network; it is connected once the world runs."""
        assert name not in self.nets, "names are unique"
        net = self.nets[name] = SimNet(self, name, make_hello)
        return net

    def remove(self, name: str) -> None:
        """A node is gone, as after a crash."""
        for other in list(self.nets[name].links):
            self.disconnect(name, other, "the node is gone")
        del self.nets[name]

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep every pair connected that may be, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            while True:
                names = sorted(self.nets)
                for first in names:
                    for second in names:
                        if first < second and second not in self.nets[first].links:
                            self._connect(first, second)
                await trio.sleep(self.weather.redial_s)

    # ------------------------------------------------------------ links

    def part(self, one_side: set[str]) -> None:
        """Cut every link between these nodes and all others."""
        for first in self.nets:
            for second in self.nets:
                if (first in one_side) != (second in one_side):
                    self._parted.add((first, second))
                    self.disconnect(first, second, "parted")

    def heal(self) -> None:
        """Let every pair connect again."""
        self._parted.clear()

    def stall(self, name: str) -> None:
        """The node takes nothing from its links until it goes on."""
        self.nets[name].stalled = trio.Event()

    def go_on(self, name: str) -> None:
        """End a stall."""
        self.nets[name].stalled.set()

    def _connect(self, first: str, second: str) -> None:
        one, other = self.nets[first], self.nets[second]
        now_s = trio.current_time()
        if (first, second) in self._parted or one.scores.is_banned(second, now_s):
            return
        if other.scores.is_banned(first, now_s):
            return
        for near, far in ((one, other), (other, one)):
            near.links[far.me] = _SimLink()
        for near, far in ((one, other), (other, one)):
            near.deliver_now(PeerUp(far.me, far.make_hello()))
            link = near.links[far.me]
            assert self._nursery is not None, "links are made while the world runs"
            for queue in (link.queues.agreement, link.queues.pool):
                self._nursery.start_soon(self._carry, near, far, link, queue)

    def disconnect(self, first: str, second: str, why: str) -> None:
        """End the connection between two nodes; both learn of it."""
        for near, far in ((first, second), (second, first)):
            net = self.nets.get(near)
            link = net.links.pop(far, None) if net is not None else None
            if net is not None and link is not None:
                link.queues.agreement.close()
                link.queues.pool.close()
                net.deliver_now(PeerDown(far, why))

    async def _carry(self, near: SimNet, far: SimNet, link: _SimLink, queue: OutQueue) -> None:
        """Take frames out of a queue and let each find its way."""
        while await queue.wait():
            await far.stalled.wait()
            data = queue.take()
            link.bytes += len(data)
            near.traffic.bytes_out += len(data)
            channel = channel_of(Kind(data[4]))
            for kind, body in FrameReader(channel).feed(data):
                copies = 0 if self.dice.random() < self.weather.loss else 1
                copies += self.dice.random() < self.weather.duplication
                for _ in range(copies):
                    delay_s = self._latency_s()
                    assert self._nursery is not None, "links are made while the world runs"
                    self._nursery.start_soon(self._travel, near.me, far, link, kind, body, delay_s)

    def _latency_s(self) -> float:
        return self.dice.uniform(self.weather.latency_s_min, self.weather.latency_s_max)

    async def _travel(
        self, sender: str, far: SimNet, link: _SimLink, kind: Kind, body: bytes, delay_s: float
    ) -> None:
        await trio.sleep(delay_s)
        near = self.nets.get(sender)
        if near is not None and near.links.get(far.me) is link:
            far.traffic.messages_in[kind] += 1
            await far.deliver(Frame(sender, kind, body, self.clock_ms()))

    # ------------------------------------------------------------ requests

    async def carry_request(self, asker: str, peer: str, kind: Kind, body: bytes) -> bytes | None:
        """A question there and an answer back; loses neither, as a stream would not."""
        (sent,) = FrameReader(channel_of(kind)).feed(frame(kind, body))
        far = self.nets.get(peer)
        if far is None:
            raise Fault(PEER_GONE, peer=peer)
        await trio.sleep(self._latency_s())
        answered = trio.Event()
        answers: list[bytes | None] = []

        def answer(found: bytes | None) -> None:
            assert not answers, "a request is answered once"
            assert found is None or len(found) <= ANSWER_BYTES_MAX, "whoever answers keeps within the limit"
            answers.append(found)
            answered.set()

        await far.deliver(Request(asker, sent[0], sent[1], answer))
        await answered.wait()
        await trio.sleep(self._latency_s())
        reader = AnswerReader(answer_bytes_max(kind))
        for data in answer_frames(answers[0]):
            reader.feed(data)
        return None if reader.is_nothing else reader.body
