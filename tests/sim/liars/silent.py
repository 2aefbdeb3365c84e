"""The silent validator: holds power and never says a word."""

from __future__ import annotations

from typing import Any

from consensus.agreement import effects as do
from tests.sim.node import SimNode


class Silent(SimNode):
    """Follows the chain without proposing or voting."""

    is_honest = False

    def sign_vote(self, effect: do.SignVote) -> None:
        pass

    def sign_proposal(self, effect: do.SignAndSendProposal) -> None:
        pass

    def broadcast(self, message: Any) -> None:
        pass
