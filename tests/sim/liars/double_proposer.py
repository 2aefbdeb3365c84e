"""The double proposer: votes as an honest node does, and proposes two blocks in each of its rounds."""

from __future__ import annotations

from consensus.agreement import effects as do
from consensus.agreement.inputs import ProposalReceived
from consensus.agreement.messages import Proposal
from consensus.types.codec import encode
from consensus.types.vote import proposal_hash
from tests.sim.node import BLOCK, GENESIS, Offer, SimBlock, SimNode, id_of


class DoubleProposer(SimNode):
    """One half hears of one block, the other half of another; some hear of both, and can prove it."""

    is_honest = False

    def sign_proposal(self, effect: do.SignAndSendProposal) -> None:
        data = self.blocks[effect.block_id]
        block = BLOCK.decode(data)
        twin = encode(
            SimBlock(block.height, block.round, block.proposer, block.time_ms, block.parent, block.salt + 1)
        )
        mine = self._proposal(effect, effect.block_id)
        self._tell_halves(Offer(mine, data, True), Offer(self._proposal(effect, id_of(twin)), twin, True))
        self.inbox.append((ProposalReceived(mine, block.round, True), True))

    def _proposal(self, effect: do.SignAndSendProposal, block_id: bytes) -> Proposal:
        message = proposal_hash(GENESIS, effect.height, effect.round, block_id, effect.valid_round)
        signature = self.key.sign(message)
        return Proposal(effect.height, effect.round, block_id, effect.valid_round, signature)

    def _tell_halves(self, one: object, other: object) -> None:
        for receiver in range(len(self.world.nodes)):
            if receiver != self.index:
                first = self.network.random.random() < 0.5
                self.network.send(self.index, receiver, one if first else other)
                if self.network.random.random() < 0.3:
                    self.network.send(self.index, receiver, other if first else one)
