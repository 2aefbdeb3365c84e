"""Catching up: final blocks from peers, verified by their commits, handed to the engine.

Here: noticing that peers are ahead, asking for ranges of blocks, one ahead of the one that is applied,
verifying commits, serving ranges and single headers.
Not here: executing and storing (the engine does, through execution.py), agreement on the present height.
Keeps: a block is handed over only with signatures of more than two thirds of the power of its height's
own set; sets of later heights are taken from this node's state, never from a peer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Generator, Sequence
from typing import NamedTuple, Protocol

import structlog
import trio

from consensus.types.block import block_id, commit_hash
from consensus.types.codec import encode
from consensus.types.errors import Fault, Rejected
from consensus.types.hashing import list_root_steps
from consensus.types.transaction import SignatureCheck, wtxids_in_slices
from consensus.validators import validators_hash
from eubchain.ledger.ledger import Ledger
from eubchain.node.network import Final
from eubchain.node.stepwise import in_slices
from eubchain.node.trust_gate import TrustGate
from eubchain.node.workers import VerifyPool
from p2p.faults import MESSAGE_MALFORMED, REQUEST_UNANSWERED, PeerFault
from p2p.frames import Kind, answer_bytes_max
from p2p.messages import (
    BLOCKS_MAX,
    FINAL_BLOCKS,
    GET_BLOCKS,
    GET_LIGHT_BLOCK,
    FinalBlock,
    GetBlocks,
    encode_final_blocks,
    read_body,
)
from p2p.net import REQUEST_TIMEOUT_S, Net
from vm import head as heads
from vm import validity
from vm.rules import Rules
from vm.validity import BlockInvalid

log = structlog.get_logger("sync")

TURN_S = 0.25
PATIENCE_S = 1.0
"""A peer that is one block ahead is usually a moment ahead: agreement gets this long to follow."""
ANSWER_BYTES_WANTED = 4 * 2**20
"""A range ends here; one block more always fits what a peer accepts."""
BLOCKS_WANTED = 64
RANGES_HELD_MAX = 2
"""The one that is applied, and the one that was asked for meanwhile."""
EMPTY_CLAIM_POINTS = 10
ANSWER_S_MAX = 3.0
PUT_OFF_S = 120.0
"""A peer that gives less than a range in this time is asked last for so long."""


class Progress(NamedTuple):
    """What `status` says."""

    is_syncing: bool
    height: int
    target: int


class _Range(NamedTuple):
    """Blocks as a peer gave them."""

    peer: str
    blocks: tuple[FinalBlock, ...]


class Ahead(Protocol):
    """What is known of peers."""

    def peers_ahead(self, height: int) -> list[str]:
        """Peers whose ledger holds this height, in the order in which to ask them."""
        ...

    def peers_height(self) -> int:
        """The highest height that a peer reports."""
        ...


class Sync:
    """Keeps the ledger near its peers'."""

    def __init__(
        self,
        net: Net,
        ledger: Ledger,
        rules: Rules,
        pool: VerifyPool,
        peers: Ahead,
        overtake: Callable[[Sequence[Final]], Awaitable[None]],
        gate: TrustGate | None = None,
    ) -> None:
        self._net, self._ledger, self._rules, self._pool = net, ledger, rules, pool
        self._peers, self._overtake, self._gate = peers, overtake, gate
        self._behind_since_s: float | None = None
        self._behind_height = 0
        self._source = ""
        """The peer that gave the last range, while it is further ahead."""
        self._wanted = BLOCKS_WANTED
        """Fewer after a range that did not come in time: this node's own line may be slow."""
        self._put_off: dict[str, float] = {}
        """Peers that fed slowly, and until when they are asked last."""
        self._held: list[_Range] = []
        """Ranges that follow the head and each other, in the order of their heights."""
        self.blocks = 0
        """Blocks taken from peers since the start."""

    @property
    def progress(self) -> Progress:
        """Where catching up stands."""
        height, target = self._ledger.height, self._peers.peers_height()
        return Progress(self.is_behind(), height, max(height, target))

    def is_behind(self) -> bool:
        """Whether blocks are on their way, so that agreeing on the next height is pointless.

        Only a peer that has just given verified blocks is believed to have more: else one that lies
        about its height could keep this node from agreeing.
        """
        return self._source in self._peers.peers_ahead(self._ledger.height + 2)

    async def run(self) -> None:
        """Catch up whenever it is needed, until cancelled; raise `Fault` 2560, 2561, which stop the node."""
        while True:
            await trio.sleep(TURN_S)
            while self._is_due():
                if not await self._one_range():
                    # Nobody helped: agreement goes on with what it has, and peers are asked again.
                    self._source = ""
                    await self._overtake(())
                    break

    def _is_due(self) -> bool:
        lead = self._peers.peers_height() - self._ledger.height
        now_s = trio.current_time()
        if lead <= 0:
            self._behind_since_s, self._source = None, ""
            self._held.clear()
            return False
        if self._behind_since_s is None or self._behind_height != self._ledger.height:
            self._behind_since_s, self._behind_height = now_s, self._ledger.height
        return lead > 1 or now_s - self._behind_since_s >= PATIENCE_S

    async def _one_range(self) -> bool:
        """Hand over what comes next: what is held, else the answer of the first peer that helps.

        The range after it is asked for while this one is verified and applied.
        """
        first = self._ledger.height + 1
        head = heads.head(heads.view(self._ledger, self._rules))
        if self._gate is not None:
            self._gate.check_head(head.height, head.time_ms)
        self._drop_passed()
        false: set[str] = set()
        while self._held or await self._ask_in_turn(first, false):
            peer = self._held[0].peer
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask_ahead)
                fault = await self._hand_over(first)
                if fault is not None:
                    nursery.cancel_scope.cancel()
            if fault is None:
                return True
            self._held.clear()  # what was asked for ahead would follow what this peer gave
            false.add(peer)
            self._net.accuse(peer, fault)
        return False

    async def _hand_over(self, first: int) -> PeerFault | None:
        """Verify the oldest range held and have it applied; return the fault of whoever gave it."""
        held = self._held[0]
        try:
            verified = await self.verify(held.blocks) if self._ledger.height + 1 == first else []
        except PeerFault as fault:
            return fault
        if self._gate is not None:
            for final in verified:
                self._gate.check_block(final.block.header.height, final.block_id)
        if not verified or self._ledger.height + 1 != first:
            return None  # agreement was faster
        self._source = held.peer
        await self._overtake(verified)
        self.blocks += len(verified)
        log.info("blocks from a peer", first=first, count=len(verified), target=self._peers.peers_height())
        self._drop_passed()
        return None

    def _drop_passed(self) -> None:
        """Forget held blocks that the ledger has, and all when the next one is not among them."""
        height = self._ledger.height
        left = (
            _Range(held.peer, tuple(b for b in held.blocks if b.block.header.height > height))
            for held in self._held
        )
        self._held = [held for held in left if held.blocks]
        if self._held and self._held[0].blocks[0].block.header.height != height + 1:
            self._held.clear()

    async def _ask_in_turn(self, first: int, without: Collection[str] = ()) -> bool:
        """Ask peers for a range until one gives it; it is held then."""
        for peer in self._in_turn(first):
            if peer in without:
                continue
            began_s = trio.current_time()
            try:
                wanted = self._wanted
                body = encode(GetBlocks(first, wanted))
                answer = await self._net.request(peer, Kind.GET_BLOCKS, body, REQUEST_TIMEOUT_S)
                if answer is None:
                    self._net.penalise(peer, "it claims blocks that it does not give", EMPTY_CLAIM_POINTS)
                    continue
                blocks = read_body(FINAL_BLOCKS, Kind.GET_BLOCKS, answer).blocks
                if not blocks or blocks[0].block.header.height != first:
                    raise _false("these are not the blocks asked for")
            except PeerFault as fault:
                self._net.accuse(peer, fault)
                continue
            except Fault as fault:
                if fault.reason is REQUEST_UNANSWERED:
                    self._net.penalise(peer, "it claims blocks and does not answer", EMPTY_CLAIM_POINTS)
                    self._wanted = max(1, self._wanted // 4)
                self._put_off[peer] = trio.current_time() + PUT_OFF_S
                log.debug("a peer did not help", peer=peer, why=str(fault))
                continue
            self._held.append(_Range(peer, blocks))
            self._wanted = min(BLOCKS_WANTED, 2 * self._wanted)
            if self._is_slow(peer, blocks, wanted, began_s):
                self._put_off[peer] = trio.current_time() + PUT_OFF_S
            return True
        return False

    def _in_turn(self, first: int) -> list[str]:
        """Peers that hold a block, those that fed slowly last; the first claim most, which says nothing."""
        now_s = trio.current_time()
        self._put_off = {peer: until for peer, until in self._put_off.items() if until > now_s}
        return sorted(self._peers.peers_ahead(first), key=lambda peer: peer in self._put_off)

    def _is_slow(self, peer: str, blocks: Sequence[FinalBlock], wanted: int, began_s: float) -> bool:
        """Whether a peer took long, or gave little though it says that it has the next block as well.

        One block at a time, each at the last moment, would keep a node behind for ever, and its key silent.
        """
        if trio.current_time() - began_s > ANSWER_S_MAX:
            return True
        size = sum(len(raw) for final in blocks for raw in final.block.transactions)
        has_more = peer in self._peers.peers_ahead(blocks[-1].block.header.height + 1)
        return has_more and len(blocks) < wanted and 2 * size < ANSWER_BYTES_WANTED

    async def _ask_ahead(self) -> None:
        """Ask for what follows the range that is being applied: one range, so that memory is bounded."""
        if len(self._held) < RANGES_HELD_MAX:
            await self._ask_in_turn(self._held[-1].blocks[-1].block.header.height + 1)

    async def verify(self, blocks: Sequence[FinalBlock]) -> list[Final]:
        """The blocks that follow the head with a commit of their height's set, as far as that is known.

        Raise `PeerFault` 2402 for blocks that no honest peer has.
        """
        view = heads.view(self._ledger, self._rules)
        height = self._ledger.height + 1
        validators = heads.validators_at(view, height)
        assert validators, "a height has validators"
        known = validators_hash(validators)
        parent = self._ledger.meta.block_id
        checks: list[SignatureCheck] = []
        found: list[Final] = []

        def collect(more: Sequence[SignatureCheck]) -> bool:
            checks.extend(more)
            return True

        for final in blocks:
            header = final.block.header
            if header.validators_hash != known and found:
                break  # the set has changed: it stands in the state after the block before
            identity = block_id(self._rules.genesis, header)
            if header.height != height or header.parent != parent:
                raise _false("the blocks do not follow each other")
            try:
                validity.check_commit(self._rules, final.commit, height, identity, validators, collect)
            except (BlockInvalid, Rejected) as fault:
                raise _false(str(fault)) from None
            block = final.block
            root = await in_slices(_transactions_root(block.transactions))
            if root != header.txs_root or commit_hash(block.last_commit) != header.last_commit_hash:
                raise _false("a block is not what its header says")
            found.append(Final(block, identity, final.commit))
            await trio.lowlevel.checkpoint()
            height, parent = height + 1, identity
        if not all(await self._pool.signatures(checks)):
            raise _false("a signature of a commit does not verify")
        return found

    def answer(self, body: bytes) -> bytes | None:
        """A range for a peer; None when this node does not keep its first block."""
        asked = read_body(GET_BLOCKS, Kind.GET_BLOCKS, body)
        reader = self._ledger.view()
        found: list[tuple[bytes, bytes]] = []
        size = 0
        for height in range(asked.first, min(asked.first + asked.count, reader.height + 1)):
            block, commit = reader.block_bytes(height), reader.commit(height)
            if block is None or commit is None or len(found) >= BLOCKS_MAX:
                break
            found.append((block, encode(commit)))
            size += len(block)
            if size > ANSWER_BYTES_WANTED:
                break
        return encode_final_blocks(found) if found else None

    def answer_light(self, body: bytes) -> bytes | None:
        """A header with its commit and validators; None when one of them is not kept."""
        asked = read_body(GET_LIGHT_BLOCK, Kind.GET_LIGHT_BLOCK, body)
        block = self._ledger.view().light_block(asked.height)
        answer = None if block is None else encode(block)
        fits = answer is not None and len(answer) <= answer_bytes_max(Kind.GET_LIGHT_BLOCK)
        return answer if fits else None


def _transactions_root(raws: Sequence[bytes]) -> Generator[None, None, bytes]:
    return (yield from list_root_steps((yield from wtxids_in_slices(raws))))


def _false(why: str) -> PeerFault:
    return PeerFault(MESSAGE_MALFORMED, kind=int(Kind.GET_BLOCKS), why=why)
