"""An attacker with a genuine connection: real Noise and Yamux, and then whatever bytes it likes.

Here: dialling a node as a libp2p host, raw multiplexer frames below the library, a stream of our
protocol without our rules. Not here: what each attack means (tests/functional/test_hostile_peer.py).
"""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from consensus.types.codec import encode
from p2p.frames import Channel, FrameReader, Kind, frame
from p2p.guard import LIBRARY_ERRORS
from p2p.host import make_host, open_stream, protocol
from p2p.identity import NodeKey, PeerAddress, parse_address
from p2p.messages import GOODBYE, PROTOCOL_VERSION, Hello

DATA, WINDOW_UPDATE, PING, GO_AWAY = 0, 1, 2, 3
SYN = 1


def yamux_header(kind: int, flags: int, stream: int, length: int) -> bytes:
    """A header of the multiplexer (hashicorp/yamux, spec.md)."""
    return struct.pack(">BBHII", 0, kind, flags, stream, length)


class Attacker:
    """A connected attacker."""

    def __init__(self, host: Any, key: NodeKey, victim: PeerAddress, genesis: bytes, chain_id: str) -> None:
        self.host, self.key, self.victim = host, key, victim
        self.genesis, self.chain_id = genesis, chain_id
        self.heard: list[tuple[Kind, bytes]] = []
        """What the victim has said on agreement streams."""

    def told_goodbye(self) -> list[int]:
        """The reasons of the goodbyes heard since the last call."""
        codes = [GOODBYE.decode(body).code for kind, body in self.heard if kind is Kind.GOODBYE]
        self.heard.clear()
        return codes

    async def dial(self) -> Any:
        """A fresh connection; raises when the victim refuses it."""
        peer = ID.from_base58(self.victim.peer)
        self.host.get_network().unblock_peer(peer)
        place = Multiaddr(f"/ip4/{self.victim.host}/tcp/{self.victim.port}")
        return await self.host.get_network().dial_addr(place, peer)

    async def stream(self, connection: Any, channel: str) -> Any:
        """A stream of the node's own protocol."""
        return await open_stream(self.host, connection, protocol(self.genesis, channel))

    async def raw(self, connection: Any, data: bytes) -> None:
        """Bytes straight into the encrypted connection, below the multiplexer."""
        await connection.muxed_conn.secured_conn.write(data)

    def hello(self, **changes: Any) -> bytes:
        """A greeting's frame."""
        fields = {
            "version": PROTOCOL_VERSION, "chain_id": self.chain_id, "genesis": self.genesis, "height": 0,
            "moniker": "attacker", "address": "", "validator_key": None, "signature": None,
        }  # fmt: skip
        return frame(Kind.HELLO, encode(Hello(**(fields | changes))))

    async def greeted(self) -> tuple[Any, Any, Any]:
        """A connection on which this attacker counts as a peer: (connection, agreement, pool)."""
        connection = await self.dial()
        agreement = await self.stream(connection, "cons")
        await agreement.write(self.hello())
        pool = await self.stream(connection, "pool")
        return connection, agreement, pool


async def is_ended(connection: Any, within_s: float = 15.0) -> bool:
    """Whether the victim ends the connection."""
    with trio.move_on_after(within_s):
        await connection.event_closed.wait()
        return True
    return False


@asynccontextmanager
async def attacker(address: str, genesis: bytes, chain_id: str) -> AsyncIterator[Attacker]:
    """A host of the attacker's own, with a new peer id, that answers streams with silence."""
    key = NodeKey(os.urandom(32))
    host = make_host(key, [Multiaddr("/ip4/127.0.0.1/tcp/0")], (), 64, "")

    hostile = Attacker(host, key, parse_address(address), genesis, chain_id)

    async def swallow(stream: Any) -> None:
        try:
            while await stream.read(65536):
                continue
        except LIBRARY_ERRORS as error:  # at the end of a connection
            del error

    async def listen(stream: Any) -> None:
        reader = FrameReader(Channel.AGREEMENT)
        try:
            while data := await stream.read(65536):
                hostile.heard += reader.feed(data)
        except LIBRARY_ERRORS as error:  # likewise
            del error

    for channel, handler in (("cons", listen), ("pool", swallow), ("req", swallow)):
        host.set_stream_handler(protocol(genesis, channel), handler)
    async with host.run(listen_addrs=[]):
        yield hostile
