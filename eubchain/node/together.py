"""Joining the network: from a configuration to a connected node.

Here: the network part and the peers of one node, put together, run, described, measured.
Not here: what either does (p2p, peers.py), the node (node.py).
Keeps: the network part may fail and be rebuilt without the node's noticing more than peers that leave.
"""

from __future__ import annotations

from typing import Any

import trio

from consensus.light import parse_trust
from consensus.types.address import PREFIXES
from consensus.types.errors import Fault
from eubchain.ledger.ledger import Ledger
from eubchain.mempool import Mempool
from eubchain.node.clocks import wall_clock_ms
from eubchain.node.config import Config
from eubchain.node.engine import Engine
from eubchain.node.home import Home
from eubchain.node.metrics import Metrics
from eubchain.node.peers import Peers, greeting
from eubchain.node.service import Service
from eubchain.node.trust_gate import TrustGate
from eubchain.node.validator_key import ValidatorKey
from eubchain.node.workers import VerifyPool
from p2p.faults import MDNS_REFUSED
from p2p.identity import read_node_key
from p2p.messages import Hello
from p2p.service import LibP2PNet, Settings
from vm.rules import Rules

MEASURE_S = 2.0
ADDRESS_FILE = "p2p_address"
"""In the home's data: where the node listens for peers, for whoever starts nodes together."""


def settings_of(config: Config, home: Home) -> Settings:
    """The network's settings of a configuration."""
    return Settings(
        listen=config.text("p2p", "listen"),
        announce=config.texts("p2p", "announce"),
        bootstrap=config.texts("p2p", "bootstrap"),
        network_key=config.text("p2p", "network_key"),
        connections_max=config.number("p2p", "connections_max"),
        connections_per_subnet_max=config.number("p2p", "connections_per_subnet_max"),
        mdns=config.flag("p2p", "mdns"),
        data=home.data,
    )


class Joined:
    """One node's network part and peers."""

    def __init__(
        self, home: Home, config: Config, rules: Rules, ledger: Ledger, validator: ValidatorKey | None
    ) -> None:
        self._home, self._rules, self._ledger, self._validator = home, rules, ledger, validator
        self._moniker = config.text("node", "moniker")
        text = config.text("sync", "trust")
        self._trust = parse_trust(text) if text else None
        key = read_node_key(home.node_key)
        settings = settings_of(config, home)
        if settings.mdns and PREFIXES[rules.prefix] != "dev":
            # Whoever shares a cable with a validator should not choose whom it meets first.
            raise Fault(MDNS_REFUSED, chain_id=rules.chain_id)
        self.net = LibP2PNet(settings, key, rules.genesis, rules.chain_id, self._hello, wall_clock_ms)
        self._peers: Peers | None = None
        self._metrics: Metrics | None = None

    @property
    def peers(self) -> Peers:
        """The peers, once met."""
        assert self._peers is not None, "peers are met first"
        return self._peers

    @property
    def address(self) -> str:
        """Where this node listens, with its peer id."""
        return self.net.address

    def _hello(self) -> Hello:
        key = self._validator.key if self._validator is not None else None
        announced = self.net.announced()
        address = announced[0] if announced else ""
        return greeting(self._rules, self.net.me, self._ledger.height, self._moniker, address, key)

    def meet(self, mempool: Mempool, pool: VerifyPool, service: Service) -> Peers:
        """The engine's network."""
        is_validator = self._validator is not None
        gate = TrustGate(service.genesis, self._trust, wall_clock_ms)
        self._peers = Peers(
            self.net, self._rules, self._ledger, mempool, pool, service.take, is_validator, gate,
            service.snapshots(),
        )  # fmt: skip
        return self._peers

    def bind(self, engine: Engine, service: Service, metrics: Metrics) -> None:
        """Connect both directions: engine and service to peers, peers to them."""
        self._metrics = metrics

        def round_now() -> int:
            return engine.state.round if engine.state is not None else 0

        self.peers.bind(engine, round_now, service.take_evidence)
        service.spread = self.peers.gossip.spread
        service.spread_evidence = self.peers.spread_evidence
        service.peers = self.peers.describe
        service.network = self.network

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen, dial and take part until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.net.run)
            self._home.leave_address(ADDRESS_FILE, self.address)
            await nursery.start(self.peers.run)
            nursery.start_soon(self._measure)
            task_status.started()

    def network(self) -> dict[str, Any]:
        """This node on the network, for `net_info`."""
        return {
            "id": self.net.me,
            "address": self.address,
            "announced": list(self.net.announced()),
            "peers": len(self.net.peers()),
            "validator_peers": self.peers.validator_peers(),
            "known_addresses": len(self.net.book),
            "bytes_in": self.net.traffic.bytes_in,
            "bytes_out": self.net.traffic.bytes_out,
            "failures": self.net.traffic.deaths,
        }

    def describe(self) -> dict[str, Any]:
        """The network's part of `chain_status`."""
        told: dict[str, Any] = {
            "peers": len(self.net.peers()), "validator_peers": self.peers.validator_peers(), "id": self.net.me
        }  # fmt: skip
        progress = self.peers.sync.progress
        if progress.is_syncing:
            told |= {"phase": "syncing", "syncing_to": progress.target}
        if self.peers.hearing.clock.why:
            told["clock"] = self.peers.hearing.clock.why
        if self.net.trouble:
            told["network"] = self.net.trouble
        return told

    async def _measure(self) -> None:
        metrics, traffic = self._metrics, self.net.traffic
        assert metrics is not None, "bound before it runs"
        while True:
            metrics.clock_skew_ms.set(self.peers.hearing.clock.skew_ms)
            metrics.peers.set(len(self.net.peers()))
            metrics.validator_peers.set(self.peers.validator_peers())
            metrics.p2p_bytes_in.set(traffic.bytes_in)
            metrics.p2p_bytes_out.set(traffic.bytes_out)
            metrics.p2p_aborted.set(traffic.aborted)
            metrics.p2p_deaths.set(traffic.deaths)
            metrics.synced_blocks.set(self.peers.sync.blocks)
            for kind, count in traffic.messages_in.items():
                metrics.p2p_messages_in.labels(kind.name.lower()).set(count)
            for kind, count in traffic.messages_out.items():
                metrics.p2p_messages_out.labels(kind.name.lower()).set(count)
            await trio.sleep(MEASURE_S)


def join(home: Home, config: Config, rules: Rules, ledger: Ledger, validator: ValidatorKey | None) -> Joined:
    """The network part of a node's home; raise `Fault` 2413, 2414, 2419 for what its files
    say wrongly.
    """
    return Joined(home, config, rules, ledger, validator)
