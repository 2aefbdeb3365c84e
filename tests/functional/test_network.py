"""Four validators as real processes over real sockets: agreeing, dying, pausing, parted, joined by a fifth.

Rules of this suite: each test founds its own network; waits are for conditions; a step that takes too
long fails with the log of the node that was waited for.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from eubchain.node.founding import Founded, found_home
from tests.link_proxy import LinkProxy
from tests.node_world import NodeProcess, command, found, parsed

VALIDATORS = 4
AGREE_S = 60.0
STRANGER = "deub1xc6xqjvm4txn9tvm8eurw6wktyx694ez3w5u4z"
"""An account that exists only once something is sent to it."""


class Cluster:
    """A running network."""

    def __init__(self, founded: Founded, nodes: list[NodeProcess]) -> None:
        self.founded, self.nodes = founded, nodes

    def wait_height(self, height: int, *numbers: int) -> None:
        """Until these nodes (all without a number) have reached a height."""
        for number in numbers or range(len(self.nodes)):
            node = self.nodes[number]
            node.until(lambda node=node: node.height >= height, AGREE_S)

    def assert_agreement(self, nodes: list[NodeProcess] | None = None) -> None:
        """All ledgers hold the same blocks up to the lowest head, each a child of the one before."""
        nodes = nodes or self.nodes
        lowest = min(node.height for node in nodes)
        heights = range(max(1, lowest - 20), lowest + 1)
        for height in heights:
            headers = [node.call("chain_getHeader", height=height) for node in nodes]
            assert all(header == headers[0] for header in headers), f"they differ at {height}"
        chain = [nodes[0].call("chain_getHeader", height=height) for height in heights]
        for parent, child in pairwise(chain):
            assert child["height"] == parent["height"] + 1


@contextmanager
def cluster(founded: Founded) -> Iterator[Cluster]:
    """Start every validator; all are gone when the test is."""
    with ExitStack() as stack:
        nodes: list[NodeProcess] = []

        def end() -> None:
            for node in nodes:
                if node.process.poll() is None:
                    node.kill()

        stack.callback(end)
        with ThreadPoolExecutor() as starters:
            nodes += starters.map(NodeProcess, founded.validators)
        yield Cluster(founded, nodes)


@pytest.fixture
def network(tmp_path: Path) -> Founded:
    return found(tmp_path / "net", VALIDATORS)


def _set(home: Path, option: str, value: str) -> None:
    """Change one option of a home's configuration."""
    file = home / "config" / "config.toml"
    text, count = re.subn(rf"(?m)^{option} = .*$", f"{option} = {value}", file.read_text(), count=1)
    assert count == 1, option
    file.write_text(text)


def _get(home: Path, option: str) -> str:
    match = re.search(rf"(?m)^{option} = (.*)$", (home / "config" / "config.toml").read_text())
    assert match is not None, option
    return match[1]


