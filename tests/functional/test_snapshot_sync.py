"""A fresh node joins four validators by their snapshots: one of them lies, the node is killed half way.

Rules of this suite: real processes; waits are for conditions; a step that takes too long fails with the log
of the node that was waited for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from eubchain.node.founding import found_home
from tests.node_world import NodeProcess, command, parsed
from tests.playbook_world import PATIENCE_S, Play, brisk_config, log_lines, set_option

EPOCH_BLOCKS = 12
VALIDATORS = 4
LIAR = 3
PAUSE_MS = "400"
"""Of every piece that a validator serves: the fetch takes long enough to be killed in."""
MODULE = "tests.snapshot_process"


class Joining(NodeProcess):
    """A node that counts as started as soon as it answers, also without a ledger."""

    def _is_announced(self) -> bool:
        for line in self.log.read_bytes()[self._log_start :].splitlines(keepends=True):
            if line.startswith((b'{"joining"', b'{"started"')) and line.endswith(b"\n"):
                self.urls = json.loads(line)
        return bool(self.urls)

    def until(self, condition: Any, timeout_s: float = PATIENCE_S) -> None:
        """As ever; between joining and running RPC is away for a moment."""

        def holds() -> bool:
            try:
                return bool(condition())
            except httpx.TransportError:
                return False

        super().until(holds, timeout_s)

    def status(self) -> dict[str, Any]:
        """The node's own part of `chain_status`."""
        told: dict[str, Any] = self.call("chain_status")["node"]
        return told

    def chunks(self) -> int:
        """How many chunks are here."""
        return int(self.status().get("snapshot", {}).get("chunks", 0))


@contextmanager
def town(root: Path) -> Iterator[Play]:
    """Four validators that cut a snapshot every epoch; the last one lies about them."""
    made = Play(root, VALIDATORS, EPOCH_BLOCKS)
    try:
        for home in made.homes:
            set_option(home, "every_epochs", "1")
            set_option(home, "keep", "60", "snapshots")
        for number in range(VALIDATORS):
            role = {"SNAPSHOT_ROLE": "liar"} if number == LIAR else {}
            made.start(number, module=MODULE, environment={"SNAPSHOT_PAUSE_MS": PAUSE_MS} | role)
        yield made
    finally:
        made.end()


def newcomer(stage: Play, root: Path, **changes: Any) -> Path:
    """A home without a key that knows all validators and wants a snapshot."""
    places = [node.call("net_info")["address"] for node in stage.nodes.values()]
    home = found_home(root, stage.founded.genesis).root
    brisk_config(home, {"bootstrap": json.dumps(places), "snapshot": "true", **changes})
    for section in ("rpc", "metrics", "p2p"):
        set_option(home, "listen", '"127.0.0.1:0"', section)
    return home


def test_a_fresh_node_killed_half_way_goes_on_with_its_snapshot_and_names_the_liar(tmp_path: Path) -> None:
    """It verifies the header from genesis, takes parts from all, finds out who lies, is killed and goes on
    where it was; then it follows the chain, without the blocks before the snapshot."""
    with town(tmp_path / "net") as stage:
        stage.reach(EPOCH_BLOCKS * 3 + 2)
        liar = stage.nodes[LIAR].call("net_info")["id"]
        home = newcomer(stage, tmp_path / "fresh")
        node = Joining(home)
        try:
            with stage.step("a part of the chunks is here, and no ledger"):
                node.until(lambda: node.chunks() >= 4)
                told = node.status()
                assert told["phase"] == "joining"
                assert told["snapshot"]["chunks"] < told["snapshot"]["chunks_total"]
                node.kill()
                assert not (home / "data" / "ledger").exists()
            with stage.step("it goes on with what was there and follows"):
                node = Joining(home)
                reached = stage.nodes[0].height
                node.until(lambda: node.height >= reached and node.status()["phase"] == "following")
            with stage.step("it stands on the snapshot's height, and the liar is named"):
                lines = log_lines(node, ["goes on with a snapshot begun before"])
                assert len(lines) == 1, node.tail()
                assert liar in "".join(log_lines(node, ["gave something wrong"])), node.tail()
                assert not list((home / "data" / "snapshots").iterdir())
                height = reached - 1
                assert node.call("chain_getHeader", height=height) == stage.nodes[0].call(
                    "chain_getHeader", height=height
                )
                answer = node.call("chain_getLightBlock", height=EPOCH_BLOCKS)
                assert answer["height"] == EPOCH_BLOCKS  # ends of epochs came along
                assert node.stop() == 0
            audit = command(home, "inspect", "--json")
            assert audit.returncode == 0, audit.stdout + audit.stderr
            assert parsed(audit)["height"] >= reached
        finally:
            if node.process.poll() is None:
                node.kill()


def test_where_nobody_has_a_snapshot_a_node_says_so_and_takes_all_blocks(tmp_path: Path) -> None:
    """Meanwhile it answers as at height 0 and takes no transactions; stopped then, it ends in order."""
    made = Play(tmp_path / "net", 1, EPOCH_BLOCKS)
    try:
        made.start(0)
        home = newcomer(made, tmp_path / "fresh")
        node = Joining(home)
        try:
            with made.step("it looks for a snapshot, and says so"):
                node.until(lambda: node.status()["peers"] == 1)
                told = node.call("chain_status")
                assert (told["height"], told["node"]["phase"]) == (0, "joining")
                assert httpx.get(f"{node.url}/health", trust_env=False).status_code == 503
                with pytest.raises(AssertionError, match="node_joining"):
                    node.call("tx_submit", transaction="AAAA")
                shown = command(home, "status", "--node", node.url).stdout
                assert "it looks for a snapshot among its peers" in shown
                assert node.stop() == 0
                assert not (home / "data" / "ledger").exists()
            with made.step("without any it begins with the first block"):
                node = Joining(home)
                node.until(lambda: node.height > 2)
                assert node.call("chain_getBlock", height=1)["header"]["height"] == 1
                assert log_lines(node, ["no peer offers a snapshot that can be used"])
                assert node.stop() == 0
        finally:
            if node.process.poll() is None:
                node.kill()
    finally:
        made.end()
