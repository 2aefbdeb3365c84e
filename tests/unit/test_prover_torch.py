"""PyTorch gives the reference's tickets, eager and compiled; skipped where it is not installed."""

from __future__ import annotations

import numpy as np
import pytest

from consensus.resource import share
from spark_node.prover.backend import choose_backend, is_trustworthy

torch = pytest.importorskip("torch", reason="PyTorch is optional and not installed")

from spark_node.prover import torch_backend as tb  # noqa: E402 - needs torch

KEYS = share.panel_keys(share.PROFILES[1], 1000, bytes(range(32)), bytes(range(32, 64)))
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_block_has_the_published_tickets(device: str, compiled: bool):
    """(0, 0) and (1, 2) of the golden keys, by an exact way."""
    way = next(way for way in tb.WAYS[device] if way.name == "float32")
    found = tb.TorchBackend(device, way, compiled).tickets(KEYS, (0, 1), (0, 2))
    assert found[0, 0] == np.uint64(0xCF4A0F70E4B16228)
    assert found[1, 1] == np.uint64(0xFB64F5F174356030)


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
        if is_trustworthy(backend):
            assert (backend.product(panels[0], panels[1]) == -133169152).all()
