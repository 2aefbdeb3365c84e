"""Gathering a proposed block among peers that do not answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import trio

from consensus.types.block import Block, Header, block_id, commit_hash, txs_root
from consensus.types.codec import encode
from consensus.types.errors import Fault
from consensus.types.transaction import wtxid_of
from eubchain.node.proposed import ProposedBlocks
from p2p.faults import REQUEST_UNANSWERED
from p2p.frames import Kind
from p2p.messages import ProposedBlock
from p2p.net import REQUEST_TIMEOUT_S
from tests.world import World

GENESIS = bytes(32)
RAWS: list[bytes] = []
HEADER = Header(
    1, 1, 0, 0, bytes(32), bytes(20), commit_hash(None), txs_root(RAWS), *(bytes(32),) * 5
)  # fmt: skip
BLOCK = Block(HEADER, (), None)
SILENT = [f"silent {number}" for number in range(9)]


class Peers:
    """Nine that answer nothing, and in the end one that has the block."""

    def __init__(self) -> None:
        self.asking = self.asking_most = 0
        self.held: dict[bytes, tuple[bytes, ...]] = {}

    def hold(self, block: bytes, wtxids: Sequence[bytes]) -> None:
        self.held[block] = tuple(wtxids)

    def release(self) -> None:
        self.held.clear()

    def transaction(self, wtxid: bytes) -> bytes | None:
        return None

    def likely_holders(self, height: int) -> list[str]:
        return [*SILENT, "honest"]

    async def request(self, peer: str, kind: Kind, body: bytes, deadline_s: float) -> bytes:
        self.asking += 1
        self.asking_most = max(self.asking, self.asking_most)
        try:
            if peer in SILENT:
                await trio.sleep(deadline_s)
                raise Fault(REQUEST_UNANSWERED, peer=peer, kind=int(kind), why="silence")
            await trio.sleep(0.1)
        finally:
            self.asking -= 1
        return encode(ProposedBlock(HEADER, (), None))


@pytest.mark.trio
async def test_silent_peers_hold_a_block_up_for_seconds_not_for_minutes(autojump_clock) -> None:
    """One after the other, ten seconds each, they kept a validator from every vote."""
    peers: Any = Peers()
    gathered: list[Block] = []

    async def deliver(identity: bytes, block: Block) -> None:
        gathered.append(block)

    blocks = ProposedBlocks(peers, GENESIS, peers, deliver, World().params.chain)
    blocks.at_height(1)
    began = trio.current_time()
    await blocks.get(block_id(GENESIS, HEADER))
    assert gathered == [BLOCK]
    assert trio.current_time() - began < 3 * REQUEST_TIMEOUT_S
    assert peers.asking_most <= 4


class Hoard(Peers):
    """A mempool that holds more than fits a block, and more than fits the log."""

    def __init__(self, raws: dict[bytes, bytes]) -> None:
        super().__init__()
        self.raws = raws

    def likely_holders(self, height: int) -> list[str]:
        return ["liar"]

    def transaction(self, wtxid: bytes) -> bytes | None:
        return self.raws[wtxid]

    async def request(self, peer: str, kind: Kind, body: bytes, deadline_s: float) -> bytes:
        if kind is Kind.GET_TRANSACTIONS:
            await trio.sleep_forever()
        await trio.sleep(0.1)
        names = tuple(self.raws)
        header = msgspec.structs.replace(HEADER, txs_root=txs_root(list(names)))
        return encode(ProposedBlock(header, names, None))


@pytest.mark.trio
@pytest.mark.parametrize(("over", "is_delivered"), [(0, True), (1, False)])
async def test_a_block_that_names_more_than_fits_never_reaches_the_log(
    autojump_clock, over: int, is_delivered: bool
) -> None:
    """One proposer could so stop every node: each adds bytes from its own mempool, and no log takes them."""
    limit = World().params.chain.block_bytes_max
    raws = [bytes([i]) * 60_000 for i in range(limit // 60_000)]
    raws.append(bytes(limit - sum(map(len, raws)) + over))
    hoard: Any = Hoard({wtxid_of(raw): raw for raw in raws})
    gathered: list[Block] = []

    async def deliver(identity: bytes, block: Block) -> None:
        gathered.append(block)

    blocks = ProposedBlocks(hoard, GENESIS, hoard, deliver, World().params.chain)
    blocks.at_height(1)
    header = msgspec.structs.replace(HEADER, txs_root=txs_root(list(hoard.raws)))
    await blocks.get(block_id(GENESIS, header))
    assert bool(gathered) is is_delivered
    assert blocks.wanted is None


class Lacking(Hoard):
    """Lacks a transaction that nobody gives."""

    def transaction(self, wtxid: bytes) -> bytes | None:
        return None


@pytest.mark.trio
async def test_what_a_wanted_block_names_is_held_from_its_names_on_to_the_end_of_its_height(
    autojump_clock,
) -> None:
    """A mempool that is full would otherwise give up what everybody is about to vote for."""
    lacking: Any = Lacking({wtxid_of(raw): raw for raw in (b"one", b"two")})
    names = tuple(lacking.raws)
    identity = block_id(GENESIS, msgspec.structs.replace(HEADER, txs_root=txs_root(list(names))))

    async def deliver(identity: bytes, block: Block) -> None:
        raise AssertionError("it stays incomplete")

    blocks = ProposedBlocks(lacking, GENESIS, lacking, deliver, World().params.chain)
    blocks.at_height(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(blocks.get, identity)
        await trio.sleep(1)
        assert lacking.held == {identity: names}
        blocks.at_height(2)
        assert lacking.held == {}


def test_a_block_of_this_height_that_is_here_whole_is_held_too() -> None:
    """This node's own proposal among them."""
    peers: Any = Peers()
    blocks = ProposedBlocks(peers, GENESIS, peers, peers.hold, World().params.chain)
    blocks.at_height(1)
    blocks.keep(block_id(GENESIS, HEADER), BLOCK)
    assert peers.held == {block_id(GENESIS, HEADER): ()}
