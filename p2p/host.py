"""Building the libp2p host: Noise and Yamux only, guarded, on a port that is really ours.

Here: the host, opening a stream on a given connection, dialling an address, the test of the port.
Not here: supervision and links (service.py).
Keeps: a connection is encrypted and its peer id proved, or it does not exist; the library dials
nobody by itself.
Errors: 2412 address_taken.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as new_noise_key
from libp2p.custom_types import TProtocol
from libp2p.network.config import ConnectionConfig
from libp2p.peer.id import ID
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_PROTOCOL_ID
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_PROTOCOL_ID
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from consensus.types.errors import Fault
from p2p.faults import ADDRESS_TAKEN
from p2p.guard import keep_from_asking, keep_from_dialling
from p2p.identity import NodeKey, PeerAddress

NEGOTIATE_S = 10

# The library logs strangers' garbage as warnings of its own; what matters is logged here in our words.
logging.getLogger("libp2p").setLevel(logging.CRITICAL)


def make_host(
    key: NodeKey, listen: Sequence[Multiaddr], announce: Sequence[str], connections_max: int, network_key: str
) -> Any:
    """A host that accepts Noise and Yamux only; left out, plaintext and others would be accepted too."""
    pair = create_new_key_pair(key.seed)
    host = new_host(
        key_pair=pair,
        listen_addrs=list(listen),
        announce_addrs=[Multiaddr(a) for a in announce] or list(listen),
        disable_identify_address_discovery=True,
        sec_opt={NOISE_PROTOCOL_ID: NoiseTransport(pair, noise_privkey=new_noise_key().private_key)},
        muxer_opt={YAMUX_PROTOCOL_ID: Yamux},
        psk=network_key or None,
        connection_config=ConnectionConfig(
            max_connections=connections_max,
            min_connections=0,
            low_watermark=0,
            high_watermark=connections_max,
        ),
    )
    keep_from_dialling(host)
    keep_from_asking(host)
    return host


def protocol(genesis: bytes, channel: str) -> TProtocol:
    """A stream's protocol name; it names the network, for two development chains may share a chain id."""
    return TProtocol(f"/eub/{genesis[:4].hex()}/{channel}/1")


async def open_stream(host: Any, connection: Any, name: TProtocol) -> Any:
    """Open a stream on this very connection and agree on its protocol; raises what the library raises."""
    stream = await connection.new_stream()
    chosen = await host.multiselect_client.select_one_of([name], MultiselectCommunicator(stream), NEGOTIATE_S)
    if chosen != name:
        raise ConnectionError(f"{name} was not agreed on within {NEGOTIATE_S} s")
    stream.set_protocol(name)
    return stream


async def dial(host: Any, address: PeerAddress) -> None:
    """Connect, or raise what the library raises. To be run in a task that is not cancelled."""
    place = address.host
    if address.is_name:
        # The library's own look-up does not read the hosts file.
        found = await trio.socket.getaddrinfo(place, address.port, socket.AF_INET, socket.SOCK_STREAM)
        place = found[0][4][0]
    peer = ID.from_base58(address.peer)
    host.get_network().unblock_peer(peer)  # it refuses a peer for a minute after one failed dial
    kind = "ip6" if ":" in place else "ip4"
    await host.get_network().dial_addr(Multiaddr(f"/{kind}/{place}/tcp/{address.port}"), peer)


def listen_address(text: str) -> Multiaddr:
    """`HOST:PORT` of the configuration as the library writes it."""
    place, _, port = text.rpartition(":")
    place = place.strip("[]")
    return Multiaddr(f"/{'ip6' if ':' in place else 'ip4'}/{place}/tcp/{port}")


def claim_port(text: str) -> None:
    """Raise `Fault` 2412 unless the address is free: the library would share it with another process."""
    place, _, port = text.rpartition(":")
    place = place.strip("[]")
    family = socket.AF_INET6 if ":" in place else socket.AF_INET
    probe = socket.socket(family, socket.SOCK_STREAM)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((place, int(port)))
    except (OSError, ValueError, OverflowError) as error:
        raise Fault(ADDRESS_TAKEN, address=text, why=str(error).lower()) from None
    finally:
        probe.close()
