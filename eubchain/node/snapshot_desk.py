"""Serving snapshots to peers: which there are, and their pieces.

Here: answering `get_snapshots` and `get_chunk` from the folder of this node's snapshots.
Not here: the folder (eubchain/ledger/snapshot_folder.py, which RPC serves from too), cutting (upkeep.py),
asking (snapshot_sync.py), what a request costs its peer (p2p/peers.py).
Keeps: files are read in a thread, a few at a time; what waits is bounded, and whoever finds the desk busy is
told that there is nothing: it asks elsewhere.
"""

from __future__ import annotations

import structlog
import trio

from consensus.types.codec import encode
from eubchain.ledger.snapshot_folder import SnapshotFolder
from p2p.faults import PeerFault
from p2p.frames import Kind, answer_bytes_max
from p2p.messages import GET_CHUNK, GET_SNAPSHOTS, SnapshotOffer, SnapshotOffers, read_body
from p2p.net import Request

log = structlog.get_logger("snapshots")

WAITING_MAX = 32
"""Requests that wait for their turn, of all peers together."""
READERS = 2
"""Files that are read at one time: the disk is the ledger's first."""


class SnapshotDesk:
    """Answers peers; without a folder there is nothing."""

    def __init__(self, folder: SnapshotFolder | None) -> None:
        self._folder = folder
        self._send, self._receive = trio.open_memory_channel[Request](WAITING_MAX)
        self.served = 0
        """Chunks given to peers since the start."""

    def take(self, request: Request) -> None:
        """Answer a request later, or at once with nothing; raise `PeerFault` 2402 for a malformed one."""
        codec = GET_SNAPSHOTS if request.kind is Kind.GET_SNAPSHOTS else GET_CHUNK
        try:
            read_body(codec, request.kind, request.body)
        except PeerFault:
            request.answer(None)
            raise
        try:
            self._send.send_nowait(request)
        except trio.WouldBlock:
            request.answer(None)

    async def run(self) -> None:
        """Answer until cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(READERS):
                nursery.start_soon(self._serve)

    async def _serve(self) -> None:
        async for request in self._receive:
            answer: bytes | None = None
            try:
                if self._folder is not None:
                    answer = await trio.to_thread.run_sync(self._answer, self._folder, request)
                    self.served += answer is not None and request.kind is Kind.GET_CHUNK
            finally:
                request.answer(answer)

    def _answer(self, folder: SnapshotFolder, request: Request) -> bytes | None:
        if request.kind is Kind.GET_SNAPSHOTS:
            count = read_body(GET_SNAPSHOTS, request.kind, request.body).count
            offers = tuple(SnapshotOffer(*offered) for offered in folder.offered(count))
            return encode(SnapshotOffers(offers)) if offers else None
        asked = read_body(GET_CHUNK, request.kind, request.body)
        piece = folder.piece(asked.height, asked.section, asked.number)
        fits = piece is not None and len(piece) <= answer_bytes_max(Kind.GET_CHUNK)
        return piece if fits else None
