"""The proof a spark sends for one window: which tiles it claims as shares.

Here: the proof's fields and their checks, share ids, the claim a verifier judges, the sampling rule.
Not here: whether a tile is a share (share.py, which needs numpy), when a proof may be sent
(windows.py), what it earns (difficulty.py).
Keeps: one proof has one encoding: ids are strictly increasing in p·2³² + q and each lies in
[0, 2²⁴)², since rows are 32-bit and an unbounded id would alias one tile many times.
Errors: 1501 proof_version_unknown, 1502 proof_count_wrong, 1503 share_out_of_range,
1504 shares_out_of_order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Annotated

import msgspec

from consensus.types.codec import Address, Hash32, Record, Uint
from consensus.types.errors import Reason, Rejected
from consensus.types.hashing import Tag, tagged_hash

PROOF_VERSION = 1
SHARES_MAX = 56
"""Most shares in one proof; a spark that finds this many gets a fourfold difficulty."""
SHARES_MIN = 8
"""Fewer shares earn no credit; an honest spark falls below with probability 10⁻⁷."""
SHARE_BYTES = 8
"""A share id on the wire: p, then q, each a little-endian u32."""
PANELS = 2**24
"""Panels on each side: 0 ≤ p, q < 2²⁴ keeps every row index below 2³²."""

PROOF_VERSION_UNKNOWN = Reason(
    1501,
    "proof_version_unknown",
    "version:count",
    "Proofs of resource have version 1; this one says {version}.",
    "Update the spark to the release that the network runs.",
)
PROOF_COUNT_WRONG = Reason(
    1502,
    "proof_count_wrong",
    "count:count size:bytes",
    "The proof names {count} shares but carries {size} bytes; a share takes 8, and 56 is the most.",
    "Build the proof with the prover of this release.",
)
SHARE_OUT_OF_RANGE = Reason(
    1503,
    "share_out_of_range",
    "index:count p:count q:count",
    "Share {index} is tile ({p}, {q}); both numbers must be below 16777216.",
    "Build the proof with the prover of this release.",
)
SHARES_OUT_OF_ORDER = Reason(
    1504,
    "shares_out_of_order",
    "index:count",
    "Share {index} is not above the one before it; ids increase strictly by p, then q.",
    "Sort the shares and drop repeated ones.",
)

Share = tuple[int, int]
"""A tile (p, q): panel p of side A times panel q of side B."""
ShareBytes = Annotated[bytes, msgspec.Meta(max_length=SHARES_MAX * SHARE_BYTES)]

_SHARE = Struct("<II")


class Proof(Record, frozen=True):
    """What `resource.prove` carries; nothing in it is judged before the window closes."""

    version: Uint
    window: Uint
    """The height that opened the window."""
    count: Uint
    """n, 0 … 56; an empty proof is valid and shows that the spark is there."""
    shares: ShareBytes
    """n ids of 8 bytes."""


class Claim(Record, frozen=True):
    """All that a verifier needs to judge one proof, away from the state it came from."""

    profile: Uint
    window: Uint
    seed: Hash32
    account: Address
    difficulty: Uint
    """The spark's own D when the window closes."""
    shares: ShareBytes
    checked: tuple[Uint, ...]
    """Ascending indices of the shares to recompute (`sampled`)."""


def share_bytes(shares: Sequence[Share]) -> bytes:
    """Spell share ids for the wire; the caller has sorted them."""
    return b"".join(_SHARE.pack(p, q) for p, q in shares)


def parse_shares(data: bytes) -> list[Share]:
    """Read the ids of a proof that `check_proof` accepted."""
    assert len(data) % SHARE_BYTES == 0, "ids have 8 bytes each"
    return list(_SHARE.iter_unpack(data))


def make_proof(window: int, shares: Sequence[Share]) -> Proof:
    """The proof of these tiles, in any order, of the window opened at this height."""
    ordered = sorted(shares)
    proof = Proof(PROOF_VERSION, window, len(ordered), share_bytes(ordered))
    check_proof(proof)
    return proof


def check_proof(proof: Proof) -> None:
    """Refuse what no state could make valid: form, range and order only; raises `Rejected` 1501–1504.

    Malformed is not false: a malformed proof never enters a block and costs no slash.
    """
    if proof.version != PROOF_VERSION:
        raise Rejected(PROOF_VERSION_UNKNOWN, version=proof.version)
    if proof.count > SHARES_MAX or len(proof.shares) != proof.count * SHARE_BYTES:
        raise Rejected(PROOF_COUNT_WRONG, count=proof.count, size=len(proof.shares))
    before = (-1, -1)
    for index, share in enumerate(_SHARE.iter_unpack(proof.shares)):
        p, q = share
        if p >= PANELS or q >= PANELS:
            raise Rejected(SHARE_OUT_OF_RANGE, index=index, p=p, q=q)
        if share <= before:
            raise Rejected(SHARES_OUT_OF_ORDER, index=index)
        before = (p, q)


def sample_size(count: int, shares_total: int, proofs: int, budget: int) -> int:
    """How many of a proof's `count` shares every verifier recomputes.

    All of them while the window's proofs hold at most `budget` shares together; else
    min(n, max(8, budget // proofs)), so a full window costs no more than the budget allows.
    """
    assert 0 <= count <= shares_total, "the proof is one of the window's"
    assert proofs >= 1, "there is this one"
    if shares_total <= budget:
        return count
    return min(count, max(SHARES_MIN, budget // proofs))


@lru_cache(maxsize=4_096)  # a node asks for each claim when it looks ahead and again at the close
def sampled(beacon: bytes, account: bytes, count: int, size: int) -> tuple[int, ...]:
    """The `size` indices to recompute, ascending: those of lowest rank by H(beacon ‖ account ‖ u8 j).

    `beacon` is that of the block after the last one a proof may stand in, so nobody knows while
    claiming which claims will be looked at.
    """
    assert 0 <= size <= count <= SHARES_MAX, "a sample is part of the proof"
    if size == count:
        return tuple(range(count))
    ranked = sorted(
        range(count), key=lambda j: (tagged_hash(Tag.WINDOW_SAMPLE, beacon, account, bytes([j])), j)
    )
    return tuple(sorted(ranked[:size]))
