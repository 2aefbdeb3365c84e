"""A chain with a ledger and snapshots, peers that give them over the simulated network, and liars among them.

Here: `Chain` (real blocks in a real ledger, a snapshot at every epoch's end), `Giver` (a peer that serves it,
with what a test makes it say instead), `Town` (givers and one who joins).
Not here: the fixtures (tests/snapshot_fixtures.py), real processes (tests/functional/test_snapshot_sync.py),
the rules' own world (tests/world.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from consensus.light import Trust
from consensus.types.block import Block, Commit
from consensus.types.codec import encode
from consensus.types.genesis import Genesis
from consensus.types.params import DEV
from consensus.types.tree import finish, update_tree
from eubchain.ledger import snapshot
from eubchain.ledger.inspect import audit
from eubchain.ledger.layout import IndexRows
from eubchain.ledger.ledger import Ledger, NewBlock
from eubchain.ledger.snapshot import cut
from eubchain.ledger.snapshot_folder import SnapshotFolder
from eubchain.node.snapshot_desk import SnapshotDesk
from eubchain.node.snapshot_sync import Places, SnapshotSync
from p2p.frames import Kind
from p2p.messages import GET_LIGHT_BLOCK, PROTOCOL_VERSION, Hello, Status, read_body
from p2p.net import PeerUp, Request
from p2p.sim_net import SimNet, SimWorld
from tests.market import post_of
from tests.world import GENESIS_TIME_MS, World
from vm import head as heads
from vm.genesis import genesis_writes
from vm.named import named_transactions
from vm.rules import Rules, rules_of

EPOCH = DEV.chain.epoch_blocks
NEWEST = EPOCH * 2
PART_ENTRIES = 16
PEOPLE = tuple(f"person{number}" for number in range(120))
"""Enough accounts for several parts."""


class Chain(World):
    """A world whose blocks stand in a ledger, with roots of the state tree."""

    def __init__(self, root: Path, validators: int = 4, **how: Any) -> None:
        super().__init__(validators=validators, people=PEOPLE, **how)
        writes = {key: value for key, value in genesis_writes(self.genesis).items() if value is not None}
        self.ledger = Ledger.create(root / "ledger", self.genesis, writes)
        self.folder = SnapshotFolder(root / "snapshots")
        self._made: Block | None = None

    def root_after(self, outcome: Any) -> bytes:
        return update_tree(self.ledger.tree, outcome.writes).root

    def commit_for(self, block: Block, absent: Collection[str] = ()) -> Commit:
        self._made = block
        return super().commit_for(block, absent)

    def block(self, **how: Any) -> Any:
        outcome = super().block(**how)
        assert self._made is not None
        assert self.last_commit is not None
        update = update_tree(self.ledger.tree, outcome.writes)
        rows = IndexRows(wtxids=tuple((c.wtxid, n) for n, c in enumerate(outcome.included)))
        self.ledger.append(
            NewBlock(
                self._made, self.last_id, self.last_commit, outcome.receipts, outcome.writes, update, rows,
                outcome.next_set,
            )
        )  # fmt: skip
        if not self.height % EPOCH:
            self.cut()
        return outcome

    def cut(self) -> None:
        """A snapshot of the head."""
        named = named_transactions(heads.view(self.ledger, self.rules))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(snapshot, "PART_ENTRIES", PART_ENTRIES)
            finish(cut(self.ledger, self.folder.begin(self.height), named))
        self.folder.finish(self.height, keep=99)


Lie = Callable[[Kind, bytes, bytes | None], Awaitable[bytes | None]]
"""(kind, what was asked, the honest answer) to what is answered."""


async def honest(kind: Kind, asked: bytes, answer: bytes | None) -> bytes | None:
    """No lie."""
    return answer


class Giver:
    """A peer with a chain's ledger and snapshots."""

    def __init__(self, name: str, chain: Chain, lie: Lie = honest, lowest: int = 1, ahead: int = 0) -> None:
        self.name, self._chain, self._lie, self._lowest = name, chain, lie, lowest
        self._height = chain.height + ahead
        self._desk = SnapshotDesk(chain.folder)
        self.asked: list[tuple[Kind, bytes]] = []
        self.net: SimNet | None = None

    def hello(self) -> Hello:
        return hello_of(self._chain.rules, self.name, self._chain.height)

    async def run(self) -> None:
        assert self.net is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._desk.run)
            async for event in self.net.events:
                if isinstance(event, PeerUp):
                    status = Status(self._height, self._lowest, 0, None, 0)
                    self.net.send(event.peer, Kind.STATUS, encode(status))
                elif isinstance(event, Request):
                    self.asked.append((event.kind, event.body))
                    nursery.start_soon(self._answer, event)

    async def _answer(self, request: Request) -> None:
        found: list[bytes | None] = []
        if request.kind is Kind.GET_LIGHT_BLOCK:
            height = read_body(GET_LIGHT_BLOCK, request.kind, request.body).height
            block = self._chain.ledger.light_block(height)
            found.append(None if block is None else encode(block))
        else:
            self._desk.take(request._replace(answer=found.append))
            while not found:  # noqa: ASYNC110  # the desk answers by a call
                await trio.sleep(0.001)
        request.answer(await self._lie(request.kind, request.body, found[0]))


