"""Messages of 200 bytes one way between two processes over the real network part, against bare sockets.

Here: `streams_coalesced` (as many as the queue takes; a write carries what waits), `streams_single` (one
a write, as when nothing else is said), and what each message costs both processes in processor time.
The reference is the same bytes in the same pieces over a plain TCP socket, neither encrypted nor
multiplexed nor read as frames. Not here: the limits on what a peer may send, which are lifted for this.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import structlog
import trio

from p2p import link
from p2p import net as net_module
from p2p.frames import HEADER_BYTES, Kind
from p2p.identity import NodeKey, parse_address
from p2p.messages import PROTOCOL_VERSION, Hello
from p2p.net import AGREEMENT_FRAMES_MAX, Frame, PeerUp, next_events
from p2p.peers import Intake
from p2p.service import LibP2PNet, Settings

GENESIS = bytes(32)
BODY = bytes(200 - HEADER_BYTES)
COALESCED_MIN = 100_000
SINGLE_MIN = 5_000
"""Messages a second that must be reached, or would be by processes with a core each (`core_per_second`):
under them the network would be the bottleneck of agreement."""
COALESCED_COUNT, SINGLE_COUNT, ROUNDS = 50_000, 3_000, 3
WAITING_MAX = AGREEMENT_FRAMES_MAX - 10
"""In the queue at a time, with room for the heartbeat."""
PER_PIECE = 300
"""Messages in one write of the reference: what 60 KB hold."""


class Measured(NamedTuple):
    """One direction, one amount."""

    per_second: float
    cpu_us: float
    """Of both processes, per message."""
    core_per_second: float
    """What the busier of the two could do with a core of its own, whatever else the machine does."""


class _Unlimited(Intake):
    """What a peer may send is not what is measured."""

    def bytes(self, count: int, now_s: float) -> float:
        """As much as comes."""
        return 0.0

    def message(self, kind: Kind, now_s: float) -> float:
        """As often as it comes."""
        return 0.0


def run() -> list[dict[str, str | float]]:
    """Messages per second and processor time per message; the best of three of each."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    coalesced, single = trio.run(_ours)
    bare_coalesced, bare_single = trio.run(_bare)
    for measured, least in ((coalesced, COALESCED_MIN), (single, SINGLE_MIN)):
        assert max(measured.per_second, measured.core_per_second) >= least, f"{measured}: under {least}/s"
    return [
        _row("streams_coalesced", coalesced.per_second, "msg/s", bare_coalesced.per_second),
        _row("streams_single", single.per_second, "msg/s", bare_single.per_second),
        _row("streams_coalesced_cpu", coalesced.cpu_us, "us/msg", bare_coalesced.cpu_us),
        _row("streams_single_cpu", single.cpu_us, "us/msg", bare_single.cpu_us),
    ]


def _row(name: str, value: float, unit: str, reference: float) -> dict[str, str | float]:
    return {"name": name, "value": value, "unit": unit, "reference": reference, "ratio": value / reference}


# ---------------------------------------------------------------- the sending process


@asynccontextmanager
async def _receiver(what: str) -> AsyncIterator[tuple[subprocess.Popen[str], str]]:
    """The other process and what it says of where it listens."""
    command = [sys.executable, "-m", "scripts.benchmarks.streams", what]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220  # short
    assert child.stdout, "a pipe"
    assert child.stdin, "a pipe"
    try:
        yield child, (await trio.to_thread.run_sync(child.stdout.readline)).strip()
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


async def _best(child: subprocess.Popen[str], send: Callable[[int], Awaitable[None]], count: int) -> Measured:
    """Send `count` messages and await that they are there, three times."""
    assert child.stdout, "a pipe"
    assert child.stdin, "a pipe"
    found = []
    for _ in range(ROUNDS):
        child.stdin.write(f"{count}\n")
        child.stdin.flush()
        await trio.to_thread.run_sync(child.stdout.readline)
        began, own_s = time.perf_counter(), time.process_time()
        await send(count)
        answer = json.loads(await trio.to_thread.run_sync(child.stdout.readline))
        own_s = time.process_time() - own_s
        took_s = answer["ended"] - began
        busier_s = max(own_s, answer["cpu_s"])
        found.append(Measured(count / took_s, (own_s + answer["cpu_s"]) / count * 1e6, count / busier_s))
    rates, costs, capacities = zip(*found, strict=True)
    return Measured(max(rates), min(costs), max(capacities))


