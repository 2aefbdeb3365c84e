"""How long the event loop is held by a full block: taken in, built, committed, validated by another node.

CPU milliseconds of the longest step between two checkpoints, by a trio instrument in the node's own process;
the reference is the 5 ms within which a vote must get its turn. The block is as full as its units allow
(16,000 transfers of the 20,000 that wait); the private genesis has blocks of ten seconds so that it fills.
"""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path

import msgspec
import structlog
import trio

from consensus.types.block import Block
from consensus.types.genesis import genesis_hash
from consensus.types.params import DEV
from eubchain.ledger.ledger import Ledger
from eubchain.mempool import Mempool
from eubchain.node.clocks import wall_clock_ms
from eubchain.node.config import Value
from eubchain.node.execution import Execution
from eubchain.node.founding import found_home
from eubchain.node.node import Node, opened_node, run_node
from eubchain.node.pricing import mempool_pricing
from eubchain.node.production import Production
from eubchain.node.service import Service
from scripts.benchmarks.transfers import found, signed
from scripts.benchmarks.tx_1 import BATCH, figure
from vm.genesis import genesis_writes

ACCOUNTS, EACH = 1_000, 20
INTERVAL_MS, BUILD_MS = 10_000, 3_000
SLICE_MS = 5.0
QUIET: dict[tuple[str, str], Value] = {
    ("rpc", "listen"): "127.0.0.1:0",
    ("metrics", "listen"): "",
    ("p2p", "listen"): "",
    ("node", "log_level"): "warning",
    ("consensus", "build_ms"): BUILD_MS,
}


class LongestStep(trio.abc.Instrument):
    """The longest step of each task since `begin`, CPU milliseconds by the task's name."""

    def __init__(self) -> None:
        self.longest: dict[str, float] = {}
        self._began_ns = 0

    def begin(self) -> None:
        """Forget what was before."""
        self.longest.clear()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """A step begins."""
        self._began_ns = time.thread_time_ns()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """A step ends."""
        took_ms = (time.thread_time_ns() - self._began_ns) / 1e6
        name = task.name.rpartition(".")[2]
        self.longest[name] = max(took_ms, self.longest.get(name, 0.0))

    def of(self, *names: str) -> float:
        """Of these tasks; all that were seen without a name."""
        return max(took for name, took in self.longest.items() if not names or name in names)


def run() -> list[dict[str, str | float]]:
    """The longest step of each part of a full block's life."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    steps = LongestStep()
    chain = msgspec.structs.replace(DEV.chain, block_interval_ms=INTERVAL_MS)
    genesis, key = found(ACCOUNTS, wall_clock_ms() - 2 * INTERVAL_MS)
    genesis = msgspec.structs.replace(genesis, params=msgspec.structs.replace(DEV, chain=chain))
    with tempfile.TemporaryDirectory() as directory:
        home = found_home(Path(directory) / "home", genesis, key, QUIET)
        other = Path(directory) / "other"
        rows = trio.run(_measure, home.root, other, steps, instruments=[steps])
    return [figure(f"slices_{name}", took_ms, "ms", SLICE_MS) for name, took_ms in rows]


async def _measure(home: Path, other: Path, steps: LongestStep) -> list[tuple[str, float]]:
    async with opened_node(home) as node, trio.open_nursery() as nursery:
        await nursery.start(run_node, node)
        ledger = node.opened.ledger
        while ledger.height == 0:  # noqa: ASYNC110  # seen from outside, as a client would
            await trio.sleep(0.05)
        raws = signed(node.opened.rules, ACCOUNTS, EACH)
        steps.begin()
        for start in range(0, len(raws), BATCH):
            nursery.start_soon(_submit, node.service, raws[start : start + BATCH])
        while len(node.mempool) < len(raws):  # noqa: ASYNC110  # likewise
            await trio.sleep(0.05)
        rows = [("admission", steps.of("_submit"))]
        steps.begin()
        while not (block := ledger.kept_block(ledger.height)).transactions:  # noqa: ASYNC110  # likewise
            await trio.sleep(0.05)
        rows += [("build", steps.of("_build")), ("commit", steps.of("run"))]
        rows.append(("validate", await _validate(node, other, block, steps)))
        nursery.cancel_scope.cancel()
    return rows


async def _submit(service: Service, raws: list[bytes]) -> None:
    await service.submit(raws)


async def _validate(node: Node, other: Path, block: Block, steps: LongestStep) -> float:
    """The block on a ledger of its own that stands before it, with the mempool of a node that has it all."""
    rules, genesis = node.opened.rules, node.opened.genesis
    writes = {key: value for key, value in genesis_writes(genesis).items() if value is not None}
    ledger = Ledger.create(other, genesis, writes)
    assert ledger.meta.genesis == genesis_hash(genesis), "the same network"
    fees = rules.params.fees
    pool = Mempool(mempool_pricing(rules), fees.min_price, rules.params.chain.max_ttl_blocks)
    production = Production(
        Execution(ledger, rules, with_index=True), pool, node.pool, wall_clock_ms, BUILD_MS, None
    )
    for height in range(1, block.header.height):
        earlier = node.opened.ledger.kept_block(height)
        executed = await production.execute(earlier, is_decided=True)
        await production.execution.commit(executed, node.opened.ledger.commit(height))
    steps.begin()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_judge, production, block)
    ledger.close()
    return steps.of("_judge")


async def _judge(production: Production, block: Block) -> None:
    await production.execute(block)
