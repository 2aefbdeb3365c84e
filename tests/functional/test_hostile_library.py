"""Attacks on what libp2p does by itself below our protocol: after each the node lives and takes peers.

What our own frames and streams must withstand is in test_hostile_peer.py.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.utils.varint import encode_uvarint

from eubchain.node.config import Value
from eubchain.node.founding import found_home
from p2p.guard import LIBRARY_ERRORS
from p2p.host import open_stream
from scripts.benchmarks.transfers import found
from tests.attacker import Attacker, is_ended
from tests.node_world import command
from tests.victim import Victim, attacked_node

NOT_SERVED = [
    "/meshsub/1.0.0", "/meshsub/1.1.0", "/meshsub/2.0.0", "/floodsub/1.0.0", "/ipfs/kad/1.0.0",
    "/ipfs/id/push/1.0.0", "/libp2p/circuit/relay/0.2.0/hop", "/libp2p/circuit/relay/0.2.0/stop",
    "/libp2p/dcutr", "/libp2p/autonat/1.0.0", "/rendezvous/1.0.0", "/ipfs/bitswap/1.2.0",
]  # fmt: skip
"""Several of these end a process, or fill it, with one message where they are served."""


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with attacked_node(tmp_path_factory.mktemp("victim") / "net") as one:
        yield one


async def test_nothing_of_the_library_is_served_but_identify_and_ping(victim: Victim) -> None:
    async with victim.attacked() as hostile:
        connection, _, _ = await hostile.greeted()
        for name in NOT_SERVED:
            with pytest.raises(LIBRARY_ERRORS):
                await open_stream(hostile.host, connection, name)
        for name in ("/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"):
            stream = await open_stream(hostile.host, connection, name)
            await stream.reset()
    await victim.assert_well()


def _lie() -> bytes:
    """An answer to identify of nearly a megabyte, well formed."""
    message = Identify(
        protocol_version="x" * 1000,
        protocols=[f"/name/{number}" for number in range(60_000)],
        listen_addrs=[os.urandom(20) for _ in range(100)],
        observed_addr=os.urandom(30),
    ).SerializeToString()
    return encode_uvarint(len(message)) + message


ANSWERS = {
    "a megabyte of names": _lie(),
    "garbage": os.urandom(3000),
    "a length without end": b"\xff" * 100,
    "4 GiB announced": encode_uvarint(2**32) + b"x" * 100,
    "nothing": b"",
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_what_a_stranger_says_it_is_costs_nothing(victim: Victim, answer: str) -> None:
    """Thirty fresh peer ids, each with the same answer: nothing of it is asked for, and nothing stays."""
    before = victim.memory_bytes
    for _ in range(30 if answer == "a megabyte of names" else 3):
        async with victim.attacked() as hostile:

            async def lie(stream: Any) -> None:
                await stream.write(ANSWERS[answer])
                await stream.close()

            hostile.host.set_stream_handler(IDENTIFY, lie)
            await hostile.greeted()
            await victim.until_peer(hostile)
    await victim.assert_well()
    assert victim.memory_bytes < before + 40_000_000


async def test_garbage_below_the_encryption_ends_only_its_own_connection(victim: Victim) -> None:
    """The handshake was genuine; then bytes that are no record of it."""
    async with victim.attacked() as hostile:
        for junk in (os.urandom(5000), b"\xff\xff" + bytes(65_535), b"\0\0" * 2000):
            connection, _, _ = await hostile.greeted()
            await victim.until_peer(hostile)
            secured = connection.muxed_conn.secured_conn.conn
            await secured.read_writer.read_write_closer.stream.stream.send_all(junk)
            assert await is_ended(connection)
    await victim.assert_well()


async def test_350_connections_of_garbage_and_silence_keep_nobody_out_and_are_gone_soon(
    victim: Victim,
) -> None:
    """They come from one part of the network; a stranger from another is a peer at once. Whoever is not
    through the handshake after ten seconds is closed."""
    port = int(victim.address.split("/")[4])
    held = []
    for number in range(350):
        plain = socket.create_connection(("127.0.0.1", port), 5)
        if number % 2:
            with suppress(OSError):  # closed by the victim already
                plain.sendall(os.urandom(500))
        held.append(trio.socket.from_stdlib_socket(plain))
    try:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for plain in held:
                    nursery.start_soon(_until_closed, plain)
    finally:
        for plain in held:
            plain.close()
    await victim.assert_well()


async def _until_closed(plain: trio.socket.SocketType) -> None:
    with suppress(OSError):  # reset counts as closed
        while await plain.recv(4096):
            continue


async def test_an_exception_in_a_handler_of_the_library_ends_its_stream_only(victim: Victim) -> None:
    """Ping's handler meets a reset, identify's a stream that is gone before it answers."""
    async with victim.attacked() as hostile:
        connection, _, _ = await hostile.greeted()
        await victim.until_peer(hostile)
        for name in ("/ipfs/ping/1.0.0", "/ipfs/id/1.0.0") * 5:
            stream = await open_stream(hostile.host, connection, name)
            await stream.write(b"odd")
            await stream.reset()
        assert not connection.is_closed
        await victim.until_peer(hostile)
    await victim.assert_well()


async def test_who_refuses_every_stream_is_dropped(victim: Victim) -> None:
    """Also those that the victim opens to greet."""
    async with victim.attacked() as hostile:
        await _refuse_streams(hostile)
        connection = await hostile.dial()
        assert await is_ended(connection, within_s=20)
    await victim.assert_well()


async def _refuse_streams(hostile: Attacker) -> None:
    async def refuse(stream: Any) -> None:
        await stream.reset()

    hostile.host.get_network().set_stream_handler(refuse)


def test_a_second_node_on_the_port_is_refused_though_the_library_would_share_it(
    victim: Victim, tmp_path: Path
) -> None:
    """Dialers would be split between the two."""
    port = victim.address.split("/")[4]
    changes: dict[tuple[str, str], Value] = {
        ("rpc", "listen"): "127.0.0.1:0", ("metrics", "listen"): "", ("p2p", "listen"): f"127.0.0.1:{port}",
    }  # fmt: skip
    genesis, _ = found(1, time.time_ns() // 1_000_000)
    done = command(found_home(tmp_path / "second", genesis, None, changes).root, "start")
    assert done.returncode != 0
    assert "2412" in done.stderr + done.stdout