def _net(bootstrap: tuple[str, ...]) -> LibP2PNet:
    def hello() -> Hello:
        return Hello(PROTOCOL_VERSION, "bench", GENESIS, 1, "bench", "", None, None)

    settings = Settings("127.0.0.1:0", bootstrap=bootstrap)
    return LibP2PNet(settings, NodeKey(os.urandom(32)), GENESIS, "bench", hello, lambda: 0)


async def _ours() -> tuple[Measured, Measured]:
    async with _receiver("ours") as (child, address), trio.open_nursery() as nursery:
        net = _net((address,))
        await nursery.start(net.run)
        peer = parse_address(address).peer
        while not isinstance(await net.events.receive(), PeerUp):
            continue
        assert net._life is not None, "it lives, for a peer is up"
        sending = net._life.up[peer]
        queue = sending.queues.agreement

        async def send(count: int) -> None:
            for _ in range(count):
                while len(queue) >= WAITING_MAX:
                    assert not sending.ended, sending.ended
                    await trio.sleep(0.0005)
                assert net.send(peer, Kind.VOTE, BODY), "the other process reads"

        nursery.start_soon(_heartbeat, net)
        coalesced = await _best(child, send, COALESCED_COUNT)
        net_module.COALESCED_BYTES_MAX = 0  # from here on a write carries one frame
        single = await _best(child, send, SINGLE_COUNT)
        nursery.cancel_scope.cancel()
    return coalesced, single


async def _heartbeat(net: LibP2PNet) -> None:
    """Silence would end the connection between two rounds."""
    while True:
        await trio.sleep(1)
        net.broadcast(Kind.STATUS, b"")


async def _bare() -> tuple[Measured, Measured]:
    async with _receiver("bare") as (child, port):
        stream = await trio.open_tcp_stream("127.0.0.1", int(port))
        piece = bytes(HEADER_BYTES) + BODY

        async def send_many(count: int) -> None:
            for left in range(count, 0, -PER_PIECE):
                await stream.send_all(piece * min(PER_PIECE, left))

        async def send_singly(count: int) -> None:
            for _ in range(count):
                await stream.send_all(piece)

        async with stream:
            return await _best(child, send_many, COALESCED_COUNT), await _best(
                child, send_singly, SINGLE_COUNT
            )


# ---------------------------------------------------------------- the receiving process


async def _receive(count_in: Callable[[int], Awaitable[None]]) -> None:
    """For each amount announced on stdin: take it all, then say when that was and what it cost."""
    while line := await trio.to_thread.run_sync(sys.stdin.readline):
        print("ready", flush=True)
        cpu_s = time.process_time()
        await count_in(int(line))
        print(json.dumps({"ended": time.perf_counter(), "cpu_s": time.process_time() - cpu_s}), flush=True)


async def _receive_ours() -> None:
    link.Intake = _Unlimited  # type: ignore[attr-defined,misc]  # in this process only
    net = _net(())

    async def count_in(count: int) -> None:
        while count:
            for event in await next_events(net.events):
                count -= isinstance(event, Frame) and event.kind is Kind.VOTE

    async with trio.open_nursery() as nursery:
        print(await nursery.start(net.run), flush=True)
        nursery.start_soon(_heartbeat, net)
        await _receive(count_in)
        nursery.cancel_scope.cancel()


async def _receive_bare() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listener.socket.getsockname()[1], flush=True)
    stream = await listener.accept()

    async def count_in(count: int) -> None:
        left = count * (HEADER_BYTES + len(BODY))
        while left:
            left -= len(await stream.receive_some(65_536))

    await _receive(count_in)


if __name__ == "__main__":
    # Standard output is for the other process.
    warnings = structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr), wrapper_class=warnings)
    trio.run(_receive_ours if sys.argv[1] == "ours" else _receive_bare)
