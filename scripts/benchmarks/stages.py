"""Where the CPU time of a committed transfer goes: four validators as in tx_4, each stage beside its budget.

Values are CPU microseconds per transfer and validator (`stages_client` and `stages_total`: of the whole
machine), so that they mean something beside other work. What a validator uses while nothing happens is
measured first and taken away; `stages_idle` is that, in milliseconds a second. `stages_bare_verify` is one
bare signature check, measured all along: its reference is the machine that the budget was made on, so its
ratio says how much slower this one was. `stages_total` counts the idle share at 5,000 transfers a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import trio

from consensus.types.keys import verify
from eubchain.node.founding import found_devnet
from eubchain.wallet.accounts import Wallet
from scripts.benchmarks.memory import children
from scripts.benchmarks.transfers import secret_key
from scripts.benchmarks.tx_1 import bodies_of, drive, figure, node_url
from scripts.benchmarks.tx_4 import ACCOUNTS, CONNECTIONS, EACH, fund, transfers

VALIDATORS = 4
IDLE_S = 4.0
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
BUDGET_VERIFY_US = 24.0
"""One check of a signature on the machine that the stages' budget was made on."""
BUDGET_TOTAL_US = 400.0
"""Two cores, 5,000 transfers a second."""

WORKER, THREADS, LOOP = "verify_worker", "write", "event_loop"
BUDGET_US = {
    "rpc": 4.0,
    WORKER: 31.0,
    "admission": 1.5,
    "mempool": 8.0,
    "bundles": 12.0,
    "state_reads": 11.0,
    "execution": 12.0,
    "list_roots": 3.0,
    "tree": 9.0,
    "batch": 5.0,
    THREADS: 5.0,
    "agreement": 1.0,
    LOOP: 1.0,
}
RULES = (
    ("eubchain/rpc/", "rpc"),
    ("spark_node/storage/", "rpc"),
    ("hypercorn/", "rpc"),
    ("starlette/", "rpc"),
    ("eubchain/node/workers.py", "bundles"),
    ("eubchain/node/gossip.py", "bundles"),
    ("eubchain/node/peers.py", "bundles"),
    ("p2p/", "bundles"),
    ("libp2p/", "bundles"),
    ("eubchain/mempool", "mempool"),
    ("eubchain/node/pricing.py", "mempool"),
    ("eubchain/node/service.py:_admit", "mempool"),
    ("eubchain/node/service.py:take", "admission"),
    ("vm/registry.py", "admission"),
    ("eubchain/ledger/ledger.py:get", "state_reads"),
    ("eubchain/ledger/reading.py:get", "state_reads"),
    ("consensus/types/hashing.py:list_root", "list_roots"),
    ("consensus/types/receipt.py:receipts_root", "list_roots"),
    ("consensus/types/tree.py", "tree"),
    ("eubchain/ledger/", "batch"),
    ("eubchain/node/execution.py:index_rows", "batch"),
    ("vm/", "execution"),
    ("eubchain/node/execution.py", "execution"),
    ("eubchain/node/production.py", "execution"),
    ("eubchain/node/", "agreement"),
    ("consensus/agreement/", "agreement"),
)
"""The innermost frame that one of these describes names the stage; else it is the event loop's own."""


class Seen(NamedTuple):
    """CPU seconds by stage, of all validators together."""

    stages: Counter[str]
    wall_s: float


