"""Tiles by PyTorch: CUDA, ROCm or CPU, in the fastest arithmetic that is exact there.

Here: `TorchBackend` and the ways it can multiply. Not here: which of them may be used (backend.py's
self-test decides, on this device), installing PyTorch (optional, never a dependency).
Keeps: hashing is done in int32, whose products and sums wrap as the rule's u32 do; right shifts are
masked, since int32 shifts in copies of the sign. Sums in floating point stay within chunks that are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from consensus.resource import share

SIDE = {"cpu": 8, "cuda": 64}
"""Panels per side: 64 make a block of 4,096 tiles in about half a gigabyte."""
CHUNK_16_BIT = 512
"""Tensor cores align the terms of a sum and may keep fewer bits of it than float32 does."""


def signed(word: int) -> int:
    """A u32 as the int32 with the same bits."""
    return word - 2**32 if word >= 2**31 else word


M1, M2, M3 = (signed(multiplier) for multiplier in (share.M1, share.M2, share.M3))
GOLDEN = signed(share.GOLDEN)


def shifted(x: torch.Tensor, bits: int) -> torch.Tensor:
    """x ≫ bits of a u32 held in int32."""
    return (x >> bits) & ((1 << (32 - bits)) - 1)


def mix(x: torch.Tensor) -> torch.Tensor:
    """The 32-bit finaliser on every word."""
    x = (x ^ shifted(x, 17)) * M1
    x = (x ^ shifted(x, 11)) * M2
    x = (x ^ shifted(x, 15)) * M3
    return x ^ shifted(x, 14)


def generate(rows: torch.Tensor, keys: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """The words of these rows, for the four keys of a side."""
    start = mix(mix(rows + keys[0]) ^ keys[1])
    salt = mix(mix(rows ^ keys[2]) + keys[3])
    x = start[:, None] + steps[None, :]
    x = (x ^ shifted(x, 17)) * M1
    x = ((x ^ shifted(x, 11)) ^ salt[:, None]) * M2
    x = (x ^ shifted(x, 15)) * M3
    return x ^ shifted(x, 14)


def digest(block: torch.Tensor, keys: torch.Tensor, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Both halves (high, low) of the tickets of a block of tiles of `rows` × `rows`."""
    x = (block ^ keys[8]) * M1
    x = (x ^ shifted(x, 15)) * M2
    x = x ^ shifted(x, 13)
    tiles = x.reshape(block.shape[0] // rows, rows, block.shape[1] // rows, rows)
    sums = tiles.sum(dim=1, dtype=torch.int32)
    columns = torch.arange(rows, dtype=torch.int32, device=block.device)
    y = mix(sums ^ mix(columns + keys[9]))
    d0 = mix(y + keys[12]).sum(dim=-1, dtype=torch.int32)
    d1 = mix(y + keys[13]).sum(dim=-1, dtype=torch.int32)
    low = mix(d0 + GOLDEN)
    return mix(d1 ^ low), low


Multiply = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def chunked(a: torch.Tensor, b: torch.Tensor, chunk: int, multiply: Multiply) -> torch.Tensor:
    """a·bᵀ as the int32 sum of exact products of `chunk` columns."""
    total = torch.zeros((len(a), len(b)), dtype=torch.int32, device=a.device)
    for first in range(0, a.shape[1], chunk):
        columns = slice(first, first + chunk)
        total += multiply(a[:, columns], b[:, columns].t()).to(torch.int32)
    return total


def by_int8(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Integer units; silently wrong on processors that saturate, which the self-test finds out."""
    return torch._int_mm(a, b.t())


def by_bfloat16(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """16-bit tensor units with 32-bit sums, which must be asked for."""

    def multiply(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.mm(x, y, out_dtype=torch.float32)

    return chunked(a.to(torch.bfloat16), b.to(torch.bfloat16), CHUNK_16_BIT, multiply)


def by_tf32(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Tensor units on float32 cut to 10 bits, which an int8 fits into."""
    torch.backends.cuda.matmul.allow_tf32 = True
    return chunked(a.to(torch.float32), b.to(torch.float32), CHUNK_16_BIT, torch.mm)


def by_float32(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Plain float32, exact within 1,024 columns."""
    torch.backends.cuda.matmul.allow_tf32 = False
    return chunked(a.to(torch.float32), b.to(torch.float32), share.CHUNK, torch.mm)


class Way(NamedTuple):
    """One way to multiply int8 exactly."""

    name: str
    multiply: Multiply


WAYS = {
    "cpu": (Way("int8", by_int8), Way("float32", by_float32)),
    "cuda": (
        Way("int8", by_int8),
        Way("bfloat16", by_bfloat16),
        Way("tf32", by_tf32),
        Way("float32", by_float32),
    ),
}
"""By kind of device, fastest first."""


class TorchBackend:
    """One device and one way of multiplying; `compiled` fuses generator and digest."""

    def __init__(self, device: str, way: Way, compiled: bool) -> None:
        self._device = torch.device(device)
        self._way = way
        self._profile = share.PROFILES[1]
        self._generate = torch.compile(generate) if compiled else generate
        self._digest = torch.compile(digest) if compiled else digest
        self._steps = torch.arange(self._profile.depth // 4, dtype=torch.int32, device=self._device) * GOLDEN
        self.name = f"torch:{device}:{way.name}" + (":compiled" if compiled else "")
        self.side = SIDE[self._device.type]
        self._held: tuple[share.Keys, tuple[int, ...]] = ((), ())
        self._left = torch.empty(0)

    def product(self, a: share.Entries, b: share.Entries) -> share.Product:
        """a·bᵀ by this way, on the device."""
        left, right = (torch.from_numpy(np.ascontiguousarray(x)).to(self._device) for x in (a, b))
        result: share.Product = self._way.multiply(left, right).cpu().numpy()
        return result

    def tickets(self, keys: share.Keys, ps: Sequence[int], qs: Sequence[int]) -> npt.NDArray[np.uint64]:
        """The tickets of a block. Panels of A are kept while they stay the same."""
        words = torch.tensor([signed(word) for word in keys], dtype=torch.int32, device=self._device)
        if self._held != (keys, tuple(ps)):
            self._left = self._panels(words[0:4], ps)
            self._held = (keys, tuple(ps))
        block = self._way.multiply(self._left, self._panels(words[4:8], qs))
        high, low = self._digest(block, words, self._profile.rows)
        halves = [half.cpu().numpy().view(np.uint32).astype(np.uint64) for half in (high, low)]
        return halves[0] << np.uint64(32) | halves[1]

    def _panels(self, keys: torch.Tensor, numbers: Sequence[int]) -> torch.Tensor:
        """The panels with these numbers, one below the other, as int8."""
        rows = self._profile.rows
        firsts = torch.tensor([number * rows for number in numbers], dtype=torch.int32, device=self._device)
        within = torch.arange(rows, dtype=torch.int32, device=self._device)
        every = (firsts[:, None] + within[None, :]).reshape(-1)
        return self._generate(every, keys, self._steps).contiguous().view(torch.int8)


def torch_backends(device: str) -> list[TorchBackend]:
    """The ways of a device, fastest first; without a name the GPU if there is one.

    Compiling pays on a GPU, where unfused hashing costs more than the product; where nothing can be
    compiled, as in a container without a C compiler, the GPU is still better than none.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    kind = torch.device(device).type
    choices = (True, False) if kind == "cuda" else (False,)
    return [TorchBackend(device, way, compiled) for compiled in choices for way in WAYS.get(kind, ())]
