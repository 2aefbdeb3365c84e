"""From the grant to a program that is ready to run: envelope, inputs, room, runtime.

Here: opening the job, downloading and unpacking the inputs, preparing the execution, and which code of
`task.decline` each failure on the way has.
Not here: sealing and stores (spark_node/storage), running (seat_work.py).
Keeps: nothing is run that the chain's digests do not name; plaintext lies in the seat's room alone;
ciphertext that arrived is not fetched twice, also after a crash.
Errors: 3231 job_differs, 3232 inputs_collide.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import trio

from consensus.types.errors import Fault, Reason
from spark_node.chain import SeatView, TaskView
from spark_node.envelopes import (
    JOB_FILE_NUMBER,
    SEALED_JOB_BYTES_MAX,
    Inside,
    input_object,
    open_grant,
    open_job_file,
)
from spark_node.folder import remove_tree
from spark_node.job import Input, Job, Spec, command_of, job_digest
from spark_node.journal import SeatNote
from spark_node.runtimes.runtime import Execution, Order
from spark_node.storage.age_keys import parse_identity
from spark_node.storage.packing import DEFAULT_LIMITS, PackingLimits
from spark_node.storage.sealing import open_directory
from spark_node.storage.store import measure_file
from spark_node.workplace import Workplace
from vm.task.payloads import DeclineCode

RETRY_S = 2.0
"""Between two attempts at an input that is not there yet."""

JOB_DIFFERS = Reason(
    3231,
    "job_differs",
    "expected:hash found:hash",
    "The envelope holds the job {found}; the grant on chain names {expected}.",
    "The requester grants again with the job that the grant names.",
)
INPUTS_COLLIDE = Reason(
    3232,
    "inputs_collide",
    "path:text",
    "Two inputs of the job both hold '{path}'.",
    "The requester packs them into one, or gives different names.",
)

DECLINE_CODES = {
    "does_not_open": DeclineCode.BAD_GRANT,
    "envelope_unreadable": DeclineCode.BAD_GRANT,
    "identity_malformed": DeclineCode.BAD_GRANT,
    "recipient_malformed": DeclineCode.BAD_GRANT,
    "job_differs": DeclineCode.BAD_GRANT,
    "job_without_role": DeclineCode.BAD_GRANT,
    "inputs_collide": DeclineCode.BAD_GRANT,
    "spec_invalid": DeclineCode.BAD_GRANT,
    "module_mismatch": DeclineCode.BAD_GRANT,
    "place_malformed": DeclineCode.BAD_GRANT,
    "place_not_allowed": DeclineCode.MISSING_INPUT,
    "place_unreachable": DeclineCode.MISSING_INPUT,
    "place_refuses": DeclineCode.MISSING_INPUT,
    "access_denied": DeclineCode.MISSING_INPUT,
    "object_missing": DeclineCode.MISSING_INPUT,
    "object_differs": DeclineCode.MISSING_INPUT,
    "ciphertext_differs": DeclineCode.MISSING_INPUT,
    "archive_damaged": DeclineCode.MISSING_INPUT,
    "object_too_large": DeclineCode.TOO_LARGE,
    "archive_too_large": DeclineCode.TOO_LARGE,
    "module_too_large": DeclineCode.TOO_LARGE,
    "archive_unsafe": DeclineCode.UNSAFE,
    "input_unsafe": DeclineCode.UNSAFE,
    "module_missing": DeclineCode.MISSING_IMAGE,
    "image_missing": DeclineCode.MISSING_IMAGE,
    "image_mismatch": DeclineCode.MISSING_IMAGE,
}
"""By the reason's name; whatever is not listed is this machine's own trouble: `other`."""
_MAY_PASS = frozenset({"object_missing", "place_unreachable"})


class Ready(NamedTuple):
    """A program that may start."""

    job: Job
    execution: Execution


def decline_code(fault: Fault) -> DeclineCode:
    """How a failure before the start is called on chain."""
    return DECLINE_CODES.get(fault.reason.name, DeclineCode.OTHER)


async def open_job(workplace: Workplace, seat: SeatView, note: SeatNote) -> Job:
    """The job that a grant holds; raises `Fault` for one that is not what the chain names."""
    assert seat.grant is not None, "a seat that starts was granted"
    granted = await workplace.chain.granted(seat.grant, seat.number)
    opened = open_grant(granted.envelope, workplace.identity)
    if isinstance(opened, Inside):
        job = opened.job
    else:
        path = workplace.sealed(note) / "job"
        await _fetch(workplace, note, JOB_FILE_NUMBER, opened.file, path, SEALED_JOB_BYTES_MAX)
        job = open_job_file(await trio.to_thread.run_sync(path.read_bytes), opened)
    found = job_digest(job)
    if found != granted.job:
        raise Fault(JOB_DIFFERS, expected=granted.job, found=found)
    return job


async def make_ready(
    workplace: Workplace, view: TaskView, note: SeatNote, job: Job, patience_height: int
) -> Ready:
    """Fetch, unpack and prepare; an input that is not there is asked for again until `patience_height`."""
    spec = view.spec
    assert spec is not None, "no offer is made for a spec that cannot be read"
    command = command_of(job, view.post.roles[0].name)
    room = workplace.room(note)
    await trio.to_thread.run_sync(remove_tree, room)
    room.mkdir(mode=0o700, parents=True)
    (room / "input").mkdir(mode=0o700)
    for number, wanted in enumerate(job.inputs):
        path = workplace.sealed(note) / f"in-{number}"
        await _fetch_patiently(workplace, note, number, wanted, path, patience_height)
        await _unpack(path, wanted, job, spec, room)
    environment = tuple((variable.name, variable.value) for variable in job.environment)
    # Given back by whoever works on the seat, whatever comes of it.
    gpus = await workplace.gpus.take(note.key, spec.gpus) if spec.gpus else ()
    order = Order(note.name, spec, command, environment, job.limits, room, gpus)
    execution = await workplace.runtimes[spec.runtime].prepare(order)
    return Ready(job, execution)


async def _fetch_patiently(
    workplace: Workplace, note: SeatNote, number: int, wanted: Input, path: Path, patience_height: int
) -> None:
    while True:
        try:
            return await _fetch(workplace, note, number, wanted, path, wanted.size)
        except Fault as fault:
            if fault.reason.name not in _MAY_PASS or workplace.heights.height >= patience_height:
                raise
            await workplace.tell(note, f"waits for input {number}: {fault}")
            with trio.move_on_after(RETRY_S):
                await workplace.heights.until(patience_height)


async def _fetch(
    workplace: Workplace, note: SeatNote, number: int, wanted: Input, path: Path, bytes_max: int
) -> None:
    """Have the ciphertext of one input at `path`, whole and with its digest."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        stored = await trio.to_thread.run_sync(measure_file, path)
        if stored.digest == wanted.digest:
            return
        path.unlink()
    async with workplace.open(workplace.place_for(wanted.place, "input")) as store:
        name = input_object(note.task, note.seat, number)
        await store.get(name, path, digest=wanted.digest, bytes_max=min(bytes_max, wanted.size))


async def _unpack(path: Path, wanted: Input, job: Job, spec: Spec, room: Path) -> None:
    """Open one input and move what it holds into `room/input`."""
    limits = PackingLimits(
        DEFAULT_LIMITS.entries_max,
        DEFAULT_LIMITS.file_bytes_max,
        spec.input_bytes_max,
        DEFAULT_LIMITS.ratio_max,
        DEFAULT_LIMITS.ratio_free_bytes,
    )
    unpacked = room / "unpacked"
    await open_directory(path, unpacked, parse_identity(job.input_identity), wanted.digest, limits)
    await trio.to_thread.run_sync(_move_into, unpacked, room / "input")


def _move_into(source: Path, target: Path) -> None:
    for entry in sorted(source.iterdir()):
        if (target / entry.name).exists():
            raise Fault(INPUTS_COLLIDE, path=entry.name[:120])
        entry.rename(target / entry.name)
    shutil.rmtree(source)
