"""Who a node is on the network: its Ed25519 key, its peer id, and addresses that it signs.

Here: the key file, peer ids as text, addresses as text, signed address records.
Not here: validator keys (eubchain/node/validator_key.py), connections.
Keeps: the key file is its owner's alone; a peer id is its key, so a record needs no other proof.
Errors: 2413 peer_address_malformed, 2414 node_key_damaged.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.keys import KeyPair
from libp2p.peer.id import ID
from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError

from consensus.types.codec import encode
from consensus.types.errors import Fault
from consensus.types.hashing import Tag, tagged_hash
from p2p.faults import NODE_KEY_DAMAGED, PEER_ADDRESS_MALFORMED
from p2p.messages import AddressRecord

_KEY_PREFIX = bytes.fromhex("002408011220")
"""An Ed25519 peer id: identity multihash (00, 36 bytes) of the protobuf (type 1, 32 bytes of key)."""


class NodeKey:
    """The node's network key."""

    def __init__(self, seed: bytes) -> None:
        self.pair: KeyPair = create_new_key_pair(seed)
        self.peer_id: str = str(ID.from_pubkey(self.pair.public_key))
        self._seed = seed

    def __repr__(self) -> str:
        return f"NodeKey({self.peer_id})"

    def sign(self, message: bytes) -> bytes:
        """An Ed25519 signature."""
        return Ed25519PrivateKey.from_private_bytes(self._seed).sign(message)

    def address_record(self, genesis: bytes, addresses: tuple[str, ...], now_s: int) -> AddressRecord:
        """Where this node can be dialled, signed."""
        message = _record_message(genesis, self.peer_id, addresses, now_s)
        return AddressRecord(self.peer_id, addresses, now_s, self.sign(message))


def _record_message(genesis: bytes, peer: str, addresses: tuple[str, ...], issued_s: int) -> bytes:
    return tagged_hash(Tag.HELLO, genesis, encode((peer, addresses, issued_s)))


def is_signed(record: AddressRecord, genesis: bytes) -> bool:
    """Whether the node that the record names has signed it."""
    try:
        raw = ID.from_base58(record.peer).to_bytes()
        if len(raw) != 38 or not raw.startswith(_KEY_PREFIX):
            return False
        message = _record_message(genesis, record.peer, record.addresses, record.issued_s)
        Ed25519PublicKey.from_public_bytes(raw[6:]).verify(record.signature, message)
    except (ValueError, InvalidSignature):
        return False
    return True


def read_node_key(path: Path) -> NodeKey:
    """The key of a home; made at the first call. Raise `Fault` 2414 for a file that holds none."""
    try:
        seed = bytes.fromhex(json.loads(path.read_text("utf-8"))["ed25519_seed"])
        if len(seed) != 32:
            raise ValueError("the seed must be 32 bytes")
        return NodeKey(seed)
    except FileNotFoundError:
        return _make_node_key(path)
    except (KeyError, TypeError, ValueError) as error:
        raise Fault(NODE_KEY_DAMAGED, path=str(path), why=type(error).__name__) from None


def _make_node_key(path: Path) -> NodeKey:
    seed = os.urandom(32)
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps({"ed25519_seed": seed.hex()}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return NodeKey(seed)


class PeerAddress(NamedTuple):
    """A peer and one place to dial it at."""

    peer: str
    host: str
    port: int
    is_name: bool
    """The host is a name, to be looked up when dialled."""

    def text(self) -> str:
        """The address as people write it."""
        kind = "dns4" if self.is_name else ("ip6" if ":" in self.host else "ip4")
        return f"/{kind}/{self.host}/tcp/{self.port}/p2p/{self.peer}"


def parse_address(text: str) -> PeerAddress:
    """Read `/ip4/…/tcp/…/p2p/…`, also with ip6 or dns4; raise `Fault` 2413."""
    try:
        address = Multiaddr(text)
        names = [protocol.name for protocol in address.protocols()]
        if len(names) != 3 or names[0] not in ("ip4", "ip6", "dns4") or names[1:] != ["tcp", "p2p"]:
            raise Fault(PEER_ADDRESS_MALFORMED, address=text[:256], why="its parts are others")
        host = str(address.value_for_protocol(names[0]))
        port = int(str(address.value_for_protocol("tcp")))
        peer = str(ID.from_base58(str(address.value_for_protocol("p2p"))))
    except (MultiaddrError, ValueError) as error:
        raise Fault(PEER_ADDRESS_MALFORMED, address=text[:256], why=str(error)[:200]) from None
    return PeerAddress(peer, host, port, names[0] == "dns4")
