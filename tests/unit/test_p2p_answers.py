"""Answers to strangers: few at a time, made once, paid for by whoever asks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from consensus.types.block import Block, Commit, Header
from consensus.types.codec import encode
from p2p.frames import PART_BYTES_MAX, AnswerReader, Kind, answer_frames, frame
from p2p.life import Life
from p2p.messages import (
    FINAL_BLOCKS,
    FinalBlock,
    FinalBlocks,
    GetBlocks,
    encode_final_blocks,
)
from p2p.net import REQUESTS_PER_PEER_MAX, Event, Request, Traffic
from p2p.peers import BYTES, Intake

HEADER = Header(1, 1, 0, 0, bytes(32), bytes(20), *(bytes(32),) * 7)
COMMIT = Commit(0, bytes(32), b"\x01", (bytes(64),))


@pytest.mark.parametrize("count", [1, 15, 16, 256])
def test_blocks_are_served_as_they_are_kept(count: int) -> None:
    blocks = [FinalBlock(Block(HEADER, (bytes([i % 256]) * 40,), COMMIT), COMMIT) for i in range(count)]
    served = encode_final_blocks([(encode(final.block), encode(final.commit)) for final in blocks])
    assert served == encode(FinalBlocks(tuple(blocks)))
    assert FINAL_BLOCKS.decode(served).blocks == tuple(blocks)


@pytest.mark.parametrize(
    "size", [0, 1, PART_BYTES_MAX - 1, PART_BYTES_MAX, PART_BYTES_MAX + 1, 3 * PART_BYTES_MAX]
)
def test_an_answer_of_any_size_arrives_whole(size: int) -> None:
    reader, body = AnswerReader(), bytes(range(256)) * (size // 256 + 1)
    for data in answer_frames(body[:size]):
        assert not reader.is_complete
        reader.feed(data)
    assert reader.is_complete
    assert reader.body == body[:size]


class Stream:
    """A request for blocks whose asker reads nothing of the answer."""

    def __init__(self, connection: Any) -> None:
        self.swarm_conn = connection
        self.asked = [frame(Kind.GET_BLOCKS, encode(GetBlocks(1, 64)))]

    async def read(self, count: int) -> bytes:
        return self.asked.pop() if self.asked else b""

    async def write(self, data: bytes) -> None:
        await trio.sleep_forever()

    async def close(self) -> None:
        return None


class Connection:
    """As much of one as a link looks at."""

    direction = "INBOUND"

    def __init__(self, muxed_conn: Any) -> None:
        self.muxed_conn = muxed_conn


class Owner:
    """A node that answers with a few megabytes at once."""

    genesis = bytes(32)
    traffic = Traffic()

    def __init__(self) -> None:
        self.answered = 0

    async def emit_patiently(self, event: Event) -> None:
        if isinstance(event, Request):
            self.answered += 1
            event.answer(bytes(4 * 2**20))


def test_one_peer_has_few_answers_at_a_time_however_many_it_asks_for() -> None:
    """It may have forty streams: answers of four megabytes, made on the loop, held while it reads none."""
    muxed = SimpleNamespace(peer_id="peer", get_remote_address=lambda: ("192.0.2.1", 1))
    connection = Connection(muxed)
    network = SimpleNamespace(register_notifee=lambda life: None)
    host = SimpleNamespace(set_stream_handler=lambda name, handler: None, get_network=lambda: network)
    owner = Owner()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            whole: Any = owner
            life = Life(whole, host, "me", nursery)
            life._link(connection).settled.set()
            for _ in range(32):
                nursery.start_soon(life._on_request, Stream(connection))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert owner.answered == REQUESTS_PER_PEER_MAX


def test_whoever_takes_many_bytes_waits_for_the_next() -> None:
    """Two megabytes an answer and as many answers as a bucket allows would be 40 MB a second."""
    intake = Intake(0.0)
    assert intake.served(int(BYTES.burst), 0.0) == 0.0
    assert intake.served(int(BYTES.per_second), 0.0) == pytest.approx(1.0)
