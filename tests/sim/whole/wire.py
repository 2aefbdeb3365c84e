"""The network between whole nodes: the `Net` of each over one wire that loses, delays, repeats and splits.

Here: `Wire` (delivery, faults, connections), `SimNet` (what one node sees).
Not here: TCP and libp2p (p2p/service.py), what messages mean (eubchain/node/peers.py).
Keeps: worse than TCP on purpose: single messages are lost, repeated and overtaken, for agreement promises
to depend on no single delivery. Bodies are bytes, within the caps of their frames.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from random import Random

import trio

from consensus.types.errors import Fault
from p2p.faults import PEER_GONE, REQUEST_UNANSWERED, PeerFault
from p2p.frames import Kind, frame
from p2p.messages import Hello
from p2p.net import EVENTS_MAX, Event, Frame, PeerDown, PeerFacts, PeerUp, Request
from tests.sim.network import CALM, Faults

RECONNECT_MS = 2_000
LOST_REQUEST_MS = 700
"""After which a request whose message or answer was lost fails, as a broken connection would."""


class Wire:
    """All links. `run` it beside the nodes."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.faults: Faults = CALM
        self.sides: dict[int, int] = {}
        """The side of a split that each node is on; nodes of different sides do not hear each other."""
        self.muffled: dict[int, float] = {}
        """Nodes of whose words this share is lost."""
        self.censor: Callable[[int, Kind, bytes], bool] = lambda sender, kind, body: False
        """Of what a node says, answers included: whether nobody may hear it."""
        self.nets: dict[int, SimNet] = {}
        """Of running nodes, by index."""
        self.taps: list[Callable[[int, Kind, bytes], None]] = []
        """Told of everything a node says: sender, kind, body."""
        self.answer_taps: list[Callable[[int, bytes | None], None]] = []
        """Told of every answer to a request: who gives it, its body."""
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._earlier = trio.Event()

    def later(self, delay_ms: int, act: Callable[[], None]) -> None:
        """Do something later."""
        when = trio.current_time() + delay_ms / 1000
        if not self._queue or when < self._queue[0][0]:
            self._earlier.set()
        heapq.heappush(self._queue, (when, next(self._order), act))

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            if not self._queue:
                self._earlier = trio.Event()
                await self._earlier.wait()
            due = self._queue[0][0]
            if due > trio.current_time():
                self._earlier = trio.Event()
                with trio.move_on_at(due):
                    await self._earlier.wait()
                continue
            heapq.heappop(self._queue)[2]()

    def is_cut(self, sender: int, receiver: int) -> bool:
        """Whether a split lies between the two."""
        return self.sides.get(sender, 0) != self.sides.get(receiver, 0)

    def carry(self, sender: int, receiver: int, deliver: Callable[[], None], *, sure: bool = False) -> bool:
        """Deliver later, never or twice; False for never."""
        random, faults = self.random, self.faults
        if self.is_cut(sender, receiver):
            return False
        is_lost = random.random() < max(self.muffled.get(sender, 0.0), faults.loss)
        if is_lost and not sure:
            return False
        self.later(random.randint(*faults.delay_ms), deliver)
        if faults.duplication and random.random() < faults.duplication:
            self.later(random.randint(*faults.delay_ms), deliver)
        return True

    def split(self, sides: dict[int, int], *, breaks: bool) -> None:
        """Cut or heal; a connection that was cut long enough breaks, and is made again once it can be."""
        before, self.sides = self.sides, sides
        nets = [self.nets[index] for index in sorted(self.nets)]
        for one in nets:
            for other in nets:
                was = before.get(one.index, 0) != before.get(other.index, 0)
                is_cut = self.is_cut(one.index, other.index)
                is_over = (was and not is_cut) or (is_cut and breaks)
                if is_over and one.index < other.index and other.me in one.connected:
                    self.part(one, other, "the line was cut")

    def join(self, net: SimNet) -> None:
        """A node has come up: it and everybody running greet each other."""
        self.nets[net.index] = net
        for other in list(self.nets.values()):
            if other is not net:
                self.later(self.random.randint(1, 30), lambda other=other: self._connect(net, other))

    def _connect(self, one: SimNet, other: SimNet) -> None:
        if one.is_closed or other.is_closed or other.me in one.connected:
            return
        if self.is_cut(one.index, other.index):
            self.later(RECONNECT_MS, lambda: self._connect(one, other))
            return
        one.up(other)
        other.up(one)

    def part(self, one: SimNet, other: SimNet, why: str) -> None:
        """A connection ends; it is made again a while later."""
        one.down(other, why)
        other.down(one, why)
        self.later(RECONNECT_MS, lambda: self._connect(one, other))

    def leave(self, net: SimNet) -> None:
        """A node has died; those that it was connected to notice."""
        if self.nets.get(net.index) is net:
            del self.nets[net.index]
        for other in list(self.nets.values()):
            other.down(net, "it is gone")


