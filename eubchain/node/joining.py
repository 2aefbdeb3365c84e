"""The first minutes of a new home that begins from a snapshot: before there is a ledger, and so a node.

Here: whether a home joins by snapshot, the network and the RPC of that time, their end.
Not here: the snapshot (snapshot_sync.py), the node that follows (node.py).
Keeps: network and RPC are closed when this is over, so that the node can listen where they did; a home that
has a ledger is never touched.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

import eubchain.rpc.methods  # noqa: F401  # declares every method
from consensus.light import parse_trust
from consensus.types.errors import Fault
from eubchain.ledger.snapshot_folder import SnapshotFolder
from eubchain.node.before_ledger import BeforeLedger
from eubchain.node.clocks import wall_clock_ms
from eubchain.node.config import Config
from eubchain.node.home import Home
from eubchain.node.peers import greeting
from eubchain.node.snapshot_sync import Places, SnapshotSync, has_ledger
from eubchain.node.together import settings_of
from eubchain.rpc.server import rpc_application
from genesis.files import read_genesis
from p2p.identity import read_node_key
from p2p.messages import Hello
from p2p.service import LibP2PNet
from spark_node.storage.http_serving import serve_http
from vm.rules import rules_of, upgrades_of

log = structlog.get_logger("snapshots")


def joins_by_snapshot(home: Home, config: Config) -> bool:
    """Whether this home is new, meets peers and is to begin from a snapshot."""
    wanted = config.flag("sync", "snapshot") and bool(config.text("p2p", "listen"))
    return wanted and not has_ledger(home.ledger)


async def join_by_snapshot(
    home: Home, config: Config, stopping: trio.Event, tell: Callable[[dict[str, str]], None]
) -> Config:
    """Try to make the home's ledger from a snapshot, until it is there, cannot be had, or `stopping` is set.

    `tell` is called once with the URLs that are served meanwhile. Returns the configuration to go on with:
    RPC stays at the address that was told. Raise `Fault` 1921, 1923, 2412, 2415, 2560.
    """
    genesis = read_genesis(home.genesis)
    rules = rules_of(genesis, upgrades_of(config.texts("chain", "upgrades"), genesis))
    key = read_node_key(home.node_key)
    moniker = config.text("node", "moniker")

    def hello() -> Hello:
        announced = net.announced()
        return greeting(rules, key.peer_id, 0, moniker, announced[0] if announced else "", None)

    net = LibP2PNet(settings_of(config, home), key, rules.genesis, rules.chain_id, hello, wall_clock_ms)
    text = config.text("sync", "trust")
    places = Places(home.ledger, home.snapshots)
    trust = parse_trust(text) if text else None
    sync = SnapshotSync(net, genesis, rules, trust, places, wall_clock_ms)
    backend = BeforeLedger(genesis, rules, SnapshotFolder(home.snapshots), sync.describe, stopping.set)
    origins, hosts = config.texts("rpc", "origins"), config.texts("rpc", "hosts")
    application = rpc_application(backend, origins, hosts)
    over = trio.Event()
    failed: list[Fault] = []
    with home.locked():
        async with trio.open_nursery() as nursery:
            await nursery.start(net.run)
            async with trio.open_nursery() as edges:
                url = await edges.start(serve_http, application, config.text("rpc", "listen"), over)
                (home.data / "rpc_address").write_text(url)
                tell({"rpc": url, "p2p": net.address})
                async with trio.open_nursery() as work:
                    work.start_soon(_stop_with, stopping, work.cancel_scope)
                    try:
                        await sync.run()
                    except Fault as fault:
                        failed.append(fault)  # out of a nursery it would come in a group
                    work.cancel_scope.cancel()
                over.set()
            nursery.cancel_scope.cancel()
    if failed:
        raise failed[0]
    return config.with_value("rpc", "listen", url.partition("://")[2])


async def _stop_with(stopping: trio.Event, scope: trio.CancelScope) -> None:
    await stopping.wait()
    scope.cancel()
