"""Nodes of one local network find each other without being told of any.

On the loopback in this process, among garbage; as real processes on machines of their own, joined by a
switch (network namespaces, which need root).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from eubchain.node.config import Value
from eubchain.node.founding import found_home
from p2p.identity import NodeKey
from p2p.lan import GROUP, PORT, packet, service_name
from p2p.messages import PROTOCOL_VERSION, Hello
from p2p.net import PeerUp
from p2p.service import LibP2PNet, Settings
from scripts.benchmarks.transfers import found
from tests.namespaces import Machines, may_make_machines
from tests.node_world import NodeProcess, command

WAIT_S = 30


def make_net(genesis: bytes) -> LibP2PNet:
    """A network part that knows of nobody."""

    def hello() -> Hello:
        return Hello(PROTOCOL_VERSION, "lan", genesis, 1, "test", "", None, None)

    settings = Settings("127.0.0.1:0", mdns=True)
    return LibP2PNet(settings, NodeKey(os.urandom(32)), genesis, "lan", hello, lambda: 0)


@pytest.fixture
def shouter() -> Iterator[socket.socket]:
    """Somebody on the same network who sends what it likes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        yield one


async def test_two_nodes_find_each_other_on_the_loopback_and_a_third_network_stays_apart():
    genesis = os.urandom(32)
    with trio.fail_after(WAIT_S):
        async with trio.open_nursery() as nursery:
            nets = [make_net(genesis), make_net(genesis), make_net(os.urandom(32))]
            for net in nets:
                await nursery.start(net.run)
            for net in nets[:2]:
                while not isinstance(await net.events.receive(), PeerUp):
                    continue
            assert nets[0].peers()[0].peer == nets[1].me
            assert len(nets[2].book) == 0
            nursery.cancel_scope.cancel()


async def test_garbage_and_lies_on_the_local_network_hurt_nobody(shouter: socket.socket):
    """Thousands of packets: noise, names without end, records that others signed or nobody did."""
    genesis, other = os.urandom(32), NodeKey(os.urandom(32))
    service, now_s = service_name(genesis), int(time.time())
    places = (f"/ip4/127.0.0.1/tcp/9/p2p/{other.peer_id}",)
    true = other.address_record(genesis, places, now_s)
    label = service.split(".")[0].encode()
    lies = [
        other.address_record(bytes(32), places, now_s),
        NodeKey(os.urandom(32)).address_record(genesis, places, now_s),
        other.address_record(genesis, places, now_s + 10**9),
    ]
    shouts = [packet(service, lie, True) for lie in lies]
    shouts += [os.urandom(size) + label for size in (0, 12, 100, 1400, 8000)]
    shouts += [packet(service, true, True)[:-cut] for cut in range(1, 60)]
    with trio.fail_after(2 * WAIT_S):
        async with trio.open_nursery() as nursery:
            first = make_net(genesis)
            await nursery.start(first.run)
            for number in range(3000):
                shouter.sendto(shouts[number % len(shouts)], (GROUP, PORT))
                if number % 50 == 0:
                    await trio.lowlevel.checkpoint()
            second = make_net(genesis)
            await nursery.start(second.run)
            while not isinstance(await first.events.receive(), PeerUp):
                continue
            assert first.traffic.deaths == 0
            assert set(first.book.places()) == {second.me}
            nursery.cancel_scope.cancel()


QUIET: dict[tuple[str, str], Value] = {
    ("metrics", "listen"): "",
    ("node", "verify_workers"): 1,
    ("p2p", "mdns"): True,
}


@pytest.mark.skipif(not may_make_machines(), reason="namespaces need root and ip")
def test_a_node_on_another_machine_finds_the_validator_and_follows_it(tmp_path: Path):
    """Neither names the other; the follower has the validator's blocks."""
    genesis, key = found(1, time.time_ns() // 1_000_000)
    machines = Machines(2)
    nodes: list[NodeProcess] = []
    try:
        for number, own in enumerate((key, None)):
            place = machines.control(number)
            listen = {("rpc", "listen"): f"{place}:0", ("rpc", "hosts"): (place,)}
            home = found_home(tmp_path / str(number), genesis, own, QUIET | listen).root
            nodes.append(NodeProcess(home, before=machines.before(number)))
        validator, follower = nodes
        follower.until(lambda: follower.call("net_info")["peers"] == 1)
        follower.wait_height(validator.height + 2)
        (peer,) = follower.call("net_peers")
        assert peer["id"] == validator.call("net_info")["id"]
        assert f"/ip4/{machines.address(0)}/" in peer["address"] or machines.address(0) == peer["address"]
    finally:
        for node in nodes:
            node.kill()
        machines.close()


def test_a_network_that_is_no_development_network_refuses_the_option_at_start(tmp_path: Path):
    genesis, _ = found(1, time.time_ns() // 1_000_000)
    home = found_home(tmp_path / "home", replace(genesis, prefix="teub"), None, QUIET).root
    done = command(home, "start")
    assert done.returncode != 0
    assert "2419" in done.stderr + done.stdout
    assert "mdns = false" in done.stderr + done.stdout
