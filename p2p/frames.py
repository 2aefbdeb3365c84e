"""Frames: how messages stand in a stream of bytes.

Here: kinds and their caps, which stream carries which kind, writing one, reading them from pieces.
Not here: what the bodies hold (messages.py), streams themselves (link.py).
Keeps: a frame is `u32 big-endian length of the body | u8 kind | body`; a length is compared with the
cap of its kind before any of the body is kept, so a peer makes this node hold at most one cap per stream.
Errors: 2400 frame_too_large, 2401 frame_out_of_place.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, IntEnum
from struct import Struct

from p2p.faults import FRAME_OUT_OF_PLACE, FRAME_TOO_LARGE, PeerFault

_HEADER = Struct(">IB")
HEADER_BYTES = _HEADER.size
COALESCED_BYTES_MAX = 60 * 1024
"""What one write carries at most: it still fits one frame of the stream multiplexer."""
PART_BYTES_MAX = 56 * 1024
"""Of a block or an answer in one frame, so that frame and envelope stay within 64 KiB."""
ANSWER_BYTES_MAX = 12 * 2**20
"""All parts of one answer together: the largest block and its envelope."""

CHUNK_BYTES_MAX = 2 * 2**20
"""A chunk of a snapshot: 512 KiB, but for a single bucket or transaction that is larger by itself."""


class Kind(IntEnum):
    """What a frame holds."""

    HELLO = 1
    STATUS = 2
    PROPOSAL = 3
    BLOCK_PART = 4
    VOTE = 5
    CERTIFICATE = 6
    EVIDENCE = 7
    GOODBYE = 8
    """The last frame, where one ends a connection that broke no rule."""

    TRANSACTIONS = 16
    ANNOUNCE = 17
    WANT = 18

    GET_BLOCKS = 32
    GET_PROPOSED = 33
    GET_TRANSACTIONS = 34
    GET_SNAPSHOTS = 35
    GET_CHUNK = 36
    GET_PEERS = 37
    GET_LIGHT_BLOCK = 38
    ANSWER_PART = 48
    ANSWER_END = 49
    NOTHING = 50
    """The answer of one who does not have it."""


class Channel(Enum):
    """The streams between two nodes; the value is part of the protocol's name."""

    AGREEMENT = "cons"
    POOL = "pool"
    REQUEST = "req"
    """From the asking side."""
    ANSWER = "answer"
    """The other direction of a request's stream; no protocol of its own."""


KIB = 1024
BODY_BYTES_MAX: dict[Kind, int] = {
    Kind.HELLO: KIB,
    Kind.STATUS: KIB,
    Kind.PROPOSAL: 2 * KIB,
    Kind.BLOCK_PART: 64 * KIB,
    Kind.VOTE: 512,
    Kind.CERTIFICATE: 64 * KIB,
    Kind.EVIDENCE: 4 * KIB,
    Kind.GOODBYE: 64,
    Kind.TRANSACTIONS: 80 * KIB,
    Kind.ANNOUNCE: 64 * KIB,
    Kind.WANT: 64 * KIB,
    Kind.GET_BLOCKS: KIB,
    Kind.GET_PROPOSED: KIB,
    Kind.GET_TRANSACTIONS: 8 * KIB,
    Kind.GET_SNAPSHOTS: KIB,
    Kind.GET_CHUNK: KIB,
    Kind.GET_PEERS: KIB,
    Kind.GET_LIGHT_BLOCK: KIB,
    Kind.ANSWER_PART: 64 * KIB,
    Kind.ANSWER_END: 64 * KIB,
    Kind.NOTHING: 0,
}
"""Bytes of a body, by kind. A bundle's cap has room for one transaction of the largest size."""

CHANNEL_KINDS: dict[Channel, frozenset[Kind]] = {
    Channel.AGREEMENT: frozenset(k for k in Kind if k < Kind.TRANSACTIONS),
    Channel.POOL: frozenset((Kind.TRANSACTIONS, Kind.ANNOUNCE, Kind.WANT)),
    Channel.REQUEST: frozenset(k for k in Kind if Kind.GET_BLOCKS <= k < Kind.ANSWER_PART),
    Channel.ANSWER: frozenset((Kind.ANSWER_PART, Kind.ANSWER_END, Kind.NOTHING)),
}
_ANSWER_BYTES_MAX: dict[Kind, int] = {
    Kind.GET_SNAPSHOTS: 4 * KIB,
    Kind.GET_CHUNK: CHUNK_BYTES_MAX,
    Kind.GET_PEERS: 128 * KIB,
    Kind.GET_LIGHT_BLOCK: 256 * KIB,
}
_CHANNEL_OF: dict[Kind, Channel] = {k: c for c, kinds in CHANNEL_KINDS.items() for k in kinds}
_CHANNEL_CAPS: dict[Channel, dict[int, tuple[Kind, int]]] = {
    channel: {int(kind): (kind, BODY_BYTES_MAX[kind]) for kind in kinds}
    for channel, kinds in CHANNEL_KINDS.items()
}