def test_four_validators_agree_and_a_transfer_through_any_of_them_reaches_all(network: Founded) -> None:
    """Each node takes one transfer; every node has every one in the same block."""
    with cluster(network) as net:
        net.wait_height(3)
        for node in net.nodes[:3]:
            done = command(
                network.root, "wallet", "send", STRANGER, "1", "--from", "requester", "--yes", "--again",
                "--json", "--node", node.url, password=network.password_file,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
        height = max(node.height for node in net.nodes)
        net.wait_height(height)
        for node in net.nodes:
            balance = int(node.call("account_get", address=STRANGER)["balance"])
            assert balance == 3 * 10**8
            info = node.call("net_info")
            assert info["peers"] == info["validator_peers"] == VALIDATORS - 1
        net.assert_agreement()
        peers = parsed(command(network.validators[0], "peers", "--json"))["peers"]
        assert {peer["moniker"] for peer in peers} == {"validator1", "validator2", "validator3"}
        assert [node.stop() for node in net.nodes] == [0] * VALIDATORS


def test_a_validator_killed_and_started_again_catches_up_and_validates(network: Founded) -> None:
    """kill -9 one: the other three go on; the fourth comes back, syncs and signs again."""
    with cluster(network) as net:
        net.wait_height(4)
        net.nodes[3].kill()
        reached = net.nodes[0].height
        net.wait_height(reached + 8, 0, 1, 2)
        net.nodes[3] = NodeProcess(network.validators[3])
        net.wait_height(reached + 12)
        back = net.nodes[3]
        back.until(lambda: back.call("chain_status")["node"]["phase"] == "validating", AGREE_S)
        net.assert_agreement()


def test_a_paused_validator_is_dropped_and_catches_up_when_it_goes_on(network: Founded) -> None:
    """SIGSTOP one until its peers have dropped it; SIGCONT: it is connected again and at their height."""
    with cluster(network) as net:
        net.wait_height(3)
        paused, watcher = net.nodes[2], net.nodes[0]
        os.killpg(paused.process.pid, signal.SIGSTOP)
        watcher.until(lambda: watcher.call("net_info")["peers"] == VALIDATORS - 2, AGREE_S)
        reached = watcher.height
        net.wait_height(reached + 3, 0, 1, 3)
        os.killpg(paused.process.pid, signal.SIGCONT)
        net.wait_height(reached + 6)
        watcher.until(lambda: watcher.call("net_info")["peers"] == VALIDATORS - 1, AGREE_S)
        net.assert_agreement()


def test_halves_that_cannot_reach_each_other_wait_and_go_on_together(network: Founded) -> None:
    """Cut every link between {0, 1} and {2, 3}: no block is made by either half; mend: all agree."""
    ports = [_port(home) for home in network.validators]
    links: dict[tuple[int, int], LinkProxy] = {}
    for number, home in enumerate(network.validators):
        places = _get(home, "bootstrap")
        for other in range(VALIDATORS):
            if other != number:
                link = links[number, other] = LinkProxy(ports[other])
                places = places.replace(f"/tcp/{ports[other]}/", f"/tcp/{link.port}/")
        _set(home, "bootstrap", places)
        _set(home, "announce", '["/ip4/127.0.0.1/tcp/1"]')  # nobody finds a way around the links
    try:
        with cluster(network) as net:
            net.wait_height(3)
            between = [link for (a, b), link in links.items() if (a < 2) != (b < 2)]
            for link in between:
                link.cut()
            for node in net.nodes:
                node.until(lambda node=node: node.call("net_info")["peers"] == 1, AGREE_S)
            stuck = [node.height for node in net.nodes]
            for node in net.nodes:
                node.until(lambda node=node: not _is_ready(node), AGREE_S)
            assert max(node.height for node in net.nodes) <= max(stuck) + 1
            for link in between:
                link.mend()
            net.wait_height(max(stuck) + 5)
            net.assert_agreement()
    finally:
        for link in links.values():
            link.close()


def _is_ready(node: NodeProcess) -> bool:
    """False once no block has come for twenty intervals."""
    return bool(httpx.get(f"{node.url}/health", trust_env=False).json()["ready"])


def _port(home: Path) -> int:
    section = (home / "config" / "config.toml").read_text().partition("[p2p]")[2]
    match = re.search(r'(?m)^listen = "127\.0\.0\.1:(\d+)"', section)
    assert match is not None
    return int(match[1])


def test_a_fresh_node_joins_by_blocks_and_follows(network: Founded, tmp_path: Path) -> None:
    """A fifth node without a key, told of one validator: it syncs, finds the others, serves reads."""
    with cluster(network) as net:
        net.wait_height(25)  # past an epoch's end, where the set may change
        known = net.nodes[1].call("net_info")["address"]
        changes = {
            ("node", "moniker"): "fresh",
            ("rpc", "listen"): "127.0.0.1:0",
            ("metrics", "listen"): "",
            ("p2p", "listen"): "127.0.0.1:0",
            ("p2p", "bootstrap"): (known,),
        }
        home = found_home(tmp_path / "fresh", network.genesis, None, changes)
        fresh = NodeProcess(home.root)
        try:
            fresh.until(lambda: fresh.height >= net.nodes[0].height - 1, AGREE_S)
            target = fresh.height + 4
            fresh.until(lambda: fresh.height >= target, AGREE_S)
            fresh.until(lambda: fresh.call("net_info")["peers"] == VALIDATORS, AGREE_S)
            assert fresh.call("chain_status")["node"]["phase"] == "following"
            net.assert_agreement([*net.nodes, fresh])
        finally:
            fresh.kill()


def test_a_copied_home_sees_its_twin_and_stops_before_it_signs(network: Founded, tmp_path: Path) -> None:
    """Copy a validator's home while the original goes on: the copy names its twin and ends."""
    with cluster(network) as net:
        net.wait_height(3)
        copy = tmp_path / "copy"
        net.nodes[3].stop()
        shutil.copytree(network.validators[3], copy)
        net.nodes[3] = NodeProcess(network.validators[3])
        (copy / "config" / "node_key.json").unlink()  # else the two would only quarrel over one peer id
        text = (copy / "config" / "config.toml").read_text()
        port = _port(copy)
        (copy / "config" / "config.toml").write_text(text.replace(f'"127.0.0.1:{port}"', '"127.0.0.1:0"'))
        started = command(copy, "start", "--json")
        assert started.returncode == 1
        assert parsed(started)["error"]["name"] == "twin_seen", started.stdout + started.stderr
        reached = max(node.height for node in net.nodes)
        net.wait_height(reached + 3)
        net.assert_agreement()
