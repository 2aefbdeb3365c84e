"""Frames and messages from bytes that come in any pieces, cut anywhere, or from somebody hostile."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.agreement.messages import Proposal
from consensus.types.block import Commit, Header
from consensus.types.codec import INTEGER_MAX, encode
from p2p.faults import FRAME_OUT_OF_PLACE, FRAME_TOO_LARGE, MESSAGE_MALFORMED, PeerFault
from p2p.frames import (
    ANSWER_BYTES_MAX,
    BODY_BYTES_MAX,
    CHANNEL_KINDS,
    HEADER_BYTES,
    AnswerReader,
    Channel,
    FrameReader,
    Kind,
    answer_frames,
    channel_of,
    frame,
)
from p2p.messages import (
    ADDRESS_RECORDS,
    BLOCK_PART,
    GET_TRANSACTIONS,
    GOODBYE,
    HELLO,
    PROPOSAL_MESSAGE,
    STATUS,
    WTXIDS,
    AddressRecord,
    AddressRecords,
    BlockPart,
    GetTransactions,
    Goodbye,
    Hello,
    ProposalMessage,
    Status,
    Wtxids,
    read_body,
)

SMALL = settings(max_examples=60, deadline=None)
CARRIED = [Channel.AGREEMENT, Channel.POOL, Channel.REQUEST, Channel.ANSWER]


@st.composite
def streams(draw):
    """A channel and some frames that belong on it, with bodies from empty to their cap."""
    channel = draw(st.sampled_from(CARRIED))
    kinds = st.sampled_from(sorted(CHANNEL_KINDS[channel]))
    frames = []
    for kind in draw(st.lists(kinds, max_size=6)):
        size = draw(st.integers(0, min(300, BODY_BYTES_MAX[kind])))
        frames.append((kind, draw(st.binary(min_size=size, max_size=size))))
    return channel, frames


@SMALL
@given(streams(), st.data())
def test_frames_come_out_whole_however_the_stream_is_split(stream, data):
    channel, frames = stream
    raw = b"".join(frame(kind, body) for kind, body in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    reader = FrameReader(channel)
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        found += reader.feed(raw[start:end])
    assert found == frames
    assert reader.bytes_held == 0


@SMALL
@given(streams())
def test_byte_by_byte_is_no_different(stream):
    channel, frames = stream
    reader = FrameReader(channel)
    raw = b"".join(frame(kind, body) for kind, body in frames)
    found = [one for position in range(len(raw)) for one in reader.feed(raw[position : position + 1])]
    assert found == frames


@SMALL
@given(streams(), st.data())
def test_a_truncated_stream_gives_the_whole_frames_before_the_cut_and_no_more(stream, data):
    channel, frames = stream
    raw = b"".join(frame(kind, body) for kind, body in frames)
    cut = data.draw(st.integers(0, len(raw)))
    found = FrameReader(channel).feed(raw[:cut])
    assert found == frames[: len(found)]
    assert sum(HEADER_BYTES + len(body) for _, body in found) <= cut


@pytest.mark.parametrize("kind", list(Kind))
def test_a_length_over_the_cap_is_refused_before_any_of_its_body(kind):
    reader = FrameReader(channel_of(kind))
    head = (BODY_BYTES_MAX[kind] + 1).to_bytes(4, "big") + bytes((kind,))
    with pytest.raises(PeerFault) as refused:
        reader.feed(head)
    assert refused.value.reason is FRAME_TOO_LARGE


@pytest.mark.parametrize("kind", list(Kind))
def test_a_body_at_its_cap_is_taken(kind):
    body = bytes(BODY_BYTES_MAX[kind])
    assert FrameReader(channel_of(kind)).feed(frame(kind, body)) == [(kind, body)]


@given(st.integers(0, 255), st.sampled_from(CARRIED), st.integers(0, 2**32 - 1))
def test_a_kind_that_does_not_belong_on_the_stream_is_refused_whatever_its_length(number, channel, length):
    raw = length.to_bytes(4, "big") + bytes((number,))
    if number in CHANNEL_KINDS[channel]:
        return
    with pytest.raises(PeerFault) as refused:
        FrameReader(channel).feed(raw)
    assert refused.value.reason is FRAME_OUT_OF_PLACE


@SMALL
@given(st.binary(max_size=400), st.sampled_from(CARRIED))
def test_garbage_is_frames_or_a_fault_of_the_peer_and_memory_stays_bounded(garbage, channel):
    reader = FrameReader(channel)
    try:
        for position in range(0, len(garbage), 7):
            reader.feed(garbage[position : position + 7])
    except PeerFault:
        return
    assert reader.bytes_held <= max(BODY_BYTES_MAX[k] for k in CHANNEL_KINDS[channel]) + HEADER_BYTES


@pytest.mark.parametrize("size", [0, 1, 57_343, 57_344, 57_345, 200_000])
def test_an_answer_in_parts_is_the_answer(size):
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    reader = AnswerReader()
    for data in answer_frames(body):
        assert not reader.is_complete
        reader.feed(data)
    assert reader.is_complete
    assert not reader.is_nothing
    assert reader.body == body


def test_nothing_is_an_answer_of_its_own():
    reader = AnswerReader()
    reader.feed(b"".join(answer_frames(None)))
    assert reader.is_complete
    assert reader.is_nothing


def test_an_answer_without_end_is_cut_at_the_limit():
    reader = AnswerReader()
    part = frame(Kind.ANSWER_PART, bytes(60_000))
    for _ in range(ANSWER_BYTES_MAX // 60_000):
        reader.feed(part)
    with pytest.raises(PeerFault) as refused:
        reader.feed(part)
    assert refused.value.reason is FRAME_TOO_LARGE


def test_an_answer_ends_once():
    reader = AnswerReader()
    end = frame(Kind.ANSWER_END, b"x")
    with pytest.raises(PeerFault):
        reader.feed(end + end)


HASH, SIGNATURE = bytes(range(32)), bytes(64)
BIG = INTEGER_MAX
HEADER = Header(BIG, BIG, BIG, BIG, HASH, bytes(20), HASH, HASH, HASH, HASH, HASH, HASH, HASH)
LARGEST = [
    (Kind.HELLO, HELLO, Hello(BIG, "c" * 64, HASH, BIG, "m" * 64, "a" * 256, HASH, SIGNATURE, b"i" * 16)),
    (Kind.GOODBYE, GOODBYE, Goodbye(9999)),
    (Kind.STATUS, STATUS, Status(BIG, BIG, BIG, HASH, BIG)),
    (
        Kind.PROPOSAL,
        PROPOSAL_MESSAGE,
        ProposalMessage(Proposal(BIG, 2**32 - 1, HASH, 2**32 - 2, SIGNATURE), HEADER),
    ),
    (Kind.BLOCK_PART, BLOCK_PART, BlockPart(BIG, HASH, 255, 256, bytes(56 * 1024))),
    (Kind.ANNOUNCE, WTXIDS, Wtxids((HASH,) * 1500)),
    (Kind.GET_TRANSACTIONS, GET_TRANSACTIONS, GetTransactions(BIG, HASH, bytes(4096))),
    (
        Kind.ANSWER_END,
        ADDRESS_RECORDS,
        AddressRecords((AddressRecord("p" * 80, ("a" * 256,) * 8, BIG, SIGNATURE),) * 20),
    ),
]


@pytest.mark.parametrize(("kind", "codec", "message"), LARGEST, ids=lambda x: getattr(x, "name", ""))
def test_the_largest_message_of_a_kind_fits_its_frame(kind, codec, message):
    body = encode(message)
    assert len(frame(kind, body)) <= HEADER_BYTES + BODY_BYTES_MAX[kind]
    assert read_body(codec, kind, body) == message


@SMALL
@given(st.sampled_from(LARGEST), st.data())
def test_a_mutated_message_is_read_as_itself_or_blames_the_peer(case, data):
    kind, codec, message = case
    body = bytearray(encode(message))
    position = data.draw(st.integers(0, len(body) - 1))
    body[position] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(body)))
    for changed in (bytes(body), bytes(body[:cut])):
        try:
            read = read_body(codec, kind, changed)
        except PeerFault:
            continue
        assert encode(read) == changed


def test_an_unreadable_message_blames_the_peer():
    with pytest.raises(PeerFault) as refused:
        read_body(STATUS, Kind.STATUS, b"")
    assert refused.value.reason is MESSAGE_MALFORMED


def test_a_commit_of_the_largest_set_fits_a_certificate_frame():
    commit = Commit(2**32 - 1, HASH, bytes(64), (SIGNATURE,) * 512)
    assert len(encode(commit)) < BODY_BYTES_MAX[Kind.CERTIFICATE]
