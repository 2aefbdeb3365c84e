"""Saying why a node has no peers: the one thing that a wrong network key or a closed port looks like.

Here: `Solitude`, which is told of dials and peers, and speaks once when nobody was met for a while.
Not here: dialling (discovery.py), what a peer said before it closed (service.py).
Keeps: a node that knows no address expects nobody and says nothing.
Errors: 2420 nobody_met.
"""

from __future__ import annotations

from typing import Protocol

import structlog
import trio

from consensus.types.errors import Fault
from p2p.faults import NOBODY_MET

log = structlog.get_logger("p2p")

ALONE_S = 10.0
TURN_S = 1.0
QUICK_S = 3.0
"""A dial that fails within it met no listener; one that takes longer met one that understands nothing."""
UNANSWERED = "a connection opens, but what comes makes no sense, as when the network keys differ"
UNREACHED = "nobody listens there, or a firewall is between"


class Acquaintances(Protocol):
    """Whom the node knows."""

    def upright(self) -> list[str]:
        """Peers that have greeted."""
        ...

    @property
    def known_addresses(self) -> int:
        """How many peers could be dialled."""
        ...


class Solitude:
    """Whether the node is alone, since when, and what became of its last dial."""

    def __init__(self, net: Acquaintances) -> None:
        self._net = net
        self._since_s: float | None = None
        self._last = UNANSWERED
        self.fault: Fault | None = None

    def dial_failed(self, took_s: float) -> None:
        """A known peer was not reached, after so long."""
        self._last = UNREACHED if took_s < QUICK_S else UNANSWERED

    def look(self, now_s: float) -> None:
        """Compare with the present; log when the node has become, to all appearance, alone."""
        known = self._net.known_addresses
        if self._net.upright() or not known:
            self._since_s = self.fault = None
            return
        if self._since_s is None:
            self._since_s = now_s
        alone_s = int(now_s - self._since_s)
        if alone_s < ALONE_S:
            return
        is_news = self.fault is None
        self.fault = Fault(NOBODY_MET, seconds=alone_s, known=known, why=self._last)
        if is_news:
            log.warning(str(self.fault), do=NOBODY_MET.hint)

    async def watch(self) -> None:
        """Look every second until cancelled."""
        while True:
            self.look(trio.current_time())
            await trio.sleep(TURN_S)
