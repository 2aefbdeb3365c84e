"""A spark proves compute on a real development network: windows open by themselves, S grows, power moves.

The first story: one validator and one spark are founded. The spark registers and its agent is started with
the numpy prover on one thread. Window after window it searches, sends, and is credited; at an epoch's end the
pool pays it and its power rises. Meanwhile the node goes on making blocks, judges each proof in a process
of its own, and a replay of the whole ledger, with every proof judged again, agrees.

The second: the agent is killed with SIGKILL in the middle of a window, and the next one goes on where it
stopped and proves in that window. The third: its prover is killed, and the agent itself goes on.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from consensus.types.params import DEV
from eubchain.node.founding import found_devnet
from spark_node.search_file import SAVED_CODEC, SavedSearch
from tests.functional.test_spark_agent import Network, SparkProcess
from tests.node_world import command

WAIT_S = 240.0
"""Three windows and an epoch take half of it where nothing else runs."""


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """A running network whose spark is registered and whose agent is not started yet."""
    windows = replace(DEV.resource, window_wait_blocks=3, window_blocks=20, grace_blocks=12, verify_blocks=4)
    founded = partial(found_devnet, params=replace(DEV, resource=windows))
    monkeypatch.setattr(
        "tests.functional.test_spark_agent.found",
        lambda root, *counts: founded(root, time.time_ns() // 1_000_000, *counts),
    )
    network = Network(tmp_path)
    yield network
    if network.node.process.poll() is None:
        network.node.process.terminate()
        network.node.process.wait(20)


def test_a_spark_proves_and_gains_power_while_blocks_go_on(network: Network) -> None:
    """Two credited windows, a payment from the pool, blocks all the while, and an audit at the end."""
    node = network.node
    _on_one_thread(network)

    def spark() -> Any:
        return node.call("spark_get", address=network.spark_address)

    balance = network.spark_balance()
    assert spark()["capacity"] == 0
    agent = network.agent()
    try:
        node.until(lambda: spark()["capacity"] > 0, WAIT_S)
        first = spark()
        node.until(lambda: spark()["capacity"] > first["capacity"], WAIT_S)
        node.until(lambda: spark()["power"] > 0, WAIT_S)
        assert network.spark_balance() > balance
        window = node.call("por_window")
        height = node.height
        node.wait_height(height + 3)
        assert window["window"] <= node.height
        assert node.call("chain_status")["height"] >= height
    finally:
        agent.stop()
    assert node.stop() == 0
    audit = command(node.home, "inspect", "--proofs", "--json")
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert '"proofs_judged"' in audit.stdout


def test_an_agent_killed_in_a_window_goes_on_where_it_stopped_and_proves_in_it(network: Network) -> None:
    """What was searched is not searched again, what was found is sent, and the window is credited."""
    _on_one_thread(network)
    agent = network.agent()
    try:
        first = agent.until(lambda: _kept(network, tiles=256), WAIT_S)
        agent.kill()
        reached = _kept(network)
        assert reached is not None
        assert reached.assignment == first.assignment
        before = agent.log.read_text()
        agent = network.agent()
        window = reached.assignment.window
        agent.until(lambda: _proved(agent, window), WAIT_S)
        told = agent.log.read_text()[len(before) :]
        begun = re.search(rf"proving window {window}: .* tiles=(\d+)", told)
        assert begun is not None
        assert int(begun[1]) == reached.progress.tiles, "it began where the other one was killed"
        assert _proved(agent, window) > reached.progress.tiles
        claims = network.node.call("por_claims")["claims"]
        (claim,) = [claim for claim in claims if claim["account"] == network.spark_address]
        assert (claim["window"], claim["difficulty"]) == (window, reached.assignment.difficulty)
        assert {tuple(share) for share in claim["shares"]} >= set(reached.progress.shares)
        assert not list((network.spark_home / "spark" / "proving").iterdir())
        network.node.until(lambda: _spark(network)["capacity"] > 0, WAIT_S)
    finally:
        agent.stop()


def test_a_prover_killed_in_a_window_is_followed_by_another_in_the_same_agent(network: Network) -> None:
    """As when the system runs out of memory, or a card falls off the bus: the owner reads what happened."""
    _on_one_thread(network)
    agent = network.agent()
    try:
        first = agent.until(lambda: _kept(network, tiles=256), WAIT_S)
        (prover,) = _provers(agent.process.pid)
        os.kill(prover, signal.SIGKILL)
        window = first.assignment.window
        tiles = agent.until(lambda: _proved(agent, window), WAIT_S)
        assert tiles > first.progress.tiles
        assert agent.process.poll() is None
        told = agent.log.read_text()
        assert "a backend is lost; numpy goes on" in told
        assert "ended with status -9" in told
    finally:
        agent.stop()


def _on_one_thread(network: Network) -> None:
    policy = network.spark_home / "spark" / "policy.toml"
    policy.write_text(policy.read_text().replace("threads = 0", "threads = 1"))


def _spark(network: Network) -> Any:
    return network.node.call("spark_get", address=network.spark_address)


def _kept(network: Network, tiles: int = 0) -> SavedSearch | None:
    """The search as it lies on the spark's disk, once it has come so far."""
    for path in (network.spark_home / "spark" / "proving").glob("[0-9]*"):
        found = SAVED_CODEC.decode(path.read_bytes())
        if found.progress.tiles >= tiles:
            return found
    return None


def _proved(agent: SparkProcess, window: int) -> int:
    """The tiles behind the proof that the agent says it has sent, 0 before."""
    for line in agent.log.read_text().splitlines():
        if "proved" in line and f"window={window}" in line:
            return int(re.findall(r"tiles=(\d+)", line)[0])
    return 0


def _provers(agent: int) -> list[int]:
    """Processes of the prover whose parent this is."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == agent and b"spark_node.prover" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found
