"""Transactions: `[body, auth]`, their identities and what must hold without any state.

Here: the envelope (generic in its payload), the three kinds of auth, sign-hash, txid and wtxid.
Not here: payloads and their union (vm/registry.py), fees (vm/fees.py), nonce and balance
(vm/transition.py).
Keeps: every signed hash starts with the genesis hash, so nothing replays on another network; one
txid may have many wtxids (a multisig has many valid signature sets), never the other way round.
Errors: 1003–1007.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Generic, NamedTuple, TypeVar

from msgspec import Meta, Struct

from consensus.types.address import NO_ADDRESS, key_address, multisig_address
from consensus.types.codec import Address, Key32, Name, Price, Record, Sig64, Uint, encode
from consensus.types.errors import Reason, Rejected
from consensus.types.hashing import SLICE_NODES, Tag, tagged_hash, tagged_hashes

TRANSACTION_VERSION = 1
MULTISIG_KEYS_MAX = 16

WRONG_NETWORK = Reason(
    1003,
    "wrong_network",
    "theirs:text ours:text",
    "The transaction is for the network {theirs}; this is {ours}.",
    "Sign it again with the genesis file of {ours}.",
)
BAD_SIGNATURE = Reason(
    1004,
    "bad_signature",
    "sender:address",
    "A signature does not match what was signed for {sender}.",
    "Sign again with the sender's key; a key of another account or network cannot sign for it.",
)
WRONG_SIGNER = Reason(
    1005,
    "wrong_signer",
    "sender:address signer:address",
    "The key belongs to {signer}, not to the sender {sender}.",
    "Name the account whose key signs as the sender.",
)
MULTISIG_MALFORMED = Reason(
    1006,
    "multisig_malformed",
    "why:text",
    "The multisig authorisation is not well formed: {why}.",
    "Collect the signatures again with `eubchain multisig`.",
)
UNSUPPORTED_VERSION = Reason(
    1007,
    "unsupported_version",
    "version:count supported:count",
    "Transaction version {version} is not known; this network speaks {supported}.",
    "Update the program that made the transaction.",
)

Payload = TypeVar("Payload")


class Body(Record, Generic[Payload], frozen=True):
    """What the sender signs."""

    version: Uint
    chain_id: Name
    sender: Address
    nonce: Uint
    max_price: Price
    """The most the sender pays per unit, base price and tip together; grains."""
    tip: Price
    valid_until: Uint
    """The last height that may include it: mandatory, so that 'not included' becomes a fact."""
    payload: Payload


class KeyAuth(Record, tag=0, frozen=True):
    """A single key's signature."""

    key: Key32
    signature: Sig64


class MultisigAuth(Record, tag=1, frozen=True):
    """k signatures out of n keys."""

    threshold: Annotated[int, Meta(ge=1, le=MULTISIG_KEYS_MAX)]
    keys: Annotated[tuple[Key32, ...], Meta(min_length=1, max_length=MULTISIG_KEYS_MAX)]
    bitmap: Annotated[bytes, Meta(min_length=1, max_length=2)]
    signatures: Annotated[tuple[Sig64, ...], Meta(min_length=1, max_length=MULTISIG_KEYS_MAX)]


class EvidenceAuth(Record, tag=2, frozen=True):
    """Evidence carries the offender's own signatures and needs none of its sender."""


Auth = KeyAuth | MultisigAuth | EvidenceAuth


class Transaction(Record, Generic[Payload], frozen=True):
    """[body, auth]."""

    body: Body[Payload]
    auth: Auth


class SignatureCheck(NamedTuple):
    """One BIP-340 verification that a worker can do knowing nothing else."""

    key: bytes
    message: bytes
    signature: bytes


def sign_hash(genesis: bytes, body: bytes) -> bytes:
    """What the sender's keys sign; `body` is the body's encoding."""
    return tagged_hash(Tag.TX_SIGN, genesis, body)