def hello_of(rules: Rules, name: str, height: int) -> Hello:
    return Hello(PROTOCOL_VERSION, rules.chain_id, rules.genesis, height, name, "", None, None)


class Town:
    """Givers, and homes that join from them, one after the other."""

    def __init__(
        self, root: Path, genesis: Genesis, givers: Collection[Giver], age_ms: int = 3_600_000
    ) -> None:
        """`age_ms`: how long ago the genesis was."""
        self.genesis, self.rules = genesis, rules_of(genesis)
        self.world = SimWorld(1, epoch_ms=GENESIS_TIME_MS + age_ms)
        self.givers = {giver.name: giver for giver in givers}
        self.places = Places(root / "home" / "ledger", root / "home" / "snapshots")
        (root / "home").mkdir(parents=True, exist_ok=True)

    def joiner(self, trust: Trust | None = None) -> SnapshotSync:
        """A fresh attempt of the home."""
        self.world.nets.pop("joiner", None)
        net = self.world.add("joiner", lambda: hello_of(self.rules, "joiner", 0))
        return SnapshotSync(net, self.genesis, self.rules, trust, self.places, self.world.clock_ms)

    def ledger(self) -> Ledger:
        """What was made."""
        return Ledger.open(self.places.ledger, self.rules.genesis)

    def accused(self) -> set[str]:
        """Whom the one who joins has accused."""
        return {whom for who, whom, _ in self.world.accused if who == "joiner"}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The network runs."""
        async with trio.open_nursery() as nursery:
            for giver in self.givers.values():
                giver.net = self.world.add(giver.name, giver.hello)
                nursery.start_soon(giver.run)
            await nursery.start(self.world.run)
            yield
            nursery.cancel_scope.cancel()


def two_epochs(root: Path) -> Chain:
    """Two epochs and a few blocks, with a task whose post the state names."""
    made = Chain(root)
    made.succeed("person1", post_of())
    made.until_height(NEWEST + 3)
    return made


def town(tmp_path: Path, chain: Chain, *lies: Lie) -> Town:
    """A peer for each lie, named p0, p1, …"""
    return Town(tmp_path, chain.genesis, [Giver(f"p{n}", chain, lie) for n, lie in enumerate(lies)])


def check_ledger(made: Town, chain: Chain, height: int = NEWEST) -> None:
    """The ledger that was made is the chain's at this height."""
    ledger = made.ledger()
    header = chain.ledger.header(height)
    assert header is not None
    assert (ledger.height, ledger.header(height)) == (height, header)
    assert ledger.meta.state_root == ledger.tree.root == header.state_root
    assert audit(ledger, lambda height: None, lambda reader: None).findings == ()
    ledger.close()
    assert not made.places.restoring.exists()
    assert not list(made.places.snapshots.iterdir())


async def at_once(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """A thread's work without a thread, which a simulated clock would not wait for."""
    await trio.lowlevel.checkpoint()
    return function(*arguments)
