"""The equivocator: tells one half of the network one thing and the other half another."""

from __future__ import annotations

from consensus.agreement import effects as do
from consensus.agreement.inputs import VoteReceived
from consensus.agreement.messages import Vote
from consensus.types.vote import vote_hash
from tests.sim.liars.double_proposer import DoubleProposer
from tests.sim.node import GENESIS


class Equivocator(DoubleProposer):
    """Signs past its guard: every vote also for the opposite, every proposal also for another block."""

    def sign_vote(self, effect: do.SignVote) -> None:
        mine = self._vote(effect, effect.block_id)
        known = sorted(self.blocks)
        other = None if effect.block_id is not None else known[0] if known else bytes(32)
        self._tell_halves(mine, self._vote(effect, other))
        self.inbox.append((VoteReceived(mine), True))

    def _vote(self, effect: do.SignVote, block_id: bytes | None) -> Vote:
        message = vote_hash(GENESIS, effect.kind, effect.height, effect.round, block_id)
        signature = self.key.sign(message)
        return Vote(effect.kind, effect.height, effect.round, block_id, self.seat, signature)
