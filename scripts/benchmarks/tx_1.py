"""One validator: signed transfers committed per second through RPC batches; crash to signing again.

The node is a process of its own; this one only sends bytes that were signed before. The references are
what no node here can beat: bare verification of the same signatures on all cores (tx_1), the start of
this Python with the node's imports (recovery), decoding the same JSON and base64 alone (rpc_batch).
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import msgspec
import trio

from consensus.types.genesis import genesis_hash
from eubchain.node.config import Value
from eubchain.node.founding import found_home
from scripts.benchmarks import verify
from scripts.benchmarks.transfers import found, rules_for, signed

ACCOUNTS, EACH, BATCH, CONNECTIONS = 1_000, 40, 500, 4
ACCEPTED_SHARE_MIN = 0.999
POLL_S = 0.05
"""Between two looks at what still waits: each costs node and client some milliseconds."""


def run() -> list[dict[str, str | float]]:
    """tx_1 and rpc_batch in transactions per second, recovery in seconds."""
    ceiling = max(float(row["value"]) for row in verify.run())
    genesis, key = found(ACCOUNTS, time.time_ns() // 1_000_000)
    rules = rules_for(genesis)
    assert genesis_hash(genesis) == rules.genesis
    raws = signed(rules, ACCOUNTS, EACH)
    per = ACCOUNTS // CONNECTIONS
    lanes: list[list[bytes]] = [[] for _ in range(CONNECTIONS)]
    for position, raw in enumerate(raws):
        lanes[position % ACCOUNTS // per].append(raw)
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory) / "home"
        changes: dict[tuple[str, str], Value] = {
            ("rpc", "listen"): "127.0.0.1:0",
            ("metrics", "listen"): "",
            ("p2p", "listen"): "",
            ("node", "log_level"): "warning",
            ("node", "verify_workers"): 1,
        }
        found_home(home, genesis, key, changes)
        node = start_node(home)
        try:
            committed, accepted = trio.run(
                drive, node_url(home), [bodies_of(lane) for lane in lanes], len(raws)
            )
        finally:
            os.killpg(node.pid, signal.SIGKILL)
            node.wait()
        recovery = _recovery(home)
    decode = _decode_rate(bodies_of(raws[:20_000]))
    bare_start = _bare_start()
    return [
        figure("tx_1", committed, "tx/s", ceiling),
        figure("rpc_batch", accepted, "tx/s", decode),
        figure("recovery", recovery, "s", bare_start),
    ]


def figure(name: str, value: float, unit: str, reference: float) -> dict[str, str | float]:
    """One row."""
    return {"name": name, "value": value, "unit": unit, "reference": reference, "ratio": value / reference}


def start_node(home: Path) -> subprocess.Popen[bytes]:
    """A node of its own, its log thrown away."""
    (home / "data" / "rpc_address").unlink(missing_ok=True)
    command = [sys.executable, "-m", "eubchain", "start", "--home", str(home)]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )


def node_url(home: Path) -> str:
    """Where it answers, once it does."""
    address = home / "data" / "rpc_address"
    while not address.exists() or not address.read_text():
        time.sleep(0.01)
    return address.read_text()


def bodies_of(raws: list[bytes]) -> list[bytes]:
    """Requests that hold the transactions in batches."""
    bodies = []
    for start in range(0, len(raws), BATCH):
        texts = [base64.b64encode(raw).decode() for raw in raws[start : start + BATCH]]
        request = {"jsonrpc": "2.0", "id": start, "method": "tx_submitBatch", "params": [texts]}
        bodies.append(msgspec.json.encode(request))
    return bodies


async def drive(url: str, lanes: list[list[bytes]], count: int) -> tuple[float, float]:
    """Send everything over a few connections; committed and accepted per second."""
    accepted = 0

    async def send(lane: list[bytes]) -> None:
        nonlocal accepted
        async with httpx.AsyncClient(timeout=120, trust_env=False) as client:
            for body in lane:
                answered = msgspec.json.decode((await client.post(f"{url}/rpc", content=body)).content)
                accepted += sum(1 for answer in answered["result"] if answer["error"] is None)

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for lane in lanes:
            nursery.start_soon(send, lane)
    sent = time.perf_counter() - began
    assert accepted >= ACCEPTED_SHARE_MIN * count, f"{count - accepted} of {count} were refused"
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        while await _ask(client, url, "mempool_status", "transactions"):  # noqa: ASYNC110  # of another process
            await trio.sleep(POLL_S)
    return accepted / (time.perf_counter() - began), accepted / sent


async def _ask(client: httpx.AsyncClient, url: str, method: str, field: str) -> int:
    request = {"jsonrpc": "2.0", "id": 1, "method": method}
    return int((await client.post(f"{url}/rpc", json=request)).json()["result"][field])


def _recovery(home: Path) -> float:
    """From the start of a killed node to its next block, the median of three kills."""
    figures = []
    for _ in range(3):
        began = time.perf_counter()
        node = start_node(home)
        url = node_url(home)
        figures.append(trio.run(_next_block, url, began))
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()
    return sorted(figures)[1]


async def _next_block(url: str, began: float) -> float:
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        first = await _ask(client, url, "chain_status", "height")
        while await _ask(client, url, "chain_status", "height") == first:  # noqa: ASYNC110  # likewise
            await trio.sleep(0.01)
    return time.perf_counter() - began


def _decode_rate(bodies: list[bytes]) -> float:
    began, count = time.perf_counter(), 0
    for body in bodies:
        for text in msgspec.json.decode(body)["params"][0]:
            base64.b64decode(text, validate=True)
            count += 1
    return count / (time.perf_counter() - began)


def _bare_start() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import eubchain.node.node"], check=True)
    return time.perf_counter() - began
