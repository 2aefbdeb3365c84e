"""What nodes say to each other, as records: the bodies of frames.

Here: the records, their codecs, and the reading of a body that blames the peer when it is malformed.
Not here: proposals, votes and certificates themselves (consensus/agreement/messages.py), frames
(frames.py), what a node does with them (eubchain/node).
Keeps: every list is bounded by its cap; nothing read here was verified yet.
Errors: 2402 message_malformed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

from msgspec import Meta

from consensus.agreement.messages import Proposal
from consensus.types.block import Block, Commit, Header
from consensus.types.codec import Codec, Hash32, Key32, Record, Sig64, Uint
from consensus.types.errors import Rejected
from p2p.faults import MESSAGE_MALFORMED, PeerFault
from p2p.frames import ANSWER_BYTES_MAX, BODY_BYTES_MAX, Kind, answer_bytes_max

PROTOCOL_VERSION = 2
"""Of everything that nodes say to each other: kinds, records, what is signed. Raised by any change of it that
a node of the version before would not understand; nodes of different versions do not talk."""
ADDRESSES_MAX = 8
"""Addresses of one node."""
ADDRESS_BYTES_MAX = 256
RECORDS_MAX = 32
"""Address records in one answer."""
BLOCK_PARTS_MAX = 256
"""Parts of one proposed block: hashes of the most transactions, and its last commit."""
SNAPSHOTS_MAX = 8
"""Snapshots in one answer."""
MANIFEST_BYTES_MAX = 2**24
CHUNK_NUMBER_MAX = 999_999
BLOCKS_MAX = 256
"""Blocks asked for at a time; the answer ends earlier when it is full."""

ChainId = Annotated[str, Meta(min_length=1, max_length=64)]
PeerIdText = Annotated[str, Meta(min_length=10, max_length=80)]


class Hello(Record, frozen=True):
    """The first frame of each side. A validator shows that its key stands behind this peer id."""

    version: Uint
    chain_id: ChainId
    genesis: Hash32
    height: Uint
    moniker: Annotated[str, Meta(max_length=64)]
    address: Annotated[str, Meta(max_length=ADDRESS_BYTES_MAX)]
    """Where the node listens, as it knows it; empty when it cannot be dialled."""
    validator_key: Key32 | None
    signature: Sig64 | None
    """Of the validator key over network and peer id."""
    instance: Annotated[bytes, Meta(min_length=16, max_length=16)] = bytes(16)
    """Drawn by the network part when the process starts: two that take turns share one identity."""


class Goodbye(Record, frozen=True):
    """Why the connection ends, where no rule was broken."""

    code: Annotated[int, Meta(ge=1, le=9999)]
    """Of the error: 2404, 2405, 2417."""


class Status(Record, frozen=True):
    """Said every two seconds and at each new height: it is the heartbeat as well."""

    height: Uint
    """Of the sender's ledger."""
    lowest: Uint
    """The oldest block it keeps."""
    round: Uint
    """Of the height that it agrees on."""
    wanted: Hash32 | None
    """A block of that height that it lacks."""
    waiting: Uint
    """Transactions in its mempool."""


class ProposalMessage(Record, frozen=True):
    """A proposal and the header of its block."""

    proposal: Proposal
    header: Header


class BlockPart(Record, frozen=True):
    """A piece of a proposed block's encoding without transactions, sent unasked after a proposal."""

    height: Uint
    block_id: Hash32
    index: Annotated[int, Meta(ge=0, lt=BLOCK_PARTS_MAX)]
    total: Annotated[int, Meta(ge=1, le=BLOCK_PARTS_MAX)]
    data: bytes


class ProposedBlock(Record, frozen=True):
    """A block by the names of its transactions."""

    header: Header
    wtxids: Annotated[tuple[Hash32, ...], Meta(max_length=100_000)]
    last_commit: Commit | None


class Transactions(Record, frozen=True):
    """A bundle of transactions."""

    raws: Annotated[tuple[bytes, ...], Meta(max_length=100_000)]


class Wtxids(Record, frozen=True):
    """Transactions by name: those that the sender has, or wants."""

    wtxids: Annotated[tuple[Hash32, ...], Meta(max_length=2000)]


class GetBlocks(Record, frozen=True):
    """Ask for final blocks with their commits, ascending."""

    first: Uint
    count: Annotated[int, Meta(ge=1, le=BLOCKS_MAX)]


class FinalBlock(Record, frozen=True):
    """A block and the commit that made it final."""

    block: Block
    commit: Commit


class FinalBlocks(Record, frozen=True):
    """As many of the blocks asked for as fit."""

    blocks: Annotated[tuple[FinalBlock, ...], Meta(max_length=BLOCKS_MAX)]


class GetProposed(Record, frozen=True):
    """Ask for a block that is being agreed on, without its transactions."""

    height: Uint
    block_id: Hash32


class GetTransactions(Record, frozen=True):
    """Ask for some transactions of a block that is being agreed on, by their positions."""

    height: Uint
    block_id: Hash32
    bitmap: Annotated[bytes, Meta(max_length=4096)]
    """Positions, lowest bit first."""


