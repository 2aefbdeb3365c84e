"""Decoding a signed transfer with all its checks, against msgpack's untyped decode of the same bytes."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgpack

from scripts.benchmarks.transfers import found, rules_for, signed
from vm.registry import TRANSACTION, check_stateless, decode_candidate

COUNT = 20_000


def run() -> list[dict[str, str | float]]:
    """Microseconds per transaction, the best of three."""
    genesis, _ = found(200, 0)
    rules = rules_for(genesis)
    raws = signed(rules, 200, COUNT // 200)
    untyped = _best(lambda raw: msgpack.unpackb(raw), raws)
    return [
        _row("codec_decode", _best(TRANSACTION.decode, raws), untyped),
        _row(
            "codec_decode_checked",
            _best(lambda raw: check_stateless(TRANSACTION.decode(raw), rules), raws),
            untyped,
        ),
        _row("codec_candidate", _best(lambda raw: decode_candidate(raw, rules), raws), untyped),
    ]


def _best(work: Callable[[bytes], object], raws: list[bytes]) -> float:
    figures = []
    for _ in range(3):
        began = time.perf_counter()
        for raw in raws:
            work(raw)
        figures.append((time.perf_counter() - began) / len(raws) * 1e6)
    return min(figures)


def _row(name: str, value: float, reference: float) -> dict[str, str | float]:
    return {"name": name, "value": value, "unit": "us/tx", "reference": reference, "ratio": value / reference}
