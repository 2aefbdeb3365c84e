"""Transactions submitted to a node that does not propose: each crosses the link once and all get in."""

from __future__ import annotations

import base64
import time
from pathlib import Path

from eubchain.node.founding import found_home
from scripts.benchmarks.transfers import found, rules_for, signed
from tests.node_world import NodeProcess, running

ACCOUNTS, EACH = 50, 20
LISTEN = {("rpc", "listen"): "127.0.0.1:0", ("metrics", "listen"): "", ("p2p", "listen"): "127.0.0.1:0"}


def _submit(node: NodeProcess, raws: list[bytes]) -> int:
    """Submit in batches; how many were taken."""
    taken = 0
    for start in range(0, len(raws), 250):
        texts = [base64.b64encode(raw).decode() for raw in raws[start : start + 250]]
        answers = node.call("tx_submitBatch", transactions=texts)
        taken += sum(1 for answer in answers if answer["error"] is None)
    return taken


def test_a_thousand_transfers_through_a_follower_are_in_blocks_and_travelled_once(tmp_path: Path) -> None:
    """One validator, one follower: the follower gets all transfers; the validator's blocks hold them."""
    genesis, key = found(ACCOUNTS, time.time_ns() // 1_000_000)
    raws = signed(rules_for(genesis), ACCOUNTS, EACH)
    validator_home = found_home(tmp_path / "validator", genesis, key, LISTEN).root
    with running(validator_home) as validator:
        validator.until(lambda: validator.call("net_info")["address"] != "")
        known = {("p2p", "bootstrap"): (validator.call("net_info")["address"],)}
        follower_home = found_home(tmp_path / "follower", genesis, None, LISTEN | known).root
        with running(follower_home) as follower:
            follower.until(lambda: follower.call("net_info")["peers"] == 1)
            assert _submit(follower, raws) == len(raws)
            for node in (follower, validator):
                node.until(lambda node=node: node.call("mempool_status")["transactions"] == 0, 60)
            head = follower.height
            blocks = [follower.call("chain_getBlock", height=height) for height in range(1, head + 1)]
            assert sum(len(block["transactions"]) for block in blocks) == len(raws)
            sent = follower.call("net_info")["bytes_out"]
            assert sent < 1.3 * sum(map(len, raws)), "names and status are little beside one copy of each"
            assert follower.call("net_peers")[0]["score"] == 0
