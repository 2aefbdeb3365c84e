"""`eubchain start`: run the node of a home in the foreground.

Here: signals, logs, what is printed. Not here: the node (eubchain/node).
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from typing import Annotated

import structlog
import trio
import typer

from consensus.types.errors import Fault
from eubchain.cli.session import SESSION, report
from eubchain.node.config import load_config
from eubchain.node.home import Home
from eubchain.node.logs import set_up_logs

OPEN_FILES = 16_384


def start(
    halt_height: Annotated[
        int, typer.Option("--halt-height", min=0, help="Stop by itself after this height's block.")
    ] = 0,
) -> None:
    """Run the node of this home until Ctrl-C or SIGTERM.

    Example: eubchain start --home ./node0
    """
    # Imported here: a node needs LevelDB, LibP2P and more, other verbs do not.
    from eubchain.node.node import Node, opened_node, run_node

    _allow_open_files()
    home = Home(SESSION.home)
    home.check()
    config = load_config(home.config)
    set_up_logs(config.text("node", "log_level"), as_json=config.flag("node", "log_json"))

    async def watch_signals(node: Node) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                node.service.stop()
                return

    async def run() -> None:
        async with opened_node(SESSION.home) as node, trio.open_nursery() as nursery:
            node.engine.halt_at = halt_height
            nursery.start_soon(watch_signals, node)
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


def _allow_open_files() -> None:
    """LevelDB, the workers' pipes and the connections together may need more than a shell's default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
