"""The splitter: lets one victim decide, and tempts everybody else to decide something different."""

from __future__ import annotations

from typing import Any

from consensus.agreement import effects as do
from consensus.agreement.inputs import VoteReceived
from consensus.agreement.messages import Vote
from consensus.agreement.proposer import proposer_index
from consensus.types.codec import encode
from consensus.types.vote import PRECOMMIT, vote_hash
from tests.sim.node import BLOCK, GENESIS, SimBlock, SimNode, Status, id_of


class Splitter(SimNode):
    """Precommits first for the victim's ears only; later proposes something new, or pretends it is old.

    Only the lock of those who precommitted with the victim, and the polka they ask for before they
    give it up, stand between this and a fork.
    """

    is_honest = False

    def __init__(self, *arguments: Any) -> None:
        self.bait: dict[tuple[int, int], bytes] = {}
        """What it proposed instead, by height and round, and votes for whatever it is locked on."""
        super().__init__(*arguments)

    @property
    def victim(self) -> int:
        return (self.index + 1) % len(self.world.validators)

    def receive(self, sender: int, message: Any) -> None:
        """Helps nobody to catch up."""
        if not isinstance(message, Status):
            super().receive(sender, message)

    def sign_vote(self, effect: do.SignVote) -> None:
        chosen = self.bait.get((effect.height, effect.round), effect.block_id)
        told = self._vote(effect, chosen)
        hidden = effect.kind == PRECOMMIT and effect.round == 0
        for receiver in range(len(self.world.nodes)):
            if receiver != self.index:
                is_kept_from = hidden and receiver != self.victim
                vote = self._vote(effect, None) if is_kept_from else told
                self.network.send(self.index, receiver, vote)
        # Its own machine believes what the many were told, else it would decide with the victim.
        self.inbox.append((VoteReceived(self._vote(effect, None) if hidden else told), True))

    def sign_proposal(self, effect: do.SignAndSendProposal) -> None:
        """In later rounds something new, if it can as if it had had a polka long ago."""
        if effect.round == 0:
            super().sign_proposal(effect)
            return
        assert self.state is not None
        start = self.state.start
        earlier = [r for r in range(effect.round) if proposer_index(start, r) == self.seat]
        block = BLOCK.decode(self.blocks[effect.block_id])
        salt = self.network.random.getrandbits(32)
        round_, valid_round = (earlier[-1], effect.round - 1) if earlier else (effect.round, None)
        fresh = encode(SimBlock(block.height, round_, self.seat, self.clock.now_ms, block.parent, salt))
        self.blocks[id_of(fresh)] = fresh
        self.wal.append_block(id_of(fresh), fresh)
        self.bait[effect.height, effect.round] = id_of(fresh)
        bait = do.SignAndSendProposal(effect.height, effect.round, id_of(fresh), valid_round, None)
        super().sign_proposal(bait)

    def _vote(self, effect: do.SignVote, block_id: bytes | None) -> Vote:
        message = vote_hash(GENESIS, effect.kind, effect.height, effect.round, block_id)
        signature = self.key.sign(message)
        return Vote(effect.kind, effect.height, effect.round, block_id, self.seat, signature)
