"""A spark proves compute on a real development network: windows open by themselves, S grows, power moves.

The story: one validator and one spark are founded. The spark registers and its agent is started with the
numpy prover on one thread. Window after window it searches, sends, and is credited; at an epoch's end the
pool pays it and its power rises. Meanwhile the node goes on making blocks, judges each proof in a process
of its own, and a replay of the whole ledger, with every proof judged again, agrees.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from consensus.types.params import DEV
from eubchain.node.founding import found_devnet
from tests.functional.test_spark_agent import Network
from tests.node_world import command

WAIT_S = 240.0
"""Three windows and an epoch take half of it where nothing else runs."""


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """A running network whose spark is registered and whose agent is not started yet."""
    windows = replace(DEV.resource, window_wait_blocks=3, window_blocks=20, grace_blocks=20)
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
    policy = network.spark_home / "spark" / "policy.toml"
    policy.write_text(policy.read_text().replace("threads = 0", "threads = 1"))

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
