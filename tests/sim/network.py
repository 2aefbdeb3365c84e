"""Virtual time and a network that loses, delays, duplicates, reorders and splits, all from one seed.

Here: the clock with its queue, links with their faults.
Not here: who speaks (node.py), what is checked (checkers.py).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any, NamedTuple


class Clock:
    """Milliseconds that pass only from event to event."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()

    def after(self, delay_ms: int, act: Callable[[], None]) -> None:
        """Do something later; events of one moment happen in the order in which they were added."""
        heapq.heappush(self._queue, (self.now_ms + max(0, delay_ms), next(self._order), act))

    def run_until(self, is_done: Callable[[], bool], limit_ms: int) -> bool:
        """Let time pass until the condition holds; False if it does not within the limit."""
        end_ms = self.now_ms + limit_ms
        while not is_done():
            if not self._queue or self._queue[0][0] > end_ms:
                return False
            self.now_ms, _, act = heapq.heappop(self._queue)
            act()
        return True


class Faults(NamedTuple):
    """How bad the network is."""

    loss: float = 0.0
    duplication: float = 0.0
    delay_ms: tuple[int, int] = (1, 20)
    """Drawn for each message, so they overtake each other."""


CALM = Faults()
ROUGH = Faults(loss=0.15, duplication=0.1, delay_ms=(1, 400))


class Network:
    """Links between all nodes."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self.clock = clock
        self.random = random
        self.faults = CALM
        self.sides: dict[int, int] = {}
        """The side of a split each node is on; nodes of different sides do not hear each other."""
        self.muffled: dict[int, float] = {}
        """Nodes of whose words this share is lost, on top of the link's faults."""
        self.censor: Callable[[int, Any], bool] | None = None
        """Of a sender and its message: whether nobody may hear it."""
        self.receivers: dict[int, Callable[[int, Any], None]] = {}

    def send(self, sender: int, receiver: int, message: Any) -> None:
        """Deliver later, never, or twice."""
        if self.sides.get(sender, 0) != self.sides.get(receiver, 0):
            return
        if self.muffled and self.random.random() < self.muffled.get(sender, 0.0):
            return
        if self.censor is not None and self.censor(sender, message):
            return
        copies = 2 if self.random.random() < self.faults.duplication else 1
        for _ in range(copies):
            if self.random.random() >= self.faults.loss:
                delay_ms = self.random.randint(*self.faults.delay_ms)
                self.clock.after(delay_ms, lambda: self.receivers[receiver](sender, message))

    def broadcast(self, sender: int, message: Any) -> None:
        """Send to everybody else."""
        for receiver in sorted(self.receivers):
            if receiver != sender:
                self.send(sender, receiver, message)
