"""Addresses: 20 bytes in the protocol, bech32m text (BIP-350) for people.

Here: derivation from keys, text form, its errors.
The text has no version symbol: 32 symbols of 5 bits are exactly the 20 bytes, then the checksum.
Errors: 1102 address_malformed, 1103 address_of_another_network.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from consensus.types.codec import encode
from consensus.types.errors import Reason, Rejected
from consensus.types.hashing import Tag, tagged_hash

ADDRESS_BYTES = 20
NO_ADDRESS = bytes(ADDRESS_BYTES)
"""The sender of evidence, which proves itself and needs no account."""
PREFIXES = {"eub": "main", "teub": "test", "deub": "dev"}
"""The human-readable part of each kind of network."""

ADDRESS_MALFORMED = Reason(
    1102,
    "address_malformed",
    "text:text why:text",
    "'{text}' is not an address: {why}.",
    "Copy the address again, whole; one wrong letter is always detected.",
)
ADDRESS_OF_ANOTHER_NETWORK = Reason(
    1103,
    "address_of_another_network",
    "text:text theirs:text ours:text",
    "'{text}' is an address of the {theirs} network; this is the {ours} network.",
    "Ask the recipient for their address on the {ours} network.",
)

_SYMBOLS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32M = 0x2BC830A3


def key_address(key: bytes) -> bytes:
    """The address of a single key (kind 0)."""
    return tagged_hash(Tag.ADDRESS, b"\x00", key)[:ADDRESS_BYTES]


def multisig_address(threshold: int, keys: Sequence[bytes]) -> bytes:
    """The address of `threshold` of `keys` (kind 1); keys strictly ascending, 1 ≤ k ≤ n ≤ 16."""
    assert 1 <= threshold <= len(keys) <= 16, "1 <= k <= n <= 16"
    assert all(a < b for a, b in pairwise(keys)), "keys strictly ascending"
    return tagged_hash(Tag.ADDRESS, b"\x01", encode([threshold, list(keys)]))[:ADDRESS_BYTES]


def protocol_address(name: str) -> bytes:
    """The address of a protocol account (kind 2); nobody can sign for it."""
    return tagged_hash(Tag.ADDRESS, b"\x02", name.encode("ascii"))[:ADDRESS_BYTES]


def _polymod(values: Sequence[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for i in range(5):
            checksum ^= _GENERATOR[i] if (top >> i) & 1 else 0
    return checksum


def _expand(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def bech32m_encode(prefix: str, symbols: Sequence[int]) -> str:
    """BIP-350: append the 6-symbol checksum and spell it."""
    check = _polymod([*_expand(prefix), *symbols, 0, 0, 0, 0, 0, 0]) ^ _BECH32M
    tail = [(check >> 5 * (5 - i)) & 31 for i in range(6)]
    return prefix + "1" + "".join(_SYMBOLS[s] for s in [*symbols, *tail])


def bech32m_decode(text: str) -> tuple[str, list[int]]:
    """BIP-350: return prefix and symbols without the checksum; raise ValueError with the reason."""
    if any(not 33 <= ord(c) <= 126 for c in text):
        raise ValueError("it has a character that no address has")
    if text.lower() != text and text.upper() != text:
        raise ValueError("it mixes upper and lower case")
    text = text.lower()
    prefix, separator, data = text.rpartition("1")
    if not separator or not prefix or len(data) < 6 or len(text) > 90:
        raise ValueError("it is too short, too long, or has no '1' after its prefix")
    if any(c not in _SYMBOLS for c in data):
        raise ValueError("it has a letter that no address has (1, b, i and o never occur)")
    symbols = [_SYMBOLS.index(c) for c in data]
    if _polymod([*_expand(prefix), *symbols]) != _BECH32M:
        raise ValueError("its checksum does not match, so a character is wrong or missing")
    return prefix, symbols[:-6]


def format_address(address: bytes, prefix: str) -> str:
    """Spell 20 bytes for the network with this prefix."""
    assert len(address) == ADDRESS_BYTES, "an address has 20 bytes"
    bits = int.from_bytes(address, "big")
    return bech32m_encode(prefix, [(bits >> 5 * (31 - i)) & 31 for i in range(32)])


def parse_address(text: str, prefix: str) -> bytes:
    """Read an address of the network with this prefix; raise `Rejected` with 1102 or 1103."""
    shown = text[:100]
    if text != text.lower():
        raise Rejected(ADDRESS_MALFORMED, text=shown, why="addresses are written in lower case")
    try:
        found, symbols = bech32m_decode(text)
    except ValueError as error:
        raise Rejected(ADDRESS_MALFORMED, text=shown, why=str(error)) from None
    if found != prefix:
        if found not in PREFIXES:
            raise Rejected(ADDRESS_MALFORMED, text=shown, why=f"no EUB network has the prefix {found}")
        raise Rejected(ADDRESS_OF_ANOTHER_NETWORK, text=shown, theirs=PREFIXES[found], ours=PREFIXES[prefix])
    if len(symbols) != 32:
        raise Rejected(ADDRESS_MALFORMED, text=shown, why="it does not hold 20 bytes")
    bits = 0
    for symbol in symbols:
        bits = bits << 5 | symbol
    return bits.to_bytes(ADDRESS_BYTES, "big")
