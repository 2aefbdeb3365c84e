"""Blocks that are being agreed on: gathered from parts and from transactions that are here already.

Here: offering this node's blocks, gathering others', asking peers for what is missing, answering them.
Not here: whether a block is valid (production.py), final blocks (sync.py).
Keeps: a proposed block travels as header, names of its transactions and last commit; a transaction's
bytes travel only to whoever lacks them. Whatever is kept belongs to this height or its neighbours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

import structlog
import trio

from consensus.types.block import Block, block_id, commit_hash
from consensus.types.codec import encode
from consensus.types.errors import Fault
from consensus.types.hashing import list_root_steps
from consensus.types.params import ChainParams
from consensus.types.transaction import wtxids_in_slices, wtxids_of
from eubchain.node.stepwise import in_slices
from p2p.faults import MESSAGE_MALFORMED, PeerFault
from p2p.frames import PART_BYTES_MAX, Kind
from p2p.messages import (
    BLOCK_PARTS_MAX,
    GET_PROPOSED,
    GET_TRANSACTIONS,
    PROPOSED_BLOCK,
    TRANSACTIONS,
    BlockPart,
    GetProposed,
    GetTransactions,
    ProposedBlock,
    Transactions,
    read_body,
)
from p2p.net import REQUEST_TIMEOUT_S, Net

log = structlog.get_logger("network")

PARTS_WAIT_S = 0.15
"""How long unasked parts of a proposed block are waited for before a peer is asked."""
NEXT_PEER_S = 0.4
"""After which the next peer is asked as well: one that does not answer may take ten seconds over it."""
ASKED_MAX = 4
"""Peers that are asked at a time."""
AGAIN_S = 0.3
"""After every peer has been asked in vain."""
WHOLE_MAX = 16
"""Blocks whose names are whole and wait for their check; more are asked for, should they matter."""
GATHERING_MAX = 64
"""Blocks whose parts are being gathered: a few from each peer that proposes."""
BLOCKS_PER_PEER_MAX = 6
"""Blocks that one peer may send parts of unasked, at one height: it proposes one per round."""
NAME_BYTES = 34
"""A transaction's name in a block's encoding."""
ENVELOPE_BYTES = 64 * 1024
"""Header and last commit of a block's names, at most."""
BLOCKS_MAX = 32
"""Blocks kept; a height rarely has more than one."""


class Sources(Protocol):
    """Where a block's pieces come from."""

    def transaction(self, wtxid: bytes) -> bytes | None:
        """The bytes of a transaction that is here."""
        ...

    def likely_holders(self, height: int) -> list[str]:
        """Peers that may have what belongs to a height, the likeliest first."""
        ...

    def hold(self, block: bytes, wtxids: Sequence[bytes]) -> None:
        """Keep the transactions of a live proposal that are here."""
        ...

    def release(self) -> None:
        """No proposal is alive: its height is over."""
        ...


class Kept:
    """A block of which the names are known, or everything."""

    __slots__ = ("block", "height", "holder", "names")

    def __init__(self, height: int) -> None:
        self.height = height
        self.names: ProposedBlock | None = None
        self.block: Block | None = None
        self.holder = ""
        """The peer that told of it first."""


