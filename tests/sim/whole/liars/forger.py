"""The forger: proposes blocks that break one rule each, and swears that they are valid."""

from __future__ import annotations

from msgspec.structs import replace

from consensus.types.block import Block, Header, block_id
from eubchain.node.execution import Executed
from eubchain.node.production import Identity, Production
from eubchain.node.workers import VerifyPool
from tests.sim.whole.liars.liar import Liar
from tests.sim.whole.node import BUILD_MS

FUTURE_MS = 60_000


class Forging(Production):
    """Alters what it built; its own engine holds the result for valid and votes for it."""

    liar: Forger

    async def build(self, round_: int) -> Executed:
        executed = await super().build(round_)
        block = executed.block
        forged = Block(self._forge(block.header), block.transactions, block.last_commit)
        identity = block_id(self.rules.genesis, forged.header)
        return executed._replace(block=forged, block_id=identity)

    def _forge(self, header: Header) -> Header:
        junk = self.liar.random.randbytes(32)
        match self.liar.random.randrange(8):
            case 0:
                return replace(header, state_root=junk)
            case 1:
                return replace(header, receipts_root=junk)
            case 2:
                return replace(header, next_validators_hash=junk)
            case 3:
                return replace(header, time_ms=self.execution.parent_time_ms() + 1)
            case 4:
                return replace(header, reveal=junk)
            case 5:
                return replace(header, round=header.round + 1)
            case 6:
                return replace(header, parent=junk)
        return header


class Forger(Liar):
    """Wrong roots, a wrong reveal, the wrong round, a time before its parent's."""

    def make_production(self, pool: VerifyPool, identity: Identity) -> Production:
        if not self.is_lying:
            return super().make_production(pool, identity)
        made = Forging(self.execution, self.mempool, pool, self.clock_ms, BUILD_MS, identity)
        made.liar = self
        return made


class FutureProposer(Liar):
    """Its clock is a minute ahead: valid blocks, proposed now for then; nobody may find them timely."""

    def clock_ms(self) -> int:
        return super().clock_ms() + (FUTURE_MS if self.is_lying else 0)