def run() -> list[dict[str, str | float]]:
    """CPU by stage; takes about half a minute."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        network = found_devnet(root / "net", time.time_ns() // 1_000_000, VALIDATORS, 0, reveals=2**12)
        nodes = [_start(home, root / home.name) for home in network.validators]
        try:
            url, *_ = [node_url(home) for home in network.validators]
            password = network.password_file.read_text().strip()
            signer = Wallet(network.root / "wallet").signer("requester", password)
            trio.run(fund, url, network.genesis, signer)
            lanes: list[list[bytes]] = [[] for _ in range(CONNECTIONS)]
            for position, raw in enumerate(transfers(network.genesis, 0, EACH)):
                lanes[position % ACCOUNTS // (ACCOUNTS // CONNECTIONS)].append(raw)
            bodies = [bodies_of(lane) for lane in lanes]
            with _watched(nodes, [root / home.name for home in network.validators]) as idle:
                time.sleep(IDLE_S)
            with (
                _bare_verification() as bare,
                _watched(nodes, [root / home.name for home in network.validators]) as busy,
            ):
                began = time.process_time()
                trio.run(drive, url, bodies, ACCOUNTS * EACH)
                client_s = time.process_time() - began
        finally:
            for node in nodes:
                os.killpg(node.pid, signal.SIGKILL)
                node.wait()
    return _rows(idle[0], busy[0], client_s, bare[0])


def _rows(idle: Seen, busy: Seen, client_s: float, bare_us: float) -> list[dict[str, str | float]]:
    count = ACCOUNTS * EACH
    rows, all_us = [], client_s / count * 1e6
    for stage, budget in BUDGET_US.items():
        used_s = busy.stages[stage] - idle.stages[stage] * busy.wall_s / idle.wall_s
        all_us += used_s / count * 1e6
        validators = 1 if stage == "rpc" else VALIDATORS
        rows.append(figure(f"stages_{stage}", used_s / count / validators * 1e6, "us/tx", budget))
    idle_ms = sum(idle.stages.values()) / idle.wall_s / VALIDATORS * 1000
    all_us += idle_ms * VALIDATORS * 1000 / 5_000  # at the bar's rate
    return [
        *rows,
        figure("stages_client", client_s / count * 1e6, "us/tx", 10.0),
        figure("stages_idle", idle_ms, "ms/s", 20.0),
        figure("stages_total", all_us, "us/tx", BUDGET_TOTAL_US),
        figure("stages_bare_verify", bare_us, "us", BUDGET_VERIFY_US),
    ]


def _start(home: Path, out: Path) -> subprocess.Popen[bytes]:
    (home / "data" / "rpc_address").unlink(missing_ok=True)
    command = [sys.executable, "-m", "scripts.benchmarks._sampled_node", str(home), str(out)]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip


@contextlib.contextmanager
def _watched(nodes: list[subprocess.Popen[bytes]], outs: list[Path]) -> Iterator[list[Seen]]:
    """What the nodes and their workers use inside; the list holds it afterwards."""
    seen: list[Seen] = []
    for out in outs:
        out.unlink(missing_ok=True)
    workers = [child for node in nodes for child in children(node.pid)]
    began, before = time.perf_counter(), sum(map(_cpu_s, workers))
    for node in nodes:
        os.kill(node.pid, signal.SIGUSR1)
    yield seen
    wall_s = time.perf_counter() - began
    stages: Counter[str] = Counter({WORKER: sum(map(_cpu_s, workers)) - before})
    for node in nodes:
        os.kill(node.pid, signal.SIGUSR2)
    for out in outs:
        while not out.exists():
            time.sleep(0.02)
        told = json.loads(out.read_text())
        stages[THREADS] += told["threads_ns"] / 1e9
        for stack, used_ns in told["stacks"].items():
            stages[stage_of(stack)] += used_ns / 1e9
    seen.append(Seen(stages, wall_s))


def stage_of(stack: str) -> str:
    """The stage that a stack of `file:function` belongs to, innermost first."""
    for frame in stack.split("|"):
        for prefix, stage in RULES:
            if frame.startswith(prefix):
                return stage
    return LOOP


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


@contextlib.contextmanager
def _bare_verification() -> Iterator[list[float]]:
    """A process that now and then checks signatures; the list then holds its CPU microseconds for one."""
    process: subprocess.Popen[Any] = subprocess.Popen(
        [sys.executable, "-m", "scripts.benchmarks.stages"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    found: list[float] = []
    yield found
    out, _ = process.communicate()
    found.append(float(out))


def _verify_now_and_then() -> None:
    key, message = secret_key(5), bytes(32)
    signature, used_ns, checks = key.sign(message), 0, 0
    os.set_blocking(sys.stdin.fileno(), False)
    while sys.stdin.buffer.read(1) is None:
        began_ns = time.process_time_ns()
        for _ in range(50):
            assert verify(key.public, message, signature)
        used_ns += time.process_time_ns() - began_ns
        checks += 50
        time.sleep(0.05)
    print(used_ns / checks / 1000)


if __name__ == "__main__":
    _verify_now_and_then()