class ProposedBlocks:
    """The blocks of the present height and the one before."""

    def __init__(
        self,
        net: Net,
        genesis: bytes,
        sources: Sources,
        deliver: Callable[[bytes, Block], Awaitable[None]],
        chain: ChainParams,
    ) -> None:
        self._net, self._genesis, self._sources, self._deliver = net, genesis, sources, deliver
        self._transactions_max, self._bytes_max = chain.block_transactions_max, chain.block_bytes_max
        names_bytes = ENVELOPE_BYTES + NAME_BYTES * chain.block_transactions_max
        self._parts_max = min(BLOCK_PARTS_MAX, -(-names_bytes // PART_BYTES_MAX))
        self._height = 0
        self._kept: dict[bytes, Kept] = {}
        self._parts: dict[tuple[str, bytes], dict[int, bytes]] = {}
        self._begun: dict[str, int] = {}
        """Blocks that each peer has sent parts of unasked, at this height."""
        self._named = trio.Event()
        self._whole, self._gathered = trio.open_memory_channel[tuple[str, bytes, int, bytes]](WHOLE_MAX)
        self._wanted: dict[bytes, trio.CancelScope] = {}

    @property
    def wanted(self) -> bytes | None:
        """A block that this node lacks."""
        return next(iter(self._wanted), None)

    def at_height(self, height: int) -> None:
        """Forget what is older than the height before; what was wanted is wanted no more."""
        self._height = height
        self._sources.release()
        for scope in self._wanted.values():
            scope.cancel()
        self._wanted.clear()
        self._kept = {i: kept for i, kept in self._kept.items() if kept.height >= height - 1}
        self._parts.clear()
        self._begun.clear()

    def _entry(self, identity: bytes, height: int) -> Kept:
        kept = self._kept.get(identity)
        if kept is None:
            if len(self._kept) >= BLOCKS_MAX:
                idle = [i for i, k in self._kept.items() if k.block is None and i not in self._wanted]
                del self._kept[idle[0] if idle else next(iter(self._kept))]
            kept = self._kept[identity] = Kept(height)
        return kept

    def keep(self, identity: bytes, block: Block, wtxids: Sequence[bytes] = ()) -> None:
        """Keep a whole block for whoever asks; `wtxids` are its transactions' names, if they are known."""
        kept = self._entry(identity, block.header.height)
        kept.block = block
        if kept.names is None:
            wtxids = wtxids or wtxids_of(block.transactions)
            kept.names = ProposedBlock(block.header, tuple(wtxids), block.last_commit)
        if block.header.height == self._height:
            self._sources.hold(identity, kept.names.wtxids)

    def block(self, identity: bytes) -> Block | None:
        """A whole block that is here."""
        kept = self._kept.get(identity)
        return kept.block if kept else None

    def parts(self, identity: bytes) -> list[bytes]:
        """The bodies of the frames that carry a block's names, for one that is here."""
        kept = self._kept.get(identity)
        if kept is None or kept.names is None:
            return []
        data = encode(kept.names)
        pieces = [data[i : i + PART_BYTES_MAX] for i in range(0, len(data), PART_BYTES_MAX)]
        assert len(pieces) <= BLOCK_PARTS_MAX, "a block's names are bounded"
        return [
            encode(BlockPart(kept.height, identity, index, len(pieces), piece))
            for index, piece in enumerate(pieces)
        ]

    # ------------------------------------------------------------ gathering

    def heard_of(self, identity: bytes, height: int, peer: str) -> None:
        """A peer has spoken for this block, so it may have it."""
        kept = self._entry(identity, height)
        if not kept.holder:
            kept.holder = peer

    async def run(self) -> None:
        """Check names that came in parts, until cancelled: a full block's root takes longer than a slice."""
        async for peer, identity, height, data in self._gathered:
            try:
                await self._take_names(peer, identity, height, data)
            except PeerFault as fault:
                self._net.accuse(peer, fault)

    def take_part(self, peer: str, part: BlockPart) -> None:
        """A part of a block's names; raise `PeerFault` 2402 for one that no block has."""
        if not self._height <= part.height <= self._height + 1:
            return
        kept = self._kept.get(part.block_id)
        if kept is not None and kept.names is not None:
            return
        if part.total > self._parts_max:
            raise PeerFault(MESSAGE_MALFORMED, kind=int(Kind.BLOCK_PART), why="no block has so many parts")
        key = (peer, part.block_id)
        if key not in self._parts:
            if len(self._parts) >= GATHERING_MAX or self._begun.get(peer, 0) >= BLOCKS_PER_PEER_MAX:
                return  # asked for by request, should it matter
            self._begun[peer] = self._begun.get(peer, 0) + 1
        pieces = self._parts.setdefault(key, {})
        pieces[part.index] = part.data
        if len(pieces) == part.total:
            del self._parts[key]
            data = b"".join(pieces[index] for index in sorted(pieces))
            with suppress(trio.WouldBlock):  # asked for by request, should it matter
                self._whole.send_nowait((peer, part.block_id, part.height, data))

    async def _take_names(self, peer: str, identity: bytes, height: int, data: bytes) -> None:
        names = read_body(PROPOSED_BLOCK, Kind.BLOCK_PART, data)
        header = names.header
        root = await in_slices(list_root_steps(names.wtxids[: self._transactions_max]))
        fits = (
            block_id(self._genesis, header) == identity
            and header.height == height
            and len(names.wtxids) <= self._transactions_max
            and root == header.txs_root
            and commit_hash(names.last_commit) == header.last_commit_hash
        )
        if not fits:
            raise PeerFault(MESSAGE_MALFORMED, kind=int(Kind.BLOCK_PART), why="it is not the block it names")
        if height < self._height:
            return  # it was decided meanwhile
        kept = self._entry(identity, height)
        kept.names = names
        kept.holder = kept.holder or peer
        if identity in self._wanted:
            self._sources.hold(identity, names.wtxids)
        self._named.set()
        self._named = trio.Event()

    async def get(self, identity: bytes) -> None:
        """Gather a block and deliver it; ends without it when the height is over, or it is too large."""
        if identity in self._wanted:
            return
        height = self._height
        with trio.CancelScope() as scope:
            self._wanted[identity] = scope
            names = self._entry(identity, height).names
            if names is not None:
                self._sources.hold(identity, names.wtxids)
            block = None
            while block is None:
                block = await self._try(identity, height)
            if self._wanted.get(identity) is scope:
                del self._wanted[identity]
            if sum(map(len, block.transactions)) > self._bytes_max:
                # It names more of what waits here than a block may hold: nobody votes for it.
                log.warning("a proposed block is too large", block=identity.hex())
                return
            self.keep(identity, block)
            await self._deliver(identity, block)

    async def _try(self, identity: bytes, height: int) -> Block | None:
        """One turn: what is here, then each peer that may have it."""
        kept = self._entry(identity, height)
        if kept.names is None:
            with trio.move_on_after(PARTS_WAIT_S):
                while kept.names is None:
                    await self._named.wait()
        others = self._sources.likely_holders(height)
        peers = [p for p in (kept.holder,) if p in others] + [p for p in others if p != kept.holder]
        found: list[Block] = []
        at_a_time = trio.Semaphore(ASKED_MAX)
        async with trio.open_nursery() as asking:
            for peer in peers:
                if kept.block is not None:
                    found.append(kept.block)
                if found:
                    break
                await at_a_time.acquire()
                over = trio.Event()

                async def ask(peer: str = peer, over: trio.Event = over) -> None:
                    await self._ask(peer, identity, height, kept, found)
                    over.set()
                    at_a_time.release()
                    if found:
                        asking.cancel_scope.cancel()  # requests end by themselves

                asking.start_soon(ask)
                with trio.move_on_after(NEXT_PEER_S):
                    await over.wait()
        if found:
            return found[0]
        if kept.names is not None:
            held = [raw for raw in self._found(kept.names) if raw is not None]
            if len(held) == len(kept.names.wtxids):
                return Block(kept.names.header, tuple(held), kept.names.last_commit)
        await trio.sleep(AGAIN_S)
        return None

    async def _ask(self, peer: str, identity: bytes, height: int, kept: Kept, found: list[Block]) -> None:
        """Ask one peer for what is missing."""
        try:
            if kept.names is None:
                await self._ask_names(peer, identity, height)
            if kept.names is not None:
                block = await self._complete(peer, identity, height, kept.names)
                if block is not None:
                    found.append(block)
        except PeerFault as fault:
            self._net.accuse(peer, fault)
        except Fault as fault:
            log.debug("a peer did not help", peer=peer, why=str(fault))

    async def _ask_names(self, peer: str, identity: bytes, height: int) -> None:
        body = encode(GetProposed(height, identity))
        answer = await self._net.request(peer, Kind.GET_PROPOSED, body, REQUEST_TIMEOUT_S)
        if answer is not None:
            await self._take_names(peer, identity, height, answer)

    def _found(self, names: ProposedBlock) -> list[bytes | None]:
        return [self._sources.transaction(wtxid) for wtxid in names.wtxids]

    async def _complete(self, peer: str, identity: bytes, height: int, names: ProposedBlock) -> Block | None:
        """The block from what is here and what the peer adds; None when the peer lacks it too."""
        found = self._found(names)
        missing = [index for index, raw in enumerate(found) if raw is None]
        if missing:
            bits = sum(1 << index for index in missing)
            bitmap = bits.to_bytes((len(found) + 7) // 8, "little")
            body = encode(GetTransactions(height, identity, bitmap))
            answer = await self._net.request(peer, Kind.GET_TRANSACTIONS, body, REQUEST_TIMEOUT_S)
            if answer is None:
                return None
            raws = read_body(TRANSACTIONS, Kind.GET_TRANSACTIONS, answer).raws
            asked = [names.wtxids[index] for index in missing]
            if await in_slices(wtxids_in_slices(raws)) != asked:
                why = "these are not the transactions asked for"
                raise PeerFault(MESSAGE_MALFORMED, kind=int(Kind.GET_TRANSACTIONS), why=why)
            for index, raw in zip(missing, raws, strict=True):
                found[index] = raw
        return Block(names.header, tuple(raw for raw in found if raw is not None), names.last_commit)

    # ------------------------------------------------------------ answering

    def answer(self, kind: Kind, body: bytes) -> bytes | None:
        """Answer a peer; None for what is not here. Raise `PeerFault` 2402."""
        if kind is Kind.GET_PROPOSED:
            kept = self._kept.get(read_body(GET_PROPOSED, kind, body).block_id)
            return encode(kept.names) if kept is not None and kept.names is not None else None
        asked = read_body(GET_TRANSACTIONS, kind, body)
        block = self.block(asked.block_id)
        if block is None:
            return None
        bits = int.from_bytes(asked.bitmap, "little")
        raws = block.transactions
        if bits >> len(raws):
            raise PeerFault(MESSAGE_MALFORMED, kind=int(kind), why="positions beyond the block")
        return encode(Transactions(tuple(raw for index, raw in enumerate(raws) if bits >> index & 1)))
