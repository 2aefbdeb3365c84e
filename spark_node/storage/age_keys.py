"""The keys that data is sealed to: age X25519 identities and recipients (age-encryption.org/v1).

Here: new and derived identities, their text and byte forms.
Not here: sealing itself (sealing.py); which recipient a job or result uses (the task's records).
Keeps: an identity's text is a secret: `Identity` shows none of it in its repr.
Errors: 3410 recipient_malformed, 3411 identity_malformed.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyrage
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from pyrage.x25519 import Identity, Recipient

from consensus.types.address import bech32m_decode, bech32m_encode
from consensus.types.errors import Fault, Reason

KEY_BYTES = 32
RECIPIENT_PREFIX = "age"
IDENTITY_PREFIX = "age-secret-key-"

RECIPIENT_MALFORMED = Reason(
    3410,
    "recipient_malformed",
    "text:text",
    "'{text}' is not a recipient of sealed data.",
    "A recipient is an age X25519 key: age1 and 58 letters and digits.",
)
IDENTITY_MALFORMED = Reason(
    3411,
    "identity_malformed",
    "",
    "This is not an identity that sealed data can be opened with.",
    "An identity is an age X25519 secret: AGE-SECRET-KEY-1 and 58 letters and digits.",
)

_ANY_SECRET = X25519PrivateKey.from_private_bytes(bytes(range(32)))
_SYMBOLS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_CHECKSUM_DIFFERENCE = 0x2BC830A3 ^ 1
"""BIP-350 changed nothing in BIP-173 but the constant that is xored into the checksum."""


def new_identity() -> Identity:
    """Make a fresh identity from the system's randomness."""
    return Identity.generate()


def identity_from_secret(secret: bytes) -> Identity:
    """The identity whose X25519 secret is these 32 bytes, so that a wallet can derive it again."""
    assert len(secret) == KEY_BYTES, "an X25519 secret has 32 bytes"
    return Identity.from_str(_bech32_encode(IDENTITY_PREFIX, secret).upper())


def parse_identity(text: str) -> Identity:
    """Read AGE-SECRET-KEY-1…; raise `Fault` 3411, which never repeats the text."""
    try:
        return Identity.from_str(text)
    except pyrage.IdentityError:
        raise Fault(IDENTITY_MALFORMED) from None


def recipient_of(identity: Identity) -> str:
    """The text of the recipient (age1…) that `identity` opens for."""
    return str(identity.to_public())


def parse_recipient(text: str) -> Recipient:
    """Read age1…; raise `Fault` 3410, also for a point of small order.

    To such a point every key agreement gives zero (RFC 7748 §6.1); the library answers it with a panic
    that no `except Exception` catches, so a stranger's recipient could end the process.
    """
    try:
        recipient = Recipient.from_str(text)
    except pyrage.RecipientError:
        raise Fault(RECIPIENT_MALFORMED, text=text[:100]) from None
    if text != str(recipient):  # upper case is the same key: one spelling is enough
        raise Fault(RECIPIENT_MALFORMED, text=text[:100])
    try:
        # Any secret tells: all of them are multiples of the small orders.
        _ANY_SECRET.exchange(X25519PublicKey.from_public_bytes(_key_of(text)))
    except ValueError:
        raise Fault(RECIPIENT_MALFORMED, text=text[:100]) from None
    return recipient


def recipient_key(text: str) -> bytes:
    """The 32 bytes of a recipient, as records hold them; raise `Fault` 3410."""
    parse_recipient(text)
    return _key_of(text)


def _key_of(text: str) -> bytes:
    # The text is valid, so the symbols are known and the checksum needs no second look.
    symbols = [_SYMBOLS.index(letter) for letter in text[len(RECIPIENT_PREFIX) + 1 :]]
    prefix, data = bech32m_decode(f"{RECIPIENT_PREFIX}1" + _spell(_other_checksum(symbols)))
    assert prefix == RECIPIENT_PREFIX, "pyrage accepted it"
    assert len(data) == 52, "52 symbols hold 32 bytes"
    bits = 0
    for symbol in data:
        bits = bits << 5 | symbol
    return (bits >> 4).to_bytes(KEY_BYTES, "big")


def recipient_text(key: bytes) -> str:
    """Spell the 32 bytes of a recipient as age1…."""
    assert len(key) == KEY_BYTES, "an X25519 key has 32 bytes"
    return _bech32_encode(RECIPIENT_PREFIX, key)


def _bech32_encode(prefix: str, data: bytes) -> str:
    """BIP-173 text of 32 bytes: 52 symbols of 5 bits, the last one filled up with zeros."""
    bits = int.from_bytes(data, "big") << 4
    text = bech32m_encode(prefix, [(bits >> 5 * (51 - i)) & 31 for i in range(52)])
    symbols = [_SYMBOLS.index(letter) for letter in text[len(prefix) + 1 :]]
    return f"{prefix}1" + _spell(_other_checksum(symbols))


def _other_checksum(symbols: Sequence[int]) -> list[int]:
    """Turn a bech32m checksum into bech32's, or back: the last six symbols are the checksum."""
    flips = [(_CHECKSUM_DIFFERENCE >> 5 * (5 - i)) & 31 for i in range(6)]
    return [*symbols[:-6], *(s ^ f for s, f in zip(symbols[-6:], flips, strict=True))]


def _spell(symbols: Sequence[int]) -> str:
    return "".join(_SYMBOLS[symbol] for symbol in symbols)
