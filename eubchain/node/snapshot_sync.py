"""Beginning a ledger from a snapshot that peers keep, instead of from the first block.

Here: which offer is taken, the block it must be of believed, the pieces fetched, the ledger made of them and
put in its place.
Not here: peers and their offers (suppliers.py), believing a block (lead.py), fetching (snapshot_fetch.py),
the node around it (joining.py), the blocks after it (sync.py).
Keeps: the ledger appears in its place at once, when it is complete and its tree has the believed header's
state root; whatever goes wrong before costs the snapshot and not the node, unless a person is needed.
Errors: raises 1921 trust_expired, 1923 chain_forked, 2560 trust_needed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import structlog
import trio

from consensus.light import Trust, terms_of, trusted_genesis
from consensus.types.errors import Fault
from consensus.types.genesis import Genesis
from consensus.types.reader import MemoryState
from consensus.types.tree import empty_tree, update_tree
from eubchain.ledger.ledger import Ledger
from eubchain.ledger.restore import restore
from eubchain.ledger.snapshot import MANIFEST, MANIFEST_FILE, Manifest, layout_of
from eubchain.ledger.snapshot_check import SNAPSHOT_CHUNK_REFUSED
from eubchain.node.durable_files import FolderFiles
from eubchain.node.lead import HEADER_NOT_KEPT, Believed, Lead
from eubchain.node.snapshot_fetch import Fetch
from eubchain.node.stepwise import in_slices
from eubchain.node.suppliers import Choice, Suppliers
from eubchain.node.trust_gate import TrustGate
from p2p.faults import MESSAGE_MALFORMED, PEER_GONE, REQUEST_UNANSWERED, PeerFault
from p2p.frames import Kind
from p2p.net import Net
from vm import head as heads
from vm.genesis import genesis_writes
from vm.named import named_transactions
from vm.rules import Rules

log = structlog.get_logger("snapshots")

PEERS_WAIT_S = 60.0
"""How long to wait for a first peer, …"""
OFFERS_WAIT_S = 15.0
"""… for an offer once there is one, …"""
CHOICE_WAIT_S = 3.0
"""… and for other peers' offers after the first, so that several can give the same."""
SOURCES_ENOUGH = 3
"""More peers than this do not make an older snapshot the better choice."""
ATTEMPTS_MAX = 5
"""So often the disk may lose a chunk that was verified."""
TELL_S = 5.0
FETCHED_SUFFIX = ".joining"
RESTORING_SUFFIX = ".joining"
OTHERS_FAULTS = (HEADER_NOT_KEPT, PEER_GONE, REQUEST_UNANSWERED)
"""What another peer may do better; any other fault needs a person."""


class Places(NamedTuple):
    """Where things lie in the home."""

    ledger: Path
    snapshots: Path

    def fetched(self, height: int) -> Path:
        """Where a snapshot grows."""
        return self.snapshots / f"{height}{FETCHED_SUFFIX}"

    @property
    def restoring(self) -> Path:
        """Where a ledger is made before it is one."""
        return self.ledger.with_name(self.ledger.name + RESTORING_SUFFIX)


def has_ledger(path: Path) -> bool:
    """Whether there is a ledger's database, be it empty."""
    return (path / "CURRENT").exists()


