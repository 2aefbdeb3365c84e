"""The silent validator: holds power and never says a word of its own."""

from __future__ import annotations

from consensus.agreement.messages import Certificate
from tests.sim.whole.liars.liar import Liar, Message


class Silent(Liar):
    """Follows the chain without proposing or voting."""

    def say(self, message: Message) -> None:
        if isinstance(message, Certificate):
            super().say(message)