class GetPeers(Record, frozen=True):
    """Ask for addresses of nodes."""

    count: Annotated[int, Meta(ge=1, le=RECORDS_MAX)]


class GetSnapshots(Record, frozen=True):
    """Ask which snapshots a node keeps, the newest first."""

    count: Annotated[int, Meta(ge=1, le=SNAPSHOTS_MAX)]


class SnapshotOffer(Record, frozen=True):
    """A snapshot that a node keeps."""

    height: Uint
    block_id: Hash32
    layout: Hash32
    """Of everything in its manifest that all nodes have alike: chunks of equal layouts may be mixed."""
    manifest_bytes: Annotated[int, Meta(ge=1, le=MANIFEST_BYTES_MAX)]
    chunks: Uint
    size: Uint
    """Bytes of all chunks together."""


class SnapshotOffers(Record, frozen=True):
    """The answer to `GetSnapshots`."""

    offers: Annotated[tuple[SnapshotOffer, ...], Meta(max_length=SNAPSHOTS_MAX)]


class GetChunk(Record, frozen=True):
    """Ask for a piece of a snapshot; the answer is the piece itself."""

    height: Uint
    section: Annotated[int, Meta(ge=0, le=3)]
    """0 the manifest, 512 KiB a piece; 1 parts of the state; 2 named transactions; 3 ends of epochs."""
    number: Annotated[int, Meta(ge=0, le=CHUNK_NUMBER_MAX)]


class GetLightBlock(Record, frozen=True):
    """Ask for a header with its commit and validators, as light clients take it."""

    height: Uint


class AddressRecord(Record, frozen=True):
    """Where a node can be dialled, signed with the key that its peer id is made of."""

    peer: PeerIdText
    addresses: Annotated[
        tuple[Annotated[str, Meta(max_length=ADDRESS_BYTES_MAX)], ...], Meta(max_length=ADDRESSES_MAX)
    ]
    issued_s: Uint
    """Unix seconds; a newer record replaces an older one."""
    signature: Sig64


class AddressRecords(Record, frozen=True):
    """The answer to `GetPeers`."""

    records: Annotated[tuple[AddressRecord, ...], Meta(max_length=RECORDS_MAX)]


_CAP = BODY_BYTES_MAX
HELLO = Codec[Hello](Hello, _CAP[Kind.HELLO])
GOODBYE = Codec[Goodbye](Goodbye, _CAP[Kind.GOODBYE])
STATUS = Codec[Status](Status, _CAP[Kind.STATUS])
PROPOSAL_MESSAGE = Codec[ProposalMessage](ProposalMessage, _CAP[Kind.PROPOSAL])
BLOCK_PART = Codec[BlockPart](BlockPart, _CAP[Kind.BLOCK_PART])
PROPOSED_BLOCK = Codec[ProposedBlock](ProposedBlock, 4 * 2**20)
TRANSACTIONS = Codec[Transactions](Transactions, ANSWER_BYTES_MAX)
WTXIDS = Codec[Wtxids](Wtxids, _CAP[Kind.ANNOUNCE])
GET_BLOCKS = Codec[GetBlocks](GetBlocks, _CAP[Kind.GET_BLOCKS])
FINAL_BLOCKS = Codec[FinalBlocks](FinalBlocks, ANSWER_BYTES_MAX)
GET_PROPOSED = Codec[GetProposed](GetProposed, _CAP[Kind.GET_PROPOSED])
GET_TRANSACTIONS = Codec[GetTransactions](GetTransactions, _CAP[Kind.GET_TRANSACTIONS])
GET_PEERS = Codec[GetPeers](GetPeers, _CAP[Kind.GET_PEERS])
GET_SNAPSHOTS = Codec[GetSnapshots](GetSnapshots, _CAP[Kind.GET_SNAPSHOTS])
SNAPSHOT_OFFERS = Codec[SnapshotOffers](SnapshotOffers, answer_bytes_max(Kind.GET_SNAPSHOTS))
GET_CHUNK = Codec[GetChunk](GetChunk, _CAP[Kind.GET_CHUNK])
GET_LIGHT_BLOCK = Codec[GetLightBlock](GetLightBlock, _CAP[Kind.GET_LIGHT_BLOCK])
ADDRESS_RECORD = Codec[AddressRecord](AddressRecord, 4096)
ADDRESS_RECORDS = Codec[AddressRecords](AddressRecords, ANSWER_BYTES_MAX)

M = TypeVar("M")


def encode_final_blocks(blocks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The encoding of `FinalBlocks`, from the encodings of each block and its commit.

    Whoever serves them reads and writes megabytes at a stranger's wish: they are not decoded for that.
    """
    count = len(blocks)
    assert count <= BLOCKS_MAX, "as many as may be asked for"
    many = bytes([0x90 | count]) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    return b"\x91" + many + b"".join(b"\x92" + block + commit for block, commit in blocks)


def read_body(codec: Codec[M], kind: Kind, body: bytes) -> M:
    """Decode what a peer sent; raise `PeerFault` 2402 when it is not an encoding of the kind."""
    try:
        return codec.decode(body)
    except Rejected as refusal:
        raise PeerFault(MESSAGE_MALFORMED, kind=int(kind), why=str(refusal)) from None
