"""BIP-340 keys beyond the published vectors: determinism, wrong lengths, and silence about the secret."""

from __future__ import annotations

import pytest

from consensus.types.keys import SecretKey, is_public_key, verify

KEY = SecretKey(bytes(31) + b"\x03")
MESSAGE = bytes(range(32))
SIGNATURE = KEY.sign(MESSAGE)


def test_a_signature_verifies_for_its_key_and_message_only():
    other = SecretKey(bytes(31) + b"\x04")
    assert verify(KEY.public, MESSAGE, SIGNATURE)
    assert not verify(other.public, MESSAGE, SIGNATURE)
    assert not verify(KEY.public, bytes(32), SIGNATURE)


def test_every_flipped_bit_of_a_signature_is_noticed():
    for bit in range(512):
        changed = bytearray(SIGNATURE)
        changed[bit // 8] ^= 1 << bit % 8
        assert not verify(KEY.public, MESSAGE, bytes(changed))


def test_asking_twice_gives_one_signature():
    assert KEY.sign(MESSAGE) == SIGNATURE == SecretKey(KEY.secret()).sign(MESSAGE)


@pytest.mark.parametrize(
    ("key", "message", "signature"),
    [
        (KEY.public + b"\x00", MESSAGE, SIGNATURE),
        (KEY.public[:31], MESSAGE, SIGNATURE),
        (b"", MESSAGE, SIGNATURE),
        (b"\x02" + KEY.public, MESSAGE, SIGNATURE),
        (KEY.public, MESSAGE[:31], SIGNATURE),
        (KEY.public, MESSAGE + b"\x00", SIGNATURE),
        (KEY.public, MESSAGE, SIGNATURE[:63]),
        (KEY.public, MESSAGE, SIGNATURE + b"\x00"),
        (KEY.public, MESSAGE, b""),
        (bytes(32), MESSAGE, SIGNATURE),
        (b"\xff" * 32, MESSAGE, SIGNATURE),
    ],
)
def test_a_wrong_length_or_a_point_off_the_curve_is_no_valid_signature(key, message, signature):
    assert not verify(key, message, signature)


def test_a_public_key_is_32_bytes_on_the_curve():
    assert is_public_key(KEY.public)
    for wrong in (b"", KEY.public[:31], KEY.public + b"\x00", bytes(32), b"\xff" * 32):
        assert not is_public_key(wrong)


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32])
def test_a_scalar_outside_the_group_is_refused(secret):
    with pytest.raises(ValueError):
        SecretKey(secret)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_secret_of_another_length_is_our_own_mistake(length):
    with pytest.raises(AssertionError):
        SecretKey(b"\x01" * length)


def test_a_secret_never_shows_in_a_repr():
    key = SecretKey(b"\x5a" * 32)
    assert repr(key) == f"SecretKey(public={key.public.hex()})"
    assert "5a5a" not in repr(key)
