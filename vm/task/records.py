"""What the state holds of a task: the task, its seats, its offers, forfeits that an epoch may excuse.

Here: the records, their tables and keys, the stages of a seat, how a seat can end and whose fault.
Not here: payloads (payloads.py), what moves when a seat ends (settlement.py).
Keeps: all of a task's records are deleted `task_retain_blocks` after it is final; envelopes, specs and
places stay in their transactions, which the records name by wtxid.
"""

from __future__ import annotations

from enum import IntEnum

from consensus.types.codec import Address, Hash32, Record, Uint
from vm.state import Namespace, Table
from vm.task.payloads import Check, Role, Windows


class TaskState(IntEnum):
    """Where a task stands."""

    OPEN = 1
    ACTIVE = 2
    FINAL = 3


class Stage(IntEnum):
    """Where a seat stands; each stage but the last has a deadline."""

    RESERVED = 1
    """Matched, but its clocks start at the task's `not_before`; it fills no slot."""
    MATCHED = 2
    STARTING = 3
    RUNNING = 4
    REVIEW = 5
    CLOSED = 6


class Ending(IntEnum):
    """How a task or a seat ended: the row of settlement that applied. Numbers are never reused."""

    CANCELLED_OPEN = 1
    EXPIRED = 2
    GRANT_TIMEOUT = 3
    CANCELLED_MATCHED = 4
    RELEASED_RESERVATION = 5
    DECLINED = 6
    START_TIMEOUT = 7
    RUN_TIMEOUT = 8
    RELEASED = 9
    CANCELLED = 10
    FAILURE_AGREED = 11
    FAILURE_UNANSWERED = 12
    FAILURE_REJECTED = 13
    ACCEPTED = 14
    ACCEPTED_BY_SILENCE = 15
    REJECTED = 16


class Blame(IntEnum):
    """Whose fault an ending is."""

    NOBODY = 0
    REQUESTER = 1
    APPLICATION = 2
    SPARK = 3
    NETWORK = 4
    UNDECIDED = 5


class Task(Record, frozen=True):
    """A task; keyed by the txid of its post."""

    requester: Address
    way: Uint
    replicas: Uint
    roles: tuple[Role, ...]
    min_kappa: Uint
    allow: tuple[Address, ...]
    avoid: tuple[Address, ...]
    windows: Windows
    not_before: Uint
    by_hand: bool
    check: Check | None
    spec: Hash32
    """H('EUB-spec', spec)."""
    post: Hash32
    """wtxid of the transaction that holds the spec."""
    posted: Uint
    state: Uint
    offers: Uint
    """Offers that stand."""
    escrow: Uint
    """Grains held while the task is open; from the match on each open seat holds its price."""
    deposit: Uint
    """Grains held for the records themselves."""
    job: Hash32 | None
    """Digest of the job, from the first grant on."""
    cancel_at: Uint
    """The height at which a cancellation takes effect; 0 for none."""
    seats_open: Uint
    """Seats that are not closed."""
    ending: Uint
    """How a task ended that was never matched; 0 otherwise."""
    final: Uint
    """The height at which it became final; 0 before."""


class Result(Record, frozen=True):
    """What was delivered."""

    digest: Hash32
    size: Uint
    seal: Hash32
    delivery: Hash32
    """wtxid of the transaction with places, recipient and envelope."""


class Failure(Record, frozen=True):
    """What the spark claims of the application."""

    code: Uint
    exit_status: Uint
    report: Hash32
    claim: Hash32
    """wtxid of the transaction with the report's place."""


class Outcome(Record, frozen=True):
    """How a seat ended and where its money went; grains."""

    ending: Uint
    blame: Uint
    height: Uint
    paid: Uint
    """To the spark, net of the fee."""
    fee: Uint
    """Half burned, half to the resource pool."""
    refunded: Uint
    burned: Uint
    """Of the escrow, the fee not counted; paid + fee + refunded + burned = price."""
    gas_returned: Uint
    gas_burned: Uint
    gas_held: Uint
    """Burned or returned when the epoch closes; returned + burned + held = gas."""


class Seat(Record, frozen=True):
    """One member of one role, from the match on; keyed by task ‖ u8 seat."""

    spark: Address
    role: Uint
    price: Uint
    """π, grains; in escrow until the seat is closed."""
    promise: Uint
    """p, blocks."""
    kappa: Uint
    """κ when it offered."""
    power: Uint
    """P when it offered."""
    gas: Uint
    pledge: Uint
    audit: Uint
    """Probability of an audit, parts per billion; fixed at the match."""
    stage: Uint
    entered: Uint
    """The height at which the stage began."""
    deadline: Uint
    """The last height for what the stage waits for."""
    started: Uint
    delivered: Uint
    """The height of the delivery or of the claimed failure."""
    grant: Hash32 | None
    """wtxid of the newest grant that holds an envelope for it."""
    endpoint: Hash32 | None
    """wtxid of the start with its sealed endpoint, in groups."""
    result: Result | None
    failure: Failure | None
    outcome: Outcome | None


class StandingOffer(Record, frozen=True):
    """A bid that stands; keyed by task ‖ spark."""

    role: Uint
    price: Uint
    promise: Uint
    kappa: Uint
    power: Uint
    gas: Uint
    """What winning would lock."""
    deposit: Uint
    height: Uint


class Forfeit(Record, frozen=True):
    """Gas of a seat whose spark failed its availability, held until the epoch has closed.

    Keyed by u64 epoch ‖ task ‖ u8 seat.
    """

    spark: Address
    amount: Uint
    price: Uint
    """What its bad words would weigh."""


TASKS = Table(Namespace.TASK, Task)
SEATS = Table(Namespace.SEAT, Seat)
OFFERS = Table(Namespace.OFFER, StandingOffer)
FORFEITS = Table(Namespace.FORFEIT, Forfeit)

TASK_ID_BYTES = 32


def seat_key(task: bytes, seat: int) -> bytes:
    """The key of a seat."""
    return task + bytes([seat])


def seat_of_key(key: bytes) -> tuple[bytes, int]:
    """Task and number of a seat's key."""
    return key[:TASK_ID_BYTES], key[TASK_ID_BYTES]


def forfeit_key(epoch: int, task: bytes, seat: int) -> bytes:
    """The key of a forfeit."""
    return epoch.to_bytes(8, "big") + seat_key(task, seat)


def forfeits_of(epoch: int) -> tuple[bytes, bytes]:
    """Bounds of a scan over an epoch's forfeits."""
    return epoch.to_bytes(8, "big"), (epoch + 1).to_bytes(8, "big")


def keys_of(task: bytes) -> tuple[bytes, bytes]:
    """Bounds of a scan over everything of one task: seats and offers have keys of at most 52 bytes."""
    return task, task + b"\xff" * 21
