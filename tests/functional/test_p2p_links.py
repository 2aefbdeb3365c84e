"""The network part alone, two or three of them over real sockets in one process.

What the node never sees: connections dialled from both sides at once, a host that dies, callers that
give up in the middle of an exchange.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from consensus.types.errors import Fault
from p2p.faults import ADDRESS_TAKEN, NETWORK_KEEPS_FAILING, PEER_GONE, REQUEST_UNANSWERED
from p2p.frames import Kind
from p2p.host import claim_port
from p2p.identity import NodeKey
from p2p.messages import PROTOCOL_VERSION, Hello
from p2p.net import Frame, PeerDown, PeerUp, Request
from p2p.peers import Intake
from p2p.service import LibP2PNet, Settings

GENESIS = bytes(range(32))
WAIT_S = 30


def make_net(
    port: int = 0,
    bootstrap: tuple[str, ...] = (),
    key: NodeKey | None = None,
    version: int = PROTOCOL_VERSION,
    connections_max: int = 128,
) -> LibP2PNet:
    """A network part of a test's own network."""

    def hello() -> Hello:
        return Hello(version, "links", GENESIS, 1, "test", "", None, None)

    settings = Settings(f"127.0.0.1:{port}", bootstrap=bootstrap, connections_max=connections_max)
    key = key or NodeKey(os.urandom(32))
    return LibP2PNet(settings, key, GENESIS, "links", hello, lambda: time.time_ns() // 1_000_000)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[LibP2PNet, LibP2PNet, trio.Nursery]]:
    """Two connected network parts."""
    with trio.fail_after(2 * WAIT_S):
        async with trio.open_nursery() as nursery:
            first = make_net()
            address = await nursery.start(first.run)
            second = make_net(bootstrap=(address,))
            await nursery.start(second.run)
            await next_event(first, PeerUp)
            await next_event(second, PeerUp)
            yield first, second, nursery
            nursery.cancel_scope.cancel()


async def next_event(net: LibP2PNet, kind: type) -> object:
    """The next event of a kind."""
    with trio.fail_after(WAIT_S):
        while True:
            event = await net.events.receive()
            if isinstance(event, kind):
                return event


def said(log: Sequence[Any], words: str) -> list[Any]:
    """The lines of a log that begin with these words."""
    return [line for line in log if line["event"].startswith(words)]


async def until_said(log: Sequence[Any], words: str, times: int = 1) -> None:
    """Until the log has so many such lines."""
    while len(said(log, words)) < times:  # noqa: ASYNC110  # a list of lines is no event
        await trio.sleep(0.05)


async def test_two_that_dial_each_other_at_once_keep_one_connection():
    """Both sides keep the same one; messages flow both ways on it."""
    ports = [free_port(), free_port()]
    keys = [NodeKey(os.urandom(32)), NodeKey(os.urandom(32))]
    places = [f"/ip4/127.0.0.1/tcp/{p}/p2p/{k.peer_id}" for p, k in zip(ports, keys, strict=True)]
    nets = [make_net(ports[0], (places[1],), keys[0]), make_net(ports[1], (places[0],), keys[1])]
    with trio.fail_after(WAIT_S):
        async with trio.open_nursery() as nursery:
            for net in nets:
                nursery.start_soon(net.run)
            for net, other in ((nets[0], nets[1]), (nets[1], nets[0])):
                while not net.send(other.me, Kind.VOTE, b"x"):
                    await next_event(net, PeerUp)
            heard = 0
            while heard < 3:  # the connection that was given up may have taken one with it
                for net, other in ((nets[0], nets[1]), (nets[1], nets[0])):
                    net.send(other.me, Kind.VOTE, b"y")
                await next_event(nets[0], Frame)
                await next_event(nets[1], Frame)
                heard += 1
            assert [len(net.peers()) for net in nets] == [1, 1]
            assert {net.peers()[0].is_outbound for net in nets} == {True, False}
            nursery.cancel_scope.cancel()


async def test_a_host_that_dies_is_rebuilt_on_its_port_and_peers_come_back():
    async with pair() as (first, second, _):
        address = first.address

        async def die() -> None:
            raise RuntimeError("a fault in the library")

        first._life._nursery.start_soon(die)
        await next_event(first, PeerDown)
        await next_event(second, PeerDown)
        await next_event(second, PeerUp)
        await next_event(first, PeerUp)
        assert first.address == address
        assert first.traffic.deaths == 1
        assert second.send(first.me, Kind.VOTE, b"again")
        frame = await next_event(first, Frame)
        assert frame.body == b"again"


async def test_a_host_that_keeps_dying_stops_the_node(autojump_clock):
    """Five deaths in ten minutes."""
    net = make_net()

    async def die() -> None:
        raise RuntimeError("again")

    async def keep_killing() -> None:
        while True:
            if net._life is not None:
                net._life._nursery.start_soon(die)
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_killing)
        with pytest.raises(Fault) as failed:
            await net.run()
        assert failed.value.reason is NETWORK_KEEPS_FAILING
        nursery.cancel_scope.cancel()


