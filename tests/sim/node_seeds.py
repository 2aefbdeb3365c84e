"""Seeds of whole nodes: each draws its validators, liars, users and misfortunes, then must heal.

Here: drawing a town from a seed, its misfortunes, running it to its end.
Not here: the town (whole/), agreement alone (agreement_seeds.py), the command (campaign.py).
Keeps: liars hold no more than a third of the power. Whatever happens, nothing forks and no honest key
signs twice; once it stops happening, blocks come and liars who were caught are slashed.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import structlog

from consensus.types.errors import Fault
from consensus.validators import TOTAL_POWER, divide, is_honest_part
from eubchain.node.wal import WAL_NAME
from tests.sim.network import CALM, Faults
from tests.sim.outcome import Outcome, in_words
from tests.sim.whole.checks import EVIDENCE_BLOCKS
from tests.sim.whole.liars.babbler import Babbler
from tests.sim.whole.liars.double_proposer import DoubleProposer
from tests.sim.whole.liars.equivocator import Equivocator
from tests.sim.whole.liars.forger import Forger, FutureProposer
from tests.sim.whole.liars.garbler import Garbler
from tests.sim.whole.liars.liar import Liar
from tests.sim.whole.liars.outdated import Outdated
from tests.sim.whole.liars.pretender import Pretender
from tests.sim.whole.liars.silent import Silent
from tests.sim.whole.liars.splitter import Splitter
from tests.sim.whole.liars.twin import Twin
from tests.sim.whole.liars.withholder import Withholder
from tests.sim.whole.running import collect_rarely
from tests.sim.whole.town import EPOCH_BLOCKS, PEOPLE, Plan, Town, play
from vm.spark import SPARKS
from vm.validator import JAILED, TOMBSTONED, VALIDATORS
from vm.windows import last_window

log = structlog.get_logger("campaign")

FIRST_LIARS: tuple[type[Liar], ...] = (
    Babbler, Equivocator, Forger, FutureProposer, Garbler, Outdated, Pretender, Silent, Twin, Withholder,
)  # fmt: skip
"""The liars of the seeds that found the first bugs: they replay with these."""
LIARS = (*FIRST_LIARS, DoubleProposer, Splitter)
BONDS = ([1], [1, 1], [1, 1, 1], [1] * 4, [1] * 4, [1] * 5, [3, 3, 2, 1, 1], [2, 2, 2, 2, 1])
SKEW_MS_MAX = 240
"""Any two clocks then differ by less than the network's precision."""
TROUBLES_MAX = 6
MORE_BLOCKS = 4
SPARKS_SHARE = 0.3
"""Of seeds in which compute is proved; these run longer."""
HEALING_MS_MAX = 400_000
"""Virtual time; rounds grow long where liars propose many of them."""
DURABILITY_POINTS = (
    "proposal sync wal", "proposal synced wal",
    "proposal write signer_guard", "proposal sync signer_guard", "proposal synced signer_guard",
    "vote sync wal", "vote synced wal",
    "vote write signer_guard", "vote sync signer_guard", "vote synced signer_guard",
    "write ledger", "written ledger",
    "create wal.new", "sync wal.new", "synced wal.new", "rename wal.new", "sync folder", "synced folder",
)  # fmt: skip
"""Before and after each of F1 to F6."""
TROUBLES = (
    "network", "split", "crash", "crash", "point", "point", "blackout", "muffle", "calm", "full disk",
    "clock", "backup", "lost log",
)  # fmt: skip


def draw_plan(random: Random, kinds: Sequence[type[Liar]] = LIARS) -> Plan:
    """Validators and, in most seeds, liars up to a third."""
    bonds = random.choice(BONDS)
    powers = divide(TOTAL_POWER, bonds)
    liars: dict[int, type[Liar]] = {}
    frail, power = None, 0
    for seat in random.sample(range(len(bonds)), len(bonds)):
        if random.random() < 0.5 and not is_honest_part(power + powers[seat]):
            if frail is None and random.random() < 0.3:
                frail = seat
            else:
                liars[seat] = random.choice(kinds)
            power += powers[seat]
    skew_ms = [random.randint(-SKEW_MS_MAX, SKEW_MS_MAX) for _ in bonds]
    return Plan(bonds, liars, skew_ms=skew_ms, newcomers=random.choice([0, 1, 1]), frail=frail)


def draw_sparks(plan: Plan, random: Random) -> None:
    """In some seeds accounts prove compute, founders among them, and some of them lie about it."""
    if random.random() < SPARKS_SHARE:
        names = [*PEOPLE, *(f"v{i}" for i in range(len(plan.bonds)))]
        plan.sparks = random.sample(names, random.randint(2, min(6, len(names))))
        plan.false_sparks = [name for name in plan.sparks if random.random() < 0.2]


