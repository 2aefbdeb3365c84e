"""Somebody hostile connects to a node: after each attack the node lives, makes blocks and takes peers.

The victim is a real process with one validator; the attacker speaks genuine Noise and Yamux and then
breaks a rule. A test fails when the node dies, stops making blocks, or refuses an honest peer.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import trio

from consensus.types.codec import encode
from p2p.faults import OTHER_CHAIN, OTHER_PROTOCOL
from p2p.frames import BODY_BYTES_MAX, Kind, frame
from p2p.guard import LIBRARY_ERRORS
from p2p.messages import PROTOCOL_VERSION, Status
from tests.attacker import DATA, SYN, is_ended, yamux_header
from tests.victim import Victim, attacked_node


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with attacked_node(tmp_path_factory.mktemp("victim") / "net") as one:
        yield one


async def test_a_dialler_without_encryption_is_refused(victim: Victim) -> None:
    """Offer /plaintext/2.0.0 with a stranger's key: the library alone would believe the peer id."""
    from libp2p import new_host
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.peer.id import ID
    from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
    from multiaddr import Multiaddr

    pair = create_new_key_pair(os.urandom(32))
    host = new_host(key_pair=pair, sec_opt={PLAINTEXT_PROTOCOL_ID: InsecureTransport(pair)})
    place, _, peer = victim.address.rpartition("/p2p/")
    async with host.run(listen_addrs=[]):
        with pytest.raises(LIBRARY_ERRORS):
            await host.get_network().dial_addr(Multiaddr(place), ID.from_base58(peer))
    assert all(p["id"] != str(ID.from_pubkey(pair.public_key)) for p in victim.node.call("net_peers"))
    await victim.assert_well()


async def test_garbage_and_silence_before_the_handshake_cost_nothing(victim: Victim) -> None:
    port = int(victim.address.split("/")[4])
    held = []
    for number in range(60):
        plain = socket.create_connection(("127.0.0.1", port), timeout=5)
        if number % 2:
            plain.sendall(os.urandom(500))
        held.append(plain)
    await victim.assert_well()
    for plain in held:
        plain.close()


@pytest.mark.parametrize(
    "name",
    [b"\x08\xff\xfe\xfd\xfc\xfb\xfa\xf9\n", b"\x05/x\n\n\n", b"\xff" * 60, b"\x00" * 60],
    ids=["not UTF-8", "unknown", "length without end", "empty"],
)
async def test_a_stream_with_an_unreadable_protocol_name_is_only_reset(victim: Victim, name: bytes) -> None:
    """The name that is not UTF-8 would end a process without the guard."""
    async with victim.attacked() as hostile:
        connection = await hostile.dial()
        stream = await connection.new_stream()
        await stream.write(b"\x13/multistream/1.0.0\n" + name)
        await victim.assert_well()


@pytest.mark.parametrize(
    "junk",
    [
        os.urandom(4096),
        yamux_header(DATA, SYN, 1001, 2**32 - 1) + bytes(4096),
        yamux_header(9, 0xFFFF, 7, 12),
        b"".join(yamux_header(DATA, 0, 2 * i + 1, 0) for i in range(500)),
    ],
    ids=["noise", "4 GiB", "unknown", "no such stream"],
)
async def test_junk_in_the_multiplexer_ends_at_most_its_own_connection(victim: Victim, junk: bytes) -> None:
    async with victim.attacked() as hostile:
        connection, _, _ = await hostile.greeted()
        await hostile.raw(connection, junk)
        await victim.assert_well()


async def test_thousands_of_silent_streams_end_the_connection(victim: Victim) -> None:
    async with victim.attacked() as hostile:
        connection = await hostile.dial()
        with suppress(*LIBRARY_ERRORS):  # the socket ends under it
            for number in range(5_000):
                await hostile.raw(connection, yamux_header(DATA, SYN, 2 * number + 1001, 0))
                if number % 50 == 0:
                    await trio.sleep(0.01)
                    if connection.is_closed:
                        raise ConnectionError
        assert await is_ended(connection)
        await victim.assert_well()


async def test_a_sender_that_ignores_the_window_is_cut_before_memory_grows(victim: Victim) -> None:
    """300 MB into a stream that nobody reads."""
    before = victim.memory_bytes
    sent = 0
    piece = bytes(60_000)
    async with victim.attacked() as hostile:
        connection = await hostile.dial()
        await hostile.raw(connection, yamux_header(DATA, SYN, 1001, 0))
        with suppress(*LIBRARY_ERRORS):  # the socket ends under it
            while sent < 300_000_000:
                await hostile.raw(connection, yamux_header(DATA, 0, 1001, len(piece)) + piece)
                sent += len(piece)
                if connection.is_closed:
                    raise ConnectionError
        assert sent < 150_000_000, "it was cut"
        assert await is_ended(connection)
        await victim.assert_well()
    assert victim.memory_bytes < before + 120_000_000


