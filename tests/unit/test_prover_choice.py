"""A way that this machine lacks is passed over for the next, whatever it is lacking."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from consensus.resource import share
from consensus.types.errors import Fault
from spark_node.prover import backend as module
from spark_node.prover.backend import PROVER_BACKEND_INEXACT, choose_backend
from spark_node.prover.numpy_backend import NumpyBackend

WORDS = {
    RuntimeError: "CUDA error: no kernel image is available for execution on the device",
    NotImplementedError: "Could not run 'aten::mm.dtype' with arguments from the 'CPU' backend",
    TypeError: "mm() got an unexpected keyword argument 'out_dtype'",
    AttributeError: "module 'torch' has no attribute '_int_mm'",
}
"""What PyTorch raises where a device, a backend, an argument or an operation is not there."""


class Lacking(NumpyBackend):
    """A way that cannot be gone here."""

    def __init__(self, error: type[Exception]) -> None:
        super().__init__()
        self.error = error

    def product(self, a: share.Entries, b: share.Entries) -> share.Product:
        """Raise as PyTorch would."""
        raise self.error(WORDS[self.error])


@pytest.mark.parametrize("error", WORDS)
def test_the_next_way_is_tried_where_this_machine_lacks_one(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
):
    """An older PyTorch has no `out_dtype`: its cards still multiply in another way."""
    ways: Sequence[NumpyBackend] = [Lacking(error), NumpyBackend()]
    monkeypatch.setattr(module, "_candidates", lambda name: ways)
    assert choose_backend("torch") is ways[1]


def test_where_no_way_is_exact_there_is_a_fault(monkeypatch: pytest.MonkeyPatch):
    """And none is used untested."""
    monkeypatch.setattr(module, "_candidates", lambda name: [Lacking(TypeError)])
    with pytest.raises(Fault) as caught:
        choose_backend("torch")
    assert caught.value.reason is PROVER_BACKEND_INEXACT


def test_a_gpu_that_nothing_can_be_compiled_for_is_used_uncompiled(monkeypatch: pytest.MonkeyPatch):
    """A container without a C compiler would else prove nothing with its card."""
    pytest.importorskip("torch", reason="PyTorch is optional and not installed")
    from spark_node.prover import torch_backend as tb

    monkeypatch.setattr(tb, "TorchBackend", lambda device, way, compiled: (way.name, compiled))
    names = [way.name for way in tb.WAYS["cuda"]]
    expected = [(name, compiled) for compiled in (True, False) for name in names]
    assert tb.torch_backends("cuda:1") == expected
    assert tb.torch_backends("cpu") == [(way.name, False) for way in tb.WAYS["cpu"]]