def channel_of(kind: Kind) -> Channel:
    """The stream on which a kind travels."""
    return _CHANNEL_OF[kind]


def answer_bytes_max(kind: Kind) -> int:
    """Bytes of an answer to a request of this kind; whoever asked keeps no more of it."""
    return _ANSWER_BYTES_MAX.get(kind, ANSWER_BYTES_MAX)


def frame(kind: Kind, body: bytes) -> bytes:
    """A frame; its body must respect the cap of its kind."""
    assert len(body) <= BODY_BYTES_MAX[kind], f"{kind.name} of {len(body)} bytes"
    return len(body).to_bytes(4, "big") + bytes((kind,)) + body


class FrameReader:
    """Takes a stream's bytes as they come, in any pieces, and gives back whole frames."""

    __slots__ = ("_caps", "_channel", "_held")

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._caps = _CHANNEL_CAPS[channel]
        self._held = bytearray()

    @property
    def bytes_held(self) -> int:
        """Bytes of a frame that is not complete."""
        return len(self._held)

    def feed(self, data: bytes) -> list[tuple[Kind, bytes]]:
        """The frames that `data` completes, in order; raise `PeerFault` 2400, 2401."""
        held = self._held
        if held:
            held += data
        source = held or data  # whole frames that come at once are not copied into `held` first
        frames: list[tuple[Kind, bytes]] = []
        start, size = 0, len(source)
        while size - start >= HEADER_BYTES:
            length, number = _HEADER.unpack_from(source, start)
            kind = self._check(number, length)
            end = start + HEADER_BYTES + length
            if size < end:
                break
            frames.append((kind, bytes(source[start + HEADER_BYTES : end])))
            start = end
        if source is data:
            held += data[start:]
        else:
            del held[:start]
        return frames

    def _check(self, number: int, length: int) -> Kind:
        kind, limit = self._caps.get(number, (None, 0))
        if kind is None:
            raise PeerFault(FRAME_OUT_OF_PLACE, kind=number, stream=self._channel.value)
        if length > limit:
            raise PeerFault(FRAME_TOO_LARGE, kind=number, size=length, limit=limit)
        return kind


def answer_frames(body: bytes | None) -> Iterator[bytes]:
    """An answer as frames: parts and an end, or the frame that says there is nothing.

    Each is made when it is written: an answer that a slow reader holds up is kept once, not twice.
    """
    if body is None:
        yield frame(Kind.NOTHING, b"")
        return
    assert len(body) <= ANSWER_BYTES_MAX, "whoever answers keeps within the limit"
    last = max(0, len(body) - 1) // PART_BYTES_MAX * PART_BYTES_MAX
    for start in range(0, last, PART_BYTES_MAX):
        yield frame(Kind.ANSWER_PART, body[start : start + PART_BYTES_MAX])
    yield frame(Kind.ANSWER_END, body[last:])


class AnswerReader:
    """Gathers one answer from its frames."""

    def __init__(self, bytes_max: int = ANSWER_BYTES_MAX) -> None:
        self._frames = FrameReader(Channel.ANSWER)
        self._bytes_max = bytes_max
        self._body = bytearray()
        self.is_complete = False
        self.is_nothing = False

    @property
    def body(self) -> bytes:
        """The whole answer, once complete."""
        return bytes(self._body)

    def feed(self, data: bytes) -> None:
        """Take bytes; raise `PeerFault` 2400, 2401 when they are no answer or too much of one."""
        for kind, piece in self._frames.feed(data):
            if self.is_complete:
                raise PeerFault(FRAME_OUT_OF_PLACE, kind=int(kind), stream=Channel.ANSWER.value)
            self._body += piece
            if len(self._body) > self._bytes_max:
                size = len(self._body)
                raise PeerFault(FRAME_TOO_LARGE, kind=int(kind), size=size, limit=self._bytes_max)
            self.is_complete = kind is not Kind.ANSWER_PART
            self.is_nothing = kind is Kind.NOTHING
