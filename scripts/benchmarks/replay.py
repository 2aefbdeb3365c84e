"""Executing a ledger's blocks again with every root compared, against reading and decoding them alone.

The ledger holds full blocks of transfers that this benchmark builds and commits itself; signatures and
proof verdicts are not part of a replay.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import trio

from consensus.types.block import Commit, Header
from consensus.types.hashing import ZERO_HASH
from eubchain.cli.ledger import execution
from eubchain.ledger.ledger import Ledger
from eubchain.ledger.replay import replay
from eubchain.node.execution import Execution
from eubchain.node.validator_key import ValidatorKey
from scripts.benchmarks.transfers import found, rules_for, signed
from vm.genesis import genesis_writes
from vm.registry import TRANSACTION, decode_candidate
from vm.rules import Rules

ACCOUNTS, EACH, BLOCKS = 1_000, 20, 8


def run() -> list[dict[str, str | float]]:
    """Transfers per second."""
    genesis, key = found(ACCOUNTS, 0)
    rules = rules_for(genesis)
    start = {k: v for k, v in genesis_writes(genesis).items() if v is not None}
    raws = signed(rules, ACCOUNTS, EACH)
    with tempfile.TemporaryDirectory() as directory:
        ledger = Ledger.create(Path(directory) / "ledger", genesis, start)
        trio.run(_fill, ledger, rules, key, raws)
        began = time.perf_counter()
        heights = sum(1 for _ in replay(ledger, start, execution(rules)))
        took = time.perf_counter() - began
        assert heights == BLOCKS, "every block is replayed"
        began = time.perf_counter()
        for height in range(1, BLOCKS + 1):
            for raw in ledger.kept_block(height).transactions:
                TRANSACTION.decode(raw)
        bare = time.perf_counter() - began
        ledger.close()
    value, reference = len(raws) / took, len(raws) / bare
    row: dict[str, str | float] = {"name": "replay", "value": value, "unit": "tx/s", "reference": reference}
    return [row | {"ratio": value / reference}]


async def _fill(ledger: Ledger, rules: Rules, key: ValidatorKey, raws: list[bytes]) -> None:
    """Build and commit blocks of equal size; commits carry no signature, which a replay does not ask."""
    executing = Execution(ledger, rules, with_index=False)
    chain, commitment = key.reveal_chain(), key.reveal_chain().commitment
    share = len(raws) // BLOCKS
    for number in range(BLOCKS):
        commitment = chain.reveal(commitment)
        header = Header(
            1, number + 1, 0, 500 * (number + 1), executing.parent_id(), key.account("deub"),
            *(ZERO_HASH,) * 6, commitment,
        )  # fmt: skip
        candidates = [decode_candidate(raw, rules) for raw in raws[number * share : (number + 1) * share]]
        executed = await executing.build(header, executing.last_commit(), candidates, lambda: False)
        assert len(executed.outcome.included) == share, "the block holds them all"
        await executing.commit(executed, Commit(0, executed.block_id, b"\x01", (bytes(64),)))
