"""Who a node is on the network: its Ed25519 key, its peer id, and addresses that it signs.

Here: the key file, peer ids as text, addresses as text, signed address records; without libp2p, so that
a command that only names peers need not load it.
Not here: validator keys (eubchain/node/validator_key.py), connections.
Keeps: the key file is its owner's alone; a peer id is its key, so a record needs no other proof.
Errors: 2413 peer_address_malformed, 2414 node_key_damaged.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from consensus.types.codec import encode
from consensus.types.errors import Fault
from consensus.types.hashing import Tag, tagged_hash
from p2p.faults import NODE_KEY_DAMAGED, PEER_ADDRESS_MALFORMED
from p2p.messages import AddressRecord

_KEY_PREFIX = bytes.fromhex("002408011220")
"""An Ed25519 peer id: identity multihash (00, 36 bytes) of the protobuf (type 1, 32 bytes of key)."""
_PEER_ID_BYTES = len(_KEY_PREFIX) + 32
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PEER_ID_LETTERS_MAX = 64
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\Z")


def peer_id_of(public: bytes) -> str:
    """The peer id of an Ed25519 key, in base58 (its leading zero byte is the letter 1)."""
    number = int.from_bytes(_KEY_PREFIX + public, "big")
    letters = ""
    while number:
        number, digit = divmod(number, 58)
        letters = _BASE58[digit] + letters
    return "1" + letters


def key_of(peer: str) -> bytes | None:
    """The Ed25519 key that a peer id is made of; None for anything else."""
    if not peer.startswith("1") or len(peer) > _PEER_ID_LETTERS_MAX:
        return None
    number = 0
    for letter in peer[1:]:
        digit = _BASE58.find(letter)
        if digit < 0:
            return None
        number = number * 58 + digit
    if number.bit_length() > 8 * _PEER_ID_BYTES:
        return None
    raw = number.to_bytes(_PEER_ID_BYTES, "big")
    public = raw[len(_KEY_PREFIX) :]
    return public if raw.startswith(_KEY_PREFIX) and peer_id_of(public) == peer else None


class NodeKey:
    """The node's network key."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.peer_id = peer_id_of(self._key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"NodeKey({self.peer_id})"

    def address_record(self, genesis: bytes, addresses: tuple[str, ...], now_s: int) -> AddressRecord:
        """Where this node can be dialled, signed."""
        message = _record_message(genesis, self.peer_id, addresses, now_s)
        return AddressRecord(self.peer_id, addresses, now_s, self._key.sign(message))


def _record_message(genesis: bytes, peer: str, addresses: tuple[str, ...], issued_s: int) -> bytes:
    return tagged_hash(Tag.PEER_ADDRESS, genesis, encode((peer, addresses, issued_s)))


def is_signed(record: AddressRecord, genesis: bytes) -> bool:
    """Whether the node that the record names has signed it."""
    public = key_of(record.peer)
    if public is None:
        return False
    message = _record_message(genesis, record.peer, record.addresses, record.issued_s)
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(record.signature, message)
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
        # Only the kind of error is told: its text may quote the file, and the file is a secret.
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
    parts = text.split("/")
    if len(parts) != 7 or parts[0] or parts[3] != "tcp" or parts[5] != "p2p":
        raise _malformed(text, "its parts are others")
    kind, host, port, peer = parts[1], parts[2], parts[4], parts[6]
    if not _is_host(kind, host):
        raise _malformed(text, f"{host} is no {kind} address")
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 2**16):
        raise _malformed(text, f"{port} is no port")
    if key_of(peer) is None:
        raise _malformed(text, f"{peer} is not the id of an Ed25519 key")
    return PeerAddress(peer, host, int(port), kind == "dns4")


def _is_host(kind: str, host: str) -> bool:
    if kind == "dns4":
        return len(host) <= 253 and _NAME.match(host) is not None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return kind == f"ip{address.version}"


def _malformed(text: str, why: str) -> Fault:
    return Fault(PEER_ADDRESS_MALFORMED, address=text[:256], why=why[:200])


def is_local(address: str) -> bool:
    """Whether an IP address is this machine's own; an unknown one counts as such."""
    return address.startswith("127.") or address in ("::1", "")


def subnet(address: str) -> str:
    """The /24 of an IPv4 address, the /48 of an IPv6 one."""
    return address.rpartition(".")[0] if "." in address else ":".join(address.split(":")[:3])
