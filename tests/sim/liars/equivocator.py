"""The equivocator: tells one half of the network one thing and the other half another."""

from __future__ import annotations

from consensus.agreement import effects as do
from consensus.agreement.inputs import ProposalReceived, VoteReceived
from consensus.agreement.messages import Proposal, Vote
from consensus.types.codec import encode
from consensus.types.vote import proposal_hash, vote_hash
from tests.sim.node import BLOCK, GENESIS, Offer, SimBlock, SimNode, id_of


class Equivocator(SimNode):
    """Signs past its guard: every vote also for the opposite, every proposal also for another block."""

    is_honest = False

    def sign_vote(self, effect: do.SignVote) -> None:
        mine = self._vote(effect, effect.block_id)
        known = sorted(self.blocks)
        other = None if effect.block_id is not None else known[0] if known else bytes(32)
        self._tell_halves(mine, self._vote(effect, other))
        self.inbox.append((VoteReceived(mine), True))

    def sign_proposal(self, effect: do.SignAndSendProposal) -> None:
        data = self.blocks[effect.block_id]
        block = BLOCK.decode(data)
        twin = encode(
            SimBlock(block.height, block.round, block.proposer, block.time_ms, block.parent, block.salt + 1)
        )
        mine = self._proposal(effect, effect.block_id)
        self._tell_halves(Offer(mine, data, True), Offer(self._proposal(effect, id_of(twin)), twin, True))
        self.inbox.append((ProposalReceived(mine, block.round, True), True))

    def _vote(self, effect: do.SignVote, block_id: bytes | None) -> Vote:
        message = vote_hash(GENESIS, effect.kind, effect.height, effect.round, block_id)
        signature = self.key.sign(message)
        return Vote(effect.kind, effect.height, effect.round, block_id, self.seat, signature)

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
