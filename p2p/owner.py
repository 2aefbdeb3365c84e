"""What one life of the host needs of the network it belongs to.

Here: the interface. Not here: the life (life.py), the network (service.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from p2p.frames import Kind
from p2p.greeting import Identities
from p2p.link import Link
from p2p.messages import Hello
from p2p.net import Event, Traffic


class Owner(Protocol):
    """What a life needs of the network it belongs to."""

    genesis: bytes
    chain_id: str
    connections_per_subnet_max: int
    traffic: Traffic
    clock_ms: Callable[[], int]
    identities: Identities

    def hello(self) -> Hello:
        """This node's greeting."""
        ...

    def refused(self, peer: str, code: int) -> None:
        """A peer does not take this node's connection, for a reason."""
        ...

    def emit(self, event: Event) -> bool:
        """Hand an event to the node if there is room at once."""
        ...

    async def emit_patiently(self, event: Event) -> None:
        """Hand an event to the node, waiting while it is busy."""
        ...

    def is_banned(self, name: str) -> bool:
        """A peer id or an address."""
        ...

    def punish(self, link: Link, why: str, points: int) -> None:
        """Lower the score; the link is ended by the caller."""
        ...

    def answer_itself(self, link: Link, kind: Kind, body: bytes) -> bytes | None:
        """Answer what needs no node: addresses of peers."""
        ...
