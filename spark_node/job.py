"""What a spark is asked to run: the public spec of a task and the sealed job of its grant.

Here: `Spec` (in the post transaction, for everyone), `Job` (in the grant, for the seated spark and its
judges), their digests and checks, the digest of an answer and its seal.
Not here: the transactions that carry them (vm/), sealing and packing (spark_node/storage), running
(spark_node/runtimes).
Keeps: a job's repr shows neither its identity nor its environment; equal outputs have equal answers
whatever order a directory was read in; a program travels inside the sealed input, a spec has its digest.
Errors: 3300 spec_invalid, 3301 job_without_role.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

from consensus.types.address import ADDRESS_BYTES
from consensus.types.codec import Codec, Hash32, Name, Record, encode
from consensus.types.errors import Fault, Reason
from consensus.types.hashing import HASH_BYTES, Tag, tagged_hash

SPEC_BYTES_MAX = 8 * 1024
"""A spec lies in a transaction that everyone keeps."""
JOB_BYTES_MAX = 64 * 1024
"""A job that outgrows an envelope (4 KiB) travels as a sealed file; this bounds that file."""
SALT_BYTES = 16
WASI, DOCKER = "wasi", "docker"
MODULE_NAME = "module.wasm"
"""The program of a wasi task: at the root of the sealed input, checked against the spec, never mounted."""

SPEC_INVALID = Reason(
    3300,
    "spec_invalid",
    "field:text why:text",
    "The task's {field} cannot be used: {why}.",
    "Correct {field} and post the task again.",
)
JOB_WITHOUT_ROLE = Reason(
    3301,
    "job_without_role",
    "role:text",
    "The job holds no command for the role '{role}'.",
    "The requester grants it again with a command for every role.",
)

Text = Annotated[str, msgspec.Meta(max_length=4096)]
Mount = Annotated[str, msgspec.Meta(min_length=2, max_length=256)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Bytes = Annotated[int, msgspec.Meta(ge=0, le=2**50)]
"""A size in bytes, at most a pebibyte."""


class Spec(Record, frozen=True):
    """What everyone may know of a task: enough to decide whether a machine can and may run it."""

    runtime: Literal["wasi", "docker"]
    image: Annotated[str, msgspec.Meta(max_length=320)]
    """docker: `name@sha256:…` (a RepoDigest) or `sha256:…` (an image id); wasi: `sha256:…` of the module."""
    input_mount: Mount
    output_mount: Mount
    cpu_milli: Annotated[int, msgspec.Meta(ge=1, le=1_024_000)]
    """Thousandths of a core."""
    memory_bytes: Bytes
    disk_bytes: Bytes
    """All that the program may hold on disk, its result included."""
    gpus: Annotated[int, msgspec.Meta(ge=0, le=64)]
    input_bytes_max: Bytes
    """Of the unpacked input."""
    output_bytes_max: Bytes
    """Of the unpacked result."""
    recipient: Annotated[str, msgspec.Meta(max_length=64)]
    """The requester's age recipient, to whom logs and errors are sealed."""
    ports: Annotated[tuple[Port, ...], msgspec.Meta(max_length=16)]
    """Ports on which members of a group listen for each other; nobody else reaches them."""


class Command(Record, frozen=True):
    """What members of one role execute; no arguments at all means the image's own command."""

    role: Name
    arguments: Annotated[tuple[Text, ...], msgspec.Meta(max_length=256)]


class Variable(Record, frozen=True):
    """One environment variable."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}\Z")]
    value: Text


class Input(Record, frozen=True):
    """One sealed input file: where it lies and what must arrive."""

    place: Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
    digest: Hash32
    """SHA-256 of the ciphertext."""
    size: Bytes


class Limits(Record, frozen=True):
    """What one run may use, beside the sizes of the spec."""

    wall_seconds: Annotated[int, msgspec.Meta(ge=1, le=2_592_000)]
    """Time while the program is not paused by the machine's owner."""
    fuel: Annotated[int, msgspec.Meta(ge=1, le=2**62)]
    """wasi: instructions, roughly; docker ignores it."""
    log_bytes_max: Annotated[int, msgspec.Meta(ge=0, le=2**40)]
    """What the program may print in all."""


