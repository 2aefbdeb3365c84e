"""The double proposer: votes as an honest node does, and proposes two blocks in each of its rounds."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from consensus.agreement.messages import Proposal
from eubchain.node.execution import Executed
from eubchain.node.production import Identity, Production
from eubchain.node.workers import VerifyPool
from tests.sim.whole.liars.liar import Liar, Message
from tests.sim.whole.node import BUILD_MS


class Doubling(Production):
    """Builds every block twice, the second a millisecond younger and empty."""

    liar: DoubleProposer

    async def build(self, round_: int) -> Executed:
        executed = await super().build(round_)
        header = executed.block.header
        later = replace(header, time_ms=header.time_ms + 1)
        twin = await self.execution.build(later, executed.block.last_commit, (), lambda: True)
        self.liar.twins[executed.block_id] = twin.block_id
        self.liar.keep(twin.block_id, twin.block)
        return executed


class DoubleProposer(Liar):
    """One half hears of one block, the other half of another; some hear of both, and can prove it."""

    both_heard = 0.4
    """The share of peers that are told both."""

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
        other = self.opposite(message)
        if other == message:
            super().say(message)
            return
        for peer in self.others:
            one, two = (message, other) if self.random.random() < 0.5 else (other, message)
            self.tell(peer, one)
            if self.random.random() < self.both_heard:
                self.tell(peer, two)

    def opposite(self, message: Message) -> Message:
        """What is said to the other half; the same if there is nothing else to say."""
        if isinstance(message, Proposal) and message.block_id in self.twins:
            return self.propose(message, self.twins[message.block_id], None)
        return message
