"""Attacks on the tile: ids that alias, digests without tiles, matrices with structure, blind claims.

All run the real reference, consensus/resource/share.py.
"""

from __future__ import annotations

import math
import time

import numpy as np

from consensus.resource import share
from consensus.resource.difficulty import credited_tiles
from consensus.resource.proof import (
    PANELS,
    SHARES_MAX,
    Claim,
    Proof,
    check_proof,
    sample_size,
    share_bytes,
)
from consensus.types.errors import Rejected
from consensus.types.params import DEV, MAIN, TEST
from scripts.experiments.verdict import COSTLY, IMPOSSIBLE, UNPROFITABLE, Figure

PROFILE = share.PROFILES[1]
KEYS = share.panel_keys(PROFILE, 1000, bytes(range(32)), bytes(range(32, 64)))


def id_alias() -> Figure:
    """Rows are u32, so p and p + 2²⁶ would be one panel: every u32 id of one tile is tried."""
    step = 2**32 // PROFILE.rows
    names = [(p, q) for p in range(5, 2**32, step) for q in range(9, 2**32, step)]
    taken = 0
    for name in names:
        try:
            check_proof(Proof(1, 1000, 1, share_bytes([name])))
            taken += 1
        except Rejected:
            continue
    says = f"of {len(names)} ids that would name one tile the chain takes {taken}"
    return Figure("id alias", IMPOSSIBLE, taken, "ids", says, taken == 1)


def forged_digest() -> Figure:
    """A linear digest factors into two vectors and is had without the tile; ours is not that sum."""
    a, b = share.panel_a(KEYS, PROFILE, 3), share.panel_b(KEYS, PROFILE, 4)
    tile = share.product(a.astype(np.float32), b.astype(np.float32))
    draw = np.random.default_rng(7)
    left = draw.integers(-99, 99, PROFILE.rows)
    right = draw.integers(-99, 99, PROFILE.rows)
    cheap = int((left @ a.astype(np.int64)) @ (b.astype(np.int64).T @ right))
    assert cheap == int(left @ tile.astype(np.int64) @ right), "a linear digest is forged"
    linear = (2 * PROFILE.rows**2 * PROFILE.depth) / (4 * PROFILE.rows * PROFILE.depth + 2 * PROFILE.depth)
    # The same shortcut needs every column sum from the sum of a column's entries; the mix forbids it.
    sums, _, _ = share.digest_words(KEYS, tile)
    from_sums = share.digest_words(KEYS, tile.sum(axis=0, dtype=np.int32).reshape(1, -1))[0]
    hits = int((sums == from_sums).sum())
    says = (
        f"a linear digest costs {linear:.0f} times less than its tile; of our {PROFILE.rows} column sums "
        f"{hits} come out right that way"
    )
    return Figure("forged digest", IMPOSSIBLE, hits, "columns", says, hits == 0)


def structured_matrices() -> Figure:
    """Entries that depend on i + j are Hankel, whose product takes O(n²): ours repeat only by chance."""
    a = share.panel_a(KEYS, PROFILE, 3)
    # Along rows, and along anti-diagonals of entries and of the words that are hashed.
    repeats = max(float((a[:-1, step:] == a[1:, : a.shape[1] - step]).mean()) for step in (0, 1, 4))
    says = (
        f"{100 * repeats:.2f} % of neighbours in a column or an anti-diagonal are equal; chance gives 0.39 %"
    )
    return Figure("structured matrices", IMPOSSIBLE, 100 * repeats, "%", says, repeats < 0.005)


def blind_claims() -> Figure:
    """Claim tiles that were never computed: at D only one in D is a share by luck, and one slip costs 1 %."""
    difficulty, tries = 64, 24
    caught = 0
    for account in range(tries):
        tiles = share_bytes([(account, q) for q in range(8)])
        claim = Claim(1, 1000, bytes(32), bytes([account]) * 20, difficulty, tiles, tuple(range(8)))
        caught += share.verify(claim) < 8
    says = f"{caught} of {tries} proofs of eight blind claims at difficulty {difficulty} are found false"
    return Figure("blind claims", UNPROFITABLE, 100 * caught / tries, "% caught", says, caught == tries)


def false_among_true() -> Figure:
    """Add false shares to true ones in a window so crowded that only a sample of each proof is looked at."""
    best = 0.0
    for params in (DEV.resource, TEST.resource, MAIN.resource):
        crowd = params.max_sparks
        for true in range(1, SHARES_MAX):
            for false in range(1, SHARES_MAX + 1 - true):
                count = true + false
                seen = sample_size(count, crowd * SHARES_MAX, crowd, params.verify_budget)
                unseen = math.comb(true, seen) / math.comb(count, seen)
                best = max(best, unseen * credited_tiles(count, 1) / true)
    says = f"in a full window the best mixture is credited {best:.2f} of what its true shares alone would be"
    return Figure("false shares among true ones", UNPROFITABLE, best, "of honest credit", says, 0 < best < 1)


def dust_identities() -> Figure:
    """However many register, the register and the budget bound what a window costs a validator."""
    claim = Claim(1, 1000, bytes(32), bytes(20), 1, share_bytes([(0, q) for q in range(8)]), tuple(range(8)))
    times = []
    for _ in range(8):
        began = time.perf_counter()
        share.verify(claim)
        times.append((time.perf_counter() - began) / 8)
    params = MAIN.resource
    sparks = params.max_sparks
    shares = sparks * sample_size(SHARES_MAX, sparks * SHARES_MAX, sparks, params.verify_budget)
    says = (
        f"10,000 identities or {sparks}: at most {shares} shares a window, spread over "
        f"{params.verify_blocks} blocks; {shares * min(times):.0f} s of one core at "
        f"{1000 * min(times):.1f} ms a share where this was written"
    )
    return Figure("dust identities", COSTLY, shares, "shares", says, shares <= params.verify_budget)


def out_of_range() -> Figure:
    """The last ids of the range are tiles like all others; the next ones are refused."""
    last = share.ticket(KEYS, PANELS - 1, PANELS - 1)
    check_proof(Proof(1, 1000, 1, share_bytes([(PANELS - 1, PANELS - 1)])))
    taken = 0
    for name in ((PANELS, 0), (0, PANELS), (2**32 - 1, 0), (PANELS - 1, 2**32 - 1)):
        try:
            check_proof(Proof(1, 1000, 1, share_bytes([name])))
            taken += 1
        except Rejected:
            continue
    says = f"the last tile has the ticket {last:016x}; of 4 ids beyond it the chain takes {taken}"
    return Figure("ids at the edge", IMPOSSIBLE, taken, "ids", says, taken == 0)


EXPERIMENTS = (
    id_alias,
    forged_digest,
    structured_matrices,
    blind_claims,
    false_among_true,
    dust_identities,
    out_of_range,
)
