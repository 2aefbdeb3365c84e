"""The splitter: lets one victim decide, and tempts everybody else to decide something different."""

from __future__ import annotations

from consensus.agreement import effects as do
from consensus.agreement.inputs import VoteReceived
from consensus.agreement.messages import Vote
from consensus.types.codec import encode
from consensus.types.vote import PRECOMMIT, vote_hash
from tests.sim.node import BLOCK, GENESIS, SimNode, id_of


class Splitter(SimNode):
    """Precommits for the victim's ears only, and always proposes something new.

    Only the lock of those who precommitted with the victim stands between this and a fork.
    """

    is_honest = False

    @property
    def victim(self) -> int:
        return (self.index + 1) % len(self.world.nodes)

    def sign_vote(self, effect: do.SignVote) -> None:
        mine = self._vote(effect, effect.block_id)
        for receiver in range(len(self.world.nodes)):
            if receiver == self.index:
                continue
            is_hidden = effect.kind == PRECOMMIT and receiver != self.victim
            told = self._vote(effect, None) if is_hidden else mine
            self.network.send(self.index, receiver, told)
        self.inbox.append((VoteReceived(mine), True))

    def sign_proposal(self, effect: do.SignAndSendProposal) -> None:
        if effect.valid_round is None:
            super().sign_proposal(effect)
            return
        block = BLOCK.decode(self.blocks[effect.block_id])
        fresh = encode(
            type(block)(block.height, effect.round, self.index, self.clock.now_ms, block.parent, 7)
        )
        self.blocks[id_of(fresh)] = fresh
        self.wal.append_block(id_of(fresh), fresh)
        super().sign_proposal(do.SignAndSendProposal(effect.height, effect.round, id_of(fresh), None, None))

    def _vote(self, effect: do.SignVote, block_id: bytes | None) -> Vote:
        message = vote_hash(GENESIS, effect.kind, effect.height, effect.round, block_id)
        signature = self.key.sign(message)
        return Vote(effect.kind, effect.height, effect.round, block_id, self.seat, signature)
