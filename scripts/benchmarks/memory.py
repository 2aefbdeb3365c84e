"""Memory of a validator and its children: with a million accounts, and after ten thousand blocks.

Proportional set size (what is shared counts once), from /proc. The million accounts stand in the ledger's
first state, not in the genesis record: on a network they come by transfers. The node then commits transfers
among a thousand of them, so that its caches are warm. Ten thousand blocks are made by a validator alone on a
private genesis of 10 ms blocks, so that they take minutes; their reference is the same node at block 500.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import httpx
import msgspec
import trio

from consensus.types.amounts import eubc
from consensus.types.codec import encode
from consensus.types.params import DEV
from eubchain.ledger.ledger import Ledger
from eubchain.node.config import Value
from eubchain.node.founding import found_devnet, found_home
from scripts.benchmarks.transfers import found, rules_for, signed
from scripts.benchmarks.tx_1 import bodies_of, drive, figure, node_url, start_node
from vm.funds import ACCOUNTS, Account
from vm.genesis import genesis_writes

STATE_ACCOUNTS, SENDERS, EACH = 1_000_000, 1_000, 20
BAR_MB = 600.0
INTERVAL_MS, BLOCKS, BLOCKS_FIRST = 10, 10_000, 500
QUIET: dict[tuple[str, str], Value] = {
    ("rpc", "listen"): "127.0.0.1:0",
    ("metrics", "listen"): "",
    ("p2p", "listen"): "127.0.0.1:0",
    ("node", "log_level"): "warning",
}


def run() -> list[dict[str, str | float]]:
    """Megabytes."""
    started, busy = _million()
    first, last = _long_lived()
    return [
        figure("memory_started", started, "MB", BAR_MB),
        figure("memory", busy, "MB", BAR_MB),
        figure("memory_blocks", last, "MB", first),
    ]


def _million() -> tuple[float, float]:
    """After the start, and after transfers, with a million accounts."""
    genesis, key = found(SENDERS, time.time_ns() // 1_000_000)
    raws = signed(rules_for(genesis), SENDERS, EACH)
    with tempfile.TemporaryDirectory() as directory:
        home = found_home(Path(directory) / "home", genesis, key, QUIET)
        writes = {key: value for key, value in genesis_writes(genesis).items() if value is not None}
        account = encode(Account(0, eubc(1)))
        for number in range(STATE_ACCOUNTS - SENDERS):
            address = blake2b(number.to_bytes(8, "big"), digest_size=20).digest()
            writes[ACCOUNTS.prefix + address] = account
        Ledger.create(home.ledger, genesis, writes).close()
        with _running(home.root) as (node, url):
            started = memory_mb(node.pid)
            trio.run(drive, url, [bodies_of(raws)], len(raws))
            return started, memory_mb(node.pid)


def _long_lived() -> tuple[float, float]:
    """At block `BLOCKS_FIRST` and at block `BLOCKS`."""
    chain = msgspec.structs.replace(DEV.chain, block_interval_ms=INTERVAL_MS)
    params = msgspec.structs.replace(DEV, chain=chain)
    found_at: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        now_ms = time.time_ns() // 1_000_000
        network = found_devnet(Path(directory) / "net", now_ms, 1, 0, params=params, reveals=2**14)
        with _running(network.validators[0]) as (node, url):
            for height in (BLOCKS_FIRST, BLOCKS):
                while _height(url) < height:
                    time.sleep(0.2)
                found_at.append(memory_mb(node.pid))
    return found_at[0], found_at[1]


@contextmanager
def _running(home: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    node = start_node(home)
    try:
        yield node, node_url(home)
    finally:
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()


def _height(url: str) -> int:
    request = {"jsonrpc": "2.0", "id": 1, "method": "chain_status"}
    return int(httpx.post(f"{url}/rpc", json=request, trust_env=False).json()["result"]["height"])


def memory_mb(pid: int) -> float:
    """Proportional set size of a process and all below it, in 10**6 bytes."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    own_kib = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return own_kib * 1024 / 1e6 + sum(memory_mb(child) for child in children(pid))


def children(pid: int) -> list[int]:
    """The processes that any thread of `pid` has started."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]
