"""Snapshots, pruning, a height to halt at and a version to stop before, with real nodes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.node_world import command, found, parsed, running


@pytest.fixture
def network(tmp_path):
    """A network of one validator that cuts snapshots and prunes, founded and not yet started."""
    made = found(tmp_path / "net")
    config = made.validators[0] / "config" / "config.toml"
    text = config.read_text()
    for old, new in (
        ("every_epochs = 0", "every_epochs = 1"),
        ("keep = 2", "keep = 9"),
        ("retain_blocks = 0", "retain_blocks = 10"),
        ("undo_blocks = 128", "undo_blocks = 10"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    config.write_text(text)
    return made


def started(home: Path, *options: str):
    """`eubchain start` that ends by itself."""
    return command(home, "start", "--json", *options)


def test_a_new_home_begins_from_another_nodes_snapshot(network, tmp_path):
    """Halt after a snapshot, serve it over RPC, restore it elsewhere by a trusted hash; the audit passes."""
    home = network.validators[0]
    assert started(home, "--halt-height", "45").returncode == 0
    halted = parsed(command(home, "snapshot", "list", "--json"))["snapshots"]
    assert [one["height"] for one in halted] == [20, 40]
    new = tmp_path / "new"
    done = command(new, "init", "--genesis", str(network.root / "genesis.json"), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    trust = f"40:{halted[-1]['block_id']}"
    with running(home) as node:
        wrong = command(new, "snapshot", "restore", node.url, "--trust", "40:" + "0" * 64, "--json")
        assert parsed(wrong)["error"]["name"] == "snapshot_of_other_block"
        done = command(new, "snapshot", "restore", node.url, "--trust", trust, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        again = command(new, "snapshot", "restore", node.url, "--trust", trust, "--json")
        assert parsed(again)["error"]["name"] == "ledger_exists"
    audit = command(new, "inspect", "--json")
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert parsed(audit)["height"] == 40
    exported = tmp_path / "exported"
    done = command(home, "snapshot", "export", str(exported), "--height", "40", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    third = tmp_path / "third"
    assert command(third, "init", "--genesis", str(network.root / "genesis.json")).returncode == 0
    done = command(third, "snapshot", "restore", str(exported), "--trust", trust, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    made = command(third, "snapshot", "create", "--json")
    assert parsed(made)["height"] == 40


def test_old_blocks_go_and_the_ends_of_epochs_stay(network):
    """After two epochs the first blocks are pruned, yet a light client is served their last header."""
    home = network.validators[0]
    with running(home) as node:
        node.wait_height(48)
        request = {"method": "chain_getBlock", "height": 3}
        with pytest.raises(AssertionError, match="no_such_block"):
            node.call(**request)
        assert node.call("chain_getLightBlock", height=20)["height"] == 20
        with pytest.raises(AssertionError, match="light_block_missing"):
            node.call("chain_getLightBlock", height=19)
        assert node.stop() == 0
    audit = command(home, "inspect", "--json")
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_a_node_halts_at_the_height_it_is_told_and_signs_nothing_above(network):
    home = network.validators[0]
    halted = started(home, "--halt-height", "6")
    assert halted.returncode == 0, halted.stdout + halted.stderr
    exported = command(home, "export")
    assert json.loads(exported.stdout.splitlines()[0])["height"] == 6
    signer = parsed(command(home, "signer", "show", "--json"))
    assert signer["last"]["height"] == 6


def test_a_node_stops_before_a_version_it_lacks_and_names_it(network):
    """Version 2 was agreed on from height 5: this release signs up to 4, then says what to install."""
    home = network.validators[0]
    config = home / "config" / "config.toml"
    config.write_text(config.read_text().replace("upgrades = []", 'upgrades = ["5:2"]'))
    stopped = started(home)
    failure = json.loads(stopped.stdout.strip().splitlines()[-1])["error"]
    assert stopped.returncode != 0
    assert failure["name"] == "version_unsupported"
    assert failure["facts"] == {"height": 5, "version": 2}
    signer = parsed(command(home, "signer", "show", "--json"))
    assert signer["last"]["height"] == 4
    again = started(home)
    assert parsed(again)["error"]["name"] == "version_unsupported"
