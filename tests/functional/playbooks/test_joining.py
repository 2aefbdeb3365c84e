"""A fifth validator joins by the command line alone, proposes, leaves, and gets its bond back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.playbook_world import EPOCH_BLOCKS, VALIDATORS, brisk_config, play, set_option

pytestmark = pytest.mark.slow


def test_a_newcomer_bonds_registers_proposes_two_epochs_later_and_leaves_with_its_bond(
    tmp_path: Path,
) -> None:
    """Somebody hears of the network: makes a wallet and a home, is sent EUBC, runs a node that follows,
    bonds, registers. Two epochs later the node proposes. Then its owner has had enough, takes the whole
    bond back, and with the next epoch's end the others go on without it, the node following.
    """
    with play(tmp_path / "net", epoch_blocks=EPOCH_BLOCKS) as stage:
        root, genesis = tmp_path / "newcomer", stage.founded.root / "genesis.json"
        here = ("--home", str(root), "--node", stage.nodes[0].url)
        with stage.step("a wallet, a home, a node that follows"):
            stage.ask("wallet", "new", "main", "--home", str(root))
            address = stage.ask("wallet", "list", "--home", str(root))["accounts"][0]["address"]
            stage.ask("init", "--genesis", str(genesis), "--validator", "--from", "main", "--home", str(root))
            brisk_config(root, {"bootstrap": json.dumps([stage.nodes[1].call("net_info")["address"]])})
            for section in ("rpc", "metrics", "p2p"):
                set_option(root, "listen", '"127.0.0.1:0"', section)
            stage.homes.append(root)
            stage.start(VALIDATORS)
            stage.blocks(2)
            assert stage.node_status(VALIDATORS)["phase"] == "following"
        with stage.step("it is sent EUBC, bonds and registers"):
            funds = ("--home", str(stage.founded.root), "--node", stage.nodes[0].url)
            stage.ask("wallet", "send", address, "20000", "--from", "requester", "--yes", *funds)
            stage.ask("stake", "bond", "10000", "--yes", *here)
            stage.ask("validator", "register", "--name", "fifth", "--yes", *here)
            registered = stage.nodes[0].height
        with stage.step("from the second epoch on it votes and proposes"):
            stage.until(VALIDATORS, lambda: stage.is_validating(VALIDATORS))
            stage.until(0, lambda: stage.validator(VALIDATORS, through=0)["proposed"] > 0)
            heights = range(registered - 4 * EPOCH_BLOCKS, stage.nodes[0].height + 1)
            headers = [stage.nodes[0].call("chain_getHeader", height=h) for h in heights if h > 0]
            first = min(header["height"] for header in headers if header["proposer"] == address)
            assert first > ((registered - 1) // EPOCH_BLOCKS + 1) * EPOCH_BLOCKS
        with stage.step("it takes its bond back and is out of the set"):
            stage.ask("stake", "unbond", "10000", "--yes", *here)
            stage.until(0, lambda: stage.validator(VALIDATORS, through=0)["power"] == 0)
            stage.until(VALIDATORS, lambda: stage.node_status(VALIDATORS)["phase"] == "following")
            shown = stage.ask("stake", "show", *here)
            assert int(shown["bonded"]) == 0
            mature = shown["unbonding"][0]["mature_height"]
        with stage.step("the bond is free at the height that it was told"):
            stage.reach(mature + 1)
            shown = stage.ask("stake", "show", *here)
            assert (int(shown["bonded"]), shown["unbonding"]) == (0, [])
        stage.curtain()