def txid_of(genesis: bytes, body: bytes) -> bytes:
    """The identity for people, receipts and the mempool; `body` is the body's encoding."""
    return tagged_hash(Tag.TXID, genesis, body)


def wtxid_of(transaction: bytes) -> bytes:
    """The identity of these exact bytes, which the transactions root and proposals name."""
    return tagged_hash(Tag.WTXID, transaction)


def wtxids_of(transactions: Iterable[bytes]) -> list[bytes]:
    """The `wtxid_of` of each."""
    return tagged_hashes(Tag.WTXID, transactions)


def wtxids_in_slices(transactions: Sequence[bytes]) -> Generator[None, None, list[bytes]]:
    """`wtxids_of`, pausing about once a millisecond."""
    found: list[bytes] = []
    for start in range(0, len(transactions), SLICE_NODES):
        found += wtxids_of(transactions[start : start + SLICE_NODES])
        yield
    return found


def signer_address(auth: Auth) -> bytes:
    """The account for which `auth` speaks; raise `Rejected(MULTISIG_MALFORMED)`."""
    match auth:
        case KeyAuth():
            return key_address(auth.key)
        case MultisigAuth():
            _chosen_keys(auth)
            return multisig_address(auth.threshold, auth.keys)
        case EvidenceAuth():
            return NO_ADDRESS


def _chosen_keys(auth: MultisigAuth) -> list[bytes]:
    """The keys that signed, in key order; raise `Rejected(MULTISIG_MALFORMED)`."""
    count = len(auth.keys)
    bits = int.from_bytes(auth.bitmap, "little")
    if auth.threshold > count:
        raise Rejected(MULTISIG_MALFORMED, why="more signatures are asked for than there are keys")
    if any(a >= b for a, b in pairwise(auth.keys)):
        raise Rejected(MULTISIG_MALFORMED, why="the keys are not strictly ascending")
    if len(auth.bitmap) != (count + 7) // 8 or bits >> count:
        raise Rejected(MULTISIG_MALFORMED, why="the bitmap does not fit the keys")
    if bits.bit_count() != auth.threshold or len(auth.signatures) != auth.threshold:
        raise Rejected(MULTISIG_MALFORMED, why="not exactly the threshold has signed")
    return [auth.keys[i] for i in range(count) if bits >> i & 1]


def check_network(body: Body[Payload], chain_id: str) -> None:
    """Refuse a transaction of another version or network."""
    if body.version != TRANSACTION_VERSION:
        raise Rejected(UNSUPPORTED_VERSION, version=body.version, supported=TRANSACTION_VERSION)
    if body.chain_id != chain_id:
        raise Rejected(WRONG_NETWORK, theirs=body.chain_id, ours=chain_id)


def check_signer(transaction: Transaction[Payload]) -> None:
    """Refuse a signer that is not the sender; signatures are checked apart."""
    body = transaction.body
    signer = signer_address(transaction.auth)
    if signer != body.sender:
        raise Rejected(WRONG_SIGNER, sender=body.sender, signer=signer)


def signature_checks(transaction: Transaction[Payload], genesis: bytes) -> list[SignatureCheck]:
    """Every signature that must verify for the sender to have authorised this body."""
    return auth_checks(transaction.auth, sign_hash(genesis, encode(transaction.body)))


def auth_checks(auth: Auth, message: bytes) -> list[SignatureCheck]:
    """As `signature_checks`, for whoever has the sign-hash already."""
    match auth:
        case KeyAuth(key=key, signature=signature):
            return [SignatureCheck(key, message, signature)]
        case MultisigAuth():
            keys = _chosen_keys(auth)
            return [SignatureCheck(k, message, s) for k, s in zip(keys, auth.signatures, strict=True)]
        case EvidenceAuth():
            return []


class Candidate(Struct, Generic[Payload], frozen=True, gc=False):
    """A decoded transaction with its identities, as the mempool holds it and a block includes it."""

    transaction: Transaction[Payload]
    raw: bytes
    txid: bytes
    wtxid: bytes
