"""Whole nodes in one process: real engine, execution, ledger, WAL and guard over the simulated network.

Here: a cluster of nodes on homes below a folder, its clock, crashes and starts, what must hold at the end.
Not here: the network's weather (p2p/sim_net.py), the agreement core alone (tests/sim/node.py).
Threads become plain calls and workers check signatures at once, so equal seeds give equal runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

import eubchain.node.node as node_module
from consensus.types.keys import verify
from eubchain.node import founding
from eubchain.node.config import load_config
from eubchain.node.founding import Founded, found_devnet, found_home
from eubchain.node.home import Home
from eubchain.node.network import NoPeers
from eubchain.node.node import Node, open_home
from eubchain.node.peers import Peers, greeting
from eubchain.node.verify_worker import transaction_verdict
from eubchain.node.workers import Verdict
from p2p.sim_net import SimWorld, Weather

EPOCH_MS = 1_700_000_000_000


class InlinePool:
    """Checks signatures at once, in place of the worker processes."""

    def __init__(self, genesis: bytes, workers: int) -> None:
        self._genesis = genesis

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()

    async def transactions(self, raws: Sequence[bytes]) -> list[Verdict]:
        await trio.lowlevel.checkpoint()
        found = [transaction_verdict(raw, self._genesis) for raw in raws]
        return [Verdict(v[0] == 1, v[1:33], v[33:65]) for v in found]

    async def signatures(self, checks: Sequence[Any]) -> list[bool]:
        await trio.lowlevel.checkpoint()
        return [verify(c.key, c.message, c.signature) for c in checks]


async def _call(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """A thread's work, at once."""
    await trio.lowlevel.checkpoint()
    return function(*arguments)


class LateNetwork:
    """The network of a node that is put together before its peers are."""

    def __init__(self) -> None:
        self.peers: Peers | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.peers, name)


class Running:
    """A node that runs until its scope is cancelled."""

    def __init__(self, node: Node, peers: Peers) -> None:
        self.node, self.peers = node, peers
        self.scope = trio.CancelScope()
        self.ended = trio.Event()

    @property
    def height(self) -> int:
        return self.node.service.ledger().height


class Cluster:
    """The nodes of one simulated network."""

    def __init__(self, root: Path, seed: int, weather: Weather | None, validators: int) -> None:
        self.world = SimWorld(seed, weather, EPOCH_MS)
        self.founded: Founded = found_devnet(root, self.world.clock_ms(), validators, 0)
        self.homes = {f"validator{i}": home for i, home in enumerate(self.founded.validators)}
        self.running: dict[str, Running] = {}
        self.nursery: trio.Nursery | None = None

    def add_follower(self, name: str) -> None:
        """A home without a key, not started yet."""
        self.homes[name] = found_home(self.founded.root / name, self.founded.genesis).root

    async def start(self, name: str) -> None:
        """Start a node from what its home holds."""
        assert self.nursery is not None, "within `simulated`"
        await self.nursery.start(self._run, name)

    async def crash(self, name: str) -> None:
        """End a node at once; what it wrote stays."""
        running = self.running.pop(name)
        self.world.remove(name)
        running.scope.cancel()
        await running.ended.wait()

    async def _run(self, name: str, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        home = Home(self.homes[name])
        config = load_config(home.config)
        opened = open_home(home, config, NoPeers())
        network: Any = LateNetwork()
        node = Node(home, config, opened, network)
        key = opened.validator.key if opened.validator else None

        def hello() -> Any:
            return greeting(opened.rules, name, opened.ledger.height, name, "", key)

        net = self.world.add(name, hello)
        peers = Peers(
            net, opened.rules, opened.ledger, node.mempool, node.pool, node.service.take, key is not None
        )
        network.peers, engine = peers, node.engine
        peers.bind(engine, lambda: engine.state.round if engine.state else 0, node.service.take_evidence)
        node.service.spread = peers.gossip.spread
        node.service.spread_evidence = peers.spread_evidence
        running = self.running[name] = Running(node, peers)
        try:
            with running.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(node.verdicts.run)
                    await nursery.start(peers.run)
                    await nursery.start(engine.run, opened.plan, opened.wal)
                    task_status.started()
        finally:
            if opened.guard is not None:
                opened.guard.close()
            opened.ledger.close()
            running.ended.set()

    async def until_height(self, height: int, *names: str, within_s: float = 300) -> None:
        """Wait, in simulated time, until these nodes (all without a name) are at a height."""
        with trio.fail_after(within_s):
            for name in names or list(self.running):
                while self.running[name].height < height:  # noqa: ASYNC110  # a height is no event
                    await trio.sleep(0.1)

    def assert_agreement(self) -> None:
        """Every two nodes hold the same block at every height that both have."""
        readers = {name: running.node.service.ledger() for name, running in self.running.items()}
        blocks: dict[int, bytes] = {}
        for name, reader in readers.items():
            for height in range(1, reader.height + 1):
                raw = reader.block_bytes(height)
                assert raw is not None
                assert blocks.setdefault(height, raw) == raw, f"{name} differs at height {height}"


async def simulated(
    root: Path,
    seed: int,
    play: Callable[[Cluster], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
    weather: Weather | None = None,
    validators: int = 4,
) -> Cluster:
    """Found a network, start its validators, play a scenario, check agreement."""
    # Short chains: a run proposes little, and hashing long ones would be most of its time.
    monkeypatch.setattr(founding, "REVEALS_ON_DEV", 2**10)
    cluster = Cluster(root, seed, weather, validators)
    monkeypatch.setattr(node_module, "VerifyPool", InlinePool)
    monkeypatch.setattr(node_module, "wall_clock_ms", cluster.world.clock_ms)
    monkeypatch.setattr(trio.to_thread, "run_sync", _call)
    async with trio.open_nursery() as nursery:
        cluster.nursery = nursery
        await nursery.start(cluster.world.run)
        for name in list(cluster.homes):
            await cluster.start(name)
        await play(cluster)
        cluster.assert_agreement()
        nursery.cancel_scope.cancel()
    return cluster
