"""A whole node of the simulation: the real engine, ledger, mempool, service, peers, gossip and sync.

Here: putting the parts together over a disk, rows and a wire that can fail; its lives and deaths.
Not here: the parts (eubchain/node), what a liar changes (liars/), who lives where (town.py).
Keeps: what a death leaves is what the disk holds: the next life starts from that alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import trio

from consensus.agreement.evidence import DoubleSign
from consensus.types.codec import encode
from consensus.types.keys import verify
from consensus.types.transaction import SignatureCheck
from consensus.types.tree import empty_tree, finish, update_tree
from eubchain.ledger.buckets import load_tree, put_buckets
from eubchain.ledger.layout import FORMAT, META, META_KEY, Meta
from eubchain.ledger.ledger import Ledger
from eubchain.ledger.snapshot_folder import SnapshotFolder
from eubchain.ledger.store import Column
from eubchain.mempool import Mempool
from eubchain.node.engine import Engine
from eubchain.node.execution import Execution
from eubchain.node.guard import Place, Refusal, SignerGuard, reset_guard
from eubchain.node.metrics import Metrics
from eubchain.node.network import Network
from eubchain.node.node import _wal_found
from eubchain.node.peers import Peers, greeting
from eubchain.node.pricing import mempool_pricing
from eubchain.node.production import Identity, Production
from eubchain.node.recovery import Found, Plan, plan_recovery
from eubchain.node.service import Service
from eubchain.node.verify_worker import VERDICT_BYTES, transaction_verdict
from eubchain.node.wal import read_wal
from eubchain.node.workers import Verdict, VerifyPool
from p2p.messages import Hello
from tests.sim.disk import Crash, MemoryDisk
from tests.sim.whole.running import DISK
from tests.sim.whole.sparks import LoopVerdicts
from tests.sim.whole.store import MemoryRows, MemoryStore
from tests.sim.whole.wire import SimNet
from tests.world import Operator
from vm.genesis import genesis_writes

if TYPE_CHECKING:
    from tests.sim.whole.town import Town

BUILD_MS = 60
UNDO_BLOCKS = 16

cached_verify = lru_cache(200_000)(verify)
cached_verdict = lru_cache(50_000)(transaction_verdict)


class _NoRoom(Exception):
    """The disk was full when the node was to start."""


class LoopPool(VerifyPool):
    """Checks signatures on the loop, each once for all nodes: time is virtual, processors are not."""

    def __init__(self, genesis: bytes) -> None:
        self._genesis = genesis

    async def transactions(self, raws: Sequence[bytes]) -> list[Verdict]:
        await trio.sleep(0.001)
        bodies = [cached_verdict(raw, self._genesis) for raw in raws]
        return [Verdict(body[0] == 1, body[1:33], body[33:VERDICT_BYTES]) for body in bodies]

    async def signatures(self, checks: Sequence[SignatureCheck]) -> list[bool]:
        await trio.sleep(0.001 if checks else 0)
        return [cached_verify(*check) for check in checks]


class WholeNode:
    """One node; `start` begins a life, `crash` ends it."""

    is_honest = True
    is_gone = False
    """Never started again."""

    def __init__(self, town: Town, index: int, operator: Operator, skew_ms: int = 0) -> None:
        self.town, self.index, self.operator, self.skew_ms = town, index, operator, skew_ms
        self.wire, self.rules, self.random = town.wire, town.rules, town.random
        self.name = f"node{index}-{operator.name}"
        self.disk = MemoryDisk()
        self.rows = found_ledger(town)
        self.plans: list[Plan] = []
        self.proofs: list[DoubleSign] = []
        """Double signings that its machine saw, in all lives."""
        self.faults: list[BaseException] = []
        """What ended a life that nobody meant to end."""
        self.life = 0
        self.woke_ms: int | None = None
        """When it started after a crash, until it signs again."""
        self.is_up = False
        self.ledger: Ledger
        self.engine: Engine
        self.service: Service
        self.mempool: Mempool
        self.peers: Peers
        reset_guard(self.disk, self.key.public, self.rules.genesis, self.place())

    @property
    def key(self) -> Any:
        return self.operator.consensus

    @property
    def height(self) -> int:
        return META.decode(self.rows.entries[Column.META + META_KEY]).height

    def place(self) -> Place:
        return Place(bytes(16), self.index.to_bytes(16, "big"))

    def clock_ms(self) -> int:
        return self.town.now_ms() + self.skew_ms

    # -- life

    def start(self) -> None:
        """Begin a life from what the disk holds."""
        assert not self.is_up, "one life at a time"
        self.woke_ms = self.town.now_ms() if self.life else None
        self.life += 1
        self.is_up = True
        self.disk.is_off = False
        self.scope = trio.CancelScope()
        self.net: SimNet | None = None
        self.town.nursery.start_soon(self._live)

    def crash(self, power: bool = True) -> None:
        """Stop at once; with the power gone, what was not synced is lost."""
        if self.is_up:
            self._stop(power)
            self.scope.cancel()

    def _stop(self, power: bool) -> None:
        self.is_up = False
        self.woke_ms = None
        self.disk.is_off = True
        self.disk.crash_at = self.disk.crash_on = None
        if self.net is not None:
            self.net.close()
        if power:
            self.disk.cut_power(self.random)

    async def _live(self) -> None:
        DISK.set(self.disk)
        structlog.contextvars.bind_contextvars(node=self.name)
        life = self.life
        ended: list[BaseException] = []
        with self.scope:
            try:
                await self._run()
            except Crash:
                pass
            except BaseExceptionGroup as group:
                ended = _other_than(group)
            except Exception as fault:  # noqa: BLE001  # recorded: a checker fails the seed
                ended = [fault]
        if self.life == life and self.is_up:
            # Ended by itself: at a disk operation, or by a fault that the checkers will ask about.
            self._stop(power=self.random.random() < 0.7)
        self.faults += [fault for fault in ended if not isinstance(fault, Crash | _NoRoom)]

    async def _run(self) -> None:
        guard = self._open_guard()
        self._tell_signatures(guard)
        store = MemoryStore(self.rows, self.disk)
        raw = store.latest.get(Column.META, META_KEY)
        assert raw is not None, "founded with its node"
        self.ledger = ledger = Ledger(store, META.decode(raw), load_tree(store.latest), UNDO_BLOCKS)
        contents = read_wal(self.disk, self.rules.genesis)
        found = Found(
            ledger.height, ledger.meta.state_root, ledger.tree.root,
            _wal_found(contents, ledger, self.rules, guard),
            guard.last, guard.is_moved, 0,
        )  # fmt: skip
        plan = plan_recovery(found)
        self.plans.append(plan)
        self._assemble(guard)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.execution.verdicts.run)
            await nursery.start(self.engine.run, plan, contents)
            await nursery.start(self.peers.run)
            assert self.net is not None
            self.wire.join(self.net)
            self.nursery = nursery
            self.begin(nursery)

    def _open_guard(self) -> SignerGuard:
        if self.disk.is_full:
            raise _NoRoom  # a ledger cannot be opened then
        return SignerGuard(self.disk, self.key, self.rules.genesis, self.place())

    def _tell_signatures(self, guard: Any) -> None:
        """Note when this life first signs."""

        def told(sign: Callable[..., bytes | Refusal]) -> Callable[..., bytes | Refusal]:
            def sign_and_tell(*step: Any) -> bytes | Refusal:
                signed = sign(*step)
                if self.woke_ms is not None and not isinstance(signed, Refusal):
                    self.town.recoveries.append(self.town.now_ms() - self.woke_ms)
                    self.woke_ms = None
                return signed

            return sign_and_tell

        guard.sign_vote, guard.sign_proposal = told(guard.sign_vote), told(guard.sign_proposal)

    def _assemble(self, guard: SignerGuard) -> None:
        rules, ledger = self.rules, self.ledger
        fees, chain = rules.params.fees, rules.params.chain
        pool = LoopPool(rules.genesis)
        self.mempool = Mempool(mempool_pricing(rules), fees.min_price, chain.max_ttl_blocks)
        snapshots = SnapshotFolder(Path("/nonexistent"))
        self.service = Service(
            ledger, self.town.genesis, rules, self.mempool, pool, Metrics(), self.clock_ms, snapshots
        )
        self.execution = Execution(ledger, rules, with_index=True, verdicts=LoopVerdicts(self.town))
        identity = Identity(self.operator.address, self.operator.chain)
        self.production = self.make_production(pool, identity)
        self.net = SimNet(self.wire, self.index, self.name, self._hello, self.clock_ms)
        self.peers = Peers(self.net, rules, ledger, self.mempool, pool, self.service.take, True)
        self.engine = Engine(
            self.production, self.disk, self.make_network(self.peers), self._finished, self._report,
            self.clock_ms, self.town.timeouts, self.make_signer(guard),
        )  # fmt: skip
        engine = self.engine

        def round_now() -> int:
            return engine.state.round if engine.state is not None else 0

        self.peers.bind(engine, round_now, self.service.take_evidence)
        self.service.spread = self.peers.gossip.spread
        self.service.spread_evidence = self.peers.spread_evidence

    async def _finished(self, executed: Any, commit: Any) -> None:
        await self.service.finished(executed, commit)
        self.town.finished(self, executed, commit)

    def _report(self, proof: DoubleSign) -> None:
        self.proofs.append(proof)
        self.service.report(proof)

    def _hello(self) -> Hello:
        return greeting(self.rules, self.name, self.ledger.height, self.operator.name, "", self.key)

    # -- what a liar changes

    def make_production(self, pool: VerifyPool, identity: Identity) -> Production:
        """What builds and judges blocks."""
        return Production(self.execution, self.mempool, pool, self.clock_ms, BUILD_MS, identity)

    def make_network(self, peers: Peers) -> Network:
        """What the engine speaks through."""
        return peers

    def make_signer(self, guard: SignerGuard) -> SignerGuard:
        """What signs."""
        return guard

    def begin(self, nursery: trio.Nursery) -> None:
        """Start tasks of its own."""


def _other_than(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The leaves of a group that are no crash and no cancellation."""
    found: list[BaseException] = []
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            found += _other_than(error)
        elif not isinstance(error, Crash | trio.Cancelled):
            found.append(error)
    return found


def found_ledger(town: Town) -> MemoryRows:
    """The rows of a ledger at height 0."""
    if town.founding is None:
        rows = MemoryRows()
        store = MemoryStore(rows, MemoryDisk())
        writes = {key: value for key, value in genesis_writes(town.genesis).items() if value is not None}
        update = update_tree(empty_tree(), writes)
        identity = town.rules.genesis
        batch = store.batch()
        meta = Meta(FORMAT, identity, update.root, 0, identity, update.root, 1, 0)
        batch.put(Column.META + META_KEY, encode(meta))
        batch.put(Column.GENESIS.value, encode(town.genesis))
        for key, value in writes.items():
            batch.put(Column.VALUE + key, value)
        finish(put_buckets(batch, update))
        store.write(batch)
        town.founding = rows
    return town.founding.copy()
