"""What can multiply tiles: the interface, its self-test, and the choice.

Here: `Backend`, `is_trustworthy`, `choose_backend`.
Not here: the backends (numpy_backend.py, torch_backend.py), the reference they must equal
(consensus/resource/share.py).
Keeps: a backend is used only after it equalled the reference on the rails and on real tiles: fast
integer products are silently wrong on some processors.
Errors: 3280 prover_backend_unknown, 3281 prover_backend_inexact, 3282 prover_backend_missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from consensus.resource import share
from consensus.types.errors import Fault, Reason

PROVER_BACKEND_UNKNOWN = Reason(
    3280,
    "prover_backend_unknown",
    "backend:text",
    "There is no prover backend '{backend}'.",
    "Choose numpy, torch, or torch with a device as in torch:cuda:0.",
)
PROVER_BACKEND_INEXACT = Reason(
    3281,
    "prover_backend_inexact",
    "backend:text",
    "The prover backend '{backend}' does not multiply exactly on this machine.",
    "Use the numpy backend here; every share from this one could be false.",
)
PROVER_BACKEND_MISSING = Reason(
    3282,
    "prover_backend_missing",
    "backend:text package:text",
    "The prover backend '{backend}' needs the package {package}, which is not installed.",
    "Install it, or use the numpy backend.",
)

LACKING = (RuntimeError, NotImplementedError, TypeError, AttributeError)
"""How PyTorch says that a device, a compiler or an older release has no such operation or argument."""


class Backend(Protocol):
    """Computes blocks of tiles of one profile."""

    name: str
    side: int
    """Panels per side of a block that suits the device."""

    def product(self, a: share.Entries, b: share.Entries) -> share.Product:
        """a·bᵀ of int8 panels, as int32."""
        ...

    def tickets(self, keys: share.Keys, ps: Sequence[int], qs: Sequence[int]) -> npt.NDArray[np.uint64]:
        """The tickets of all tiles (p, q), one row per p."""
        ...


def is_trustworthy(backend: Backend) -> bool:
    """Whether the backend equals the reference on the rails, on made-up panels and on real tickets."""
    profile = share.PROFILES[1]
    keys = share.panel_keys(profile, 0, bytes(32), bytes(32))
    shape = (profile.rows, profile.depth)
    low, high = np.full(shape, -128, dtype=np.int8), np.full(shape, 127, dtype=np.int8)
    one, two = share.panel_a(keys, profile, 0), share.panel_b(keys, profile, 1)
    for a, b in ((low, low), (low, high), (high, high), (one, low), (one, two)):
        expected = share.product(a.astype(np.float64), b.astype(np.float64))
        if not np.array_equal(backend.product(a, b), expected):
            return False
    for ps, qs in (((0, 1), (0, 1, 2)), ((5,), (2**24 - 1,))):
        found = backend.tickets(keys, ps, qs)
        if found.tolist() != [[share.ticket(keys, p, q) for q in qs] for p in ps]:
            return False
    return True


def _candidates(name: str) -> Sequence[Backend]:
    """The backends that go by this name, fastest first."""
    kind, _, device = name.partition(":")
    if name == "numpy":
        from spark_node.prover.numpy_backend import NumpyBackend

        return [NumpyBackend()]
    if kind == "torch":
        try:
            from spark_node.prover.torch_backend import torch_backends
        except ImportError:
            raise Fault(PROVER_BACKEND_MISSING, backend=name, package="torch") from None
        return torch_backends(device)
    raise Fault(PROVER_BACKEND_UNKNOWN, backend=name)


def choose_backend(name: str) -> Backend:
    """The fastest backend of this name that passes the self-test; raises `Fault` 3280, 3281 or 3282."""
    for backend in _candidates(name):
        try:
            trusted = is_trustworthy(backend)
        except LACKING:
            trusted = False  # the next way is tried
        if trusted:
            return backend
    raise Fault(PROVER_BACKEND_INEXACT, backend=name)
