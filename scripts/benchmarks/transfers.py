"""Signed transfers for other benchmarks: a network with many accounts, and what they send.

Here: the accounts, the genesis, pre-signed bytes. Not here: a benchmark (`run` returns no rows).
"""

from __future__ import annotations

from typing import Any

from consensus.types.address import key_address
from consensus.types.amounts import eubc
from consensus.types.codec import encode
from consensus.types.genesis import Balance, Genesis
from consensus.types.keys import SecretKey
from consensus.types.transaction import Body, KeyAuth, Transaction, sign_hash
from eubchain.node.founding import DEV_BOND, genesis_entry, validator_key
from eubchain.node.validator_key import ValidatorKey
from eubchain.wallet.mnemonic import generate_words
from genesis.builder import build_genesis
from vm.account import Transfer
from vm.rules import Rules, rules_of

CHAIN_ID = "eub-dev-bench"
REVEALS = 2**12


def secret_key(number: int) -> SecretKey:
    """The key of account `number`."""
    return SecretKey((number + 1).to_bytes(32, "big"))


def found(accounts: int, now_ms: int) -> tuple[Genesis, ValidatorKey]:
    """A genesis of one validator and so many funded accounts."""
    key = validator_key(generate_words(), "deub")._replace(length=REVEALS)
    balances = [Balance(key_address(secret_key(i).public), eubc(10_000)) for i in range(accounts)]
    entry = genesis_entry(key, "deub", CHAIN_ID, "bench", DEV_BOND)
    return build_genesis("dev", CHAIN_ID, now_ms, balances, [entry]), key


def signed(rules: Rules, accounts: int, each: int) -> list[bytes]:
    """`each` transfers of every account, nonce by nonce, to accounts that exist."""
    keys = [secret_key(i) for i in range(accounts)]
    addresses = [key_address(k.public) for k in keys]
    made = []
    for nonce in range(each):
        for i, key in enumerate(keys):
            payload = Transfer(addresses[(i * 7 + nonce + 1) % accounts], 500_000)
            body: Body[Any] = Body(1, CHAIN_ID, addresses[i], nonce, 100, 1, 5_000, payload)
            signature = key.sign(sign_hash(rules.genesis, encode(body)))
            made.append(encode(Transaction(body, KeyAuth(key.public, signature))))
    return made


def rules_for(genesis: Genesis) -> Rules:
    """The rules of the benchmark's network."""
    return rules_of(genesis)


def run() -> list[dict[str, str | float]]:
    """Nothing by itself."""
    return []
