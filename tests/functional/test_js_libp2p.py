"""A peer written with js-libp2p: each dials the other, greets in our frames and hears the heartbeat.

What it shows is that a node can be talked to from another language with the libp2p of that language and
docs/protocol alone. The peer is tests/js_libp2p; `scripts/test` installs its packages.
"""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from consensus.types.genesis import Genesis
from eubchain.node.config import Value
from eubchain.node.founding import found_home
from p2p.messages import PROTOCOL_VERSION
from scripts.benchmarks.transfers import found
from tests.node_world import NodeProcess, running

FOLDER = Path(__file__).parent.parent / "js_libp2p"
NODE_MIN = 20
WAIT_S = 30.0
LISTEN: dict[tuple[str, str], Value] = {
    ("rpc", "listen"): "127.0.0.1:0",
    ("metrics", "listen"): "",
    ("p2p", "listen"): "127.0.0.1:0",
    ("node", "verify_workers"): 1,
}


def _why_not() -> str:
    node = shutil.which("node")
    if node is None:
        return f"node {NODE_MIN} or newer is not installed"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    if int(version.lstrip("v").split(".")[0] or 0) < NODE_MIN:
        return f"node is {version.strip()}; {NODE_MIN} or newer is needed"
    if not (FOLDER / "node_modules" / "libp2p").is_dir():
        return "its packages are missing: npm ci in tests/js_libp2p"
    return ""


pytestmark = pytest.mark.skipif(bool(_why_not()), reason=_why_not() or "it runs")


class JsPeer:
    """The peer's process and what it says."""

    def __init__(self, *arguments: str) -> None:
        shim, program = FOLDER / "with_resolvers.mjs", FOLDER / "peer.mjs"
        words = ["node", "--import", shim.as_uri(), str(program), *arguments]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self._passed_over: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()
        self.address: str = self.says("listening")
        self.peer = self.address.rpartition("/")[2]

    def _read(self) -> None:
        assert self._process.stdout is not None, "a pipe"
        for line in self._process.stdout:
            self._lines.put(json.loads(line))

    def says(self, what: str) -> Any:
        """What it says next of a kind, in the past or from now on."""
        for told in self._passed_over:
            if what in told:
                self._passed_over.remove(told)
                return told[what]
        end = time.monotonic() + WAIT_S
        while True:
            told = self._lines.get(timeout=max(0.1, end - time.monotonic()))
            assert "failed" not in told, told
            if what in told:
                return told[what]
            self._passed_over.append(told)

    def end(self) -> None:
        """Close it."""
        self._process.kill()
        self._process.wait()


@contextmanager
def js_peer(*arguments: str) -> Iterator[JsPeer]:
    """A running peer."""
    peer = JsPeer(*arguments)
    try:
        yield peer
    finally:
        peer.end()


def _is_peer(node: NodeProcess, peer: str, direction: str) -> bool:
    return any(
        known["id"] == peer and known["direction"] == direction and known["moniker"] == "js-libp2p"
        for known in node.call("net_peers")
    )


class Network:
    """A validator in a process of its own."""

    def __init__(self, node: NodeProcess, genesis: Genesis) -> None:
        self.node, self.genesis = node, genesis
        node.until(lambda: node.call("net_info")["address"] != "")
        net, chain = node.call("net_info"), node.call("chain_status")
        self.peer: str = net["id"]
        self.address: str = net["address"]
        self.genesis_hash: str = chain["genesis_hash"].removeprefix("0x")
        self.chain_id: str = chain["chain_id"]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    genesis, key = found(1, time.time_ns() // 1_000_000)
    home = found_home(tmp_path_factory.mktemp("js") / "validator", genesis, key, LISTEN)
    with running(home.root) as node:
        yield Network(node, genesis)


def test_a_js_libp2p_peer_and_a_node_dial_each_other_and_talk(network: Network, tmp_path: Path) -> None:
    """It dials a validator, identifies and pings it, greets and hears its heights; a follower dials it."""
    validator = network.node
    with js_peer(network.genesis_hash, network.chain_id, network.address) as js:
        assert js.says("hello") == {
            "peer": network.peer, "version": PROTOCOL_VERSION, "chain": network.chain_id, "moniker": ANY
        }  # fmt: skip
        assert js.says("ping")["peer"] == network.peer
        assert f"/eub/{network.genesis_hash[:8]}/cons/1" in js.says("identify")["protocols"]
        while js.says("status")["height"] < 2:
            continue
        validator.until(lambda: _is_peer(validator, js.peer, "in"))

        known = {("p2p", "bootstrap"): (js.address,)}
        home = found_home(tmp_path / "follower", network.genesis, None, LISTEN | known)
        with running(home.root) as follower:
            follower.until(lambda: _is_peer(follower, js.peer, "out"))
            assert js.says("hello")["peer"] == follower.call("net_info")["id"]
        (itself,) = validator.call("net_peers")
        assert itself["id"] == js.peer
        assert itself["score"] == 0


def test_a_js_libp2p_peer_of_another_network_finds_no_protocol_in_common(network: Network) -> None:
    other = "00" * 4 + network.genesis_hash[8:]
    with js_peer(other, network.chain_id, network.address) as stranger:
        with pytest.raises(AssertionError, match="failed"):
            stranger.says("hello")
        assert not _is_peer(network.node, stranger.peer, "in")