async def test_callers_that_give_up_lose_no_frame_of_others():
    """Cancel requests at every moment while votes stream by: all votes arrive, the connection lives."""
    async with pair() as (first, second, nursery):

        async def answer() -> None:
            async for event in first.events:
                if isinstance(event, Request):
                    event.answer(bytes(100_000))
                elif isinstance(event, Frame):
                    heard.append(event.body)
                    if len(heard) == 300:
                        all_heard.set()

        heard: list[bytes] = []
        all_heard = trio.Event()
        nursery.start_soon(answer)
        for number in range(300):
            assert second.send(first.me, Kind.VOTE, number.to_bytes(2, "big"))
            with trio.move_on_after(0.0001 * (number % 40)):
                await second.request(first.me, Kind.GET_BLOCKS, b"q", 10)
        await all_heard.wait()
        assert heard == [number.to_bytes(2, "big") for number in range(300)]
        assert await second.request(first.me, Kind.GET_BLOCKS, b"q", 10) == bytes(100_000)
        assert second.traffic.aborted == 0


async def test_a_request_that_is_not_answered_in_time_ends_the_connection():
    async with pair() as (first, second, _):
        with pytest.raises(Fault) as failed:
            await second.request(first.me, Kind.GET_BLOCKS, b"q", 0.5)
        assert failed.value.reason is REQUEST_UNANSWERED
        await next_event(second, PeerDown)
        with pytest.raises(Fault) as gone:
            await second.request("12D3KooWnobody", Kind.GET_BLOCKS, b"q", 0.5)
        assert gone.value.reason is PEER_GONE


async def test_at_most_four_requests_of_a_peer_are_in_flight():
    async with pair() as (first, second, nursery):
        for _ in range(10):
            nursery.start_soon(second.request, first.me, Kind.GET_BLOCKS, b"q", 20)
        asked = [await next_event(first, Request) for _ in range(4)]
        with trio.move_on_after(0.5):
            await next_event(first, Request)
            raise AssertionError("a fifth request before one was answered")
        asked[0].answer(b"")
        await next_event(first, Request)


async def test_a_peer_that_asks_for_addresses_learns_where_others_are():
    """Three nodes in a chain of introductions: the third finds the first through the second."""
    with trio.fail_after(2 * WAIT_S):
        async with trio.open_nursery() as nursery:
            first = make_net()
            known = await nursery.start(first.run)
            second = make_net(bootstrap=(known,))
            middle = await nursery.start(second.run)
            await next_event(second, PeerUp)
            third = make_net(bootstrap=(middle,))
            await nursery.start(third.run)
            met = set()
            while met != {first.me, second.me}:
                met.add((await next_event(third, PeerUp)).peer)
            nursery.cancel_scope.cancel()


def test_a_port_in_use_is_refused_although_the_library_would_share_it():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(Fault) as refused:
            claim_port(f"127.0.0.1:{taken.getsockname()[1]}")
        assert refused.value.reason is ADDRESS_TAKEN


async def test_the_events_of_a_busy_node_slow_the_sender_and_lose_nothing_of_agreement():
    """Nobody reads the events for a while: frames wait in sockets and queues, and all come in order."""
    async with pair() as (first, second, _):
        total = 900
        for number in range(total):
            assert second.send(first.me, Kind.STATUS, number.to_bytes(4, "big"))
        for number in range(total):
            frame = await next_event(first, Frame)
            assert frame.body == number.to_bytes(4, "big")


