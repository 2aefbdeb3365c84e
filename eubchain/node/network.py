"""What the engine asks of the network between validators, and the network of a node without peers.

Here: the protocol and `NoPeers`. Not here: links, frames and gossip (p2p).
Keeps: nothing here waits: whatever cannot be sent at once is queued or dropped by the network, since
agreement says again what matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from consensus.agreement.inputs import StartHeight
from consensus.agreement.messages import Certificate, Proposal, Vote
from consensus.types.block import Block, Commit


class Final(NamedTuple):
    """A block that others have decided, its commit verified."""

    block: Block
    block_id: bytes
    commit: Commit


class Network(Protocol):
    """Sending, as the engine sees it; what arrives comes to `Engine.deliver`."""

    def send(self, message: Proposal | Vote | Certificate) -> None:
        """Send to every validator."""
        ...

    def offer_block(self, block_id: bytes, block: Block, wtxids: Sequence[bytes] = ()) -> None:
        """Keep a block of this height for whoever asks, and announce it.

        `wtxids` are its transactions' names, where they are known: naming a full block takes a while.
        """
        ...

    def want_block(self, block_id: bytes) -> None:
        """Ask peers for a block; it comes to `Engine.deliver_block`."""
        ...

    def at_height(self, start: StartHeight) -> None:
        """Forget what belongs to earlier heights, and tell peers where this node is."""
        ...

    def is_behind(self) -> bool:
        """Whether final blocks are on their way, so that agreeing on the next height is pointless."""
        ...

    def peers_height(self) -> int:
        """The highest height that a peer reports; 0 without peers."""
        ...

    def is_connected(self) -> bool:
        """Whether a peer is connected, so that what is said on the network can be heard."""
        ...


class NoPeers:
    """The network of a single node."""

    def send(self, message: Proposal | Vote | Certificate) -> None:
        """Nobody to tell."""

    def offer_block(self, block_id: bytes, block: Block, wtxids: Sequence[bytes] = ()) -> None:
        """Nobody to offer it to."""

    def want_block(self, block_id: bytes) -> None:
        """Nobody to ask."""

    def at_height(self, start: StartHeight) -> None:
        """Nobody to tell."""

    def is_behind(self) -> bool:
        """Nobody is ahead."""
        return False

    def peers_height(self) -> int:
        """No peer reports one."""
        return 0

    def is_connected(self) -> bool:
        """Nobody is."""
        return False
