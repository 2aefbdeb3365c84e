"""Access tokens: good for one request of one account on one network, for an hour at most."""

from __future__ import annotations

import base64

import pytest

from consensus.types.address import key_address
from consensus.types.codec import encode
from consensus.types.errors import Fault, Reason
from consensus.types.keys import SecretKey
from spark_node.storage.objects import OBJECT_NAME_MALFORMED, ObjectName, parse_object_name
from spark_node.storage.tokens import (
    CLOCK_SLACK_S,
    LIFETIME_S_MAX,
    TOKEN_EXPIRED,
    TOKEN_FOR_SOMETHING_ELSE,
    TOKEN_FORGED,
    TOKEN_MALFORMED,
    TOKEN_TOO_FAR_AHEAD,
    Access,
    AccessToken,
    sign_access,
    verify_access,
)

KEY, OTHER = SecretKey(b"\1" * 32), SecretKey(b"\2" * 32)
GENESIS, NOW = b"\7" * 32, 1_800_000_000
NAME = ObjectName(b"\5" * 32, 3, "out", 0)


def refusal(text: str, now_s: int = NOW, method: str = "GET", name: ObjectName = NAME) -> Reason:
    """Why a token is refused."""
    with pytest.raises(Fault) as caught:
        verify_access(text, GENESIS, method, name, now_s)
    return caught.value.reason


def test_a_token_names_its_account() -> None:
    """The signer's address comes back, until the token expires."""
    text = sign_access(KEY, GENESIS, "GET", NAME, NOW, lifetime_s=LIFETIME_S_MAX)
    assert verify_access(text, GENESIS, "GET", NAME, NOW) == key_address(KEY.public)
    assert verify_access(text, GENESIS, "GET", NAME, NOW + LIFETIME_S_MAX) == key_address(KEY.public)


def test_a_token_expires_and_cannot_be_signed_ahead() -> None:
    """Old ones and those of tomorrow are refused, apart from what clocks may differ."""
    text = sign_access(KEY, GENESIS, "GET", NAME, NOW, lifetime_s=LIFETIME_S_MAX)
    assert refusal(text, NOW + LIFETIME_S_MAX + CLOCK_SLACK_S) is TOKEN_EXPIRED
    assert refusal(text, NOW - CLOCK_SLACK_S - 1) is TOKEN_TOO_FAR_AHEAD


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("PUT", NAME),
        ("HEAD", NAME),
        ("GET", NAME._replace(n=1)),
        ("GET", NAME._replace(seat=0)),
        ("GET", NAME._replace(kind="in")),
        ("GET", NAME._replace(task=b"\6" * 32)),
    ],
)
def test_a_token_is_for_nothing_else(method: str, name: ObjectName) -> None:
    """Not for another method, object, seat or task."""
    text = sign_access(KEY, GENESIS, "GET", NAME, NOW)
    assert refusal(text, method=method, name=name) is TOKEN_FOR_SOMETHING_ELSE


def test_a_token_of_another_network_is_refused() -> None:
    """The same account may exist on two networks."""
    assert refusal(sign_access(KEY, bytes(32), "GET", NAME, NOW)) is TOKEN_FOR_SOMETHING_ELSE


def test_a_forged_token_is_refused() -> None:
    """Another key under the signature, another access above it, or a point that is none."""
    access = Access(GENESIS, NAME.task, "GET", NAME.text, NOW + 60)
    foreign = sign_access(OTHER, GENESIS, "GET", NAME, NOW)
    token = base64.urlsafe_b64decode(foreign + "==")
    signature = token[-64:]
    for key in (KEY.public, OTHER.public, b"\xff" * 32):
        forged = base64.urlsafe_b64encode(encode(AccessToken(access, key, signature))).decode().rstrip("=")
        assert refusal(forged) is TOKEN_FORGED


@pytest.mark.parametrize("text", ["", "x", "====", "ä", "A" * 2000, "AAAA", "a b", "lcA"])
def test_a_malformed_token_is_refused(text: str) -> None:
    """Whatever a header may hold."""
    assert refusal(text) is TOKEN_MALFORMED


def test_every_flipped_bit_of_a_token_is_noticed() -> None:
    """By one of the refusals; never accepted, never another exception."""
    raw = base64.urlsafe_b64decode(sign_access(KEY, GENESIS, "GET", NAME, NOW) + "===")
    for at in range(len(raw)):
        flipped = bytearray(raw)
        flipped[at] ^= 1
        refusal(base64.urlsafe_b64encode(flipped).decode().rstrip("="))


def test_an_object_name_has_one_spelling() -> None:
    """And that spelling leads back to it."""
    assert parse_object_name(NAME.text) == NAME
    task = "05" * 32
    for text in (
        "",
        f"{task}/3/out",
        f"{task}/3/out/0/",
        f"/{task}/3/out/0",
        f"{task}/03/out/0",
        f"{task}/3/out/00",
        f"{task}/256/out/0",
        f"{task}/3/out/2147483648",
        f"{task}/3/../0",
        f"{task}/3/etc/0",
        f"{task.upper().replace('0', 'A')}/3/out/0",
        f"{task}/3/out/٣",
        f"{task}/3/out/0\n",
        f"../{task}/3/out/0",
    ):
        with pytest.raises(Fault) as caught:
            parse_object_name(text)
        assert caught.value.reason is OBJECT_NAME_MALFORMED