async def test_two_nodes_of_one_identity_are_told_and_do_not_fight():
    """A home was copied and both run: one stays connected, the other says what is wrong, once, and waits."""
    with trio.fail_after(2 * WAIT_S), capture_logs() as log:
        async with trio.open_nursery() as nursery:
            middle = make_net()
            known = await nursery.start(middle.run)
            key = NodeKey(os.urandom(32))
            twins = [make_net(bootstrap=(known,), key=key) for _ in range(2)]
            for twin in twins:
                await nursery.start(twin.run)
            await until_said(log, "2417 identity_shared")
            with trio.move_on_after(5):  # of rest: nobody leaves any more
                while middle.events.statistics().current_buffer_used:
                    middle.events.receive_nowait()
                await next_event(middle, PeerDown)
                raise AssertionError("they still take turns")
            assert len(told := said(log, "2417 identity_shared")) <= 2, "each of the two says it once"
            assert "node_key.json" in told[0]["hint"]
            assert any("2417 identity_shared" in twin.trouble for twin in twins)
            assert middle.trouble == ""
            assert len(said(log, "two running nodes share one network identity")) == 1
            assert [len(net.peers()) for net in (middle, *twins)].count(1) == 2
            nursery.cancel_scope.cancel()


async def test_a_node_that_is_started_again_is_no_second_one():
    async with pair() as (first, *_):
        key = NodeKey(os.urandom(32))
        for _ in range(3):
            async with trio.open_nursery() as life:
                again = make_net(bootstrap=(first.address,), key=key)
                await life.start(again.run)
                await next_event(again, PeerUp)
                life.cancel_scope.cancel()
        assert not first.identities.is_shared(key.peer_id, trio.current_time())


@pytest.mark.parametrize("version", [PROTOCOL_VERSION - 1, PROTOCOL_VERSION + 1], ids=["older", "newer"])
async def test_nodes_of_different_versions_say_so_and_leave_each_other_in_peace(version: int):
    """Nobody loses points; the one that dials waits for a minute or so, and has said why once."""
    with trio.fail_after(2 * WAIT_S), capture_logs() as log:
        async with trio.open_nursery() as nursery:
            first = make_net()
            other = make_net(bootstrap=(await nursery.start(first.run),), version=version)
            await nursery.start(other.run)
            await until_said(log, "2418 refused_by_peer")
            (told,) = said(log, "2418 refused_by_peer")
            assert "for the reason 2405" in told["event"]
            backoff = other._dialler._backoffs[first.me]
            assert not backoff.may_dial(trio.current_time() + 20)
            assert [net.peers() for net in (first, other)] == [[], []]
            assert first._scores.score(other.me, time.time()) == 0
            assert other._scores.score(first.me, time.time()) == 0
            nursery.cancel_scope.cancel()


async def test_connections_that_came_and_went_take_no_place_for_ever():
    """After as many as there are inbound slots the library accepted nobody any more, until the host ended."""
    slots = 3
    with trio.fail_after(2 * WAIT_S):
        async with trio.open_nursery() as nursery:
            visited = make_net(connections_max=slots)
            address = await nursery.start(visited.run)
            for _ in range(slots + 2):
                visitor, visit = make_net(bootstrap=(address,)), trio.CancelScope()

                async def stay(visitor: LibP2PNet = visitor, visit: trio.CancelScope = visit) -> None:
                    with visit:
                        await visitor.run()

                nursery.start_soon(stay)
                await next_event(visited, PeerUp)
                visit.cancel()
                await next_event(visited, PeerDown)
            nursery.cancel_scope.cancel()


class Asleep(Intake):
    """Reads once and then rests, as a peer does whose disk or processor stands still."""

    def bytes(self, count: int, now_s: float) -> float:
        return 1e6


async def test_a_peer_that_does_not_read_fills_its_own_queue_and_is_dropped_alone():
    async with pair() as (first, second, nursery):
        third = make_net(bootstrap=(first.address,))
        await nursery.start(third.run)
        await next_event(third, PeerUp)
        await next_event(first, PeerUp)
        second._life.up[first.me].intake = Asleep(0.0)
        sent = 0
        while first.send(second.me, Kind.BLOCK_PART, bytes(60_000)):
            sent += 60_000
            await trio.lowlevel.checkpoint()
        assert sent < 40 * 2**20, "no more than queue, windows and sockets hold"
        assert (await next_event(first, PeerDown)).peer == second.me
        assert first.send(third.me, Kind.STATUS, b"on")
        assert (await next_event(third, Frame)).body == b"on"
        assert first.traffic.deaths == 0
