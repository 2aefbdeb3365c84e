"""The equivocator: tells one half of the network one thing and the other half another."""

from __future__ import annotations

from consensus.agreement.messages import Vote
from tests.sim.whole.liars.double_proposer import DoubleProposer
from tests.sim.whole.liars.liar import Message


class Equivocator(DoubleProposer):
    """Signs past its guard: every vote also for the opposite, every proposal also for another block."""

    both_heard = 0.3

    def opposite(self, message: Message) -> Message:
        match message:
            case Vote(block_id=None):
                known = sorted(self.engine._blocks)
                return self.vote_for(message, known[0] if known else bytes(32))
            case Vote(block_id=block_id):
                return self.vote_for(message, self.twins.get(block_id or b""))
        return super().opposite(message)
