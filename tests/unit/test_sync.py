"""Catching up by blocks: a range ahead of the one that is applied, nothing asked for twice, liars named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from consensus.types.codec import encode
from consensus.types.errors import Fault
from consensus.types.transaction import SignatureCheck
from consensus.types.tree import finish, update_tree
from eubchain.ledger.ledger import Ledger, NewBlock
from eubchain.node.network import Final
from eubchain.node.sync import RANGES_HELD_MAX, Sync
from p2p.faults import REQUEST_UNANSWERED, PeerFault
from p2p.frames import Kind
from p2p.messages import FINAL_BLOCKS, GET_BLOCKS, FinalBlocks
from tests.snapshot_world import EPOCH, Chain
from tests.world import verify_all
from vm.genesis import genesis_writes
from vm.registry import decode_candidate
from vm.transition import apply_block

Clock = trio.testing.MockClock
HEAD = EPOCH * 2 + 10
APPLY_S, ASK_S = 0.5, 0.4


class PoolHere:
    """Checks signatures where it is asked."""

    async def signatures(self, checks: Sequence[SignatureCheck]) -> list[bool]:
        return [verify_all([check]) for check in checks]


class Behind:
    """A node at height 0, a network of peers that all have the chain, an engine that applies slowly."""

    def __init__(self, root: Path, chain: Chain, peers: Sequence[str]) -> None:
        writes = {k: v for k, v in genesis_writes(chain.genesis).items() if v is not None}
        self.chain, self.names = chain, list(peers)
        self.ledger = Ledger.create(root / "ledger", chain.genesis, writes)
        pool: Any = PoolHere()
        net: Any = self
        self.sync = Sync(net, self.ledger, chain.rules, pool, self, self.overtake)
        self.honest = Sync(net, chain.ledger, chain.rules, pool, self, self.overtake)
        self.asked: list[tuple[str, int]] = []
        self.accused: list[str] = []
        self.is_asking = self.were_at_once = False
        self.held = 0
        self.lies: dict[str, Any] = {}

    # what is known of peers
    def peers_ahead(self, height: int) -> list[str]:
        return [name for name in self.names if height <= self.chain.height]

    def peers_height(self) -> int:
        return self.chain.height if self.names else 0

    # the network
    async def request(self, peer: str, kind: Kind, body: bytes, deadline_s: float) -> bytes | None:
        self.asked.append((peer, GET_BLOCKS.decode(body).first))
        self.is_asking = True
        await trio.sleep(ASK_S)
        self.is_asking = False
        self.held = max(self.held, len(self.sync._held))
        answer = self.honest.answer(body)
        return self.lies[peer](answer) if peer in self.lies else answer

    def accuse(self, peer: str, fault: PeerFault) -> None:
        self.accused.append(peer)
        self.names.remove(peer)

    def penalise(self, peer: str, why: str, points: int) -> None:
        self.accused.append(peer)

    # the engine
    async def overtake(self, blocks: Sequence[Final]) -> None:
        await trio.sleep(APPLY_S / 2)
        self.were_at_once |= self.is_asking
        await trio.sleep(APPLY_S / 2)
        for final in blocks:
            block = final.block
            candidates = [decode_candidate(raw, self.chain.rules) for raw in block.transactions]
            outcome = apply_block(
                self.ledger, self.chain.rules, block.header, block.last_commit, candidates, strict=True
            )
            update = update_tree(self.ledger.tree, outcome.writes)
            new = NewBlock(block, final.block_id, final.commit, outcome.receipts, outcome.writes, update)
            prepared = finish(self.ledger.build_steps(new))
            self.ledger.write_batch(prepared)
            self.ledger.advance(prepared)

    async def until(self, height: int, within_s: float = 120.0) -> None:
        with trio.fail_after(within_s):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.sync.run)
                while self.ledger.height < height:  # noqa: ASYNC110  # a height is no event
                    await trio.sleep(0.1)
                nursery.cancel_scope.cancel()


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    made = Chain(tmp_path_factory.mktemp("chain"))
    made.until_height(HEAD)
    yield made
    made.ledger.close()


@pytest.fixture
def behind(tmp_path: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Behind]:
    monkeypatch.setattr("eubchain.node.sync.BLOCKS_WANTED", 15)
    made = Behind(tmp_path, chain, ["p0", "p1"])
    yield made
    made.ledger.close()


async def test_the_next_range_is_asked_for_while_one_is_applied_and_nothing_twice(
    autojump_clock: Clock, behind: Behind
) -> None:
    """Ranges of 15 across epochs of 20: what an epoch's end cuts off is kept for the next turn."""
    await behind.until(HEAD)
    assert [first for _, first in behind.asked] == [1, 16, 31, 46]
    assert behind.were_at_once
    assert behind.held <= RANGES_HELD_MAX
    assert behind.ledger.meta == msgspec.structs.replace(
        behind.chain.ledger.meta, stored=behind.ledger.meta.stored
    )
    assert behind.sync.blocks == HEAD


async def test_a_false_block_asked_for_ahead_costs_its_giver_and_nobody_else(
    autojump_clock: Clock, behind: Behind
) -> None:
    """The second range has a block with another time: the first peer is gone, the second gives the rest."""

    def lie(answer: bytes) -> bytes:
        blocks = list(FINAL_BLOCKS.decode(answer).blocks)
        if blocks[0].block.header.height > 1:
            header = msgspec.structs.replace(blocks[0].block.header, time_ms=1)
            blocks[0] = msgspec.structs.replace(
                blocks[0], block=msgspec.structs.replace(blocks[0].block, header=header)
            )
        return encode(FinalBlocks(tuple(blocks)))

    behind.lies["p0"] = lie
    await behind.until(HEAD)
    assert behind.accused == ["p0"]
    assert ("p1", 16) in behind.asked


@pytest.mark.parametrize("kind", ["others", "none"])
async def test_blocks_that_were_not_asked_for_are_refused(
    autojump_clock: Clock, behind: Behind, kind: str
) -> None:
    def lie(answer: bytes) -> bytes:
        blocks = FINAL_BLOCKS.decode(answer).blocks
        return encode(FinalBlocks(blocks[1:] if kind == "others" else ()))

    behind.lies["p0"] = lie
    await behind.until(HEAD)
    assert behind.accused == ["p0"]


async def test_a_peer_that_does_not_answer_ahead_leaves_the_range_to_the_next_turn(
    autojump_clock: Clock, behind: Behind
) -> None:
    def lie(answer: bytes) -> bytes:
        raise Fault(REQUEST_UNANSWERED, peer="p0", kind=int(Kind.GET_BLOCKS), why="it took too long")

    behind.lies["p0"] = lie
    await behind.until(HEAD)
    assert {peer for peer, _ in behind.asked} == {"p0", "p1"}