class SimNet:
    """One node's connections, for one of its lives."""

    def __init__(
        self, wire: Wire, index: int, me: str, hello: Callable[[], Hello], clock_ms: Callable[[], int]
    ) -> None:
        self.wire, self.index, self.me = wire, index, me
        self._hello, self._clock_ms = hello, clock_ms
        self._send, self.events = trio.open_memory_channel[Event](EVENTS_MAX)
        self.connected: dict[str, SimNet] = {}
        self.is_closed = False
        self.accusations: list[str] = []
        self.withheld: set[Kind] = set()
        """Kinds that a liar never sends."""
        self.overheard: Callable[[Kind, bytes], None] = lambda kind, body: None
        """Told of what comes in, for a liar that remembers."""

    def close(self) -> None:
        """The node dies."""
        self.is_closed = True
        self.connected.clear()
        self.wire.leave(self)

    def up(self, other: SimNet) -> None:
        self.connected[other.me] = other
        self._put(PeerUp(other.me, other._hello()))

    def down(self, other: SimNet, why: str) -> None:
        if self.connected.get(other.me) is other:
            del self.connected[other.me]
            self._put(PeerDown(other.me, why))

    def _put(self, event: Event) -> None:
        if not self.is_closed:
            # A full channel would slow the socket; here what does not fit is lost.
            with suppress(trio.WouldBlock):
                self._send.send_nowait(event)

    # -- Net

    def send(self, peer: str, kind: Kind, body: bytes) -> bool:
        other = self.connected.get(peer)
        if other is None or self.is_closed or kind in self.withheld:
            return False
        for tap in self.wire.taps:
            tap(self.index, kind, body)
        frame(kind, body)  # asserts the cap of its kind
        if self.wire.censor(self.index, kind, body):
            return True
        # Evidence is told once and is never lost on a connection that lasts; what agreement needs is said
        # again, and so may be.
        self.wire.carry(
            self.index, other.index, lambda: other.hear(self.me, kind, body), sure=kind is Kind.EVIDENCE
        )
        return True

    def hear(self, peer: str, kind: Kind, body: bytes) -> None:
        if peer in self.connected:
            self.overheard(kind, body)
            self._put(Frame(peer, kind, body, self._clock_ms()))

    def broadcast(self, kind: Kind, body: bytes) -> None:
        for peer in list(self.connected):
            self.send(peer, kind, body)

    async def request(self, peer: str, kind: Kind, body: bytes, deadline_s: float) -> bytes | None:
        other = self.connected.get(peer)
        if other is None or self.is_closed:
            await trio.lowlevel.checkpoint()
            raise Fault(PEER_GONE, peer=peer)
        answers: list[bytes | None] = []
        done = trio.Event()

        def take(answer: bytes | None) -> None:
            answers.append(answer)
            done.set()

        def answer(body: bytes | None) -> None:
            if self.wire.censor(other.index, kind, body or b""):
                return
            for told in self.wire.answer_taps:
                told(other.index, body)
            self.wire.carry(other.index, self.index, lambda: take(body))

        for tap in self.wire.taps:
            tap(self.index, kind, body)
        self.wire.carry(self.index, other.index, lambda: other._put(Request(self.me, kind, body, answer)))
        with trio.move_on_after(LOST_REQUEST_MS / 1000 + 4 * self.wire.faults.delay_ms[1] / 1000):
            await done.wait()
        if not answers:
            raise Fault(REQUEST_UNANSWERED, peer=peer, kind=int(kind), why="it was lost")
        return answers[0]

    def penalise(self, peer: str, why: str, points: int) -> None:
        self.accusations.append(f"{peer}: {why}")

    def accuse(self, peer: str, fault: PeerFault) -> None:
        self.accusations.append(f"{peer}: {fault}")
        other = self.connected.get(peer)
        if other is not None:
            self.wire.part(self, other, str(fault))

    def peers(self) -> list[PeerFacts]:
        return [PeerFacts(name, "", True, "", 0, 0, 0, 0.0) for name in self.connected]
