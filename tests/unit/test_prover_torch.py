"""PyTorch gives the reference's tickets, eager and compiled; skipped where it is not installed.

Compiling needs a C compiler on a processor (Triton on a GPU); where there is none, that half is skipped too.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from consensus.resource import share
from consensus.resource.proof import PANELS
from spark_node.prover.backend import choose_backend, is_trustworthy
from spark_node.prover.numpy_backend import NumpyBackend

torch = pytest.importorskip("torch", reason="PyTorch is optional and not installed")

from spark_node.prover import torch_backend as tb  # noqa: E402 - needs torch

KEYS = share.panel_keys(share.PROFILES[1], 1000, bytes(range(32)), bytes(range(32, 64)))
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
EAGER_AND_COMPILED = [
    False,
    pytest.param(
        True,
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(
                shutil.which("c++") is None and not torch.cuda.is_available(),
                reason="torch.compile finds no C++ compiler",
            ),
        ],
    ),
]
BLOCKS = [
    (range(8), range(8)),
    (range(3), range(PANELS - 4, PANELS)),
    ((7, PANELS - 1), (1, 2**23, 2**23 + 1)),
]
"""The first block of a search, one at the end of the numbers, and one beyond half of the u32 rows."""


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("compiled", EAGER_AND_COMPILED)
def test_a_block_has_the_published_tickets(device: str, compiled: bool):
    """(0, 0) and (1, 2) of the golden keys, by an exact way."""
    way = next(way for way in tb.WAYS[device] if way.name == "float32")
    found = tb.TorchBackend(device, way, compiled).tickets(KEYS, (0, 1), (0, 2))
    assert found[0, 0] == np.uint64(0xCF4A0F70E4B16228)
    assert found[1, 1] == np.uint64(0xFB64F5F174356030)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("compiled", EAGER_AND_COMPILED)
def test_numpy_and_torch_give_the_same_tickets_to_the_bit(device: str, compiled: bool):
    """Whole blocks, by every way that this device multiplies exactly; rows of B are another key's too."""
    others = share.panel_keys(share.PROFILES[1], 2**40, bytes(range(7, 39)), bytes([255]) * 32)
    exact = [
        made for way in tb.WAYS[device] if is_trustworthy_here(made := tb.TorchBackend(device, way, compiled))
    ]
    assert exact, "plain float32 is exact everywhere"
    for keys in (KEYS, others):
        for ps, qs in BLOCKS:
            expected = NumpyBackend().tickets(keys, ps, qs)
            for backend in exact:
                assert np.array_equal(backend.tickets(keys, ps, qs), expected), backend.name


def is_trustworthy_here(backend: tb.TorchBackend) -> bool:
    """As `choose_backend` asks: a way that this device lacks is none."""
    try:
        return is_trustworthy(backend)
    except (RuntimeError, NotImplementedError):
        return False


@pytest.mark.parametrize("device", DEVICES)
def test_the_chosen_backend_is_exact(device: str):
    """Whatever the device can do, what is chosen equals the reference."""
    backend = choose_backend(f"torch:{device}")
    assert is_trustworthy(backend)
    assert backend.name.startswith(f"torch:{device}:")


@pytest.mark.parametrize("device", DEVICES)
def test_every_way_that_runs_is_exact_or_found_out(device: str):
    """No way passes the self-test with a wrong product."""
    panels = [np.full((64, 8192), value, dtype=np.int8) for value in (-128, 127)]
    for backend in tb.torch_backends(device):
        if is_trustworthy_here(backend):
            assert (backend.product(panels[0], panels[1]) == -133169152).all()
