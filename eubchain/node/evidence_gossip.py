"""Gossip of evidence: whoever signs twice is told of until it is punished.

Here: telling evidence that is new, telling a peer that connects what still waits, offering it again.
Not here: judging evidence (service.py, vm/evidence.py), where it waits (eubchain/mempool.py).
Keeps: evidence costs its teller points only when it is false wherever a chain may stand; what has waited
longer than a heartbeat is offered at every heartbeat, a few at a time, until a block holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from consensus.types.errors import Rejected
from eubchain.mempool import Mempool
from p2p.frames import Kind
from p2p.net import Net
from vm.evidence import ALREADY_TOMBSTONED, EVIDENCE_TOO_OLD

UNTIMELY = (ALREADY_TOMBSTONED, EVIDENCE_TOO_OLD)
"""Refusals of true evidence that depend on where this node's chain stands: an honest peer may be a block
ahead or behind. If they cost points, one that signs twice at every height would make the others ban each
other."""
FALSE_POINTS = 10
OFFERED_MAX = 4
"""Offered again at one heartbeat, to each peer."""


class EvidenceGossip:
    """Spreads evidence between the mempools of peers."""

    def __init__(self, net: Net, mempool: Mempool) -> None:
        self._net, self._mempool = net, mempool
        self._waited: list[bytes] = []
        """What waited at the last heartbeat, that offered longest ago first."""
        self.take: Callable[[bytes], bool] = lambda raw: False
        """Admission: whether a transaction of evidence is new; raises `Rejected` for a false one."""

    def spread(self, raw: bytes) -> None:
        """Tell every peer of evidence that was found here."""
        self._net.broadcast(Kind.EVIDENCE, raw)

    def peer_up(self, peer: str) -> None:
        """Tell a new peer what waits here: it was told to others before this one connected."""
        for raw in self._mempool.evidence():
            self._net.send(peer, Kind.EVIDENCE, raw)

    def offer_again(self) -> None:
        """At a heartbeat: tell every peer of some that waited at the last one too.

        Blocks come more often than heartbeats, so what still waits waits for a chain that stands still or
        for proposers that have not heard of it.
        """
        waiting = self._mempool.evidence()
        still = [raw for raw in self._waited if raw in waiting]
        offered, rest = still[:OFFERED_MAX], still[OFFERED_MAX:]
        for raw in offered:
            self._net.broadcast(Kind.EVIDENCE, raw)
        self._waited = rest + offered + [raw for raw in waiting if raw not in still]

    def hear(self, peer: str, raw: bytes, peers: Iterable[str]) -> None:
        """Evidence from a peer: pass on what is new to the others."""
        try:
            is_new = self.take(raw)
        except Rejected as refusal:
            if refusal.reason not in UNTIMELY:
                self._net.penalise(peer, f"evidence that does not hold: {refusal}", FALSE_POINTS)
            return
        if is_new:
            for other in peers:
                if other != peer:
                    self._net.send(other, Kind.EVIDENCE, raw)
