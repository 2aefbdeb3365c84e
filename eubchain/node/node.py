"""A running node: every part started in order, stopped in reverse.

Here: opening a home, recovery's facts, the nursery of all parts, a graceful stop.
Not here: what the parts do. Keeps: nothing started here outlives `run_node`; the engine stops last, at
a point where the WAL is whole; a fault of ours takes the node down, loudly.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import structlog
import trio

import eubchain.rpc.methods  # noqa: F401  # declares every method
from consensus.agreement.inputs import StartHeight, Timeouts
from consensus.agreement.replay import replay
from consensus.agreement.state import Stage
from consensus.beacon import COMMITMENT_OF_ANOTHER_CHAIN
from consensus.types.block import Commit
from consensus.types.errors import Fault
from consensus.types.genesis import Genesis, genesis_hash
from eubchain.ledger.ledger import Ledger
from eubchain.ledger.snapshot_folder import SnapshotFolder
from eubchain.ledger.store import LEDGER_MISSING
from eubchain.mempool import Limits, Mempool
from eubchain.node.blobs import gate
from eubchain.node.clocks import wall_clock_ms
from eubchain.node.config import Config, load_config
from eubchain.node.durable_files import FolderFiles
from eubchain.node.engine import Engine
from eubchain.node.execution import Executed, Execution
from eubchain.node.guard import SignerGuard, place_of
from eubchain.node.home import Home
from eubchain.node.kept_blocks import execute_kept
from eubchain.node.metrics import Metrics, metrics_application
from eubchain.node.network import Network, NoPeers
from eubchain.node.pricing import mempool_pricing
from eubchain.node.production import Identity, Production
from eubchain.node.recovery import Found, Plan, Signing, WalFound, plan_recovery
from eubchain.node.reveal_file import load_reveals
from eubchain.node.service import Service
from eubchain.node.status_warnings import warnings_of
from eubchain.node.together import join
from eubchain.node.upkeep import Upkeep
from eubchain.node.validator_key import ValidatorKey, read_validator_key
from eubchain.node.wal import WalContents, read_wal
from eubchain.node.workers import VerifyPool
from eubchain.rpc.server import rpc_application
from genesis.files import read_genesis
from spark_node.storage.blob_server import blob_application
from spark_node.storage.http_serving import serve_http
from spark_node.storage.shelf import Shelf, ShelfLimits
from vm import head as heads
from vm.genesis import genesis_writes
from vm.rules import Rules, rules_of, upgrades_of
from vm.validator import VALIDATORS

log = structlog.get_logger("node")

GC_THRESHOLDS = 10_000, 100, 50
"""Allocations between two collections of the youngest generation, which hold the loop 3 ms then (of 50,000,
12 ms, at the same cost together); of those between two of the next, and so on. Records are not tracked."""


class Opened(NamedTuple):
    """What a home holds, opened."""

    genesis: Genesis
    rules: Rules
    ledger: Ledger
    validator: ValidatorKey | None
    guard: SignerGuard | None
    wal: WalContents | None
    plan: Plan


def open_ledger(home: Home, genesis: Genesis, config: Config) -> Ledger:
    """The home's ledger; made from the genesis at the first start."""
    undo = config.number("ledger", "undo_blocks")
    try:
        return Ledger.open(home.ledger, genesis_hash(genesis), undo_blocks=undo)
    except Fault as fault:
        if fault.reason is not LEDGER_MISSING:
            raise
    writes = {key: value for key, value in genesis_writes(genesis).items() if value is not None}
    return Ledger.create(home.ledger, genesis, writes, undo_blocks=undo)


def open_home(home: Home, config: Config, network: Network) -> Opened:
    """Open everything that a node stands on and decide how it recovers; raises `Fault`."""
    genesis = read_genesis(home.genesis)
    rules = rules_of(genesis, upgrades_of(config.texts("chain", "upgrades"), genesis))
    ledger = open_ledger(home, genesis, config)
    try:
        # Before the log is looked at: it follows the last of them.
        execute_kept(ledger, rules, with_index=config.flag("ledger", "index"))
        files = FolderFiles(home.data)
        validator = read_validator_key(home.validator_key)
        guard = None
        if validator is not None:
            guard = SignerGuard(files, validator.key, rules.genesis, place_of(home.root))
        contents = read_wal(files, rules.genesis)
        found = Found(
            ledger.height,
            ledger.meta.state_root,
            ledger.tree.root,
            _wal_found(contents, ledger, rules, guard),
            guard.last if guard is not None else None,
            guard.is_moved if guard is not None else False,
            # With peers to be asked, a home that was moved before its first block may have a twin too.
            max(network.peers_height(), len(config.texts("p2p", "bootstrap")) > 0),
        )
        plan = plan_recovery(found)
        if guard is not None and guard.is_moved and plan.signing in (Signing.AT_ONCE, Signing.ABOVE):
            guard.adopt_place()  # no network was left behind in which a twin could sign
        return Opened(genesis, rules, ledger, validator, guard, contents, plan)
    except BaseException:
        ledger.close()
        raise


