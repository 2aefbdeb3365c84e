"""A link: one connection to one peer with its queues, counters and the tasks that read and write.

Here: the state of a connection; reading a stream into frames; writing a queue to a stream.
Not here: which connection is kept, what frames mean (service.py), the library's insides (guard.py).
Keeps: one reader and one writer task per stream, never cancelled in the middle of a read or write; a
write carries up to 60 KB of waiting frames; reading pauses when a token bucket is empty.
Errors: raises `PeerFault` for what the peer did wrong.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from p2p.frames import AnswerReader, Channel, FrameReader, Kind, answer_bytes_max, frame
from p2p.messages import Hello
from p2p.net import REQUESTS_PER_PEER_MAX, OutQueue, OutQueues, Traffic
from p2p.peers import Intake

READ_BYTES = 65_536
TakeFrame = Callable[["Link", Kind, bytes], Awaitable[None]]


class Exchange:
    """A request on its way."""

    def __init__(self, kind: Kind, body: bytes, deadline_s: float) -> None:
        self.kind, self.body, self.deadline_s = kind, body, deadline_s
        self.done = trio.Event()
        self.answer: bytes | None = None
        self.failed = ""
        """Why there is no answer; empty with one, also with the answer that there is nothing."""

    def fail(self, why: str) -> None:
        """End without an answer."""
        if not self.done.is_set():
            self.failed = why
            self.done.set()


class Link:
    """One connection. `ended` says why it is over, and is empty before."""

    def __init__(self, connection: Any, now_s: float) -> None:
        self.connection = connection
        self.peer = str(connection.muxed_conn.peer_id)
        self.is_outbound = str(getattr(connection.direction, "name", connection.direction)) == "OUTBOUND"
        remote = connection.muxed_conn.get_remote_address()
        self.address = remote[0] if remote else ""
        self.queues = OutQueues()
        self.intake = Intake(now_s)
        self.since_s = self.heard_s = now_s
        self.bytes_in = self.bytes_out = 0
        self.hello: Hello | None = None
        self.has_streams = False
        self.is_up = False
        self.is_refused = False
        """Being told why it ends; what it says is no longer heard."""
        self.settled = trio.Event()
        """Set when the link is up or over."""
        self.ended = ""
        self.inbound: set[Channel] = set()
        self.exchanges: set[Exchange] = set()
        self.slots = trio.Semaphore(REQUESTS_PER_PEER_MAX)
        self.answering = trio.Semaphore(REQUESTS_PER_PEER_MAX)
        """Answers that are made or written; whoever asks for more at a time waits for them."""

    def end(self, why: str) -> None:
        """Mark it over and wake everybody who waits for it; closing the socket is the caller's."""
        self.ended = why
        for exchange in list(self.exchanges):
            exchange.fail(why)
        self.queues.agreement.close()
        self.queues.pool.close()
        self.settled.set()


async def read_stream(link: Link, stream: Any, channel: Channel, take: TakeFrame, traffic: Traffic) -> None:
    """Read frames until the stream or the link ends. Raises what the library raises, and `PeerFault`."""
    reader = FrameReader(channel)
    while not link.ended:
        data = await stream.read(READ_BYTES)
        if not data:
            return
        now_s = trio.current_time()
        link.heard_s = now_s
        link.bytes_in += len(data)
        traffic.bytes_in += len(data)
        pause_s = link.intake.bytes(len(data), now_s)
        for kind, body in reader.feed(data):
            traffic.messages_in[kind] += 1
            pause_s = max(pause_s, link.intake.message(kind, now_s))
            await take(link, kind, body)
        if pause_s:
            # Not around a read: the peer's window fills and it slows down by itself.
            await trio.sleep(pause_s)


async def write_stream(link: Link, stream: Any, queue: OutQueue, traffic: Traffic) -> None:
    """Write what the queue holds until it is closed. Raises what the library raises."""
    while await queue.wait():
        data = queue.take()
        await stream.write(data)
        link.bytes_out += len(data)
        traffic.bytes_out += len(data)


async def ask_on_stream(link: Link, stream: Any, exchange: Exchange) -> None:
    """Send one request on a fresh stream and gather its answer."""
    await stream.write(frame(exchange.kind, exchange.body))
    answer = AnswerReader(answer_bytes_max(exchange.kind))
    while not answer.is_complete:
        data = await stream.read(READ_BYTES)
        if not data:
            exchange.fail("the stream ended")
            return
        link.heard_s = trio.current_time()
        link.bytes_in += len(data)
        answer.feed(data)
    exchange.answer = None if answer.is_nothing else answer.body
    exchange.done.set()


async def read_request(link: Link, stream: Any) -> tuple[Kind, bytes] | None:
    """The one request that a stream brings; None when it ends before."""
    reader = FrameReader(Channel.REQUEST)
    while not link.ended:
        data = await stream.read(READ_BYTES)
        if not data:
            return None
        link.heard_s = trio.current_time()
        link.bytes_in += len(data)
        frames = reader.feed(data)
        if frames:
            return frames[0]
    return None
