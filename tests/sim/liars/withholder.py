"""The withholder: proposes blocks whose bytes it hands to nobody."""

from __future__ import annotations

from typing import Any

from tests.sim.node import Bytes, Offer, SimNode, Want


class Withholder(SimNode):
    """Its proposals carry the header alone, and requests for the rest go unanswered."""

    is_honest = False

    def broadcast(self, message: Any) -> None:
        if isinstance(message, Offer):
            message = message._replace(is_complete=False)
        super().broadcast(message)

    def receive(self, sender: int, message: Any) -> None:
        if not isinstance(message, Want | Bytes):
            super().receive(sender, message)
