"""Checking transactions in worker processes, against a bare verification loop in this process."""

from __future__ import annotations

import os
import time

import trio

from consensus.types.keys import verify
from consensus.types.transaction import signature_checks
from eubchain.node.workers import VerifyPool
from scripts.benchmarks.transfers import found, rules_for, signed
from vm.registry import decode_candidate

COUNT = 10_000


def run() -> list[dict[str, str | float]]:
    """Transactions per second with one worker and with one per core."""
    genesis, _ = found(500, 0)
    rules = rules_for(genesis)
    raws = signed(rules, 500, COUNT // 500)
    checks = [
        signature_checks(decode_candidate(raw, rules).transaction, rules.genesis)[0] for raw in raws[:3000]
    ]
    began = time.perf_counter()
    assert all(verify(c.key, c.message, c.signature) for c in checks)
    bare = len(checks) / (time.perf_counter() - began)
    rows = []
    for workers in sorted({1, os.cpu_count() or 1}):
        value = trio.run(_measure, rules.genesis, raws, workers)
        rows.append(
            {
                "name": f"verify_{workers}",
                "value": value,
                "unit": "tx/s",
                "reference": bare,
                "ratio": value / bare,
            }
        )
    return rows


async def _measure(genesis: bytes, raws: list[bytes], workers: int) -> float:
    async with trio.open_nursery() as nursery:
        pool = VerifyPool(genesis, workers)
        await nursery.start(pool.run)
        await pool.transactions(raws[:1000])
        began = time.perf_counter()
        verdicts = await pool.transactions(raws)
        took = time.perf_counter() - began
        assert all(v.is_signed for v in verdicts)
        nursery.cancel_scope.cancel()
    return len(raws) / took
