"""The babbler: says everything twice, the truth and its opposite, to everybody, also of later rounds."""

from __future__ import annotations

from msgspec.structs import replace

from consensus.agreement.messages import Vote
from tests.sim.whole.liars.liar import Liar, Message


class Babbler(Liar):
    """Votes twice, in any order, so that whoever counts one validator's power twice is found out."""

    def say(self, message: Message) -> None:
        if not isinstance(message, Vote):
            super().say(message)
            return
        known = sorted(self.engine._blocks) or [bytes(32)]
        said: list[Message] = [message, message, self.vote_for(message, None)]
        said += [self.vote_for(message, block_id) for block_id in known[:2]]
        said.append(self.vote_for(replace(message, round=message.round + 3), known[0]))
        for peer in self.others:
            self.random.shuffle(said)
            for each in said:
                self.tell(peer, each)
