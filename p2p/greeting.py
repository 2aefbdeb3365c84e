"""Greetings: whether the node at the other end can be talked with, and whether it is the only one so named.

Here: reading a hello of whatever version; which processes have greeted with one peer id.
Not here: what a greeting says of validators (eubchain/node/peers.py), connections (life.py).
Keeps: the first element of a hello is its version in every version, and is compared before the rest is
read; another version is no offence. A peer id is shared by two running nodes when a process greets again
after another has greeted with it: a node that was started again never looks so.
Errors: 2402 message_malformed, 2404 other_chain, 2405 other_protocol.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from p2p.faults import MESSAGE_MALFORMED, OTHER_CHAIN, OTHER_PROTOCOL, PeerFault, Unsuited
from p2p.frames import Kind
from p2p.messages import HELLO, PROTOCOL_VERSION, Hello, read_body

PEERS_MAX = 1024
INSTANCES_MAX = 4
"""Remembered of one peer, so that even four homes of one copy are noticed."""
SHARED_S = 3600.0
"""After the last sign that an identity is shared, two connections with it are again what they usually are."""


def read_hello(body: bytes, genesis: bytes, chain_id: str) -> Hello:
    """A hello of our version and network; raise `Unsuited` 2404, 2405 or `PeerFault` 2402."""
    version = _version(body)
    if version != PROTOCOL_VERSION:
        raise Unsuited(OTHER_PROTOCOL, theirs=version, ours=PROTOCOL_VERSION)
    hello = read_body(HELLO, Kind.HELLO, body)
    if hello.genesis != genesis:
        raise Unsuited(OTHER_CHAIN, theirs=hello.chain_id, ours=chain_id)
    return hello


def _version(body: bytes) -> int:
    """The first element of an array whose other elements may be anything."""
    try:
        found = msgspec.msgpack.decode(body, type=list)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = []
    version = found[0] if found else None
    if type(version) is not int or not 0 <= version < 2**32:
        raise PeerFault(MESSAGE_MALFORMED, kind=int(Kind.HELLO), why="it does not begin with a version")
    return version


class Identities:
    """The processes that greeted with each peer id."""

    def __init__(self) -> None:
        self._instances: OrderedDict[str, list[bytes]] = OrderedDict()
        self._shared_s: dict[str, float] = {}

    def greeted(self, peer: str, instance: bytes, now_s: float) -> bool:
        """Note a greeting; True when it shows for the first time that two nodes run with this identity."""
        seen = self._instances.setdefault(peer, [])
        self._instances.move_to_end(peer)
        came_back = instance in seen[:-1]
        if instance in seen:
            seen.remove(instance)
        seen.append(instance)
        del seen[:-INSTANCES_MAX]
        if len(self._instances) > PEERS_MAX:
            forgotten, _ = self._instances.popitem(last=False)
            self._shared_s.pop(forgotten, None)
        was_shared = self.is_shared(peer, now_s)
        if came_back:
            self._shared_s[peer] = now_s
        return came_back and not was_shared

    def is_shared(self, peer: str, now_s: float) -> bool:
        """Whether two running nodes were seen with this identity not long ago."""
        return now_s - self._shared_s.get(peer, -SHARED_S) < SHARED_S
