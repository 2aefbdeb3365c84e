"""Judging and finding shares with numpy on one thread, each against the bare product of the same tiles."""

from __future__ import annotations

import time

import numpy as np

from consensus.resource import share
from consensus.resource.proof import Claim, share_bytes
from spark_node.prover.numpy_backend import NumpyBackend

SHARES = 32
ROUNDS = 5


def run() -> list[dict[str, str | float]]:
    """Milliseconds for a proof of 32 shares; tiles per second of the prover. The best of some rounds."""
    profile, kind = share.PROFILES[1], share.operand_type()
    keys = share.panel_keys(profile, 7, bytes(32), bytes(32))
    tiles = [(p, q) for p in range(SHARES) for q in range(1)]
    claim = Claim(1, 7, bytes(32), bytes(20), 1, share_bytes(tiles), tuple(range(SHARES)))
    a, b = share.panel_a(keys, profile, 0).astype(kind), share.panel_b(keys, profile, 0).astype(kind)
    judged = min(_timed(lambda: share.verify(claim)) for _ in range(ROUNDS)) * 1000
    bare = min(_timed(lambda: [share.product(a, b) for _ in range(SHARES)]) for _ in range(ROUNDS)) * 1000

    backend = NumpyBackend()
    side = backend.side
    left = np.concatenate([share.panel_a(keys, profile, p) for p in range(side)]).astype(kind)
    right = np.concatenate([share.panel_b(keys, profile, q) for q in range(side)]).astype(kind)
    found = min(
        _timed(lambda n=n: backend.tickets(keys, range(side), range(n * side, (n + 1) * side)))
        for n in range(ROUNDS)
    )
    pure = min(_timed(lambda: left @ right.T) for _ in range(ROUNDS))
    return [
        {
            "name": "proof_verify",
            "value": judged,
            "unit": "ms",
            "reference": bare,
            "ratio": judged / bare,
        },
        {
            "name": "proof_prove",
            "value": side * side / found,
            "unit": "tiles/s",
            "reference": side * side / pure,
            "ratio": pure / found,
        },
    ]


def _timed(work: object) -> float:
    assert callable(work), "something to run"
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
