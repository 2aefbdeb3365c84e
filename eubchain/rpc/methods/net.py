"""`net_*`: this node on the network, and its peers.

Here: the two questions. Not here: the network (p2p, eubchain/node/peers.py).
"""

from __future__ import annotations

from eubchain.rpc.backend import Backend
from eubchain.rpc.method import View, method


class NetInfo(View):
    """This node on the network."""

    id: str
    """Its peer id; empty for a node that stands alone."""
    address: str
    """Where it listens."""
    announced: list[str]
    """Where it says that others reach it."""
    peers: int
    validator_peers: int
    known_addresses: int
    bytes_in: int
    bytes_out: int
    failures: int
    """How often the network part failed and was rebuilt since the start: 0 on a healthy node."""


class PeerView(View):
    """A connected peer."""

    id: str
    moniker: str
    address: str
    direction: str
    """`out` when this node dialled it, else `in`."""
    validator: bool
    """Whether it greeted with a validator key."""
    height: int
    """Of its ledger, as it says."""
    score: int
    """0 for a peer that behaves; below -100 it is banned."""
    bytes_in: int
    bytes_out: int
    connected_s: int


ALONE = NetInfo(
    id="", address="", announced=[], peers=0, validator_peers=0, known_addresses=0, bytes_in=0, bytes_out=0,
    failures=0,
)  # fmt: skip


@method("net_info", example={})
async def info(backend: Backend) -> NetInfo:
    """This node's peer id, addresses and traffic."""
    told = backend.network()
    return NetInfo(**told) if told else ALONE


@method("net_peers", example={})
async def peers(backend: Backend) -> list[PeerView]:
    """The connected peers."""
    return [PeerView(**told) for told in backend.peers()]
