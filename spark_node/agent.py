"""The spark agent: reconciles what the chain says, what this machine runs, and what the journal remembers.

Here: `Means`, `Agent` and its loops: heights, the look at everything, the owner.
Not here: seats (seats.py), offers (market.py), what `status` says (status.py), signing (the chain it is
given).
Each look takes the whole picture and does what is missing; events only make it look sooner. So a crash, a
lost event and a node that restarts all heal by the next look.
Keeps: what an earlier life left running or readable is gone before anything new begins.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import trio
from pyrage.x25519 import Identity

from consensus.types.errors import Fault
from consensus.types.keys import SecretKey
from spark_node import owner, status
from spark_node.bookkeeping import Bookkeeping
from spark_node.chain import CHAIN_AWAY, Chain, OwnSpark, Refused, TaskView
from spark_node.folder import PAUSED, RETIRE, Folder, remove_tree
from spark_node.gpus import Gpus
from spark_node.inventory import Machine
from spark_node.journal import Journal
from spark_node.lending import lent_of
from spark_node.market import Market
from spark_node.offering import Lent, Situation, WhyNot
from spark_node.policy import IdleRules, PolicyFile
from spark_node.prover.process import prove_in_process
from spark_node.proving import Prover, Proving
from spark_node.runtimes.runtime import Runtime
from spark_node.seats import Seats
from spark_node.serving import serve_shelf
from spark_node.storage.blob import AccessSigner
from spark_node.storage.packing import sweep_partials
from spark_node.storage.shelf import Shelf, ShelfLimits
from spark_node.workplace import Heights, Workplace, log
from vm.spark import RetireSpark

LOOK_S = 5.0
"""Between two looks at the chain when no event comes."""
SEARCH_S = 60.0
"""Between two searches of all tasks for seats that the journal does not know: a restored disk, a hand's
match."""
AWAY_S = 1.0
PAUSE_RELEASE_S = 86_400.0
"""A pause that the owner asked for gives seats up after a day, if their own deadlines do not come first."""
NO_TASK = bytes(32)
"""Fees that belong to no task."""


@dataclass
class Means:
    """What the agent is given."""

    chain: Chain
    folder: Folder
    policy: PolicyFile
    key: SecretKey = field(repr=False)
    """Signs access to stores; transactions are signed behind `chain`."""
    identity: Identity = field(repr=False)
    machine: Machine
    runtimes: dict[str, Runtime]
    now_ms: Callable[[], int]
    minute_of_day: Callable[[], int]
    """Local time, for the policy's hours."""
    observe: Callable[[IdleRules, bool], owner.Observed] = owner.observe
    prove: Prover = prove_in_process