class Troubles:
    """One seed's misfortunes."""

    def __init__(self, town: Town, random: Random) -> None:
        self.town, self.random = town, random
        self.counts: dict[str, int] = {}
        self._skews = [node.skew_ms for node in town.nodes]
        self._backups = [(node.rows.copy(), node.life) for node in town.nodes]

    async def one(self) -> None:
        """One misfortune, some time to suffer it, perhaps a restart."""
        town, random = self.town, self.random
        kind = random.choice(TROUBLES)
        if kind in ("backup", "lost log") and not self._may_fall_silent():
            kind = "crash"
        self.counts[kind] = self.counts.get(kind, 0) + 1
        log.info("trouble", kind=kind)
        await self._do(kind)
        await town.run(random.randint(500, 7_000))
        if random.random() < 0.8:
            await town.restart_all()
        town.check()
        if random.random() < 0.3:
            self._backups = [(node.rows.copy(), node.life) for node in town.nodes]

    async def _do(self, kind: str) -> None:
        town, random = self.town, self.random
        index = random.randrange(len(town.nodes))
        node = town.nodes[index]
        match kind:
            case "network":
                slowest_ms = random.choice([50, 300, 1_500])
                town.faults(
                    Faults(random.choice([0.0, 0.05, 0.3]), random.choice([0.0, 0.2]), (1, slowest_ms))
                )
            case "split":
                members = random.sample(range(len(town.nodes)), len(town.nodes))
                cut = random.randint(0, len(members))
                town.split(members[:cut], members[cut:])
            case "crash":
                for _ in range(random.randint(1, 3)):
                    town.crash_sometime(random.randrange(len(town.nodes)))
            case "point":
                for victim in town.nodes:
                    if victim.is_up and random.random() < 0.6:
                        victim.disk.crash_on = (random.choice(DURABILITY_POINTS), random.randint(1, 3))
            case "blackout":
                for victim in town.nodes:
                    victim.crash(power=random.random() < 0.7)
            case "muffle":
                town.wire.muffled = {index: random.random()}
            case "calm":
                town.faults(CALM)
                town.split()
                town.wire.muffled = {}
            case "full disk":
                node.disk.is_full = True
            case "clock":
                node.skew_ms += random.choice([-3_000, -800, 800, 3_000])
            case "backup":
                assert town.plan.frail is not None
                await self._restore(town.plan.frail)
            case "lost log":
                assert town.plan.frail is not None
                frail = town.nodes[town.plan.frail]
                frail.crash()
                await town.run(20)
                if not frail.is_up:
                    frail.disk.names.pop(WAL_NAME, None)

    def _may_fall_silent(self) -> bool:
        """Whether the frail one and all liars together still hold no more than a third."""
        town = self.town
        if town.plan.frail is None:
            return False
        silent = {n.key.public for n in town.nodes if not n.is_honest or n.index == town.plan.frail}
        last = max(town.watch.sets)
        return not is_honest_part(sum(v.power for v in town.watch.sets[last] if v.key in silent))

    async def _restore(self, index: int) -> None:
        """The ledger is of yesterday, the guard of today; the log may be of either or gone."""
        node = self.town.nodes[index]
        node.crash()
        await self.town.run(20)
        if node.is_up:
            return
        node.rows = self._backups[index][0].copy()
        if self.random.random() < 0.5:
            node.disk.names.pop(WAL_NAME, None)

    async def heal(self) -> None:
        """Everything works again; blocks come, the guilty are slashed."""
        town = self.town
        for node, skew_ms in zip(town.nodes, self._skews, strict=True):
            node.skew_ms = skew_ms
        log.info("healed")
        await town.heal()
        await town.until_height(max(town.top() + MORE_BLOCKS, town.plan.least_height), HEALING_MS_MAX)
        last = town.top() + EVIDENCE_BLOCKS
        if town.watch.caught():
            await town.until(lambda: not town.watch.caught() or town.height() >= last, HEALING_MS_MAX)
        # Stop where blocks are final everywhere but none is half written.
        town.check_all()


def run_seed(seed: int, kinds: Sequence[type[Liar]] = LIARS) -> Outcome:
    """Run one seed to its end."""
    collect_rarely()
    random = Random(seed)
    plan = draw_plan(random, kinds)
    if kinds is LIARS:
        draw_sparks(plan, Random(f"sparks {seed}"))
    counts: dict[str, int] = {}
    towns: list[Town] = []

    async def story(town: Town) -> None:
        towns.append(town)
        troubles = Troubles(town, random)
        if plan.sparks:
            await town.until_height(EPOCH_BLOCKS)  # until then nobody may prove
        try:
            for _ in range(random.randint(1, TROUBLES_MAX)):
                await troubles.one()
            await troubles.heal()
        finally:
            counts.update({f"fault: {kind}": count for kind, count in troubles.counts.items()})

    violation = ""
    try:
        play(seed, plan, story)
    except (AssertionError, Fault, LookupError, ValueError, TypeError, BaseExceptionGroup) as error:
        violation = in_words(error)
    town = towns[0]
    faults = sum(counts.values()) + len(plan.liars)
    _count(town, counts)
    return Outcome(seed, not violation, town.top(), faults, violation, counts, tuple(town.recoveries))


def _count(town: Town, counts: dict[str, int]) -> None:
    """For the report."""

    def add(name: str, count: int = 1) -> None:
        counts[name] = counts.get(name, 0) + count

    for kind in town.plan.liars.values():
        add(f"liar: {kind.__name__.lower()}")
    for operation in town.crashes:
        add(f"crash at: {operation}")
    for node in town.nodes:
        for plan in node.plans[1:]:
            add(f"recovery: {plan.wal.name.lower()}, signing {plan.signing.name.lower()}")
    for code, count in town.watch.receipts.items():
        add("transactions that succeeded" if code == 0 else "transactions that were refused", count)
    add("validator sets of another size than the first", len(town.watch.lengths) > 1)
    status = [record.status for _, record in town.chain.view.scan(VALIDATORS)]
    add("validators slashed and tombstoned", status.count(TOMBSTONED))
    add("validators in jail at the end", status.count(JAILED))
    for truth, count in town.sparks.proofs.items():
        add(f"{truth} proofs of compute sent", count)
    last = last_window(town.chain.view)
    add("windows of proving that counted", last.counted if last is not None else 0)
    add("sparks barred", sum(spark.banned_until > 0 for _, spark in town.chain.view.scan(SPARKS)))