def _wal_found(
    contents: WalContents | None, ledger: Ledger, rules: Rules, guard: SignerGuard | None
) -> WalFound | None:
    if contents is None:
        return None
    if contents.height != ledger.height + 1:
        return WalFound(contents.height, False, contents.last_signed())
    view = heads.view(ledger, rules)
    head = heads.head(view)
    validators = heads.validators_at(view, contents.height) or ()
    me = None
    if guard is not None:
        me = next((i for i, v in enumerate(validators) if v.key == guard.public), None)
    earliest = head.time_ms + rules.params.chain.block_interval_ms
    start = StartHeight(contents.height, validators, me, head.beacon, earliest)
    replayed = replay(start, contents.inputs())
    return WalFound(contents.height, replayed.state.stage is Stage.DECIDED, replayed.last_step)


class Node:
    """The parts of one node over an opened home."""

    def __init__(self, home: Home, config: Config, opened: Opened, network: Network | None = None) -> None:
        """Put the parts together; without a `network` the node has the one of its configuration."""
        self.home, self.config, self.opened = home, config, opened
        rules, ledger = opened.rules, opened.ledger
        self.metrics = Metrics()
        self.pool = VerifyPool(rules.genesis, max(1, config.number("node", "verify_workers")))
        limits = Limits(
            config.number("mempool", "count_max"),
            config.number("mempool", "bytes_max"),
            config.number("mempool", "per_sender_max"),
        )
        chain = rules.params.chain
        self.mempool = Mempool(
            mempool_pricing(rules), rules.params.fees.min_price, chain.max_ttl_blocks, limits
        )
        self.service = Service(
            ledger, opened.genesis, rules, self.mempool, self.pool, self.metrics, wall_clock_ms,
            SnapshotFolder(home.snapshots),
        )  # fmt: skip
        self.upkeep = Upkeep(
            ledger, rules, self.service.snapshots(),
            retain_blocks=config.number("ledger", "retain_blocks"),
            every_epochs=config.number("snapshots", "every_epochs"),
            keep=config.number("snapshots", "keep"),
        )  # fmt: skip
        execution = Execution(ledger, rules, with_index=config.flag("ledger", "index"))
        self.verdicts = execution.verdicts
        identity = None
        if opened.validator is not None:
            key = opened.validator
            address = key.account(rules.prefix)
            registered = heads.view(ledger, rules).get(VALIDATORS, address)
            commitment = registered.reveal if registered is not None else None
            identity = Identity(address, load_reveals(key, home.data / "reveal_chain", commitment))
        build_ms = config.number("consensus", "build_ms") or chain.block_interval_ms // 4
        production = Production(execution, self.mempool, self.pool, wall_clock_ms, build_ms, identity)
        timeouts = Timeouts(
            propose_ms=config.number("consensus", "propose_timeout_ms"),
            vote_ms=config.number("consensus", "vote_timeout_ms"),
        )
        self.joined = None
        if network is None and config.text("p2p", "listen"):
            self.joined = join(home, config, opened.rules, ledger, opened.validator)
            network = self.joined.meet(self.mempool, self.pool, self.service)
        self.engine = Engine(
            production,
            FolderFiles(home.data),
            network or NoPeers(),
            self._finished,
            self.service.report,
            wall_clock_ms,
            timeouts,
            opened.guard,
        )
        self.engine.halted = self.service.stop
        self.engine.disk.changed = self.metrics.disk_refuses.set
        if self.joined is not None:
            self.joined.bind(self.engine, self.service, self.metrics)
        self._identity = identity
        self.stopped = trio.Event()
        """Set when every part has ended."""
        self.blobs_place = ""
        """Where clients of this node may leave sealed objects; empty when it serves none."""
        self.service.describe = self.describe

    async def _finished(self, executed: Executed, commit: Commit) -> None:
        await self.service.finished(executed, commit)
        self._measure(executed.block.header.height, commit)
        await self.upkeep.after_block(executed.block.header.height)

    def _measure(self, height: int, commit: Commit) -> None:
        """How this node's validator does: in the set, in the commit, proposals left."""
        if self._identity is None:
            return
        view, address = self.service.view(), self._identity.address
        validators = heads.validators_at(view, height) or ()
        position = next((i for i, v in enumerate(validators) if v.address == address), None)
        self.metrics.is_validator.set(int(position is not None))
        if position is not None and position not in commit.signers(len(validators)):
            self.metrics.missed_commits.inc()
        left = self._proposals_left()
        if left is not None:
            self.metrics.reveals_left.set(left)

    def _proposals_left(self) -> int | None:
        """In this home's reveal chain; None while the account has no validator, or another chain's."""
        assert self._identity is not None, "only a node with a key has a chain"
        registered = self.service.view().get(VALIDATORS, self._identity.address)
        if registered is None:
            return None
        try:
            return self._identity.reveals.position(registered.reveal)
        except Fault as fault:
            if fault.reason is not COMMITMENT_OF_ANOTHER_CHAIN:
                raise
            return None

    def describe(self) -> dict[str, Any]:
        """The node's own part of `chain_status`."""
        state = self.engine.state
        validating = state is not None and state.start.me is not None
        told: dict[str, Any] = {
            "moniker": self.config.text("node", "moniker"),
            "phase": "validating" if validating else "following",
            "round": state.round if state is not None else 0,
            "peers": 0,
            "blobs": self.blobs_place,
        }
        if self.joined is not None:
            told |= self.joined.describe()
        if self._identity is not None:
            told["validator"] = self.opened.validator.address if self.opened.validator else None
            if not validating and self.engine.why_silent:
                told["why_not_validating"] = self.engine.why_silent
            if self.engine.disk.why:
                told["why_not_validating"] = self.engine.disk.why
            left = self._proposals_left()
            if left is not None:
                told["proposals_left"] = left
        validators = heads.validators_at(self.service.view(), self.opened.ledger.height + 1) or ()
        length = 0 if self._identity is None else self._identity.reveals.length
        told["warnings"] = warnings_of(validators, told.get("proposals_left"), length)
        return told


