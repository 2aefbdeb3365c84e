"""Access tokens: a party's signature that names one network, method, object and time.

Here: `sign_access`, `verify_access`.
Not here: whether the signer is a party of the task (the store asks its chain), transport (blob.py).
Matching is the authorisation, so nobody hands out credentials: the store reads from the chain who
requester, spark and judges are. Accounts of a single key sign; a multisig account has no key to sign with.
Keeps: a token is good for what it names and for nothing else, and at most an hour.
Errors: 3420 token_malformed, 3421 token_forged, 3422 token_expired, 3423 token_too_far_ahead,
3424 token_for_something_else.
"""

from __future__ import annotations

import base64
import binascii

from consensus.types.address import key_address
from consensus.types.codec import Codec, Hash32, Key32, Record, Sig64, Uint, encode
from consensus.types.errors import Fault, Reason, Rejected
from consensus.types.hashing import Tag, tagged_hash
from consensus.types.keys import SecretKey, verify
from spark_node.storage.objects import ObjectName

METHODS = ("GET", "PUT", "HEAD", "DELETE")
LIFETIME_S_MAX = 3600
LIFETIME_S = 600
"""What our own clients ask for: they sign afresh for every request."""
CLOCK_SLACK_S = 60
"""How far the clocks of signer and store may differ."""
TOKEN_TEXT_MAX = 1024

TOKEN_MALFORMED = Reason(
    3420,
    "token_malformed",
    "why:text",
    "The request carries no access token that can be read: {why}.",
    "Send 'Authorization: Bearer TOKEN', made by the client library for this very request.",
)
TOKEN_FORGED = Reason(
    3421,
    "token_forged",
    "",
    "The access token's signature does not match its content.",
    "Sign it with the account's key.",
)
TOKEN_EXPIRED = Reason(
    3422,
    "token_expired",
    "expiry:seconds now:seconds",
    "The access token expired at {expiry}; it is {now} here.",
    "Sign a new one, and compare your clock if it was new.",
)
TOKEN_TOO_FAR_AHEAD = Reason(
    3423,
    "token_too_far_ahead",
    "expiry:seconds now:seconds",
    "The access token would hold until {expiry}; it is {now} here, and an hour is the most.",
    "Sign one that expires sooner, and compare your clock.",
)
TOKEN_FOR_SOMETHING_ELSE = Reason(
    3424,
    "token_for_something_else",
    "what:text",
    "The access token was signed for another {what}.",
    "Sign one for this request: network, method and object must be the same.",
)


class Access(Record, frozen=True):
    """What is signed: `expiry_s` is in seconds since 1970 (UTC)."""

    genesis: Hash32
    task: Hash32
    method: str
    object: str
    expiry_s: Uint


class AccessToken(Record, frozen=True):
    """An access, the key that signed it, and its BIP-340 signature."""

    access: Access
    key: Key32
    signature: Sig64


_TOKEN: Codec[AccessToken] = Codec(AccessToken, TOKEN_TEXT_MAX)


def sign_access(
    key: SecretKey, genesis: bytes, method: str, name: ObjectName, now_s: int, lifetime_s: int = LIFETIME_S
) -> str:
    """Sign access of one `method` to one object until `now_s + lifetime_s`; return base64url text."""
    assert method in METHODS, "a store has four methods"
    assert 0 < lifetime_s <= LIFETIME_S_MAX, "an hour at most"
    access = Access(genesis, name.task, method, name.text, now_s + lifetime_s)
    token = AccessToken(access, key.public, key.sign(_message(access)))
    return base64.urlsafe_b64encode(encode(token)).rstrip(b"=").decode("ascii")


def verify_access(text: str, genesis: bytes, method: str, name: ObjectName, now_s: int) -> bytes:
    """Return the address (20 bytes) that signed for just this request now; raise `Fault` 3420-3424."""
    token = _parse(text)
    access = token.access
    if access.genesis != genesis:
        raise Fault(TOKEN_FOR_SOMETHING_ELSE, what="network")
    if access.method != method:
        raise Fault(TOKEN_FOR_SOMETHING_ELSE, what="method")
    if access.task != name.task or access.object != name.text:
        raise Fault(TOKEN_FOR_SOMETHING_ELSE, what="object")
    if access.expiry_s + CLOCK_SLACK_S <= now_s:
        raise Fault(TOKEN_EXPIRED, expiry=access.expiry_s, now=now_s)
    if access.expiry_s > now_s + LIFETIME_S_MAX + CLOCK_SLACK_S:
        raise Fault(TOKEN_TOO_FAR_AHEAD, expiry=access.expiry_s, now=now_s)
    # Last, because it is the only check that costs anything.
    if not verify(token.key, _message(access), token.signature):
        raise Fault(TOKEN_FORGED)
    return key_address(token.key)


def _message(access: Access) -> bytes:
    return tagged_hash(Tag.BLOB_ACCESS, encode(access))


def _parse(text: str) -> AccessToken:
    if len(text) > TOKEN_TEXT_MAX:
        raise Fault(TOKEN_MALFORMED, why="it is too long")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        token = _TOKEN.decode(raw)
    except (binascii.Error, ValueError):
        raise Fault(TOKEN_MALFORMED, why="it is not base64url text") from None
    except Rejected as rejected:
        raise Fault(TOKEN_MALFORMED, why=str(rejected.facts.get("what", "it is too long"))) from None
    return token
