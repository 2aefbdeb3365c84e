"""Of whom a node that is behind asks blocks: not of whoever claims the most."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from consensus.types.block import Block, Commit, Header
from consensus.types.codec import encode
from consensus.types.errors import Fault
from eubchain.node.sync import ANSWER_S_MAX, BLOCKS_WANTED, PUT_OFF_S, Sync
from p2p.faults import REQUEST_UNANSWERED
from p2p.frames import Kind
from p2p.messages import GET_BLOCKS, FinalBlock, FinalBlocks, read_body
from tests.world import World

COMMIT = Commit(0, bytes(32), b"\x01", (bytes(64),))


def block(height: int) -> FinalBlock:
    header = Header(1, height, 0, 0, bytes(32), bytes(20), *(bytes(32),) * 7)
    return FinalBlock(Block(header, (), COMMIT), COMMIT)


class Peers:
    """An honest peer at height 1,000, and a stranger that claims a million and feeds as it likes."""

    def __init__(self, count: int, seconds: float) -> None:
        self.count, self.seconds = count, seconds
        self.asked: list[str] = []

    def peers_ahead(self, height: int) -> list[str]:
        return ["stranger", "honest"] if height <= 1_000 else ["stranger"]

    def peers_height(self) -> int:
        return 1_000_000

    async def request(self, peer: str, kind: Kind, body: bytes, deadline_s: float) -> bytes:
        self.asked.append(peer)
        asked = read_body(GET_BLOCKS, kind, body)
        is_honest = peer == "honest"
        await trio.sleep(0.1 if is_honest else self.seconds)
        count = asked.count if is_honest else self.count
        return encode(FinalBlocks(tuple(block(asked.first + i) for i in range(count))))

    def penalise(self, peer: str, why: str, points: int) -> None:
        return None


@pytest.mark.trio
@pytest.mark.parametrize(
    ("count", "seconds", "is_put_off"),
    [(1, 0.1, True), (BLOCKS_WANTED, ANSWER_S_MAX + 1, True), (BLOCKS_WANTED, 0.1, False)],
)
async def test_a_peer_that_feeds_slowly_is_asked_last_whatever_it_claims(
    autojump_clock, count: int, seconds: float, is_put_off: bool
) -> None:
    peers: Any = Peers(count, seconds)
    nothing: Any = None
    sync = Sync(peers, nothing, World().rules, nothing, peers, nothing)
    assert await sync._ask_in_turn(1)
    assert await sync._ask_in_turn(65)
    assert peers.asked == ["stranger", "honest" if is_put_off else "stranger"]
    await trio.sleep(PUT_OFF_S + 1)
    assert await sync._ask_in_turn(129)
    assert peers.asked[-1] == "stranger", "and then it has another chance"


class SlowLine(Peers):
    """Of whatever peer, a block takes a second: a range of them, longer than an answer is waited for."""

    def __init__(self) -> None:
        super().__init__(1, 0.0)

    async def request(self, peer: str, kind: Kind, body: bytes, deadline_s: float) -> bytes:
        asked = read_body(GET_BLOCKS, kind, body)
        await trio.sleep(min(deadline_s, asked.count))
        if asked.count >= deadline_s:
            raise Fault(REQUEST_UNANSWERED, peer=peer, kind=int(kind), why="it took too long")
        return encode(FinalBlocks(tuple(block(asked.first + i) for i in range(asked.count))))


@pytest.mark.trio
async def test_a_node_on_a_slow_line_asks_for_less_and_catches_up(autojump_clock) -> None:
    """It asked for as much again, got nothing in time, and banned one peer after the other for it."""
    peers: Any = SlowLine()
    nothing: Any = None
    sync = Sync(peers, nothing, World().rules, nothing, peers, nothing)
    tries = 0
    while not sync._held:
        assert (tries := tries + 1) < 4
        await sync._ask_in_turn(1)
