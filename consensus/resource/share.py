"""Tiles of exact int8 matrix product, their tickets, and the verdict on a claim.

Here: panel keys, panels, tile product, digest, ticket, `is_share`, `verify`: the reference that every
other backend is measured against, and the only module of consensus that needs numpy.
Not here: the proof's bytes and the choice of what is checked (proof.py); the prover (spark_node/prover).
Keeps: tickets are a function of the keys and (p, q) alone, bit for bit, on every machine: hashing is
32-bit wrap-around integer arithmetic, and the product is summed in floating point only within chunks
whose partial sums are exact integers, by arithmetic that first proved itself (`is_exact`).
The digest mixes every entry non-linearly *before* any sum; a linear one can be had without the tile.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.resource.proof import PANELS, Claim, parse_shares
from consensus.types.hashing import Tag

Words = npt.NDArray[np.uint32]
Entries = npt.NDArray[np.int8]
Operand = npt.NDArray[Any]
"""A panel converted to the floating-point type that multiplies it."""
Product = npt.NDArray[np.int32]
Keys = tuple[int, ...]
"""k0 … k15 of one account and window, each a u32."""

WORD = 2**32 - 1
GOLDEN = 0x9E3779B9
"""2³² over the golden ratio, odd: steps through all words."""
M1, M2, M3 = 0xED5AD4BB, 0xAC4C1B51, 0x31848BAB
"""Multipliers of the 32-bit mixer."""
CHUNK = 1024
"""Products of int8 are at most 2¹⁴, so 1,024 of them sum to at most 2²⁴: exact in float32, in any order."""
ROWS_AT_ONCE = 16
"""Rows generated per pass, so that words and scratch stay in a core's second-level cache."""
TICKETS = 2**64


class Profile(NamedTuple):
    """The shape of a tile: C = A·Bᵀ with A and B of `rows` × `depth` int8."""

    number: int
    depth: int
    rows: int


PROFILES = {1: Profile(1, 8192, 64)}
"""Profile 1 costs 2·64²·8192 = 67,108,864 operations a tile. Others join under new numbers."""

_KEY_INPUT = Struct("<IIIQ32s32s")
_SIXTEEN_WORDS = Struct("<16I")


def panel_keys(profile: Profile, window: int, seed: bytes, owner: bytes) -> Keys:
    """Derive k0 … k15 for an owner's tiles; `owner` is the 20-byte address padded to 32 by zeros."""
    assert len(seed) == 32, "a seed has 32 bytes"
    assert len(owner) == 32, "an owner has 32 bytes"
    data = _KEY_INPUT.pack(profile.number, profile.depth, profile.rows, window, seed, owner)
    digest = blake2b(data, digest_size=64, person=Tag.PANEL_KEYS.value).digest()
    return _SIXTEEN_WORDS.unpack(digest)


def owner_bytes(account: bytes) -> bytes:
    """An account's 32 bytes in the key derivation: its 20-byte address and 12 zero bytes."""
    assert len(account) == 20, "an address has 20 bytes"
    return account + bytes(12)


def mix(x: int) -> int:
    """The 32-bit finaliser on one word; a bijection."""
    x ^= x >> 17
    x = x * M1 & WORD
    x ^= x >> 11
    x = x * M2 & WORD
    x ^= x >> 15
    x = x * M3 & WORD
    return x ^ x >> 14


def mix_words(x: Words) -> Words:
    """`mix` on every word; returns a new array."""
    x = x.copy()
    x ^= x >> 17
    x *= M1
    x ^= x >> 11
    x *= M2
    x ^= x >> 15
    x *= M3
    x ^= x >> 14
    return x


@lru_cache(maxsize=4)
def _steps(words: int) -> Words:
    """w·9E3779B9 for each word of a row."""
    return np.arange(words, dtype=np.uint32) * np.uint32(GOLDEN)


