"""The withholder: proposes blocks whose bytes it hands to nobody."""

from __future__ import annotations

import trio

from p2p.frames import Kind
from tests.sim.whole.liars.liar import Liar


class Withholder(Liar):
    """Its proposals come without their parts, and requests for them go unanswered."""

    def begin(self, nursery: trio.Nursery) -> None:
        if self.is_lying:
            assert self.net is not None
            self.net.withheld = {Kind.BLOCK_PART, Kind.TRANSACTIONS}
            self.peers.proposed.answer = lambda kind, body: None  # type: ignore[method-assign]  # the lie
