"""A task's way to its machine in blocks, and what the runtime adds to a container, each against the least.

`task_start` counts blocks from post to running on a development network of one validator and one spark;
the reference is the offer window alone, before which nobody can be matched. `task_overhead` is the wall
time of a container task in the spark's runtime (disk, limits, log, clean-up) beyond the same `docker run`;
the reference is that run. It needs root and Docker Engine, and is left out with a line on stderr elsewhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import httpx
import trio

from scripts.benchmarks.tx_1 import figure
from scripts.container_task import Skipped, static_busybox
from scripts.demonstration import TASK_FILE, Demonstration
from spark_node.job import Limits, Spec
from spark_node.runtimes.docker import DockerRuntime
from spark_node.runtimes.docker_engine import EngineSettings
from spark_node.runtimes.runtime import Ending, Order
from tests.docker_engine import PrivateEngine

ROUNDS = 3
MEMORY_BYTES = 2**27
SECONDS_MAX = 300
WORK = (
    "busybox sh",
    "busybox dd if=/dev/zero bs=1048576 count=2500 2>/dev/null | busybox sha256sum > /output/digest",
)
"""Some ten seconds of one core."""


def run() -> list[dict[str, str | float]]:
    """Blocks, and seconds; medians of three."""
    rows = [_start()]
    try:
        with _engine() as (engine, image):
            ours, bare = trio.run(_container, engine, image)
    except Skipped as why:
        print(f"task_overhead is left out: {why}", file=sys.stderr)
    else:
        rows.append(figure("task_overhead", ours - bare, "s", bare))
    return rows


def _start() -> dict[str, str | float]:
    waited, window = [], 1
    with tempfile.TemporaryDirectory() as directory, redirect_stdout(sys.stderr):
        demo = Demonstration(Path(directory) / "net", 1)
        try:
            url = demo.ready()["rpc"]
            for number in range(ROUNDS):
                out = str(Path(directory) / f"out{number}")
                demo.run("task", "run", "--file", str(TASK_FILE), "--output", out, "--stars", "5")
                task = demo.run("task", "list", quiet=True)["tasks"][0]["task"]
                task = demo.run("task", "status", task, quiet=True)["task"]
                posted, started, window = _heights(url, task)
                waited.append(started - posted)
        finally:
            demo.stop()
    return figure("task_start", sorted(waited)[ROUNDS // 2], "blocks", window)


def _heights(url: str, task: str) -> tuple[int, int, int]:
    """When it was posted, when its seat ran, and how many blocks its offer window had."""

    def ask(method: str) -> Any:
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"task": task}}
        answer: dict[str, Any] = httpx.post(f"{url}/rpc", json=request, trust_env=False).json()
        return answer["result"]

    posted = ask("task_get")
    started = next(
        moment["height"] for moment in ask("task_events") if moment["event"]["name"] == "task_started"
    )
    return posted["posted"], started, posted["windows"]["offer"]


@contextmanager
def _engine() -> Iterator[tuple[PrivateEngine, str]]:
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        raise Skipped("it needs root and Docker Engine")
    static_busybox()
    engine = PrivateEngine()
    try:
        engine.start()
        yield engine, engine.load_busybox()
    finally:
        engine.stop()


async def _container(engine: PrivateEngine, image: str) -> tuple[float, float]:
    """Medians of seconds in the runtime and of a plain `docker run`, one after the other."""
    ours, bare = [], []
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        runtime = DockerRuntime(EngineSettings(state=root / "state", address=engine.address))
        for number in range(ROUNDS):
            room = root / f"room{number}"
            (room / "input").mkdir(parents=True)
            ours.append(await _in_the_runtime(runtime, image, room))
            bare.append(await trio.to_thread.run_sync(_plain, engine.address, image, root))
    return sorted(ours)[ROUNDS // 2], sorted(bare)[ROUNDS // 2]


async def _in_the_runtime(runtime: DockerRuntime, image: str, room: Path) -> float:
    spec = Spec(
        "docker", image, "/input", "/output", 1_000, MEMORY_BYTES, 2**24, 0, 2**20, 2**20,
        "age1" + "q" * 58, (),
    )  # fmt: skip
    order = Order(room.name, spec, _command(), (), Limits(SECONDS_MAX, 1, 2**20), room)
    began = time.perf_counter()
    execution = await runtime.prepare(order)
    outcome = await execution.run()
    assert (outcome.ending, outcome.exit_status) == (Ending.EXIT, 0), outcome.explanation
    assert (execution.output / "digest").stat().st_size > 0
    await execution.clean()
    return time.perf_counter() - began


def _plain(address: str, image: str, root: Path) -> float:
    output = root / "plain"
    output.mkdir(mode=0o777, exist_ok=True)
    limits = ["--cpus", "1", "--memory", str(MEMORY_BYTES), "--network", "none", "-v", f"{output}:/output"]
    began = time.perf_counter()
    line = ["docker", "-H", address, "run", "--rm", *limits, image, *_command()]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _command() -> tuple[str, ...]:
    return (*WORK[0].split(), "-c", WORK[1])