def _panel(keys: tuple[int, int, int, int], profile: Profile, index: int) -> Entries:
    """Generate panel `index` of the side with these four keys: int8 of rows × depth."""
    assert 0 <= index < PANELS, "panel numbers stay below 2**24"
    row = np.arange(profile.rows, dtype=np.uint32) + np.uint32(index * profile.rows)
    start = mix_words(mix_words(row + np.uint32(keys[0])) ^ np.uint32(keys[1]))
    salt = mix_words(mix_words(row ^ np.uint32(keys[2])) + np.uint32(keys[3]))
    steps = _steps(profile.depth // 4)
    panel = np.empty((profile.rows, profile.depth // 4), dtype="<u4")
    scratch = np.empty((min(ROWS_AT_ONCE, profile.rows), profile.depth // 4), dtype=np.uint32)
    for first in range(0, profile.rows, ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        x = panel[rows]
        spare = scratch[: len(x)]
        np.add(start[rows, None], steps, out=x)
        x ^= np.right_shift(x, 17, out=spare)
        x *= M1
        x ^= np.right_shift(x, 11, out=spare)
        x ^= salt[rows, None]
        x *= M2
        x ^= np.right_shift(x, 15, out=spare)
        x *= M3
        x ^= np.right_shift(x, 14, out=spare)
    return panel.view(np.int8)


def panel_a(keys: Keys, profile: Profile, p: int) -> Entries:
    """Panel p of side A, rows × depth."""
    return _panel((keys[0], keys[1], keys[2], keys[3]), profile, p)


def panel_b(keys: Keys, profile: Profile, q: int) -> Entries:
    """Panel q of side B, stored as rows of Bᵀ."""
    return _panel((keys[4], keys[5], keys[6], keys[7]), profile, q)


def product(a: Operand, b: Operand) -> Product:
    """C = a·bᵀ for two panels in one floating-point type, exact if `is_exact` holds for the type.

    Only chunks of 1,024 are summed in floating point; their sums are added as integers, and
    |C| ≤ K·2¹⁴ stays below 2³¹.
    """
    assert a.shape == b.shape, "panels of one profile"
    assert a.dtype == b.dtype, "in one type"
    rows, depth = a.shape
    chunk = min(CHUNK, depth)
    left = a.reshape(rows, depth // chunk, chunk).transpose(1, 0, 2)
    right = b.reshape(rows, depth // chunk, chunk).transpose(1, 2, 0)
    partial = np.matmul(left, right)
    result: Product = partial.astype(np.int32).sum(axis=0, dtype=np.int32)
    return result


def is_exact(kind: type[np.floating[Any]]) -> bool:
    """Whether products in this type equal integer products, on the rails and on two made-up tiles."""
    profile = PROFILES[1]
    keys = panel_keys(profile, 0, bytes(32), bytes(32))
    shape = (profile.rows, profile.depth)
    low, high = np.full(shape, -128, dtype=np.int8), np.full(shape, 127, dtype=np.int8)
    mixed = np.where(np.arange(profile.depth) % 2 == 0, low, high)
    one, two = panel_a(keys, profile, 0), panel_b(keys, profile, 1)
    for a, b in ((low, low), (low, high), (high, high), (mixed, low), (one, two), (two, mixed)):
        expected = a.astype(np.int32) @ b.astype(np.int32).T
        if not np.array_equal(product(a.astype(kind), b.astype(kind)), expected):
            return False
    return True


@lru_cache(maxsize=1)
def operand_type(check: Callable[[type[np.floating[Any]]], bool] = is_exact) -> type[np.floating[Any]]:
    """The fastest type this machine multiplies exactly: float32, else float64; proved once a process."""
    kinds: tuple[type[np.floating[Any]], ...] = (np.float32, np.float64)
    exact = [kind for kind in kinds if check(kind)]
    assert exact, "this machine's BLAS multiplies small integers wrongly; it cannot verify"
    return exact[0]


def digest_words(keys: Keys, tile: Product) -> tuple[Words, int, int]:
    """Column sums S_j of the mixed entries, and the two words d_0, d_1 made of them."""
    x = (tile.view(np.uint32) ^ np.uint32(keys[8])) * np.uint32(M1)
    x ^= x >> 15
    x *= M2
    x ^= x >> 13
    sums = np.add.reduce(x, axis=0, dtype=np.uint32)
    column = np.arange(len(sums), dtype=np.uint32)
    y = mix_words(sums ^ mix_words(column + np.uint32(keys[9])))
    d = [int(np.add.reduce(mix_words(y + np.uint32(keys[12 + t])), dtype=np.uint32)) for t in (0, 1)]
    return sums, d[0], d[1]


def tile_ticket(keys: Keys, tile: Product) -> int:
    """The 64-bit ticket of a finished tile."""
    _, d0, d1 = digest_words(keys, tile)
    low = mix((d0 + GOLDEN) & WORD)
    return mix(d1 ^ low) << 32 | low


def ticket(keys: Keys, p: int, q: int, profile: Profile = PROFILES[1]) -> int:
    """Compute tile (p, q) and return its ticket, a u64."""
    kind = operand_type()
    a, b = panel_a(keys, profile, p), panel_b(keys, profile, q)
    return tile_ticket(keys, product(a.astype(kind), b.astype(kind)))


def is_share(ticket_: int, difficulty: int) -> bool:
    """Whether a ticket wins at difficulty D, which one in D does: ticket·D < 2⁶⁴."""
    return ticket_ * difficulty < TICKETS


def verify(claim: Claim) -> int:
    """Recompute the claim's checked tiles; return n, or the index of the first that is no share.

    A pure function of the claim, so workers may compute it ahead and a validator may remember it.
    1–2 ms a tile on one core.
    """
    profile = PROFILES[claim.profile]
    keys = panel_keys(profile, claim.window, claim.seed, owner_bytes(claim.account))
    shares = parse_shares(claim.shares)
    kind = operand_type()
    held, a = -1, np.empty(0, dtype=kind)
    for index in claim.checked:
        p, q = shares[index]
        if p != held:  # ids ascend by p, so one panel of A serves its whole run
            held, a = p, panel_a(keys, profile, p).astype(kind)
        tile = product(a, panel_b(keys, profile, q).astype(kind))
        if not is_share(tile_ticket(keys, tile), claim.difficulty):
            return index
    return len(shares)
