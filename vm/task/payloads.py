"""What the transactions of the task market carry: one record per type, tags 50 … 67.

Here: the payloads and the parts that the task's records share with them (roles, windows, check).
Not here: what they do (posting, matching, running, delivering, judging), the spec's and the job's own
layout, which the chain knows by digest only (spark_node/job.py).
Keeps: a task is named by the txid of its post, a seat by its number in the task.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from msgspec import Meta

from consensus.types.amounts import PPB
from consensus.types.codec import Address, Amount, Hash32, Name, Record, Uint

ROLES_MAX = 8
ALLOW_MAX = 64
AVOID_MAX = 16
SPEC_BYTES_MAX = 8 * 1024
GRANT_ENVELOPE_BYTES_MAX = 4 * 1024
"""A job that outgrows it travels as a sealed file that the envelope names."""
DELIVERY_ENVELOPE_BYTES_MAX = 1024
ENDPOINT_BYTES_MAX = 1024
PLACES_MAX = 2
SCORE_MAX = 100
STARS_MAX = 5
EXIT_STATUS_MAX = 2**32 - 1

SeatNumber = Annotated[int, Meta(ge=0, le=255)]
Place = Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^[\x21-\x7e]+\Z")]
"""Where a ciphertext lies: printable ASCII, as in `blob:…` or `s3://…`."""


class Way(IntEnum):
    """How a task is judged; named when it is posted."""

    NONE = 0
    """The requester may reject: what it would have paid is burned."""
    CHECK = 1
    QUORUM = 2
    RERUN = 3


class DeclineCode(IntEnum):
    """Why a spark does not start what it was granted."""

    BAD_GRANT = 1
    MISSING_INPUT = 2
    MISSING_IMAGE = 3
    TOO_LARGE = 4
    UNSAFE = 5
    OTHER = 6


class FailCode(IntEnum):
    """What, as the spark claims, was wrong with the application."""

    EXIT = 1
    MEMORY = 2
    DISK = 3
    TIME = 4
    OUTPUT = 5
    FORBIDDEN = 6
    OTHER = 7


class DisputeKind(IntEnum):
    """What a requester says is wrong with a delivery."""

    WRONG = 0
    CHECK = 1
    UNAVAILABLE = 2


class Resources(Record, frozen=True):
    """What one seat needs of a machine; declared by sparks, not proved."""

    gpus: Uint
    gpu_memory_bytes: Uint
    """Of each GPU."""
    cpus: Uint
    memory_bytes: Uint
    disk_bytes: Uint


class Role(Record, frozen=True):
    """Seats of one kind."""

    name: Name
    count: Annotated[int, Meta(ge=1, le=255)]
    essential: bool
    """Whether the task is done only when these have delivered."""
    maximum: Amount
    """M: the most that one seat is paid, grains."""
    resources: Resources


class Windows(Record, frozen=True):
    """How long each party has for its step, in blocks."""

    offer: Uint
    grant: Uint
    start: Uint
    run: Uint
    review: Uint


class Check(Record, frozen=True):
    """A WASI module that scores a result 0 … 100, and the score from which it passes."""

    digest: Hash32
    pass_mark: Annotated[int, Meta(ge=0, le=SCORE_MAX)]


class Post(Record, tag=50, frozen=True):
    """A requester asks for work and escrows the most it may cost."""

    way: Annotated[int, Meta(ge=0, le=3)]
    replicas: Annotated[int, Meta(ge=0, le=7)]
    """k: how many seats repeat the work on the way `quorum`; 0 on every other."""
    roles: Annotated[tuple[Role, ...], Meta(min_length=1, max_length=ROLES_MAX)]
    min_kappa: Annotated[int, Meta(ge=0, le=PPB)]
    """The least coefficient of an offer, parts per billion."""
    allow: Annotated[tuple[Address, ...], Meta(max_length=ALLOW_MAX)]
    """If there are any, only these may offer."""
    avoid: Annotated[tuple[Address, ...], Meta(max_length=AVOID_MAX)]
    windows: Windows
    not_before: Uint
    """A reservation: the height at which its clocks start; 0 for at once."""
    by_hand: bool
    """The requester chooses among the offers, instead of the draw."""
    check: Check | None
    spec: Annotated[bytes, Meta(min_length=1, max_length=SPEC_BYTES_MAX)]


class Offer(Record, tag=51, frozen=True):
    """A spark bids for a seat."""

    task: Hash32
    role: Annotated[int, Meta(ge=0, lt=ROLES_MAX)]
    price: Amount
    """π, grains."""
    promise: Uint
    """p: blocks from start to delivery."""


class Match(Record, tag=52, frozen=True):
    """A requester that chooses by hand takes an offer."""

    task: Hash32
    spark: Address


class Cancel(Record, tag=53, frozen=True):
    """The requester ends the task."""

    task: Hash32


class SeatEnvelope(Record, frozen=True):
    """The job, sealed to one seat's spark."""

    seat: SeatNumber
    envelope: Annotated[bytes, Meta(min_length=1, max_length=GRANT_ENVELOPE_BYTES_MAX)]