RULES_BROKEN = {
    "a vote before the greeting": ("cons", frame(Kind.VOTE, bytes(100)), False),
    "a frame of 4 GiB": ("cons", b"\xff\xff\xff\xff" + bytes([Kind.VOTE]), True),
    "a kind of another stream": ("cons", frame(Kind.TRANSACTIONS, b""), True),
    "a kind that does not exist": ("cons", bytes(4) + b"\xee", True),
    "a vote that is no vote": ("cons", frame(Kind.VOTE, b"\x93\x01\x02\x03"), True),
    "a status of another shape": ("cons", frame(Kind.STATUS, b"\x90"), True),
    "a part over its cap": (
        "cons",
        (BODY_BYTES_MAX[Kind.BLOCK_PART] + 1).to_bytes(4, "big") + bytes([Kind.BLOCK_PART]),
        True,
    ),
    "transactions that are none": ("pool", frame(Kind.TRANSACTIONS, b"\xc0"), True),
    "an announcement of garbage": ("pool", frame(Kind.ANNOUNCE, os.urandom(64)), True),
    "a second greeting": ("cons", b"hello", True),
}


@pytest.mark.parametrize("rule", RULES_BROKEN)
async def test_who_breaks_a_rule_of_the_frames_loses_the_connection(victim: Victim, rule: str) -> None:
    channel, data, greets = RULES_BROKEN[rule]
    async with victim.attacked() as hostile:
        if greets:
            connection, agreement, pool = await hostile.greeted()
            await victim.until_peer(hostile)
        else:
            connection = await hostile.dial()
            agreement = await hostile.stream(connection, "cons")
        stream = agreement if channel == "cons" else pool
        await stream.write(hostile.hello() if data == b"hello" else data)
        assert await is_ended(connection)
    await victim.assert_well()


@pytest.mark.parametrize(
    "hello",
    [
        lambda hostile: hostile.hello(genesis=bytes(32)),
        lambda hostile: hostile.hello(version=PROTOCOL_VERSION - 1),
        lambda hostile: frame(Kind.HELLO, encode((99, {"a": b"greeting"}, ["of", "another"], "time"))),
    ],
    ids=["network", "older", "newer"],
)
async def test_a_stranger_of_another_network_or_version_is_sent_away_and_not_banned(
    victim: Victim, hello: Any
) -> None:
    """It is told why; once it has been put right, the same peer id is welcome."""
    async with victim.attacked() as hostile:
        for _ in range(4):
            connection = await hostile.dial()
            agreement = await hostile.stream(connection, "cons")
            await agreement.write(hello(hostile))
            assert await is_ended(connection)
            (reason,) = hostile.told_goodbye()
            assert reason in (OTHER_CHAIN.code, OTHER_PROTOCOL.code)
        await hostile.greeted()
        await victim.until_peer(hostile)


async def test_who_claims_a_validator_key_without_its_signature_is_sent_away(victim: Victim) -> None:
    async with victim.attacked() as hostile:
        connection = await hostile.dial()
        agreement = await hostile.stream(connection, "cons")
        key = bytes.fromhex("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
        await agreement.write(hostile.hello(validator_key=key, signature=bytes(64)))
        await hostile.stream(connection, "pool")
        assert await is_ended(connection)


async def test_who_never_greets_is_dropped(victim: Victim) -> None:
    async with victim.attacked() as hostile:
        connection = await hostile.dial()
        assert await is_ended(connection, within_s=20)


async def test_who_comes_back_to_break_rules_is_banned(victim: Victim) -> None:
    """Three broken rules: from then on this peer id is refused at once, others are not."""
    async with victim.attacked() as hostile:
        for _ in range(3):
            connection, agreement, _ = await hostile.greeted()
            await victim.until_peer(hostile)
            await agreement.write(bytes(4) + b"\xee")
            assert await is_ended(connection)
        try:
            connection = await hostile.dial()
        except LIBRARY_ERRORS:  # ended before the handshake was over: refused just as well
            connection = None
        assert connection is None or await is_ended(connection, within_s=5)
        await victim.until_peer(hostile, is_there=False)
    await victim.assert_well()


async def test_connections_that_close_at_once_leave_nothing_behind(victim: Victim) -> None:
    """Twenty connections closed in the middle of everything: no zombie stays among the peers."""
    async with victim.attacked() as hostile:
        for _ in range(20):
            connection, agreement, pool = await hostile.greeted()
            await pool.reset()
            await agreement.close()
            await connection.close()
        await victim.until_peer(hostile, is_there=False)
        connection, _, _ = await hostile.greeted()
        await victim.until_peer(hostile)
    await victim.assert_well()


async def test_floods_of_requests_and_votes_slow_only_their_sender(victim: Victim) -> None:
    async with victim.attacked() as hostile:
        connection, agreement, _ = await hostile.greeted()
        await victim.until_peer(hostile)
        with trio.move_on_after(3), suppress(*LIBRARY_ERRORS):  # the victim may end the stream first
            while not connection.is_closed:
                await agreement.write(frame(Kind.STATUS, encode(Status(0, 0, 0, None, 0))) * 500)
        await victim.assert_well()
