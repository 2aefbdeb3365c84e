"""The equivocator: tells one half of the network one thing and the other half another."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from consensus.agreement.messages import Certificate, Proposal, Vote
from eubchain.node.execution import Executed
from eubchain.node.production import Identity, Production
from eubchain.node.workers import VerifyPool
from tests.sim.whole.liars.liar import Liar, Message
from tests.sim.whole.node import BUILD_MS


class Doubling(Production):
    """Builds every block twice, the second a millisecond younger and empty."""

    liar: Equivocator

    async def build(self, round_: int) -> Executed:
        executed = await super().build(round_)
        header = executed.block.header
        later = replace(header, time_ms=header.time_ms + 1)
        twin = await self.execution.build(later, executed.block.last_commit, (), lambda: True)
        self.liar.twins[executed.block_id] = twin.block_id
        self.liar.keep(twin.block_id, twin.block)
        return executed


class Equivocator(Liar):
    """Signs past its guard: every vote also for the opposite, every proposal also for another block."""

    def __init__(self, *arguments: Any) -> None:
        self.twins: dict[bytes, bytes] = {}
        super().__init__(*arguments)

    def make_production(self, pool: VerifyPool, identity: Identity) -> Production:
        if not self.is_lying:
            return super().make_production(pool, identity)
        made = Doubling(self.execution, self.mempool, pool, self.clock_ms, BUILD_MS, identity)
        made.liar = self
        return made

    def say(self, message: Message) -> None:
        other = self._opposite(message)
        for peer in self.others:
            one, two = (message, other) if self.random.random() < 0.5 else (other, message)
            self.tell(peer, one)
            if self.random.random() < 0.3:
                self.tell(peer, two)

    def _opposite(self, message: Message) -> Message:
        match message:
            case Vote(block_id=None):
                known = sorted(self.engine._blocks)
                return self.vote_for(message, known[0] if known else bytes(32))
            case Vote(block_id=block_id):
                return self.vote_for(message, self.twins.get(block_id or b""))
            case Proposal(block_id=block_id) if block_id in self.twins:
                return self.propose(message, self.twins[block_id], None)
            case Proposal() | Certificate():
                return message
