"""Signatures of the simulated validators, each verified at most once in a process.

Here: `SimKey`, `cached_verify`. Not here: what checkers verify for themselves (checkers.py).
Keeps: a verdict is that of the real verification, or of the signing that made the signature.
"""

from __future__ import annotations

from consensus.types.keys import SecretKey, verify

VERIFIED_MAX = 200_000
VERIFIED: dict[tuple[bytes, bytes, bytes], bool] = {}
"""Verdicts on signatures: verification is most of what a real validator computes here, and pure."""


class SimKey(SecretKey):
    """A validator's key; what it signs needs no check by those who hear it, for it is known to be right."""

    def sign(self, message: bytes) -> bytes:
        signature = super().sign(message)
        if len(VERIFIED) >= VERIFIED_MAX:
            VERIFIED.clear()
        VERIFIED[self.public, message, signature] = True
        return signature


def cached_verify(key: bytes, message: bytes, signature: bytes) -> bool:
    """`verify`, once for all nodes."""
    known = VERIFIED.get((key, message, signature))
    if known is None:
        known = VERIFIED[key, message, signature] = verify(key, message, signature)
    return known