class Agent:
    """One machine's agent; `run` it once."""

    def __init__(self, means: Means) -> None:
        self.means = means
        self.chain, self.folder = means.chain, means.folder
        self.journal = Journal(means.folder)
        self.market = Market(means.folder)
        self.seats = Seats()
        self.books = Bookkeeping()
        self.proving = Proving(means.prove)
        self.gpus = Gpus(means.machine.gpus)
        self.heights = Heights()
        self.verdict = owner.Verdict(True, "", 0)
        self.spark: OwnSpark | None = None
        self.spendable = 0
        self.is_away = False
        self.ended = trio.Event()
        """Set when it ends by itself: retired, and nothing left to finish."""
        self.looked_at = 0
        """The height at which the last whole look began."""
        self.looked = trio.Event()
        """Set, and replaced, after each look."""
        self._changed = trio.Event()
        self._is_retired = False
        self._is_proving = False
        self._search_at = -math.inf

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, or until retired and done; tells the own store's place once it is ready."""
        await self._reap()
        async with trio.open_nursery() as nursery:
            self.workplace = await self._set_up(nursery)
            nursery.start_soon(self._watch_heights)
            nursery.start_soon(self._watch_owner)
            nursery.start_soon(self._prove_in_windows)
            task_status.started(self.workplace.own_place)
            await self._look_until_retired()
            nursery.cancel_scope.cancel()
        self.ended.set()

    async def _reap(self) -> None:
        for runtime in self.means.runtimes.values():
            try:
                left = await runtime.reap()
            except Fault as fault:
                log.warning("a runtime could not look for leftovers", runtime=runtime.name, why=str(fault))
                continue
            if left:
                log.info("removed what an earlier run left behind", runtime=runtime.name, things=left)
        for entry in list(self.folder.rooms.iterdir()):
            await trio.to_thread.run_sync(remove_tree, entry)
        for directory in [self.folder.sealed, *self.folder.sealed.iterdir()]:
            await trio.to_thread.run_sync(sweep_partials, directory)

    async def _set_up(self, nursery: trio.Nursery) -> Workplace:
        means, policy, now_ms = self.means, self.means.policy.policy, self.means.now_ms

        def now_s() -> int:
            return now_ms() // 1000

        workplace = Workplace(
            chain=self.chain,
            folder=self.folder,
            journal=self.journal,
            identity=means.identity,
            access=AccessSigner(means.key, self.chain.genesis, now_s),
            now_ms=now_ms,
            runtimes=means.runtimes,
            machine=means.machine,
            gpus=self.gpus,
            heights=self.heights,
            background=nursery,
            directory=Path(policy.directory) if policy.directory else None,
        )
        if policy.listen:
            limits = ShelfLimits(quota_bytes=policy.disk_bytes)
            workplace.shelf = await trio.to_thread.run_sync(Shelf, self.folder.shelf, limits)
            url: str = await nursery.start(serve_shelf, workplace.shelf, self.chain, now_s, policy.listen)
            workplace.own_place = f"blob:{policy.public or url}".rstrip("/")
        return workplace

    # --------------------------------------------------------------------------------- the chain

    async def _watch_heights(self) -> None:
        while True:
            try:
                head = await self.chain.head()
                self.heights.rise(head.height, head.time_ms)
                if self.is_away:
                    log.info("the chain answers again", height=head.height)
                    self.is_away = False
                self._look_again()
                await self.chain.wait_for_change(LOOK_S)
            except Fault as fault:
                if fault.reason is not CHAIN_AWAY:
                    raise
                if not self.is_away:
                    log.warning("the chain is away; what runs goes on", why=str(fault))
                    self.is_away = True
                    self._look_again()
                await trio.sleep(AWAY_S)

    def _look_again(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def _look_until_retired(self) -> None:
        while True:
            changed, height = self._changed, self.heights.height
            try:
                if await self._look():
                    return
                self.looked_at = height
            except Refused as refused:
                log.warning("the chain refused", why=str(refused), advice=refused.wording.hint)
            except Fault as fault:
                # Away is told elsewhere; anything else may pass as well, and a look harms nothing.
                if fault.reason is not CHAIN_AWAY:
                    log.error("a look at the chain failed; it is tried again", why=str(fault))
            await self._tell_status()
            looked, self.looked = self.looked, trio.Event()
            looked.set()
            await changed.wait()

    async def _look(self) -> bool:
        """Seats first, then what came of offers, then new work; returns whether all is done for good."""
        if self.heights.height == 0:
            return False
        self.spark = await self.chain.spark()
        self.spendable = (await self.chain.account()).spendable
        await self.books.catch_up(self.workplace)
        await self.market.follow(self.workplace)
        await self.seats.attend(self.workplace, await self._own_tasks())
        is_leaving = self.folder.has_wish(RETIRE)
        if self.spark is None or not self.spark.is_active:
            return is_leaving and not self.seats.workers and not self.journal.unsettled()
        if is_leaving:
            await self._retire()
            return False
        policy = self.means.policy.policy
        await self.gpus.look()
        await self.market.look(self.workplace, policy, self.lent(), self._situation(self.spark))
        return False

    async def _own_tasks(self) -> list[TaskView]:
        """Tasks with seats of ours: those that are known, and now and then all that the chain has."""
        if trio.current_time() >= self._search_at:
            found = list(await self.chain.own_tasks())
            self._search_at = trio.current_time() + SEARCH_S
            await self._tidy_shelf()
            return found
        noted = {note.task for note in self.journal.notes.values()}
        known = {note.task: None for note in self.journal.unsettled()}
        known |= {task: None for task in self.market.won() if task not in noted}
        views = [await self.chain.task(task) for task in known]
        return [view for view in views if view is not None]

    async def _tidy_shelf(self) -> None:
        """Drop what this agent served of tasks that the chain has forgotten."""
        shelf = self.workplace.shelf
        if shelf is None:
            return
        for entry in list(shelf.root.iterdir()):
            if re.fullmatch(r"[0-9a-f]{64}", entry.name) is None:
                continue
            task = bytes.fromhex(entry.name)
            if await self.chain.task(task) is None:
                await shelf.purge(task)

    async def _prove_in_windows(self) -> None:
        """Apart from the look at everything: a search lasts as long as its window."""
        while True:
            changed = self._changed
            try:
                if self.spark is not None and self.heights.height and self.held_by() is None:
                    policy = self.means.policy.policy
                    await self.proving.look(self.workplace, policy, self.spark, self._hold_for_proof)
            except (Fault, Refused) as trouble:
                advice = trouble.wording if isinstance(trouble, Refused) else trouble.reason
                log.warning("a window may be missed", why=str(trouble), advice=advice.hint)
            await changed.wait()

    async def _hold_for_proof(self, is_held: bool) -> None:
        self._is_proving = is_held
        held = is_held or self.held_by() is not None
        await self.seats.hold(held, PAUSE_RELEASE_S, "its machine proves")

    async def _retire(self) -> None:
        if not self._is_retired:
            await self.workplace.submit(NO_TASK, RetireSpark())
            self._is_retired = True
            log.info("retired: what runs is finished, then the agent ends")

    def lent(self) -> Lent:
        """What may be offered now: no GPU that a task has not given back."""
        free = self.means.machine._replace(gpus=self.gpus.free())
        return lent_of(self.means.policy.policy, free)

    def _situation(self, spark: OwnSpark) -> Situation:
        standing = len(self.market.notes.standing())
        slots = self.means.policy.policy.slots
        free = min(slots - self.seats.on_machine(), spark.slots - spark.running) - standing
        return Situation(
            address=self.chain.address,
            prefix=self.chain.prefix,
            params=self.chain.params,
            height=self.heights.height,
            kappa=spark.kappa,
            declared=spark.hardware,
            spendable=self.spendable,
            committed=self.market.committed(),
            slots_free=free,
            minute=self.means.minute_of_day(),
            held_by=self.held_by(),
        )

    # --------------------------------------------------------------------------------- the owner

    def held_by(self) -> WhyNot | None:
        """Why no work is taken, if none is."""
        if self.folder.has_wish(PAUSED):
            return WhyNot.PAUSED
        return None if self.verdict.is_free else WhyNot.OWNER

    async def _watch_owner(self) -> None:
        """Once a second: the policy file, the owner's wishes, whether the machine is in use."""
        watch = owner.IdleWatch(trio.current_time())
        while True:
            self.means.policy.refresh(_tell_policy)
            rules = self.means.policy.policy.idle
            if rules.enabled:
                is_working = bool(self.seats.workers)
                observed = await trio.to_thread.run_sync(self.means.observe, rules, is_working)
                verdict = watch.judge(rules, observed, trio.current_time())
            else:
                verdict = owner.Verdict(True, "", 0)
            was, self.verdict = self.held_by(), verdict
            held = self.held_by()
            if self._is_proving:
                pass
            elif held is WhyNot.PAUSED:
                await self.seats.hold(True, PAUSE_RELEASE_S, "its owner paused the spark")
            else:
                await self.seats.hold(held is not None, rules.release_after_s, "its owner uses the machine")
            if held is not was:
                log.info("takes no work" if held else "takes work", why=verdict.why or held or "")
                self._look_again()
            await trio.sleep(owner.LOOK_S)

    async def _tell_status(self) -> None:
        facts = status.status_of(self)
        try:
            await trio.to_thread.run_sync(status.write_status, self.folder, facts)
        except Fault as fault:
            log.error("the status cannot be written", why=str(fault))


def _tell_policy(fault: Fault | None) -> None:
    if fault is None:
        log.info("a changed policy is in force")
    else:
        log.warning("the policy file is bad; the last good one stays in force", why=str(fault))