class Grant(Record, tag=54, frozen=True):
    """The requester hands over the sealed job, or renews access to the same one."""

    task: Hash32
    job: Hash32
    """H('EUB-job', job): a spark whose envelope does not open to it declines."""
    envelopes: Annotated[tuple[SeatEnvelope, ...], Meta(min_length=1, max_length=256)]


class Start(Record, tag=55, frozen=True):
    """The spark runs the job from here on."""

    task: Hash32
    seat: SeatNumber
    endpoint: Annotated[bytes, Meta(max_length=ENDPOINT_BYTES_MAX)]
    """Where the members of a group find this one, sealed to them; empty for a single seat."""


class Release(Record, tag=56, frozen=True):
    """The spark gives the seat up: its owner wants the machine."""

    task: Hash32
    seat: SeatNumber


class Decline(Record, tag=57, frozen=True):
    """The spark cannot start what it was granted."""

    task: Hash32
    seat: SeatNumber
    code: Annotated[int, Meta(ge=1, le=6)]


class Deliver(Record, tag=58, frozen=True):
    """The spark has uploaded the sealed result."""

    task: Hash32
    seat: SeatNumber
    digest: Hash32
    """SHA-256 of the ciphertext."""
    size: Uint
    """Of the ciphertext, bytes."""
    places: Annotated[tuple[Place, ...], Meta(min_length=1, max_length=PLACES_MAX)]
    seal: Hash32
    """H('EUB-seal', D ‖ spark ‖ salt): binds the spark to its answer without showing it."""
    recipient: Annotated[str, Meta(max_length=64, pattern=r"^age1[0-9a-z]{58}\Z")]
    """Made by the spark for this result alone."""
    envelope: Annotated[bytes, Meta(min_length=1, max_length=DELIVERY_ENVELOPE_BYTES_MAX)]
    """To the requester: the recipient's identity, D and the salt."""


class Fail(Record, tag=59, frozen=True):
    """The spark claims that the application failed, and shows a sealed report."""

    task: Hash32
    seat: SeatNumber
    code: Annotated[int, Meta(ge=1, le=7)]
    exit_status: Annotated[int, Meta(ge=0, le=EXIT_STATUS_MAX)]
    report: Hash32
    """SHA-256 of the sealed report."""
    place: Place


class Accept(Record, tag=60, frozen=True):
    """The requester takes the result, or agrees that its application failed."""

    task: Hash32
    seat: SeatNumber
    score: Annotated[int, Meta(ge=0, le=SCORE_MAX)]
    """The requester's own validation."""
    stars: Annotated[int, Meta(ge=1, le=STARS_MAX)]


class Reject(Record, tag=61, frozen=True):
    """The requester does not take the result or the claim; what it would have paid is burned."""

    task: Hash32
    seat: SeatNumber


class Dispute(Record, tag=62, frozen=True):
    """The requester asks judges about a delivery."""

    task: Hash32
    seat: SeatNumber
    kind: Annotated[int, Meta(ge=0, le=2)]


class Appeal(Record, tag=63, frozen=True):
    """Either side asks a larger panel."""

    task: Hash32
    seat: SeatNumber


class Sit(Record, tag=64, frozen=True):
    """A drawn judge takes its place."""

    task: Hash32
    seat: SeatNumber


class Show(Record, tag=65, frozen=True):
    """Requester or accused shows a judge the job or the result's identity."""

    task: Hash32
    seat: SeatNumber
    judge: Address
    envelope: Annotated[bytes, Meta(min_length=1, max_length=GRANT_ENVELOPE_BYTES_MAX)]


class Seal(Record, tag=66, frozen=True):
    """A judge binds itself to its answer."""

    task: Hash32
    seat: SeatNumber
    seal: Hash32


class Reveal(Record, tag=67, frozen=True):
    """A replica, the accused or a judge shows the answer behind its seal."""

    task: Hash32
    seat: SeatNumber
    answer: Annotated[bytes, Meta(min_length=1, max_length=32)]
    salt: Annotated[bytes, Meta(min_length=16, max_length=16)]
