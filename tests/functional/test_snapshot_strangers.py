"""Strangers ask for snapshots in every wrong way: they get nothing, or their connection ends."""

from __future__ import annotations

from pathlib import Path

import trio

from consensus.types.codec import INTEGER_MAX, encode
from p2p.frames import AnswerReader, Kind, frame
from p2p.messages import CHUNK_NUMBER_MAX, GetChunk, GetLightBlock, GetSnapshots
from tests.attacker import Attacker, attacker, is_ended
from tests.node_world import NodeProcess, found, running

FLOOD = 24
"""Requests at one time, below the number of streams that ends a connection."""
NOTHING = (
    (Kind.GET_SNAPSHOTS, GetSnapshots(8)),
    (Kind.GET_CHUNK, GetChunk(0, 0, 0)),
    (Kind.GET_CHUNK, GetChunk(INTEGER_MAX, 3, CHUNK_NUMBER_MAX)),
    (Kind.GET_CHUNK, GetChunk(20, 1, 0)),
    (Kind.GET_LIGHT_BLOCK, GetLightBlock(0)),
    (Kind.GET_LIGHT_BLOCK, GetLightBlock(INTEGER_MAX)),
)
"""Well formed, and there is no such thing in a network without snapshots."""
MALFORMED = (
    (Kind.GET_SNAPSHOTS, b""),
    (Kind.GET_SNAPSHOTS, encode([9])),
    (Kind.GET_CHUNK, encode([1, 4, 0])),
    (Kind.GET_CHUNK, encode([1, b"part", 0])),
    (Kind.GET_LIGHT_BLOCK, encode([1, 2])),
)


async def asked(one: Attacker, connection: object, kind: Kind, body: bytes) -> AnswerReader:
    """One question and its answer."""
    stream = await one.stream(connection, "req")
    await stream.write(frame(kind, body))
    reader = AnswerReader()
    while not reader.is_complete:
        data = await stream.read(65536)
        assert data, "the stream ended"
        reader.feed(data)
    return reader


def test_wrong_questions_cost_their_askers_and_nobody_else(tmp_path: Path) -> None:
    home = found(tmp_path / "net").validators[0]
    with running(home) as node:
        status, address = node.call("chain_status"), node.call("net_info")["address"]
        genesis, chain_id = bytes.fromhex(status["genesis_hash"][2:]), status["chain_id"]

        async def story() -> None:
            async with attacker(address, genesis, chain_id) as one:
                connection, _, _ = await one.greeted()
                for kind, question in NOTHING:
                    assert (await asked(one, connection, kind, encode(question))).is_nothing, question
                async with trio.open_nursery() as nursery:
                    for _ in range(FLOOD):
                        nursery.start_soon(asked, one, connection, Kind.GET_CHUNK, encode(GetChunk(1, 0, 0)))
                assert not connection.is_closed
                answer = await asked(one, connection, Kind.GET_LIGHT_BLOCK, encode(GetLightBlock(1)))
                assert len(answer.body) > 300
            for kind, body in MALFORMED:
                async with attacker(address, genesis, chain_id) as one:
                    connection, _, _ = await one.greeted()
                    stream = await one.stream(connection, "req")
                    await stream.write(frame(kind, body))
                    assert await is_ended(connection), (kind, body)

        trio.run(story)
        assert_well(node)


def assert_well(node: NodeProcess) -> None:
    """It goes on making blocks, and its network part never failed."""
    node.wait_height(node.height + 2)
    assert node.call("net_info")["failures"] == 0
