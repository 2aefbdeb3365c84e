"""A town of whole nodes under one seed: validators, liars, newcomers, users, a wire, a clock.

Here: founding it, letting time pass, waiting for conditions, misfortunes, healing.
Not here: a node (node.py), what must hold (checks.py), which misfortunes (tests/sim/campaign.py).
Keeps: one seed, one history: a failing seed fails again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any

import trio
from msgspec.structs import replace

from consensus.agreement.inputs import Timeouts
from consensus.types.amounts import eubc
from consensus.types.params import DEV, Params
from consensus.validators import is_honest_part
from tests.sim.network import CALM, Faults
from tests.sim.whole.checks import Watch, check_blocks, check_same_ledgers
from tests.sim.whole.liars.liar import Liar
from tests.sim.whole.liars.twin import Twin
from tests.sim.whole.node import WholeNode
from tests.sim.whole.running import run_seeded
from tests.sim.whole.sparks import Sparks, with_windows
from tests.sim.whole.store import MemoryRows
from tests.sim.whole.users import Users
from tests.sim.whole.wire import Wire
from tests.world import GENESIS_TIME_MS, Operator
from tests.world import World as Chain

EPOCH_BLOCKS = 6
PEOPLE = ("alice", "bob", "carol", "dan")
NEWCOMER = "newcomer"
WINDOWS_HEIGHT = 3 * EPOCH_BLOCKS + 2
"""At which windows of proving have closed and an epoch has ended with what they gave."""
POLL_S = 0.05
TIMEOUTS = Timeouts()


def town_params(plan: Plan) -> Params:
    """Those of a devnet with epochs so short that a seed sees several, and windows if anybody proves."""
    params = replace(DEV, chain=replace(DEV.chain, epoch_blocks=EPOCH_BLOCKS))
    if len(plan.bonds) > params.validators.max_validators:
        params = replace(params, validators=replace(params.validators, max_validators=len(plan.bonds)))
    return with_windows(params) if plan.sparks else params


class Plan:
    """Who lives in a town; drawn by a campaign or written by a test."""

    def __init__(
        self,
        bonds: Sequence[int],
        liars: Mapping[int, type[WholeNode]] | None = None,
        *,
        skew_ms: Sequence[int] = (),
        newcomers: int = 0,
        users: bool = True,
        frail: int | None = None,
        sparks: Sequence[str] = (),
        false_sparks: Sequence[str] = (),
        payments: float = 0.0,
    ) -> None:
        self.payments = payments
        """Plain payments a second that come on top of what users do, or instead of it."""
        self.sparks, self.false_sparks = sparks, false_sparks
        """Names of accounts that prove compute, and of those among them that lie about it."""
        self.frail = frail
        """Whose log or ledger may be lost: it is then silent for a while, as a liar might be."""
        self.bonds, self.liars, self.skew_ms = bonds, dict(liars or {}), skew_ms
        self.newcomers, self.users = newcomers, users

    @property
    def least_height(self) -> int:
        """What a run must reach to have seen everything."""
        return WINDOWS_HEIGHT if self.sparks else 0


class Town:
    """Made inside a run; see `play`."""

    def __init__(self, seed: int, plan: Plan, nursery: trio.Nursery) -> None:
        self.seed, self.plan, self.nursery = seed, plan, nursery
        self.random = Random(seed)
        self.wire = Wire(self.random)
        newcomers = [f"{NEWCOMER}{i}" for i in range(plan.newcomers)]
        bonds = [eubc(100) * bond for bond in plan.bonds]
        self.chain = Chain(
            town_params(plan), len(bonds), (*PEOPLE, *newcomers), balance=eubc(10_000), bonds=bonds
        )
        self.genesis, self.rules = self.chain.genesis, self.chain.rules
        self.timeouts = TIMEOUTS
        self.founding: MemoryRows | None = None
        self.watch = Watch(self)
        self.nodes: list[WholeNode] = []
        self.operators = operators = [*self.chain.operators, *map(Operator, newcomers)]
        for index, operator in enumerate(operators):
            skew_ms = plan.skew_ms[index] if index < len(plan.skew_ms) else 0
            kind = plan.liars.get(index, WholeNode)
            self.nodes.append(kind(self, index, operator, skew_ms))
            if kind is Twin:
                self.nodes.append(kind(self, len(operators) + index, operator, skew_ms))
        self.users = Users(self)
        by_name = self.chain.people
        self.sparks = Sparks(self, [by_name[n] for n in plan.sparks], [by_name[n] for n in plan.false_sparks])
        self.crashes: list[str] = []
        self.recoveries: list[int] = []
        """Virtual ms from each start after a crash to that life's first signature."""

    # -- time

    def now_ms(self) -> int:
        """True time; each node's clock is off by its skew."""
        return GENESIS_TIME_MS + round(trio.current_time() * 1000)

    async def run(self, milliseconds: int) -> None:
        """Let time pass."""
        await trio.sleep(milliseconds / 1000)

    async def until(self, is_done: Callable[[], bool], limit_ms: int = 120_000) -> None:
        """Let time pass until the condition holds."""
        with trio.move_on_after(limit_ms / 1000):
            while not is_done():
                self.check_lives()
                await trio.sleep(POLL_S)
            return
        where = [
            (node.name, node.height, node.is_up, (state.round, int(state.stage)) if state else None)
            for node in self.nodes
            if (state := getattr(getattr(node, "engine", None), "state", None)) or True
        ]
        raise AssertionError(f"liveness: stuck for {limit_ms} ms: {where}")

    async def until_height(self, height: int, limit_ms: int = 120_000) -> None:
        """Until every honest node has it."""
        await self.until(lambda: self.height() >= height, limit_ms)

    # -- nodes

    @property
    def honest(self) -> list[WholeNode]:
        return [node for node in self.nodes if node.is_honest]

    def height(self) -> int:
        """The height that every honest node has reached."""
        return min(node.height for node in self.honest)

    def top(self) -> int:
        return max(node.height for node in self.honest)

    def start(self) -> None:
        """Everybody begins."""
        self.nursery.start_soon(self.wire.run)
        for node in self.nodes:
            node.start()
        if self.plan.users:
            self.nursery.start_soon(self.users.run)
            self.nursery.start_soon(self.sparks.run)
        if self.plan.payments:
            self.nursery.start_soon(self.users.pay, self.plan.payments)

    def finished(self, node: WholeNode, executed: Any, commit: Any) -> None:
        """A node has a block in its ledger."""
        self.watch.block(node, executed, commit)
        liars = {n.key.public for n in self.nodes if not n.is_honest}
        if is_honest_part(sum(v.power for v in executed.outcome.next_set if v.key in liars)):
            self.nursery.start_soon(self._repent)

    async def _repent(self) -> None:
        """Liars hold more than a third from now on, because others left: nothing is promised of that."""
        for node in self.nodes:
            if isinstance(node, Liar) and node.is_lying:
                node.repent()
                await trio.sleep(0.02)
                if not node.is_up and not node.is_gone:
                    node.start()

    # -- misfortunes

    def faults(self, faults: Faults) -> None:
        self.wire.faults = faults

    def split(self, *sides: Sequence[int]) -> None:
        """Only nodes of one side hear each other; no sides heals the split."""
        placed = {index: side for side, members in enumerate(sides) for index in members}
        self.wire.split(placed, breaks=self.random.random() < 0.5)

    def crash_sometime(self, index: int) -> None:
        """A node stops at one of its next disk operations."""
        node = self.nodes[index]
        if node.is_up:
            node.disk.crash_at = self.random.randint(1, 60)

    async def restart_all(self) -> None:
        """Start whoever is down."""
        for node in self.nodes:
            node.disk.crash_at = node.disk.crash_on = None
            node.disk.is_full = False
            if not node.is_up and not node.is_gone:
                # A moment, for what was cancelled to end.
                await trio.sleep(0.02)
                node.start()

    async def heal(self) -> None:
        """Everything works again from now on."""
        self.faults(CALM)
        self.split()
        self.wire.muffled = {}
        await self.restart_all()

    # -- checks

    def check_lives(self) -> None:
        """No honest node has ended by itself, and nobody saw an invariant broken."""
        for words in self.watch.broken:
            raise AssertionError(words)
        for node in self.honest:
            for fault in node.faults:
                raise AssertionError(f"{node.name} ended by itself") from fault

    def check(self) -> None:
        """Everything that must hold at any time."""
        self.check_lives()
        check_same_ledgers(self.honest)

    def check_all(self) -> None:
        """The whole chain, replayed: dear, so once at the end."""
        self.check()
        check_blocks(self, max(self.honest, key=lambda node: node.height))
        self.watch.check_slashed()


def play(seed: int, plan: Plan, story: Callable[[Town], Awaitable[None]]) -> Town:
    """Found a town, let the story happen, end it; the town can be looked at afterwards."""

    async def main() -> Town:
        async with trio.open_nursery() as nursery:
            town = Town(seed, plan, nursery)
            town.start()
            try:
                await story(town)
            finally:
                for node in town.nodes:
                    town.crashes += node.disk.crashes
                    node.crash(power=False)
                nursery.cancel_scope.cancel()
        return town

    return run_seeded(seed, main)
