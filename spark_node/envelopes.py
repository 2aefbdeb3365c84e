"""What the sealed envelopes of a task hold: the job of a grant, the key of a result.

Here: their records, sealing and opening them, the names of the objects that belong to a seat.
Not here: sealing itself (storage/sealing.py), the transactions that carry them (vm/task).
Keeps: a job that outgrows the envelope travels as a sealed file, which the envelope names; whoever opens
an envelope compares it with the digest on chain before believing it; no secret shows in a repr.
Errors: 3201 envelope_unreadable.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from pyrage.x25519 import Identity

from consensus.types.codec import Codec, Hash32, Record, encode
from consensus.types.errors import Fault, Reason, Rejected
from spark_node.job import JOB, JOB_BYTES_MAX, SALT_BYTES, Input, Job
from spark_node.storage.age_keys import new_identity, parse_identity, recipient_of
from spark_node.storage.objects import ObjectName
from spark_node.storage.sealing import (
    GRANT_ENVELOPE_BYTES_MAX,
    RESULT_ENVELOPE_BYTES_MAX,
    seal,
    unseal,
)

JOB_FILE_NUMBER = 1_000
"""The `in` object that holds a job too large for its envelope; inputs are numbered from 0 to 15."""
SEALED_JOB_BYTES_MAX = JOB_BYTES_MAX + 1024

ENVELOPE_UNREADABLE = Reason(
    3201,
    "envelope_unreadable",
    "what:text why:text",
    "The {what} opens but does not hold what it should: {why}.",
    "Whoever sealed it uses another version; ask for it to be sent again.",
)

Secret = Annotated[str, msgspec.Meta(max_length=128)]


class Inside(Record, tag=0, frozen=True):
    """The job itself."""

    job: Job


class Elsewhere(Record, tag=1, frozen=True):
    """The job is the sealed object `in`/`JOB_FILE_NUMBER` of the seat, at this place."""

    file: Input
    identity: Secret
    """Opens that file."""

    def __repr__(self) -> str:
        return f"Elsewhere({self.file.place})"


class ResultKey(Record, frozen=True):
    """What a delivery tells the requester: how to open the result, and what the seal hides."""

    identity: Secret
    answer: Hash32
    salt: Annotated[bytes, msgspec.Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]

    def __repr__(self) -> str:
        return "ResultKey(…)"


Granted = Inside | Elsewhere
_GRANTED: Codec[Granted] = Codec(Granted)
_RESULT_KEY: Codec[ResultKey] = Codec(ResultKey)


def input_object(task: bytes, seat: int, number: int) -> ObjectName:
    """The name of a job's input `number` (from 0, in the job's order)."""
    return ObjectName(task, seat, "in", number)


def result_object(task: bytes, seat: int) -> ObjectName:
    """The name of a seat's sealed result."""
    return ObjectName(task, seat, "out", 0)


def report_object(task: bytes, seat: int) -> ObjectName:
    """The name of the sealed report of a failure."""
    return ObjectName(task, seat, "error", 0)


def seal_job(job: Job, recipient: str) -> bytes:
    """The envelope of a grant; raise `Fault` 3413 when the job is too large for one."""
    return seal(encode(Inside(job)), recipient, GRANT_ENVELOPE_BYTES_MAX)


def seal_job_file(job: Job) -> tuple[bytes, Identity]:
    """A large job as the bytes of a sealed file, and what opens it."""
    identity = new_identity()
    return seal(encode(job), recipient_of(identity), SEALED_JOB_BYTES_MAX), identity


def seal_job_reference(file: Input, identity: Identity, recipient: str) -> bytes:
    """The envelope of a grant whose job lies in `file`."""
    return seal(encode(Elsewhere(file, str(identity))), recipient, GRANT_ENVELOPE_BYTES_MAX)


def open_grant(envelope: bytes, identity: Identity) -> Granted:
    """Open a grant's envelope; raise `Fault` 3412 or 3201."""
    data = unseal(envelope, identity, "The grant's envelope")
    try:
        return _GRANTED.decode(data)
    except Rejected as rejected:
        raise _unreadable("grant's envelope", rejected) from None


def open_job_file(sealed: bytes, reference: Elsewhere) -> Job:
    """Open the file of a large job; raise `Fault` 3411, 3412 or 3201."""
    data = unseal(sealed, parse_identity(reference.identity), "The sealed job")
    try:
        return JOB.decode(data)
    except Rejected as rejected:
        raise _unreadable("sealed job", rejected) from None


def seal_result_key(key: ResultKey, recipient: str) -> bytes:
    """The envelope of a delivery."""
    return seal(encode(key), recipient, RESULT_ENVELOPE_BYTES_MAX)


def open_result_key(envelope: bytes, identity: Identity) -> ResultKey:
    """Open a delivery's envelope; raise `Fault` 3412 or 3201."""
    data = unseal(envelope, identity, "The delivery's envelope")
    try:
        return _RESULT_KEY.decode(data)
    except Rejected as rejected:
        raise _unreadable("delivery's envelope", rejected) from None


def _unreadable(what: str, rejected: Rejected) -> Fault:
    return Fault(ENVELOPE_UNREADABLE, what=what, why=str(rejected.facts.get("what", "it is too long")))
