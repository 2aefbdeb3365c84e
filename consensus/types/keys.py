"""BIP-340 keys: accounts and validators sign 32-byte hashes with them.

Here: `SecretKey`, `verify`, `is_public_key`. Not here: derivation from words and encryption
(eubchain/wallet), batches in worker processes (eubchain/node/workers.py).
Keeps: a secret never appears in a repr, a message or an exception.
"""

from __future__ import annotations

from functools import lru_cache

from coincurve import PrivateKey, PublicKeyXOnly

SECRET_BYTES = 32
KEY_BYTES = 32
MESSAGE_BYTES = 32
"""Only hashes are signed."""
KEYS_REMEMBERED = 2**14
"""Read keys that are kept: about 5 MB. Reading one takes an eighth of a check, and who sends, sends again."""

_read = lru_cache(KEYS_REMEMBERED)(PublicKeyXOnly)


class SecretKey:
    """A secp256k1 secret with its x-only public key (BIP-340)."""

    __slots__ = ("_private", "public")

    def __init__(self, secret: bytes) -> None:
        assert len(secret) == SECRET_BYTES, "a secret key has 32 bytes"
        self._private = PrivateKey(secret)
        self.public: bytes = PublicKeyXOnly.from_secret(secret).format()

    def sign(self, message: bytes) -> bytes:
        """Sign a 32-byte hash; returns 64 bytes.

        The auxiliary randomness is zero, which BIP-340 allows: equal hashes give equal signatures,
        so a signer that is asked again after a crash cannot produce a second one.
        """
        return self._private.sign_schnorr(message, bytes(32))

    def secret(self) -> bytes:
        """The raw secret, for key files and derivation only."""
        return self._private.secret

    def __repr__(self) -> str:
        return f"SecretKey(public={self.public.hex()})"


def is_public_key(key: bytes) -> bool:
    """Whether `key` is 32 bytes and the x coordinate of a point of the curve."""
    # coincurve reads 32 bytes from wherever it is pointed, so no other length may reach it.
    if len(key) != KEY_BYTES:
        return False
    try:
        PublicKeyXOnly(key)
    except ValueError:
        return False
    return True


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) is `key`'s (32 bytes) over `message` (32 bytes)."""
    if len(key) != KEY_BYTES or len(message) != MESSAGE_BYTES:
        return False
    try:
        return _read(key).verify(signature, message)
    except ValueError:  # not a point of the curve, or a signature of another length
        return False
