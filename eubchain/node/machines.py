"""A network for several machines, founded by one operator: a home for each, which know one another.

Here: `found_machines`. Not here: several operators, who keep their own keys (eubchain/cli/genesis.py), a
network on one machine (founding.py).
Keeps: each home has its own account, validator key and node key; whatever holds a key is its owner's alone.
Errors: 2553 machine_malformed.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from consensus.types.amounts import eubc
from consensus.types.errors import Fault, Reason
from consensus.types.genesis import Balance, Genesis
from eubchain.node.founding import found_home, genesis_entry, validator_key
from eubchain.node.home import Home
from eubchain.wallet.accounts import Wallet
from eubchain.wallet.keystore import WORK
from eubchain.wallet.mnemonic import generate_words
from genesis.builder import NETWORKS, build_genesis
from genesis.files import write_genesis
from p2p.identity import PeerAddress, read_node_key
from vm.genesis import check_genesis

PORT = 26656
OPERATOR = "operator"
"""The account in each home's wallet that stands behind its validator."""
OPERATOR_BALANCE = eubc(1_000)
"""Beside its bond: for fees."""

MACHINE_MALFORMED = Reason(
    2553,
    "machine_malformed",
    "given:text why:text",
    "'{given}' does not name a machine: {why}.",
    "Write NAME=HOST or NAME=HOST:PORT, as in lab-1=192.0.2.1 or lab-2=node.example:26700.",
)


class Machine(NamedTuple):
    """A machine of the network."""

    name: str
    host: str
    """An IPv4 address or a name that the others can resolve."""
    port: int


class FoundedMachines(NamedTuple):
    """A network on disk, to be carried to its machines."""

    genesis: Genesis
    homes: tuple[Path, ...]


def parse_machine(text: str) -> Machine:
    """Read NAME=HOST[:PORT]; raise `Fault` 2553."""
    name, equals, place = text.partition("=")
    host, colon, port = place.partition(":")
    if not equals or not name or not host:
        raise Fault(MACHINE_MALFORMED, given=text[:80], why="a name, '=' and a host are needed")
    if not all(c in "abcdefghijklmnopqrstuvwxyz0123456789-" for c in name):
        raise Fault(MACHINE_MALFORMED, given=text[:80], why="names are of a-z, 0-9 and -")
    if colon and not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise Fault(MACHINE_MALFORMED, given=text[:80], why="a port is 1 to 65535")
    return Machine(name, host, int(port) if colon else PORT)


def check_machines(machines: Sequence[Machine]) -> None:
    """Raise `Fault` 2553 for the second of one name, or of one place: two nodes cannot share a port."""
    names: set[str] = set()
    places: dict[tuple[str, int], str] = {}
    for machine in machines:
        if machine.name in names:
            raise Fault(MACHINE_MALFORMED, given=machine.name, why="each machine has its own name")
        names.add(machine.name)
        place = (machine.host, machine.port)
        if place in places:
            why = f"{places[place]} is at {machine.host}:{machine.port} already, write NAME=HOST:PORT"
            raise Fault(MACHINE_MALFORMED, given=machine.name, why=why)
        places[place] = machine.name


def found_machines(
    root: Path,
    machines: Sequence[Machine],
    *,
    network: str,
    chain_id: str,
    now_ms: int,
    bond: int,
    balances: Sequence[Balance],
    password: str,
    work: int = WORK,
) -> FoundedMachines:
    """Make `root/NAME` for each machine; raise `Fault` when one exists or the genesis is impossible.

    All homes share a network key, so that nobody else connects; `password` opens every account.
    """
    check_machines(machines)
    prefix = NETWORKS[network][0]
    keys, entries, funds = [], [], list(balances)
    for machine in machines:
        Home(root / machine.name).create()
        wallet = Wallet(root / machine.name / "wallet")
        words = generate_words()
        account = wallet.add(OPERATOR, words, password, work=work)
        wallet.set_default(OPERATOR)
        funds.append(Balance(account.address, OPERATOR_BALANCE))
        keys.append(validator_key(words, prefix))
        entries.append(genesis_entry(keys[-1], prefix, chain_id, machine.name, bond))
    genesis = build_genesis(network, chain_id, now_ms, funds, entries)
    check_genesis(genesis)
    places = [_place(root, machine) for machine in machines]
    network_key = secrets.token_hex(32)
    for number, machine in enumerate(machines):
        kind = "dns4" if places[number].is_name else "ip4"
        changes = {
            ("node", "moniker"): machine.name,
            ("p2p", "listen"): f"0.0.0.0:{machine.port}",
            ("p2p", "announce"): (f"/{kind}/{machine.host}/tcp/{machine.port}",),
            ("p2p", "bootstrap"): tuple(p.text() for p in places if p is not places[number]),
            ("p2p", "network_key"): network_key,
        }
        home = found_home(root / machine.name, genesis, keys[number], changes)
        home.config.chmod(0o600)  # it holds the network key
    write_genesis(root / "genesis.json", genesis)
    return FoundedMachines(genesis, tuple(root / machine.name for machine in machines))


def _place(root: Path, machine: Machine) -> PeerAddress:
    try:
        is_name = ipaddress.ip_address(machine.host).version != 4
    except ValueError:
        is_name = True
    peer = read_node_key(Home(root / machine.name).node_key).peer_id
    return PeerAddress(peer, machine.host, machine.port, is_name=is_name)
