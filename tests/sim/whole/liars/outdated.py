"""The outdated node: says again, much later, what it once heard and said."""

from __future__ import annotations

from typing import Any

import trio

from p2p.frames import Kind
from tests.sim.whole.liars.liar import Liar

REMEMBERED_MAX = 2_000
PAUSE_MS = (20, 400)


class Outdated(Liar):
    """Old votes, proposals, certificates, parts and transactions, all of them genuine."""

    def __init__(self, *arguments: Any) -> None:
        self.remembered: list[tuple[Kind, bytes]] = []
        super().__init__(*arguments)

    def begin(self, nursery: trio.Nursery) -> None:
        if self.is_lying:
            assert self.net is not None
            self.net.overheard = self._remember
            nursery.start_soon(self._repeat)

    def _remember(self, kind: Kind, body: bytes) -> None:
        if len(self.remembered) < REMEMBERED_MAX:
            self.remembered.append((kind, body))
        else:
            self.remembered[self.random.randrange(REMEMBERED_MAX)] = (kind, body)

    async def _repeat(self) -> None:
        assert self.net is not None
        while True:
            await trio.sleep(self.random.randint(*PAUSE_MS) / 1000)
            if self.remembered and self.others:
                self.net.send(self.random.choice(self.others), *self.random.choice(self.remembered))