class Job(Record, frozen=True):
    """The sealed part: opened by the seated spark, and by a judge when it must be shown."""

    commands: Annotated[tuple[Command, ...], msgspec.Meta(min_length=1, max_length=8)]
    environment: Annotated[tuple[Variable, ...], msgspec.Meta(max_length=256)]
    inputs: Annotated[tuple[Input, ...], msgspec.Meta(max_length=16)]
    input_identity: Annotated[str, msgspec.Meta(max_length=128)]
    """The age secret that opens the inputs."""
    limits: Limits
    log_place: Annotated[str, msgspec.Meta(max_length=2048)]
    """The store that takes log chunks and progress; empty: the one beside the agent's node."""
    salt: Annotated[bytes, msgspec.Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
    """Keeps an answer from being guessed by those who do not know the job."""

    def __repr__(self) -> str:
        """Secrets (identity, environment, salt) stay out of logs and exceptions."""
        roles = ", ".join(command.role for command in self.commands)
        return f"Job(roles={roles}, inputs={len(self.inputs)}, digest={job_digest(self).hex()})"


SPEC: Codec[Spec] = Codec(Spec, SPEC_BYTES_MAX)
JOB: Codec[Job] = Codec(Job, JOB_BYTES_MAX)

_IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_REPOSITORY_DIGEST = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,200}@sha256:[0-9a-f]{64}", re.ASCII)
_RECIPIENT = re.compile(r"age1[02-9ac-hj-np-z]{58}", re.ASCII)
_MOUNT = re.compile(r"(/[A-Za-z0-9._-]+)+", re.ASCII)
_RESERVED_MOUNTS = ("/proc", "/sys", "/dev", "/tmp")
MEMORY_BYTES_MIN = 6 * 2**20
"""The smallest memory that a container engine accepts."""


def check_spec(spec: Spec) -> None:
    """Refuse what no machine could run; raises `Fault(SPEC_INVALID)` naming the field."""
    pinned = _IMAGE_ID.fullmatch(spec.image) is not None
    if spec.runtime == WASI and not pinned:
        _refuse("image", "a wasi task names its module as sha256: and 64 hexadecimal digits")
    if spec.runtime == DOCKER and not pinned and _REPOSITORY_DIGEST.fullmatch(spec.image) is None:
        _refuse("image", "it must be pinned, as name@sha256:… or as the image id sha256:…")
    for field, mount in (("input_mount", spec.input_mount), ("output_mount", spec.output_mount)):
        if _MOUNT.fullmatch(mount) is None or {".", ".."} & set(mount.split("/")):
            _refuse(field, "it must be an absolute path of plain names, as in /input")
        if any(_inside(mount, reserved) for reserved in _RESERVED_MOUNTS):
            _refuse(field, "the runtime itself needs that place")
    if _inside(spec.input_mount, spec.output_mount) or _inside(spec.output_mount, spec.input_mount):
        _refuse("output_mount", "input and output may not lie inside each other")
    if spec.memory_bytes < MEMORY_BYTES_MIN:
        _refuse("memory_bytes", f"{MEMORY_BYTES_MIN} is the least")
    if spec.output_bytes_max > spec.disk_bytes:
        _refuse("output_bytes_max", "the result may not be larger than the disk it is written to")
    if spec.runtime == WASI and spec.gpus:
        _refuse("gpus", "a WebAssembly module cannot use a GPU; choose the docker runtime")
    if _RECIPIENT.fullmatch(spec.recipient) is None:
        _refuse("recipient", "it is not an age recipient (age1 and 58 letters)")
    if tuple(sorted(set(spec.ports))) != spec.ports:
        _refuse("ports", "they must be different and ascending")


def _inside(path: str, parent: str) -> bool:
    return path == parent or path.startswith(parent + "/")


def _refuse(field: str, why: str) -> None:
    raise Fault(SPEC_INVALID, field=field, why=why)


def command_of(job: Job, role: str) -> tuple[str, ...]:
    """The arguments for members of `role`; raises `Fault(JOB_WITHOUT_ROLE)`."""
    for command in job.commands:
        if command.role == role:
            return command.arguments
    raise Fault(JOB_WITHOUT_ROLE, role=role[:64])


def spec_digest(spec: Spec) -> bytes:
    """Commit to a spec, as the chain's state does."""
    return tagged_hash(Tag.SPEC, encode(spec))


def job_digest(job: Job) -> bytes:
    """Commit to a job: `task.grant` carries it in clear, so a judge shown another job knows."""
    return tagged_hash(Tag.JOB, encode(job))


def answer_digest(salt: bytes, exit_status: int, contents: Iterable[tuple[str, bytes]]) -> bytes:
    """The answer D of a run: of paths and content digests (32 bytes each), not of archive bytes.

    Paths are relative, with `/`, and are sorted by their UTF-8 bytes; the exit status is part of it, so
    a program that fails has an answer as well.
    """
    assert len(salt) == SALT_BYTES, "a salt has 16 bytes"
    assert 0 <= exit_status < 2**32, "an exit status is an unsigned 32-bit integer"
    pairs = sorted(contents, key=lambda pair: pair[0].encode())
    assert len({path for path, _ in pairs}) == len(pairs), "a path occurs once"
    assert all(len(digest) == HASH_BYTES for _, digest in pairs), "a content digest has 32 bytes"
    return tagged_hash(
        Tag.OUTPUT, salt, exit_status.to_bytes(8, "big"), encode([[path, digest] for path, digest in pairs])
    )


def seal(answer: bytes, spark: bytes, salt: bytes) -> bytes:
    """Bind an answer to the spark (20-byte address) that gives it, without showing it yet."""
    assert len(answer) == HASH_BYTES, "an answer is a digest"
    assert len(spark) == ADDRESS_BYTES, "an address has 20 bytes"
    assert len(salt) == SALT_BYTES, "a salt has 16 bytes"
    return tagged_hash(Tag.SEAL, answer, spark, salt)
