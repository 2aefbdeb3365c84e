"""The light client against a real node: from a trusted block to a proven balance, on the command line."""

from __future__ import annotations

import pytest

from tests.node_world import command, found, parsed, running


@pytest.fixture
def network(tmp_path):
    """A network of one validator, founded and not yet started."""
    return found(tmp_path / "net")


def test_a_balance_is_proven_from_a_trusted_block_and_remembered(network):
    """Trust an early block, let the chain cross two epochs, prove a balance at the head, prove it again."""
    with running(network.validators[0]) as node:
        node.wait_height(2)
        base = node.call("chain_getHeader", height=2)
        wallet = parsed(command(network.root, "wallet", "list", "--json"))["accounts"]
        node.wait_height(43)
        shared = ["--node", node.url, "--witness", node.url, "--json"]
        trust = f"2:{base['block_id']}"
        followed = command(network.root, "light", "follow", "--trust", trust, *shared)
        assert followed.returncode == 0, followed.stdout + followed.stderr
        assert parsed(followed)["height"] >= 43
        assert parsed(followed)["witnesses"] == 1
        proven = command(network.root, "light", "balance", wallet[0]["address"], *shared)
        assert proven.returncode == 0, proven.stdout + proven.stderr
        assert parsed(proven)["balance"] == "100000000000000"
        nobody = command(
            network.root, "light", "balance", wallet[0]["address"], "--trust", "2:" + "0" * 64, *shared
        )
        assert parsed(nobody)["error"]["name"] == "trusted_block_differs"
