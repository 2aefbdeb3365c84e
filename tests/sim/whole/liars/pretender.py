"""The pretender: proposes something new as if it had had its polka long ago, or something old as if new."""

from __future__ import annotations

from typing import Any

from consensus.agreement.messages import Proposal
from tests.sim.whole.liars.liar import Liar, Message


class Pretender(Liar):
    """Its lie is the valid round: one that never was, or none where there was one."""

    def __init__(self, *arguments: Any) -> None:
        self.proposed: dict[int, list[bytes]] = {}
        """By height, blocks that it has proposed: bait for rounds to come."""
        super().__init__(*arguments)

    def say(self, message: Message) -> None:
        if not isinstance(message, Proposal):
            super().say(message)
            return
        known = self.proposed.setdefault(message.height, [])
        known.append(message.block_id)
        if message.round == 0:
            super().say(message)
            return
        old = [b for b in known if self.peers.proposed.block(b) is not None] or [message.block_id]
        block_id = self.random.choice(old)
        valid_round = self.random.choice([None, 0, message.round - 1])
        lie = self.propose(message, block_id, valid_round)
        for peer in self.others:
            self.tell(peer, lie)
