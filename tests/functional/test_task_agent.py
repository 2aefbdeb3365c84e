"""The requester's command and the spark's agent, each a process of its own, on one development network.

Rules of this file: as in test_task_run.py; nothing is scripted, every part is the real one.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import trio
from wasmtime import wat2wasm

from consensus.types.amounts import format_eubc
from eubchain.cli.devnet import Devnet, running_devnet
from eubchain.client.connection import Connection

ROOT = Path(__file__).parent.parent.parent
LIMIT_S = 150
ENDLESS = '(module (memory (export "memory") 1) (func (export "_start") (loop $on (br $on))))'
FAILING = """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const 3))))"""


async def task(network: Devnet, room: Path, *words: str, code: int = 0) -> list[dict[str, Any]]:
    """Run `eubchain task …` in `room`; its JSON objects."""
    shared = ["--home", str(network.home), "--password-file", str(network.home / "password")]
    line = [sys.executable, "-m", "eubchain", "task", *words, *shared, "--yes", "--json"]
    done = await trio.run_process(
        line, capture_stdout=True, capture_stderr=True, check=False, cwd=room,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    shown = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == code, shown
    return [json.loads(row) for row in done.stdout.decode().splitlines()]


async def spark_is_registered(network: Devnet) -> None:
    """Wait until the agent's account is a spark."""
    async with Connection(network.url) as node:
        while True:
            if await node.call("spark_list"):
                return
            await trio.sleep(0.1)


async def test_one_machine_works_for_another_until_it_is_gone(tmp_path: Path) -> None:
    """init and run · the example with its check · a failing program · an endless one · a killed agent."""
    endless, failing = tmp_path / "endless.wasm", tmp_path / "failing.wasm"
    endless.write_bytes(wat2wasm(ENDLESS))
    failing.write_bytes(wat2wasm(FAILING))
    with trio.fail_after(LIMIT_S):
        async with running_devnet(tmp_path / "net", 1, 1) as network:
            await spark_is_registered(network)

            # A file that teaches runs as it is.
            await task(network, tmp_path, "init")
            first = await task(network, tmp_path, "run", "--file", "task.toml", "-o", "first")
            assert first[-1]["ok"]
            assert (tmp_path / "first" / "hello.txt").read_text() == "hello from a spark\n"
            assert "hello from a spark" in [row["text"] for row in first if row.get("event") == "log"]

            # The example scores its own result.
            words = await task(
                network, tmp_path, "run", "--file", str(ROOT / "examples/words/task.toml"), "-o", "words"
            )
            assert words[-1]["score"] == 100
            assert (tmp_path / "words" / "summary.json").exists()

            # The application's fault is the application's.
            failed = await task(network, tmp_path, "run", "--wasm", "failing.wasm", code=1)
            said = next(row["text"] for row in failed if row.get("event") == "failed")
            paid = format_eubc(int(failed[-1]["paid"]) + int(failed[-1]["fee"]))
            assert said == (
                "Your program ended with an error of its own (exit 3). "
                f"The spark is not at fault; you pay {paid} EUBC."
            )

            # Forgetting is cheap: it ends at its limit, for no more than was quoted.
            forgotten = await task(network, tmp_path, "run", "--wasm", "endless.wasm", "--time", "3s", code=1)
            assert forgotten[-1]["blame"] == "application"
            assert int(forgotten[-1]["spent"]) <= int(forgotten[-1]["reserved"])

            # The spark's fault is the spark's.
            async with trio.open_nursery() as nursery:

                async def lose() -> None:
                    async with Connection(network.url) as node:
                        while True:
                            page = await node.call("task_list", state="active")
                            stages = [seat["stage"] for row in page["tasks"] for seat in row["seats"]]
                            if "running" in stages:
                                break
                            await trio.sleep(0.05)
                    agent = next(part for part in network.parts if part.name == "spark0")
                    os.killpg(agent.process.pid, signal.SIGKILL)

                nursery.start_soon(lose)
                lost = await task(network, tmp_path, "run", "--wasm", "endless.wasm", "--time", "3s", code=1)
            closed = next(row["text"] for row in lost if row.get("event") == "closed")
            assert closed.startswith(f"The spark vanished at block {lost[-1]['height']}. Refunded 1 EUBC;")
            assert lost[-1]["spent"] == "0"
