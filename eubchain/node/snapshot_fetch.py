"""Fetching one snapshot from the peers that offer it, each piece verified on arrival.

Here: its manifest, its parts from several peers at a time, its named transactions and ends of epochs from
one peer each; the directory in which it grows and from which an interrupted fetch goes on.
Not here: which snapshot (snapshot_sync.py), the checks (eubchain/ledger/snapshot_check.py), the ledger made
of it (eubchain/ledger/restore.py).
Keeps: a file is there whole and verified, or not at all; whoever gave a piece that does not belong is
accused, and nobody else: what can only be judged in its order is taken from one peer, from its beginning.
Errors: 2571 snapshot_sources_gone.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
import trio

from consensus.light import Terms
from consensus.types.codec import encode
from consensus.types.errors import Fault, Reason
from eubchain.ledger.snapshot import (
    CHUNK_BYTES_MAX,
    EPOCHS,
    MANIFEST,
    MANIFEST_FILE,
    NAMED,
    PART,
    Manifest,
    chunk_file,
    layout_of,
)
from eubchain.ledger.snapshot_check import EpochsCheck, NamedCheck, check_manifest, check_part
from eubchain.ledger.snapshot_folder import SECTIONS
from eubchain.node.stepwise import in_slices
from eubchain.node.suppliers import Choice, Suppliers
from p2p.faults import MESSAGE_MALFORMED, PeerFault, blaming
from p2p.frames import Kind
from p2p.messages import GetChunk
from p2p.net import REQUEST_TIMEOUT_S, Net

log = structlog.get_logger("snapshots")

ASKING_PER_PEER = 3
"""Parts asked for at one time of one peer; it answers some five a second (p2p/peers.py)."""
SOURCES_WAIT_S = 20.0
"""How long to wait for a peer that gives the snapshot when none does: one may come back."""

SNAPSHOT_SOURCES_GONE = Reason(
    2571,
    "snapshot_sources_gone",
    "height:height",
    "No peer gives the snapshot of height {height} any more.",
    "Nothing to do: another snapshot is taken, or the chain is followed from its first block.",
)


class Fetch:
    """One snapshot of a believed block on its way into `place`."""

    def __init__(self, net: Net, suppliers: Suppliers, choice: Choice, terms: Terms, place: Path) -> None:
        self._net, self._suppliers, self._choice, self._terms = net, suppliers, choice, terms
        self._place = place
        self._waiting: deque[int] = deque()
        self._asking: dict[str, int] = {}
        self._changed = trio.Event()
        self._giver = ""
        """The peer whose manifest this is; empty for one that an earlier start left."""
        self.done = self.total = 0
        """Chunks that are here, and all."""
        self.bytes = 0
        """Of chunks fetched since the start."""

    async def run(self) -> Manifest:
        """Fetch what is missing; raise `Fault` 2571. Afterwards every chunk's file is there."""
        manifest = self._kept_manifest()
        if manifest is None:
            await self._from_one(self._take_manifest)
        else:
            self._count(manifest)
            log.info("goes on with a snapshot begun before", height=self._choice.height, chunks=self._told())
        manifest = self._manifest()
        await self._take_parts(manifest)
        named = [chunk_file(NAMED, number) for number in range(manifest.named_chunks)]
        if not self._has(named):
            await self._from_one(self._take_named)
        ends = [chunk_file(EPOCHS, number) for number in range(manifest.epoch_chunks)]
        if not self._has(ends):
            await self._from_one(self._take_epochs)
        return self._manifest()

    def _told(self) -> str:
        return f"{self.done}/{self.total}"

    # ------------------------------------------------------------ files

    def _has(self, names: list[str]) -> bool:
        return all((self._place / name).exists() for name in names)

    def _store(self, name: str, raw: bytes) -> None:
        new = self._place / f"{name}.new"
        new.write_bytes(raw)
        new.replace(self._place / name)

    def _drop(self, kind: str) -> None:
        for path in self._place.glob(f"{kind}-*"):
            path.unlink()

    def _manifest(self) -> Manifest:
        return MANIFEST.decode((self._place / MANIFEST_FILE).read_bytes())

    def _kept_manifest(self) -> Manifest | None:
        """The manifest that an earlier start left, if it is of this snapshot; else the place is cleared."""
        try:
            manifest = self._manifest()
            check_manifest(manifest, self._terms, self._choice.block_id)
            if layout_of(manifest) == self._choice.layout:
                return manifest
        except (OSError, Fault):
            pass  # nothing, or of another snapshot, or cut short by a power cut
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir(parents=True)
        return None

    def _count(self, manifest: Manifest) -> None:
        names = manifest.chunks()
        self.total = len(names)
        self.done = sum(1 for name in names if (self._place / name).exists())

    # ------------------------------------------------------------ asking

    async def _ask(self, peer: str, section: str, number: int) -> bytes:
        """A piece; raise `Fault` 2571 when the peer has it no more, `PeerFault`, `Fault` 2410, 2411."""
        body = encode(GetChunk(self._choice.height, SECTIONS.index(section), number))
        answer = await self._net.request(peer, Kind.GET_CHUNK, body, REQUEST_TIMEOUT_S)
        if answer is None:
            raise Fault(SNAPSHOT_SOURCES_GONE, height=self._choice.height)
        self.bytes += len(answer)
        return answer

    async def _is_offered(self) -> bool:
        """Whether a peer gives this snapshot, perhaps after a while."""
        with trio.move_on_after(SOURCES_WAIT_S):
            while not self._suppliers.sources(self._choice):
                await self._suppliers.news(SOURCES_WAIT_S)
        return bool(self._suppliers.sources(self._choice))

    async def _from_one(self, take: Callable[[str], Awaitable[None]]) -> None:
        """Take something whole from one peer; from the next one when it fails."""
        while await self._is_offered():
            peer = self._suppliers.sources(self._choice)[0]
            try:
                await take(peer)
            except PeerFault as fault:
                self._suppliers.accuse(peer, fault)
            except Fault as fault:
                self._suppliers.rest(peer, self._choice, str(fault))
            else:
                return
        raise Fault(SNAPSHOT_SOURCES_GONE, height=self._choice.height)

    # ------------------------------------------------------------ the manifest

    async def _take_manifest(self, peer: str) -> None:
        raw, manifest = await self._fetch_manifest(peer)
        self._store(MANIFEST_FILE, raw)
        self._giver = peer
        self._count(manifest)
        log.info(
            "takes a snapshot", height=self._choice.height, chunks=self.total,
            peers=len(self._suppliers.sources(self._choice)),
        )  # fmt: skip

    async def _fetch_manifest(self, peer: str) -> tuple[bytes, Manifest]:
        offer = self._suppliers.offer(peer, self._choice)
        if offer is None:
            raise Fault(SNAPSHOT_SOURCES_GONE, height=self._choice.height)
        raw = bytearray()
        for number in range(-(-offer.manifest_bytes // CHUNK_BYTES_MAX)):
            piece = await self._ask(peer, MANIFEST_FILE, number)
            raw += piece
            rest = offer.manifest_bytes - len(raw)
            if rest < 0 or (rest and len(piece) != CHUNK_BYTES_MAX):
                why = "a piece of a manifest has not the length that was offered"
                raise PeerFault(MESSAGE_MALFORMED, kind=int(Kind.GET_CHUNK), why=why)
        with blaming(Kind.GET_CHUNK):
            manifest = MANIFEST.decode(bytes(raw))
            check_manifest(manifest, self._terms, self._choice.block_id)
        if layout_of(manifest) != self._choice.layout:
            why = "a manifest has not the layout that was offered"
            raise PeerFault(MESSAGE_MALFORMED, kind=int(Kind.GET_CHUNK), why=why)
        return bytes(raw), manifest

    # ------------------------------------------------------------ parts

    async def _take_parts(self, manifest: Manifest) -> None:
        """Every part that is missing, from all peers that have them, a few at a time from each."""
        numbers = range(len(manifest.prefixes))
        self._waiting.extend(n for n in numbers if not (self._place / chunk_file(PART, n)).exists())
        async with trio.open_nursery() as nursery:
            while self._waiting or self._asking:
                for peer in self._suppliers.sources(self._choice) if self._waiting else ():
                    for _ in range(self._asking.get(peer, 0), min(ASKING_PER_PEER, len(self._waiting))):
                        self._asking[peer] = self._asking.get(peer, 0) + 1
                        nursery.start_soon(self._take_some, manifest, peer)
                if not self._asking:
                    # Within a nursery a fault would come out in a group.
                    if not await self._is_offered():
                        break
                    continue
                self._changed = trio.Event()
                with trio.move_on_after(1.0):  # a peer may have come meanwhile
                    await self._changed.wait()
        if self._waiting:
            raise Fault(SNAPSHOT_SOURCES_GONE, height=self._choice.height)

    async def _take_some(self, manifest: Manifest, peer: str) -> None:
        """Part after part from one peer, until none waits or the peer fails."""
        try:
            while self._waiting and peer in self._suppliers.sources(self._choice):
                number = self._waiting.popleft()
                try:
                    await self._take_part(manifest, number, peer)
                except BaseException:
                    self._waiting.appendleft(number)
                    raise
        except PeerFault as fault:
            self._suppliers.accuse(peer, fault)
        except Fault as fault:
            self._suppliers.rest(peer, self._choice, str(fault))
        finally:
            self._asking[peer] -= 1
            if not self._asking[peer]:
                del self._asking[peer]
            self._changed.set()

    async def _take_part(self, manifest: Manifest, number: int, peer: str) -> None:
        raw = await self._ask(peer, PART, number)
        with blaming(Kind.GET_CHUNK):
            check_part(manifest, number, raw)
        self._suppliers.gave(peer, self._choice)
        self._store(chunk_file(PART, number), raw)
        self.done += 1

    # ------------------------------------------------------------ what has an order

    async def _take_named(self, peer: str) -> None:
        manifest = self._manifest()
        self._drop(NAMED)
        self._count(manifest)
        check = NamedCheck(manifest)
        for number in range(manifest.named_chunks):
            raw = await self._ask(peer, NAMED, number)
            with blaming(Kind.GET_CHUNK):
                check.take(number, raw)
            self._store(chunk_file(NAMED, number), raw)
            self.done += 1
        with blaming(Kind.GET_CHUNK):
            check.finish()

    async def _take_epochs(self, peer: str) -> None:
        """The ends of epochs as this peer keeps them, and its manifest, which counts them."""
        if peer != self._giver:
            raw, _ = await self._fetch_manifest(peer)
            self._drop(EPOCHS)
            self._store(MANIFEST_FILE, raw)
            self._giver = peer
        manifest = self._manifest()
        self._drop(EPOCHS)
        self._count(manifest)
        check = EpochsCheck(manifest, self._terms)
        for number in range(manifest.epoch_chunks):
            raw = await self._ask(peer, EPOCHS, number)
            with blaming(Kind.GET_CHUNK):
                await in_slices(check.take(number, raw))
            self._store(chunk_file(EPOCHS, number), raw)
            self.done += 1
        with blaming(Kind.GET_CHUNK):
            check.finish()
