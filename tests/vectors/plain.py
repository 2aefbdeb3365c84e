"""The protocol's bytes without the chain's own code: msgpack, hashlib and integers, nothing of ours.

Here: what another implementation would write first, as the pages under docs/protocol define it: hashes, list
roots, addresses, BIP-340 verification, the state tree by recursion, proofs.
Not here: speed, and the rules (the replay of chain.json uses the chain's own).
Keeps: no import from this repository, so that a mistake of ours is not made twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b, sha256
from typing import Any

import msgpack

SYMBOLS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
FIELD = 2**256 - 2**32 - 977
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
GENERATOR = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
Point = tuple[int, int] | None


def hashed(tag: str, *parts: bytes) -> bytes:
    """H(tag, parts)."""
    return blake2b(b"".join(parts), digest_size=32, person=tag.encode()).digest()


def fields_of(told: Any) -> Any:
    """The object that JSON tells: a byte string is written {"hex": "…"}."""
    if isinstance(told, dict):
        return bytes.fromhex(told["hex"])
    return [fields_of(part) for part in told] if isinstance(told, list) else told


def encoded(value: Any) -> bytes:
    """The encoding of an object made of lists."""
    return bytes(msgpack.packb(value, use_bin_type=True))


def packed(told: Any) -> bytes:
    """The encoding of what JSON tells."""
    return encoded(fields_of(told))


def unpacked(data: bytes) -> Any:
    """The object; fails when `data` is not the shortest encoding of arrays and integers in bounds."""
    found = msgpack.unpackb(data, raw=False, use_list=True, strict_map_key=True)
    _check(found, 1)
    assert encoded(found) == data, "the shortest form"
    return found


def _check(value: Any, depth: int) -> None:
    if isinstance(value, list):
        assert depth <= 8, "nested too deeply"
        for part in value:
            _check(part, depth + 1)
    elif isinstance(value, int):
        assert 0 <= value < 2**63
    else:
        assert value is None or isinstance(value, bytes | str), "no map, no float, no extension"


def list_root(items: Sequence[bytes]) -> bytes:
    """The root of a list, by RFC 6962's own recursion."""

    def top(part: Sequence[bytes]) -> bytes:
        if len(part) == 1:
            return hashed("EUB-mleaf", part[0])
        split = 1
        while split * 2 < len(part):
            split *= 2
        return hashed("EUB-mnode", top(part[:split]), top(part[split:]))

    return hashed("EUB-mroot", top(items) if items else bytes(32), len(items).to_bytes(8, "big"))


def address(kind: int, content: bytes) -> bytes:
    """20 bytes."""
    return hashed("EUB-addr", bytes([kind]), content)[:20]


def spelled(prefix: str, twenty: bytes) -> str:
    """An address as text (BIP-350, no version symbol)."""
    bits = int.from_bytes(twenty, "big")
    symbols = [bits >> 5 * place & 31 for place in reversed(range(32))]
    checksum = 1
    expanded = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    for value in expanded + symbols + [0] * 6:
        top, checksum = checksum >> 25, (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, mask in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            checksum ^= mask if top >> bit & 1 else 0
    checksum ^= 0x2BC830A3
    tail = [checksum >> 5 * (5 - place) & 31 for place in range(6)]
    return prefix + "1" + "".join(SYMBOLS[symbol] for symbol in symbols + tail)


# ------------------------------------------------------------------ BIP-340


def _added(a: Point, b: Point) -> Point:
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and a[1] != b[1]:
        return None
    if a == b:
        slope = 3 * a[0] * a[0] * pow(2 * a[1], -1, FIELD) % FIELD
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, FIELD) % FIELD
    x = (slope * slope - a[0] - b[0]) % FIELD
    return x, (slope * (a[0] - x) - a[1]) % FIELD


def _times(point: Point, factor: int) -> Point:
    found: Point = None
    while factor:
        if factor & 1:
            found = _added(found, point)
        point, factor = _added(point, point), factor >> 1
    return found


def _lifted(key: bytes) -> Point:
    x = int.from_bytes(key, "big")
    square = (x**3 + 7) % FIELD
    y = pow(square, (FIELD + 1) // 4, FIELD)
    if x >= FIELD or y * y % FIELD != square:
        return None
    return x, y if y % 2 == 0 else FIELD - y


def is_signed(key: bytes, message: bytes, signature: bytes) -> bool:
    """BIP-340's verification, as the standard words it."""
    point, r, s = _lifted(key), int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if point is None or r >= FIELD or s >= ORDER or len(signature) != 64:
        return False
    tag = sha256(b"BIP0340/challenge").digest()
    challenge = int.from_bytes(sha256(tag + tag + signature[:32] + key + message).digest(), "big") % ORDER
    found = _added(_times(GENERATOR, s), _times(point, ORDER - challenge))
    return found is not None and found[1] % 2 == 0 and found[0] == r


# ------------------------------------------------------------------ the state tree


def tree_root(hashes: Mapping[bytes, bytes], depth: int = 0) -> bytes:
    """The hash under a prefix of `depth` nibbles, of entries kh → vh that all have it."""
    if not hashes:
        return bytes(32)
    if len(hashes) <= 16:
        return hashed("EUB-leaf", *(kh + hashes[kh] for kh in sorted(hashes)))
    children = []
    for digit in "0123456789abcdef":
        part = {kh: vh for kh, vh in hashes.items() if kh.hex()[depth] == digit}
        children.append(tree_root(part, depth + 1))
    return hashed("EUB-node", *children)


def state_root(entries: Mapping[bytes, bytes]) -> bytes:
    """The root of a whole state of keys and values."""
    return tree_root({hashed("EUB-key", key): hashed("EUB-val", value) for key, value in entries.items()})


def folded(digest: bytes, nibbles: str, path: Sequence[bytes]) -> bytes:
    """The root that a hash under a prefix and the siblings beside its way make."""
    assert len(nibbles) == len(path)
    for nibble, siblings in zip(reversed(nibbles), reversed(path), strict=True):
        at = int(nibble, 16) * 32
        digest = hashed("EUB-node", siblings[:at], digest, siblings[at:])
    return digest


def proves(root: bytes, key: bytes, value: bytes | None, proof: bytes) -> bool:
    """Whether a proof shows that a state has this value under a key; None: that it has none."""
    bucket, path = unpacked(proof)
    kh = hashed("EUB-key", key)
    prefix = kh.hex()[: len(path)]
    entries = [(bucket[at : at + 32], bucket[at + 32 : at + 64]) for at in range(0, len(bucket), 64)]
    names = [name for name, _ in entries]
    if len(bucket) % 64 or len(entries) > 16 or names != sorted(set(names)):
        return False
    if any(len(siblings) != 480 for siblings in path) or any(not n.hex().startswith(prefix) for n in names):
        return False
    top = hashed("EUB-leaf", bucket) if bucket else bytes(32)
    wanted = None if value is None else hashed("EUB-val", value)
    return folded(top, prefix, path) == root and dict(entries).get(kh) == wanted
