"""What `eubchain status` says when a chain stands still or a node is alone."""

from __future__ import annotations

from typing import Any

from eubchain.cli.general import status_line


def told(**node: Any) -> dict[str, Any]:
    """An answer of `chain_status`, as far as the line needs it."""
    common = {"chain_id": "eub-lab", "height": 7, "mempool": 0, "epoch": 1, "validators": 4}
    return common | {"node": {"peers": 1, "phase": "validating", "validator_peers": 1} | node}


def test_a_chain_that_stands_says_how_many_validators_are_connected():
    line = status_line(told(), 14.2)
    assert "no block for 14 s: 1 of 3 other validators are connected" in line
    assert "\n" not in status_line(told(), 2.0)


def test_a_node_that_catches_up_blames_nobody_for_its_old_head():
    assert "\n" not in status_line(told(phase="syncing"), 5_000.0)


def test_a_follower_without_peers_is_told_what_to_do_once():
    assert "[p2p] bootstrap" in status_line(told(phase="following", peers=0), 1.0)
    known = status_line(told(phase="following", peers=0, network="2420 nobody_met: …"), 1.0)
    assert known.count("\n") == 1
