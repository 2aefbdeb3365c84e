"""A spark's agent as a process beside a real node: it earns, it is killed, it makes good.

The story: a network of one validator and one spark is founded; the spark registers, wins a task that
never ends by itself, and its agent is killed with SIGKILL in the middle. The next agent finds the seat in
the chain and in its journal, starts the program again, and gives it up when its owner asks. Then it
still earns its next task.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.node_world import NodeProcess, command, found
from tests.spark_world import endless, hello

WAIT_S = 60.0


class SparkProcess:
    """`eubchain spark start` on a home."""

    def __init__(self, home: Path, url: str, password: Path) -> None:
        self.home, self.url, self.password = home, url, password
        self.log = home / "agent.log"
        with open(self.log, "ab") as sink:
            line = [sys.executable, "-m", "eubchain", "spark", "start", "--home", str(home), "--node", url]
            self.process = subprocess.Popen(
                [*line, "--password-file", str(password)],
                stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True,
            )  # fmt: skip

    def verb(self, *words: str) -> Any:
        """The JSON of `eubchain spark …`."""
        done = command(
            self.home, "spark", *words, "--json", "--yes", "--node", self.url, password=self.password
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def until(self, condition: Callable[[], Any], wait_s: float = WAIT_S) -> Any:
        """Poll until something holds; fail with the agent's log."""
        deadline = time.monotonic() + wait_s
        while not (found := condition()):
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.1)  # poll
        return found

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """As Ctrl-C would."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)


class Network:
    """A node, a spark and a requester on one machine."""

    def __init__(self, root: Path) -> None:
        founded = found(root, 1, 1)
        self.root, self.password = founded.root, founded.password_file
        self.spark_home = founded.sparks[0]
        self.node = NodeProcess(founded.validators[0])
        (root / "data").mkdir(exist_ok=True)
        (root / "data" / "rpc_address").write_text(self.node.url)
        done = command(
            self.spark_home,
            "spark",
            "init",
            "--yes",
            "--json",
            "--node",
            self.node.url,
            password=self.password,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.spark_address = json.loads(done.stdout)["address"]
        self.tasks: list[subprocess.Popen[bytes]] = []

    def agent(self) -> SparkProcess:
        """Start the spark's agent."""
        return SparkProcess(self.spark_home, self.node.url, self.password)

    def run_task(self, name: str, module: bytes) -> subprocess.Popen[bytes]:
        """A requester's `task run` in the background; its output is NAME.log, its result NAME.out."""
        (self.root / f"{name}.wasm").write_bytes(module)
        line = [sys.executable, "-m", "eubchain", "task", "run", "--home", str(self.root), "--yes"]
        line += ["--wasm", str(self.root / f"{name}.wasm"), "--output", str(self.root / f"{name}.out")]
        line += ["--price", "1", "--time", "2m", "--password-file", str(self.password)]
        with open(self.root / f"{name}.log", "ab") as sink:
            process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
        self.tasks.append(process)
        return process

    def spark_balance(self) -> int:
        """Grains of the spark's account, as the chain has them."""
        return int(self.node.call("account_get", address=self.spark_address)["balance"])

    def said(self, name: str) -> str:
        """What the requester was told."""
        return (self.root / f"{name}.log").read_text()


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """A running network whose spark is registered and whose agent is not started yet."""
    network = Network(tmp_path)
    yield network
    for process in network.tasks:
        if process.poll() is None:
            process.kill()
        process.wait()
    network.node.process.terminate()
    network.node.process.wait(20)


def test_an_agent_killed_in_a_run_comes_back_makes_good_and_earns_again(network: Network) -> None:
    """Kill -9 while a stranger's program runs: nothing is left behind, and no deadline is missed."""
    before = network.spark_balance()
    agent = network.agent()
    try:
        network.run_task("endless", endless())
        seat = agent.until(lambda: _seat_that_runs(agent))
        agent.kill()
        assert agent.verb("status")["running"] is False

        agent = network.agent()
        agent.until(lambda: _runs(agent, seat["task"]) == 2)
        assert not _orphans()
        agent.verb("release", seat["task"])
        agent.until(lambda: agent.verb("history", seat["task"])["ending"] == "released")
        assert list((network.spark_home / "spark" / "rooms").iterdir()) == []
        assert list((network.spark_home / "spark" / "sealed").iterdir()) == []

        done = network.run_task("hello", hello())
        assert done.wait(90) == 0, network.said("hello") + agent.log.read_text()[-3000:]
        assert (network.root / "hello.out" / "answer").read_bytes() == b"hello"
        earned = agent.until(lambda: _if(agent.verb("earnings"), lambda e: e["paid_tasks"] == 1))
        assert int(earned["paid"]) > 0
        assert earned["failed_tasks"] == 1
        # To the grain, proofs paid at epochs' ends included. Both move on, so they are compared until a
        # look at one and at the other fall between two blocks that pay.
        agent.until(lambda: network.spark_balance() - before == int(agent.verb("earnings")["change"]))
        agent.stop()
        assert agent.process.returncode == 0, agent.log.read_text()[-2000:]
    finally:
        agent.stop()


def _if(value: Any, holds: Callable[[Any], bool]) -> Any:
    return value if holds(value) else None


def _seat_that_runs(agent: SparkProcess) -> Any:
    done = command(agent.home, "spark", "status", "--json")
    if done.returncode != 0:
        return None
    seats = json.loads(done.stdout)["seats"]
    return next((s for s in seats if s["stage"] == "running"), None)


def _runs(agent: SparkProcess, task: str) -> int:
    told = [moment["what"] for moment in agent.verb("history", task)["moments"]]
    return 1 + sum("starts the program again" in what for what in told)


def _orphans() -> list[int]:
    """Workers of the WASI runtime that lost their agent."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if b"spark_node.runtimes.wasi_worker" in words and parent == 1:
            found.append(int(entry.name))
    return found