class SnapshotSync:
    """One attempt; `run` it once."""

    def __init__(
        self, net: Net, genesis: Genesis, rules: Rules, trust: Trust | None, places: Places,
        clock_ms: Callable[[], int],
    ) -> None:  # fmt: skip
        self._net, self._genesis, self._rules, self._trust = net, genesis, rules, trust
        self._places, self._clock_ms = places, clock_ms
        self._terms = terms_of(genesis)
        writes = genesis_writes(genesis)
        self._genesis_root = update_tree(empty_tree(), writes).root
        state = MemoryState({key: value for key, value in writes.items() if value is not None})
        first = heads.validators_at(heads.view(state, rules), 1)
        assert first, "a genesis has validators"
        self._lead = Lead(net, self._terms, trusted_genesis(genesis, first), trust, clock_ms)
        self.suppliers = Suppliers(net)
        self._fetch: Fetch | None = None
        self._choice: Choice | None = None
        self._spoilt: set[Choice] = set()
        self._stage = "looks for a snapshot among its peers"

    def describe(self) -> dict[str, Any]:
        """Where it stands, for `status`."""
        told: dict[str, Any] = {"stage": self._stage, "peers": len(self.suppliers)}
        if self._choice is not None:
            told |= {"height": self._choice.height, "sources": len(self.suppliers.sources(self._choice))}
        if self._fetch is not None:
            fetch = self._fetch
            told |= {"chunks": fetch.done, "chunks_total": fetch.total, "bytes": fetch.bytes}
        return told

    async def run(self) -> int | None:
        """The height of the ledger that was made, or None after saying why there is none.

        Raise `Fault` 1921, 1923, 2560, which need a person.
        """
        TrustGate(self._genesis, self._trust, self._clock_ms).check_head(0, self._genesis.time_ms)
        needs_person: list[Fault] = []
        made: int | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.suppliers.run)
            nursery.start_soon(self._tell)
            try:
                made = await self._take_one()
            except OSError as error:
                log.error("the snapshot cannot be kept on this disk", why=error.strerror or str(error))
            except Fault as fault:
                needs_person.append(fault)  # out of a nursery it would come in a group
            nursery.cancel_scope.cancel()
        if needs_person:
            raise needs_person[0]
        if made is None:
            self._clear()
            log.warning("no snapshot was taken: the chain is followed from its first block")
        return made

    def _clear(self) -> None:
        """Drop what was begun: a home that has a ledger never comes back to it."""
        shutil.rmtree(self._places.restoring, ignore_errors=True)
        for left in self._places.snapshots.glob(f"*{FETCHED_SUFFIX}"):
            shutil.rmtree(left, ignore_errors=True)

    async def _tell(self) -> None:
        before: dict[str, Any] = {}
        while True:
            await trio.sleep(TELL_S)
            now = self.describe()
            if now != before:
                log.info("joins by snapshot", **now)
            before = now

    async def _take_one(self) -> int | None:
        """One choice after the other, until one is a ledger or none is left."""
        while True:
            self._choice, self._fetch = None, None
            self._stage = "looks for a snapshot among its peers"
            choice = await self._choose()
            if choice is None:
                return None
            self._choice = choice
            try:
                believed = await self._believe(choice)
                if believed is not None and await self._take(choice):
                    return choice.height
            except PeerFault as fault:
                log.warning("a snapshot is given up", height=choice.height, why=str(fault))
            self._spoilt.add(choice)

    # ------------------------------------------------------------ choosing

    async def _choose(self) -> Choice | None:
        """The best offer, once peers had the time to make theirs; None when there is none."""
        began_s = trio.current_time()
        met_s: float | None = None
        offered_s: float | None = None
        while True:
            now_s = trio.current_time()
            if met_s is None and len(self.suppliers):
                met_s = now_s
            usable = self._usable()
            if offered_s is None and usable:
                offered_s = now_s
            if usable and offered_s is not None and now_s - offered_s >= CHOICE_WAIT_S:
                return self._best(usable)
            if met_s is None and now_s - began_s >= PEERS_WAIT_S:
                log.warning("no peer was met", seconds=int(PEERS_WAIT_S))
                return None
            if not usable and met_s is not None and now_s - met_s >= OFFERS_WAIT_S:
                log.warning("no peer offers a snapshot that can be used", peers=len(self.suppliers))
                return None
            await self.suppliers.news(1.0)

    def _usable(self) -> dict[Choice, list[str]]:
        return {c: names for c, names in self.suppliers.choices().items() if self._is_usable(c)}

    def _is_usable(self, choice: Choice) -> bool:
        if choice in self._spoilt or choice.height < 1:
            return False
        if self._trust is not None and choice.height < self._trust.height:
            return False  # a light client goes forward: nothing leads back from the trusted block
        return self.suppliers.continue_from(choice.height)

    def _best(self, usable: dict[Choice, list[str]]) -> Choice:
        """The one begun before; else one that several peers have; of those the newest."""
        begun = self._begun()

        def worth(choice: Choice) -> tuple[bool, int, int, bytes]:
            sources = min(len(usable[choice]), SOURCES_ENOUGH)
            return (choice.height, choice.layout) in begun, sources, choice.height, choice.layout

        return max(usable, key=worth)

    def _begun(self) -> set[tuple[int, bytes]]:
        """Snapshots that an earlier start has begun to fetch."""
        found = set()
        for place in self._places.snapshots.glob(f"*{FETCHED_SUFFIX}"):
            try:
                manifest = MANIFEST.decode((place / MANIFEST_FILE).read_bytes())
            except (OSError, Fault):
                continue
            found.add((manifest.header.height, layout_of(manifest)))
        return found

    # ------------------------------------------------------------ believing

    async def _believe(self, choice: Choice) -> Believed | None:
        """The block of an offer, believed by way of a peer that makes it; None when none leads there."""
        self._stage = f"verifies the header of height {choice.height}"
        tried: set[str] = set()
        while (peer := await self._untried(choice, tried)) is not None:
            tried.add(peer)
            try:
                believed = await self._lead.to(choice.height, peer)
                if believed.trusted.block_id != choice.block_id:
                    why = f"it offers a snapshot of a block that is not the chain's at {choice.height}"
                    raise PeerFault(MESSAGE_MALFORMED, kind=int(Kind.GET_SNAPSHOTS), why=why)
            except PeerFault as fault:
                self.suppliers.accuse(peer, fault)
                continue
            except Fault as fault:
                if fault.reason not in OTHERS_FAULTS:
                    raise
                self.suppliers.rest(peer, choice, str(fault))
                continue
            others = [name for name in self.suppliers.peers() if name != peer]
            agreeing = await self._lead.hear_witnesses(believed, others, self.suppliers.accuse)
            log.info(
                "the header is verified", height=choice.height, block=choice.block_id.hex(),
                witnesses=agreeing,
            )  # fmt: skip
            return believed
        log.warning("no peer leads to the block of its snapshot", height=choice.height)
        return None

    async def _untried(self, choice: Choice, tried: set[str]) -> str | None:
        """The next peer that makes an offer, perhaps after a moment: connections come and go."""
        with trio.move_on_after(CHOICE_WAIT_S):
            while True:
                for peer in self.suppliers.sources(choice):
                    if peer not in tried:
                        return peer
                await self.suppliers.news(CHOICE_WAIT_S)
        return None

    # ------------------------------------------------------------ taking

    async def _take(self, choice: Choice) -> bool:
        """Fetch, make the ledger, put it in its place; False when the snapshot cannot be had."""
        place = self._places.fetched(choice.height)
        for left in self._places.snapshots.glob(f"*{FETCHED_SUFFIX}"):
            if left != place:
                shutil.rmtree(left)
        self._stage = f"fetches the snapshot of height {choice.height}"
        for _ in range(ATTEMPTS_MAX):
            self._fetch = Fetch(self._net, self.suppliers, choice, self._terms, place)
            try:
                manifest = await self._fetch.run()
                self._stage = f"makes the ledger of height {choice.height}"
                wrong = await self._make(choice, manifest, place)
            except PeerFault:
                raise
            except Fault as fault:
                if fault.reason is SNAPSHOT_CHUNK_REFUSED:
                    # It was verified when it came: this disk has lost it, and only this one is fetched again.
                    log.warning("this disk does not hold what was written to it", why=str(fault))
                    (place / str(fault.facts["chunk"])).unlink(missing_ok=True)
                    continue
                log.warning("a snapshot is given up", height=choice.height, why=str(fault))
                return False
            if wrong:
                log.warning(
                    "the snapshot lacks transactions that its state names, or has others", count=wrong
                )
                if any(other != choice for other in self._usable()):
                    return False
            self._put_in_place(choice)
            shutil.rmtree(place)
            return True
        return False

    async def _make(self, choice: Choice, manifest: Manifest, place: Path) -> int:
        """Make the ledger beside its place; how many named transactions are not as its state wants them."""
        restoring = self._places.restoring
        shutil.rmtree(restoring, ignore_errors=True)

        def chunk(name: str) -> bytes:
            return (place / name).read_bytes()

        steps = restore(restoring, self._genesis, self._genesis_root, manifest, choice.block_id, chunk)
        await in_slices(steps)
        return await trio.to_thread.run_sync(self._check_made, restoring, manifest)

    def _put_in_place(self, choice: Choice) -> None:
        assert not has_ledger(self._places.ledger), "only a home without a ledger joins"
        shutil.rmtree(self._places.ledger, ignore_errors=True)
        data = FolderFiles(self._places.ledger.parent)
        data.rename(self._places.restoring.name, self._places.ledger.name)
        data.sync_folder()
        log.info("the ledger is made", height=choice.height, block=choice.block_id.hex())

    def _check_made(self, path: Path, manifest: Manifest) -> int:
        """Open what was made: its tree is rebuilt and must have the header's root.

        Which transactions are named only the state shows. A node without an index has none to give, which
        is no lie; another's snapshot is better.
        """
        ledger = Ledger.open(path, self._rules.genesis)
        try:
            named = named_transactions(heads.view(ledger, self._rules))
            return len(named.symmetric_difference(manifest.named))
        finally:
            ledger.close()
