"""`eubchain start`: run the node of a home in the foreground.

Here: signals, logs, what is printed. Not here: the node (eubchain/node).
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import structlog
import trio
import typer

from consensus.types.errors import Fault
from eubchain.cli.session import SESSION, report
from eubchain.node.config import Config, load_config
from eubchain.node.home import Home
from eubchain.node.logs import set_up_logs

OPEN_FILES = 16_384


def start(
    halt_height: Annotated[
        int, typer.Option("--halt-height", min=0, help="Stop by itself after this height's block.")
    ] = 0,
    snapshot_sync: Annotated[
        bool,
        typer.Option("--snapshot-sync", help="Begin a new home from a peers' snapshot (sync.snapshot)."),
    ] = False,
) -> None:
    """Run the node of this home until Ctrl-C or SIGTERM.

    Example: eubchain start --home ./node0
    """
    # Imported here: a node needs LevelDB, LibP2P and more, other verbs do not.
    from eubchain.node.joining import join_by_snapshot, joins_by_snapshot
    from eubchain.node.node import opened_node, run_node

    _allow_open_files()
    home = Home(SESSION.home)
    home.check()
    config = load_config(home.config)
    set_up_logs(config.text("node", "log_level"), as_json=config.flag("node", "log_json"))
    if snapshot_sync:
        config = config.with_value("sync", "snapshot", True)

    async def watch_signals(stop: Callable[[], None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                stop()
                return

    async def join(config: Config) -> Config | None:
        """Begin from a snapshot where that is wanted; None when somebody stopped it meanwhile."""
        if not joins_by_snapshot(home, config):
            if snapshot_sync:
                SESSION.note("no snapshot is taken: this home has a ledger, or [p2p] listen is empty")
            return config
        stopping = trio.Event()
        failed: list[Fault] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_signals, stopping.set)
            try:
                config = await join_by_snapshot(home, config, stopping, tell_joining)
            except Fault as fault:
                failed.append(fault)  # out of a nursery it would come in a group
            nursery.cancel_scope.cancel()
        if failed:
            raise failed[0]
        return None if stopping.is_set() else config

    async def run() -> None:
        chosen = await join(config)
        if chosen is None:
            return
        async with opened_node(SESSION.home, config=chosen) as node, trio.open_nursery() as nursery:
            node.engine.halt_at = halt_height
            nursery.start_soon(watch_signals, node.service.stop)
            urls = await nursery.start(run_node, node)
            print(json.dumps({"started": True, **urls}), flush=True)
            await node.service.stopping.wait()
            await node.stopped.wait()
            nursery.cancel_scope.cancel()

    try:
        SESSION.run(run)
    except Fault as fault:
        structlog.get_logger("node").error("the node stops", why=str(fault))
        sys.exit(report(fault))


def tell_joining(urls: dict[str, str]) -> None:
    """Print where the node answers while it takes a snapshot."""
    print(json.dumps({"joining": True, **urls}), flush=True)


def _allow_open_files() -> None:
    """LevelDB, the workers' pipes and the connections together may need more than a shell's default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
