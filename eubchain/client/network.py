"""Which network a node is of: the facts that signing needs, verified and remembered.

Here: `Network`, learning it from a node, refusing a node of another network than the home's or than
the one met at the same address before.
Not here: preparing and sending (sending.py), the genesis files of nodes (genesis/files.py).
Keeps: the genesis hash that everything signed begins with is computed from the record here, never
taken from the node's word.
Errors: 3102 node_of_another_network, 3103 networks_file_damaged.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from consensus.types.address import PREFIXES, format_address, parse_address
from consensus.types.errors import Fault, Reason, Rejected
from consensus.types.genesis import GENESIS, Genesis
from eubchain.client.connection import ANSWER_MALFORMED, Connection
from eubchain.wallet.private_file import read_private, write_private
from vm.rules import Rules, rules_of

NODE_OF_ANOTHER_NETWORK = Reason(
    3102,
    "node_of_another_network",
    "url:text theirs:text theirs_hash:hash expected:text ours_hash:hash",
    "The node at {url} is of the network {theirs} ({theirs_hash}); {expected} ({ours_hash}).",
    "Name a node of your network with --node URL, or another --home. If the network was founded anew, "
    "forget the old one with `eubchain wallet forget-network`.",
)
NETWORKS_FILE_DAMAGED = Reason(
    3103,
    "networks_file_damaged",
    "file:text",
    "{file}, which remembers the networks met, is damaged.",
    "Move it away; the next command that signs writes it anew.",
)

PINS_NAME = "networks"
"""No account file: it lacks their suffix."""


class Network(NamedTuple):
    """What a wallet must know of a network."""

    genesis: Genesis
    rules: Rules
    """Genesis hash, chain id, address prefix, parameters."""

    @property
    def prefix(self) -> str:
        """Of addresses."""
        return self.rules.prefix

    def address(self, text: str) -> bytes:
        """Read an address of this network; raises `Rejected` 1102 or 1103."""
        return parse_address(text, self.prefix)

    def show(self, address: bytes) -> str:
        """Spell an address for this network."""
        return format_address(address, self.prefix)


async def learn_network(node: Connection) -> Network:
    """Ask a node for its genesis record; raises `Fault` 3101 when record and hash do not fit."""
    answer = await node.call("chain_getGenesis")
    try:
        record = bytes.fromhex(answer["record"].removeprefix("0x"))
        stated = bytes.fromhex(answer["genesis_hash"].removeprefix("0x"))
        genesis = GENESIS.decode(record)
    except (KeyError, TypeError, ValueError, AttributeError, Rejected):
        raise Fault(ANSWER_MALFORMED, url=node.url, why="its genesis record cannot be read") from None
    network = network_of(genesis)
    if network.rules.genesis != stated:
        raise Fault(ANSWER_MALFORMED, url=node.url, why="its genesis record has another hash than it states")
    if genesis.prefix not in PREFIXES:
        raise Fault(ANSWER_MALFORMED, url=node.url, why=f"it has the unknown prefix {genesis.prefix[:20]}")
    return network


def network_of(genesis: Genesis) -> Network:
    """The network that a genesis record founds."""
    return Network(genesis, rules_of(genesis))


class Pins:
    """The networks that a wallet has signed on, by node address: `<home>/wallet/networks`."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / PINS_NAME

    def known(self) -> dict[str, str]:
        """Genesis hashes in hexadecimal by the node's URL; raises `Fault` 3103."""
        if not self._file.exists():
            return {}
        try:
            return msgspec.json.decode(read_private(self._file), type=dict[str, str])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Fault(NETWORKS_FILE_DAMAGED, file=str(self._file)) from None

    def check(self, url: str, network: Network, home_genesis: bytes | None) -> None:
        """Refuse with `Fault` 3102 a node of another network than the home's, or than before at `url`."""
        expected, ours = "this home is of another one", home_genesis
        if ours is None:
            pinned = self.known().get(url)
            expected, ours = "before, another one answered there", bytes.fromhex(pinned) if pinned else None
        if ours is not None and ours != network.rules.genesis:
            raise Fault(
                NODE_OF_ANOTHER_NETWORK,
                url=url,
                theirs=network.rules.chain_id,
                theirs_hash=network.rules.genesis,
                expected=expected,
                ours_hash=ours,
            )

    def remember(self, url: str, network: Network) -> None:
        """Note the network that answers at `url`, before anything is signed for it."""
        known = self.known()
        if known.get(url) != network.rules.genesis.hex():
            self._write(known | {url: network.rules.genesis.hex()})

    def forget(self, url: str) -> bool:
        """Forget what answered at `url`; says whether it was known."""
        known = self.known()
        if url not in known:
            return False
        del known[url]
        self._write(known)
        return True

    def _write(self, known: dict[str, str]) -> None:
        text = msgspec.json.format(msgspec.json.encode(known), indent=2)
        write_private(self._file, text + b"\n", replace=True)
