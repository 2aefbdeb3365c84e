"""The validator's key file: the consensus key and the secret of its reveal chain.

Here: writing and reading `config/validator_key.json`, readable by its owner alone.
Not here: what keeps the key from signing twice (guard.py), accounts and words (eubchain/wallet).
Why it is not encrypted: a validator restarts by itself after a crash; whoever can read the file can
already act as the node. The account that holds the bond is another key, in the wallet.
Errors: 2550 validator_key_damaged.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from consensus.beacon import RevealChain
from consensus.types.address import parse_address
from consensus.types.errors import Fault, Reason
from consensus.types.keys import SECRET_BYTES, SecretKey
from eubchain.wallet.private_file import read_private, write_private

REVEALS_ON_DEV = 2**20
"""Proposals of one chain where blocks come twice a second for days, not years."""
REVEALS_ELSEWHERE = 2**26

VALIDATOR_KEY_DAMAGED = Reason(
    2550,
    "validator_key_damaged",
    "path:text why:text",
    "{path} is not a validator's key file: {why}.",
    "Restore it from a backup, or derive it from the validator's words again.",
)


class ValidatorKey(NamedTuple):
    """What a validator signs and reveals with."""

    address: str
    """Of the account whose bond stands behind it, as text."""
    key: SecretKey
    reveal_secret: bytes
    generation: int
    length: int

    def reveal_chain(self) -> RevealChain:
        """The chain; making one of 2²⁰ takes about a second."""
        return RevealChain(self.reveal_secret, self.generation, self.length)

    def account(self, prefix: str) -> bytes:
        """The account's address as bytes; raise `Rejected` when it is of another network."""
        return parse_address(self.address, prefix)

    def __repr__(self) -> str:
        return f"ValidatorKey(address={self.address})"


def write_validator_key(path: Path, key: ValidatorKey, *, replace: bool = False) -> None:
    """Store the file; raise `Fault` when one is there and `replace` was not asked for."""
    document = {
        "address": key.address,
        "public": key.key.public.hex(),
        "secret": key.key.secret().hex(),
        "reveal_secret": key.reveal_secret.hex(),
        "reveal_generation": key.generation,
        "reveal_length": key.length,
    }
    write_private(path, (json.dumps(document, indent=1) + "\n").encode(), replace=replace)


def read_validator_key(path: Path) -> ValidatorKey | None:
    """The key, or None when this home has none; raise `Fault` 2550 or 3011 (readable by others)."""
    if not path.exists():
        return None
    data = read_private(path)
    try:
        document = json.loads(data)
        secret, reveal = bytes.fromhex(document["secret"]), bytes.fromhex(document["reveal_secret"])
        if len(secret) != SECRET_BYTES or len(reveal) != SECRET_BYTES:
            raise ValueError("a secret has another length")
        key = SecretKey(secret)
        if key.public.hex() != document["public"]:
            raise ValueError("its public and secret key do not belong together")
        generation, length = int(document["reveal_generation"]), int(document["reveal_length"])
        return ValidatorKey(str(document["address"]), key, reveal, generation, length)
    except KeyError as error:
        raise Fault(VALIDATOR_KEY_DAMAGED, path=str(path), why=f"it lacks {error}") from None
    except (ValueError, TypeError):
        # The message of a decoder could quote the secret: only that it failed is said.
        raise Fault(VALIDATOR_KEY_DAMAGED, path=str(path), why="a value is not what it should be") from None