async def run_node(
    node: Node, task_status: trio.TaskStatus[dict[str, str]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run until `service.stopping` is set or a part fails. Nothing started here outlives this call."""
    opened, config, service = node.opened, node.config, node.service
    async with trio.open_nursery() as core:
        await core.start(node.pool.run)
        core.start_soon(node.verdicts.run)
        core.start_soon(node.upkeep.run)
        await core.start(node.engine.run, opened.plan, opened.wal)
        if node.joined is not None:
            await core.start(node.joined.run)
        async with trio.open_nursery() as edges:
            origins, hosts = config.texts("rpc", "origins"), config.texts("rpc", "hosts")
            application, listen = rpc_application(service, origins, hosts), config.text("rpc", "listen")
            urls = {"rpc": await edges.start(serve_http, application, listen, service.stopping)}
            if config.text("metrics", "listen"):
                page = metrics_application(node.metrics)
                listen = config.text("metrics", "listen")
                urls["metrics"] = await edges.start(serve_http, page, listen, service.stopping)
            if config.flag("blobs", "serve"):
                urls["blobs"] = await edges.start(serve_blobs, node)
                node.blobs_place = "blob:" + (config.text("blobs", "public_url") or urls["blobs"])
            node.home.leave_address("rpc_address", urls["rpc"])
            if node.joined is not None:
                urls["p2p"] = node.joined.address
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            task_status.started(urls)
            await service.stopping.wait()
        # The edges are closed; the engine ends between two inputs, with its log whole.
        core.cancel_scope.cancel()
    log.info("stopped", height=opened.ledger.height)
    node.stopped.set()


async def serve_blobs(node: Node, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve the blob store until the node stops; reports its URL."""
    service, config = node.service, node.config
    limits = ShelfLimits(quota_bytes=config.number("blobs", "bytes_max"))
    shelf = await trio.to_thread.run_sync(Shelf, node.home.blobs, limits)
    service.forget_objects = shelf.purge
    application = blob_application(
        shelf, gate(service.view), genesis=node.opened.rules.genesis, now_s=lambda: wall_clock_ms() // 1000
    )
    await serve_http(application, config.text("blobs", "listen"), service.stopping, task_status=task_status)


@asynccontextmanager
async def opened_node(
    root: Path, network: Network | None = None, config: Config | None = None
) -> AsyncIterator[Node]:
    """A node over the home at `root`, locked and closed again on the way out; `config` instead of its own."""
    home = Home(root)
    home.check()
    config = config or load_config(home.config)
    with home.locked():
        opened = await trio.to_thread.run_sync(open_home, home, config, network or NoPeers())
        try:
            yield Node(home, config, opened, network)
        finally:
            if opened.guard is not None:
                opened.guard.close()
            opened.ledger.close()
