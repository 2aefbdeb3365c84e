"""Passing on between validators: what one said goes to a few others, if the height does not end by itself.

Here: `PassingOn`, which keeps what was heard back for a moment.
Not here: verification (hearing.py), to whom (peers.py), what everybody says again (consensus/agreement).
Keeps: where every line stands nothing is passed on, for the height is over before; where one is missing, a
message takes this moment longer. At most `HELD_MAX` are held, and the oldest lose.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from eubchain.node.hearing import Heard, Message
from p2p.messages import ProposalMessage

AFTER_S = 0.25
"""Longer than votes take where all lines stand: passing on at once tripled what a mesh of four sent."""
HELD_MAX = 4096


def height_of(message: Message) -> int:
    """The height that a message belongs to."""
    return message.proposal.height if isinstance(message, ProposalMessage) else message.height


class PassingOn:
    """Holds what was heard at the present height, and hands on what is still of use later."""

    def __init__(self, send: Callable[[Heard], None]) -> None:
        self._send = send
        self._height = 0
        self._held: deque[tuple[float, Heard]] = deque(maxlen=HELD_MAX)
        self._arrived = trio.Event()

    def at_height(self, height: int) -> None:
        """A height begins: what was said of the one before is of no more use."""
        self._height = height
        self._held.clear()

    def hold(self, heard: Heard) -> None:
        """Take a verified message; a late one of the height before is nobody else's need."""
        if height_of(heard.message) >= self._height:
            self._held.append((trio.current_time() + AFTER_S, heard))
            self._arrived.set()

    async def run(self) -> None:
        """Hand on what its height outlives, until cancelled."""
        while True:
            await self._arrived.wait()
            while self._held:
                due_s, heard = self._held[0]
                if due_s > trio.current_time():
                    await trio.sleep_until(due_s)  # and look again: a height may have begun
                else:
                    self._held.popleft()
                    self._send(heard)
            self._arrived = trio.Event()
