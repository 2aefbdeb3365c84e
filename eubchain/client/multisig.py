"""Transactions of an account with several keys: a file that travels from signer to signer.

Here: the file, making it, adding a signature, joining copies, the finished transaction.
Not here: nonce and price (sending.py), the account itself (eubchain/wallet/accounts.py).
Keeps: what is signed is recomputed from the body in the file, never taken from its description; a
signature that does not verify never enters.
Errors: 3120 draft_malformed, 3121 draft_of_another_network, 3122 not_a_signer, 3123 drafts_differ,
3124 signatures_missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from consensus.types.codec import Codec, encode
from consensus.types.errors import Fault, Reason, Rejected
from consensus.types.keys import verify
from consensus.types.transaction import Body, MultisigAuth, Transaction, sign_hash, txid_of
from eubchain.client.network import Network
from eubchain.client.sending import Prepared, Signed, Signer
from eubchain.wallet.accounts import MultisigAccount, multisig
from eubchain.wallet.private_file import write_private
from vm.registry import PAYLOAD

BODY: Codec[Body[Any]] = Codec(Body[PAYLOAD])

DRAFT_MALFORMED = Reason(
    3120,
    "draft_malformed",
    "file:text why:text",
    "{file} is not a multisig transaction: {why}.",
    "Ask whoever made it for the file again, or make one with `eubchain multisig pay`.",
)
DRAFT_OF_ANOTHER_NETWORK = Reason(
    3121,
    "draft_of_another_network",
    "file:text theirs:hash ours:hash",
    "{file} is for the network {theirs}; the node is of {ours}.",
    "Name a node of that network with --node URL.",
)
NOT_A_SIGNER = Reason(
    3122,
    "not_a_signer",
    "key:hash",
    "The key {key} is none of this multisig's keys.",
    "Sign with an account that holds one of them: `eubchain multisig show` names them.",
)
DRAFTS_DIFFER = Reason(
    3123,
    "drafts_differ",
    "first:text second:text",
    "{first} and {second} are not copies of one transaction.",
    "Join only files that come from one `eubchain multisig pay`.",
)
SIGNATURES_MISSING = Reason(
    3124,
    "signatures_missing",
    "have:count need:count",
    "It has {have} of the {need} signatures that it needs.",
    "Let the holder of another key sign it: `eubchain multisig sign FILE`.",
)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: Literal["multisig-transaction"]
    version: Literal[1]
    genesis: str
    threshold: int
    keys: list[str]
    body: str
    signatures: dict[str, str]


class Draft(NamedTuple):
    """A transaction on its way from signer to signer."""

    genesis: bytes
    account: MultisigAccount
    body: Body[Any]
    signatures: dict[bytes, bytes]
    """By key; every one of them verifies."""

    @property
    def message(self) -> bytes:
        """What each key signs."""
        return sign_hash(self.genesis, encode(self.body))

    @property
    def txid(self) -> bytes:
        """Its identity, whoever signs."""
        return txid_of(self.genesis, encode(self.body))

    @property
    def missing(self) -> int:
        """Signatures that it still needs."""
        return max(0, self.account.threshold - len(self.signatures))


def new_draft(prepared: Prepared, account: MultisigAccount) -> Draft:
    """Nobody has signed it yet."""
    return Draft(prepared.network.rules.genesis, account, prepared.body, {})


def add_signature(draft: Draft, signer: Signer) -> Draft:
    """Sign with one key; raises `Fault` 3122. Signing twice changes nothing."""
    if signer.public not in draft.account.keys:
        raise Fault(NOT_A_SIGNER, key=signer.public)
    return draft._replace(signatures=draft.signatures | {signer.public: signer.sign(draft.message)})


def combine(drafts: list[tuple[str, Draft]]) -> Draft:
    """Join the signatures of copies, given with their names; raises `Fault` 3123."""
    first_name, joined = drafts[0]
    for name, draft in drafts[1:]:
        same = draft.txid == joined.txid and draft.account.keys == joined.account.keys
        if not same or draft.account.threshold != joined.account.threshold:
            raise Fault(DRAFTS_DIFFER, first=first_name, second=name)
        joined = joined._replace(signatures=joined.signatures | draft.signatures)
    return joined


def finish(draft: Draft) -> Signed:
    """The signed transaction; exactly the threshold's signatures, in key order. Raises `Fault` 3124."""
    account = draft.account
    if draft.missing:
        raise Fault(SIGNATURES_MISSING, have=len(draft.signatures), need=account.threshold)
    chosen = [i for i, key in enumerate(account.keys) if key in draft.signatures][: account.threshold]
    bits = sum(1 << i for i in chosen)
    auth = MultisigAuth(
        account.threshold,
        account.keys,
        bits.to_bytes((len(account.keys) + 7) // 8, "little"),
        tuple(draft.signatures[account.keys[i]] for i in chosen),
    )
    raw = encode(Transaction(draft.body, auth))
    return Signed(raw, draft.txid, draft.body.valid_until)


def write_draft(path: Path, draft: Draft, *, replace: bool = False) -> None:
    """Store it; raises `Fault` 3012 or 3013."""
    content = _File(
        "multisig-transaction",
        1,
        draft.genesis.hex(),
        draft.account.threshold,
        [key.hex() for key in draft.account.keys],
        encode(draft.body).hex(),
        {key.hex(): signature.hex() for key, signature in sorted(draft.signatures.items())},
    )
    text = msgspec.json.format(msgspec.json.encode(content), indent=2)
    write_private(path, text + b"\n", replace=replace)


def read_draft(path: Path) -> Draft:
    """Read and check it, signatures included; raises `Fault` 3120."""
    file = str(path)
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_File)
        genesis = bytes.fromhex(content.genesis)
        account = multisig(path.stem, content.threshold, [bytes.fromhex(key) for key in content.keys])
        body = BODY.decode(bytes.fromhex(content.body))
        signatures = {
            bytes.fromhex(key): bytes.fromhex(signature) for key, signature in content.signatures.items()
        }
    except (msgspec.DecodeError, ValueError, Rejected) as error:
        raise Fault(DRAFT_MALFORMED, file=file, why=str(error).replace("`", "")) from None
    if body.sender != account.address:
        raise Fault(DRAFT_MALFORMED, file=file, why="its sender is not the account of its keys")
    draft = Draft(genesis, account, body, signatures)
    for key, signature in signatures.items():
        if key not in account.keys or not verify(key, draft.message, signature):
            raise Fault(DRAFT_MALFORMED, file=file, why=f"the signature of {key.hex()} does not verify")
    return draft


def check_network(draft: Draft, network: Network, file: Path) -> None:
    """Refuse, with `Fault` 3121, a draft of another network than the node's."""
    if draft.genesis != network.rules.genesis:
        raise Fault(
            DRAFT_OF_ANOTHER_NETWORK, file=str(file), theirs=draft.genesis, ours=network.rules.genesis
        )
