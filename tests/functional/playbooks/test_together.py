"""Four validators as real processes over real sockets agree; a fifth node joins them by their blocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from eubchain.node.founding import found_home
from tests.node_world import command, parsed
from tests.playbook_world import EPOCH_BLOCKS, VALIDATORS, brisk_config, play

pytestmark = pytest.mark.slow


def test_four_validators_agree_and_a_newcomer_syncs_follows_and_finds_everybody(tmp_path: Path) -> None:
    """Each of three validators takes a payment and every node has every one. A node without a key, told of
    one validator only, is started past an epoch's end, where the set may change: it syncs by blocks, finds
    the other three through the one, follows, and takes a payment too.
    """
    with play(tmp_path / "net", epoch_blocks=EPOCH_BLOCKS) as stage:
        with stage.step("payments through three nodes, and all know each other by name"):
            for number in range(3):
                stage.pay(through=number)
            asked = command(stage.homes[0], "peers", "--json")
            assert {peer["moniker"] for peer in parsed(asked)["peers"]} == {
                "validator1", "validator2", "validator3",
            }  # fmt: skip
            info = stage.nodes[0].call("net_info")
            assert info["peers"] == info["validator_peers"] == VALIDATORS - 1
            stage.reach(2 * EPOCH_BLOCKS + 1)
        with stage.step("a node without a key is told of one validator"):
            changes = {
                ("node", "moniker"): "fresh",
                ("rpc", "listen"): "127.0.0.1:0",
                ("metrics", "listen"): "127.0.0.1:0",
                ("p2p", "listen"): "127.0.0.1:0",
                ("p2p", "bootstrap"): (stage.nodes[1].call("net_info")["address"],),
            }
            home = found_home(tmp_path / "fresh", stage.founded.genesis, None, changes).root
            brisk_config(home)
            stage.homes.append(home)
            stage.start(VALIDATORS)
        with stage.step("it syncs, follows, finds everybody, and takes a payment"):
            stage.blocks(4)
            stage.until_peers(VALIDATORS, VALIDATORS)
            assert stage.node_status(VALIDATORS)["phase"] == "following"
            stage.pay(through=VALIDATORS)
        stage.curtain()
