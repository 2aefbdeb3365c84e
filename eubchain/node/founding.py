"""Founding homes: the files that a node needs before its first start.

Here: a validator's keys from its words, a home from a genesis, a whole development network.
Not here: the command lines (eubchain/cli), processes (eubchain/cli/devnet.py), what a start does (node.py).
Keeps: a home is whole or refused; whatever holds a key is its owner's alone.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from consensus.types.address import format_address, key_address
from consensus.types.amounts import eubc
from consensus.types.genesis import Balance, Genesis, GenesisValidator, genesis_hash
from consensus.types.params import DEV, Params
from eubchain.node.config import Value, default_text
from eubchain.node.durable_files import FolderFiles
from eubchain.node.guard import place_of, reset_guard
from eubchain.node.home import Home
from eubchain.node.validator_key import (
    REVEALS_ELSEWHERE,
    REVEALS_ON_DEV,
    ValidatorKey,
    write_validator_key,
)
from eubchain.wallet.accounts import Wallet
from eubchain.wallet.keystore import WORK_FOR_TESTS
from eubchain.wallet.mnemonic import (
    Words,
    account_path,
    generate_words,
    reveal_path,
    validator_path,
)
from eubchain.wallet.private_file import write_private
from genesis.builder import NETWORKS, build_genesis, genesis_validator
from genesis.files import write_genesis
from p2p.identity import PeerAddress, read_node_key

DEV_BOND = eubc(10_000)
DEV_REQUESTER = eubc(1_000_000)
DEV_SPARK = eubc(1_000)
"""A dev spark's start: enough for registration, gas and fees."""
PASSWORD_NAME = "password"


class Founded(NamedTuple):
    """A development network on disk."""

    root: Path
    genesis: Genesis
    validators: tuple[Path, ...]
    """Homes of nodes."""
    sparks: tuple[Path, ...]
    """Homes of sparks, each with a funded account named `spark`."""
    password_file: Path
    """Opens every key of the network: development keys guard nothing of value."""


def validator_key(words: Words, prefix: str, *, account: int = 0, generation: int = 0) -> ValidatorKey:
    """The validator of an account's words: everything in its key file comes back from the words."""
    owner = words.key_at(account_path(account))
    address = format_address(key_address(owner.public), prefix)
    length = REVEALS_ON_DEV if prefix == NETWORKS["dev"][0] else REVEALS_ELSEWHERE
    key = words.key_at(validator_path(account, generation))
    return ValidatorKey(address, key, words.secret_at(reveal_path(account)), generation, length)


def genesis_entry(key: ValidatorKey, prefix: str, chain_id: str, name: str, bond: int) -> GenesisValidator:
    """The validator's entry in a genesis record."""
    commitment = key.reveal_chain().commitment
    return genesis_validator(chain_id, key.account(prefix), name, key.key, bond, commitment)


def found_home(
    root: Path,
    genesis: Genesis,
    key: ValidatorKey | None = None,
    changes: Mapping[tuple[str, str], Value] | None = None,
) -> Home:
    """Make a node's home; raise `Fault` when one is there already."""
    home = Home(root)
    home.create()
    home.config.write_text(default_text(changes), "utf-8")
    if key is not None:
        write_validator_key(home.validator_key, key)
        reset_guard(FolderFiles(home.data), key.key.public, genesis_hash(genesis), place_of(root))
    # Last: a home counts as one from the moment its genesis is there.
    write_genesis(home.genesis, genesis)
    return home


def found_devnet(
    root: Path,
    now_ms: int,
    validators: int = 1,
    sparks: int = 1,
    *,
    params: Params = DEV,
    reveals: int = REVEALS_ON_DEV,
) -> Founded:
    """Make a development network below `root`: nodes, sparks, and a wallet with funds in `root` itself.

    `reveals` is how many proposals a validator can make before it renews its reveal chain.
    """
    prefix = NETWORKS["dev"][0]
    chain_id = f"eub-dev-{secrets.token_hex(3)}"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    password = secrets.token_urlsafe(18)
    password_file = root / PASSWORD_NAME
    write_private(password_file, password.encode() + b"\n")
    balances = [Balance(_account(root, "requester", generate_words(), password), DEV_REQUESTER)]
    keys, entries = [], []
    for number in range(validators):
        words = generate_words()
        keys.append(validator_key(words, prefix)._replace(length=reveals))
        address = _account(root, f"validator{number}", words, password)
        balances.append(Balance(address, DEV_SPARK))
        entries.append(genesis_entry(keys[-1], prefix, chain_id, f"validator{number}", DEV_BOND))
    spark_homes = tuple(root / f"spark{number}" for number in range(sparks))
    for home in spark_homes:
        home.mkdir(mode=0o700)
        balances.append(Balance(_account(home, "spark", generate_words(), password), DEV_SPARK))
    Wallet(root / "wallet").set_default("requester")
    genesis = build_genesis("dev", chain_id, now_ms, balances, entries, params=params)
    homes = [root / f"validator{number}" for number in range(validators)]
    places = _peer_places(homes)
    for number, key in enumerate(keys):
        listen = {
            ("p2p", "listen"): f"127.0.0.1:{places[number].port}",
            ("p2p", "bootstrap"): tuple(p.text() for p in places if p is not places[number]),
            ("node", "moniker"): f"validator{number}",
            ("rpc", "listen"): "127.0.0.1:0",
            ("metrics", "listen"): "127.0.0.1:0",
            ("blobs", "listen"): "127.0.0.1:0",
            ("blobs", "serve"): number == 0,
        }
        found_home(homes[number], genesis, key, listen)
    write_genesis(root / "genesis.json", genesis)
    return Founded(root, genesis, tuple(homes), spark_homes, password_file)


def _peer_places(homes: Sequence[Path]) -> list[PeerAddress]:
    """Where each node of a development network will listen: every one is told of all others.

    Ports are free now and chosen for good, below those that the system hands out by itself.
    """
    places: list[PeerAddress] = []
    for home in homes:
        key_file = Home(home).node_key
        key_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = {place.port for place in places}
        port = next(p for p in iter(_random_port, 0) if p not in taken and _is_free(p))
        places.append(PeerAddress(read_node_key(key_file).peer_id, "127.0.0.1", port, is_name=False))
    return places


def _random_port() -> int:
    return 20_000 + secrets.randbelow(12_000)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _account(home: Path, name: str, words: Words, password: str) -> bytes:
    """An account of a development network: its key file is quick to open, which a real one must not be."""
    wallet = Wallet(home / "wallet")
    return wallet.add(name, words, password, work=WORK_FOR_TESTS).address
