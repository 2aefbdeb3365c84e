"""Tiles by numpy: the reference's panels, multiplied in blocks so that each panel serves many tiles.

Here: `NumpyBackend`. Not here: panels and mixing (consensus/resource/share.py), the interface (backend.py).
Keeps: the same tickets as the reference; only the grouping differs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from consensus.resource import share

SIDE = 8
"""Panels per side: a block of 64 tiles needs 16 panels and about 60 MB."""


class NumpyBackend:
    """Runs everywhere, on as many threads as BLAS was started with."""

    side = SIDE

    def __init__(self) -> None:
        self._kind = share.operand_type()
        self._profile = share.PROFILES[1]
        self.name = f"numpy:{self._kind.__name__}"
        self._held: tuple[share.Keys, tuple[int, ...]] = ((), ())
        self._left: share.Operand = np.empty(0, dtype=self._kind)

    def product(self, a: share.Entries, b: share.Entries) -> share.Product:
        """a·bᵀ by the type that proved itself exact."""
        return share.product(a.astype(self._kind), b.astype(self._kind))

    def tickets(self, keys: share.Keys, ps: Sequence[int], qs: Sequence[int]) -> npt.NDArray[np.uint64]:
        """The tickets of a block. Panels of A are kept while they stay the same."""
        if self._held != (keys, tuple(ps)):
            panels = [share.panel_a(keys, self._profile, p) for p in ps]
            self._left = np.concatenate(panels).astype(self._kind)
            self._held = (keys, tuple(ps))
        panels = [share.panel_b(keys, self._profile, q) for q in qs]
        right = np.concatenate(panels).astype(self._kind)
        return block_tickets(keys, self._product(right), len(ps), len(qs))

    def _product(self, right: share.Operand) -> share.Product:
        """The held panels of A times these of B, chunk by chunk: exact as in the reference."""
        total = np.zeros((len(self._left), len(right)), dtype=np.int32)
        for first in range(0, self._profile.depth, share.CHUNK):
            columns = slice(first, first + share.CHUNK)
            total += (self._left[:, columns] @ right[:, columns].T).astype(np.int32)
        return total


def block_tickets(keys: share.Keys, block: share.Product, rows: int, columns: int) -> npt.NDArray[np.uint64]:
    """The tickets of rows × columns tiles that stand side by side in one product."""
    side = len(block) // rows
    x = (block.view(np.uint32) ^ np.uint32(keys[8])) * np.uint32(share.M1)
    x ^= x >> 15
    x *= share.M2
    x ^= x >> 13
    sums = np.add.reduce(x.reshape(rows, side, columns, side), axis=1, dtype=np.uint32)
    y = share.mix_words(sums ^ share.mix_words(np.arange(side, dtype=np.uint32) + np.uint32(keys[9])))
    d = [
        np.add.reduce(share.mix_words(y + np.uint32(keys[12 + t])), axis=-1, dtype=np.uint32) for t in (0, 1)
    ]
    low = share.mix_words(d[0] + np.uint32(share.GOLDEN))
    high = share.mix_words(d[1] ^ low)
    return high.astype(np.uint64) << np.uint64(32) | low
