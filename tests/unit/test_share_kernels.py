"""Tickets do not depend on the machine: not on the BLAS kernels of its processor, its threads or its SIMD."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = "cf4a0f70e4b16228 fb64f5f174356030"
"""Tiles (0, 0) and (1, 2) of the published keys."""
SCRIPT = """
import numpy as np
from consensus.resource import share
from spark_node.prover.numpy_backend import NumpyBackend
keys = share.panel_keys(share.PROFILES[1], 1000, bytes(range(32)), bytes(range(32, 64)))
assert share.is_exact(np.float32)
found = NumpyBackend().tickets(keys, range(2), range(3))
assert [int(found[0, 0]), int(found[1, 2])] == [share.ticket(keys, 0, 0), share.ticket(keys, 1, 2)]
print(*(f"{share.ticket(keys, p, q):016x}" for p, q in ((0, 0), (1, 2))))
"""
OTHERS = {
    "an old processor": {"OPENBLAS_CORETYPE": "Prescott"},
    "one with AVX": {"OPENBLAS_CORETYPE": "Sandybridge"},
    "one with fused multiply and add": {"OPENBLAS_CORETYPE": "Haswell"},
    "one with 512-bit registers": {"OPENBLAS_CORETYPE": "SkylakeX"},
    "three threads": {"OPENBLAS_NUM_THREADS": "3"},
    "numpy without wide SIMD": {"NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX2 FMA3"},
}
NEEDS = {"Sandybridge": "avx", "Haswell": "fma", "SkylakeX": "avx512f"}
"""What a processor must have to run the kernels of another, as Linux names it."""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the kernels are those of x86-64")
@pytest.mark.parametrize("settings", OTHERS.values(), ids=OTHERS)
def test_another_machine_finds_the_published_tickets(settings: dict[str, str]) -> None:
    """Float32 sums of 1,024 products of int8 are exact in any order, so kernels may take any."""
    needs = NEEDS.get(settings.get("OPENBLAS_CORETYPE", ""), "")
    if needs not in Path("/proc/cpuinfo").read_text("ascii", "replace"):
        pytest.skip(f"this processor has no {needs}")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == GOLDEN
