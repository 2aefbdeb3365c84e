"""From the end of a run to the chain: the sealed result with `task.deliver`, or the report with `task.fail`.

Here: sealing a result to a fresh recipient, bringing result or report to the requester, both claims.
Not here: running (seat_work.py), sealing itself and stores (spark_node/storage).
Keeps: the key of a result is in the journal before anybody hears of the result; what the requester's
store refuses is served by this agent, and the claim says where; repeating any step after a crash sends
the same ciphertext.
"""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

import msgspec
import trio

from consensus.types.errors import Fault
from spark_node.chain import TaskView
from spark_node.envelopes import ResultKey, report_object, result_object, seal_result_key
from spark_node.folder import remove_tree
from spark_node.job import SALT_BYTES, Job, answer_digest, seal
from spark_node.journal import KeptFailure, KeptResult, SeatNote
from spark_node.runtimes.runtime import Ending, Execution, Outcome
from spark_node.storage.age_keys import new_identity, parse_identity, recipient_of
from spark_node.storage.directory import DirectoryStore
from spark_node.storage.logs import error_report, put_error
from spark_node.storage.objects import ObjectName
from spark_node.storage.packing import DEFAULT_LIMITS, PackingLimits
from spark_node.storage.sealing import seal_directory
from spark_node.storage.store import Stored
from spark_node.workplace import Workplace
from vm.task.payloads import Deliver, Fail, FailCode

RESULT_NAME = "out"
UNPACKABLE = frozenset({"packing_refused", "archive_too_large"})
"""The program's own fault: a result that no archive may hold."""


async def seal_result(
    workplace: Workplace, view: TaskView, note: SeatNote, job: Job, execution: Execution, outcome: Outcome
) -> None:
    """Pack and seal what the program left, and note its key; a result that cannot be packed is a failure."""
    assert view.spec is not None, "it ran"
    target = workplace.sealed(note) / RESULT_NAME
    target.unlink(missing_ok=True)
    identity = new_identity()
    limits = PackingLimits(
        DEFAULT_LIMITS.entries_max,
        DEFAULT_LIMITS.file_bytes_max,
        view.spec.output_bytes_max,
        # The program chose what it wrote: a large file of zeros is no attack on its own requester.
        view.spec.output_bytes_max + 1,
        DEFAULT_LIMITS.ratio_free_bytes,
    )
    source = execution.output
    if not outcome.has_result:
        # What a limit cut off is no answer; the exit status alone is.
        source = workplace.room(note) / "no-result"
        source.mkdir(exist_ok=True)
    try:
        sealed = await seal_directory(source, target, recipient_of(identity), limits)
    except Fault as fault:
        if fault.reason.name not in UNPACKABLE:
            raise
        cause = f"The result cannot be delivered: {fault.reason.sentence.format(**fault.facts)}"
        note.failure = KeptFailure(FailCode.OUTPUT, outcome.exit_status, cause, outcome.tail)
        await workplace.tell(note, cause)
        return
    contents = [(content.path, content.digest) for content in sealed.contents]
    note.result = KeptResult(
        sealed.digest,
        sealed.size,
        str(identity),
        answer_digest(job.salt, outcome.exit_status, contents),
        secrets.token_bytes(SALT_BYTES),
        outcome.exit_status,
        outcome.milliseconds,
    )
    await workplace.tell(note, f"sealed the result: {sealed.size} bytes")


def failure_of(outcome: Outcome, cause: str = "", ending: Ending | None = None) -> KeptFailure:
    """What will be claimed of a program that failed."""
    code = FailCode[(ending or outcome.ending).name]
    return KeptFailure(code, outcome.exit_status, cause or outcome.explanation, outcome.tail)


async def deliver(
    workplace: Workplace, view: TaskView, note: SeatNote, wanted_place: str, limit: int
) -> None:
    """Upload the sealed result and say so on chain; `limit` is the height for turning to the own store."""
    result = note.result
    assert result is not None, "there is a result to deliver"
    assert view.spec is not None, "it ran"
    if not result.place:
        source = workplace.sealed(note) / RESULT_NAME
        name = result_object(note.task, note.seat)
        place, _ = await _bring(workplace, note, name, source, wanted_place, limit)
        result = note.result = msgspec.structs.replace(result, place=place)
        await workplace.tell(note, f"uploaded the result to {place}")
    identity = parse_identity(result.identity)
    key = ResultKey(result.identity, result.answer, result.salt)
    payload = Deliver(
        note.task,
        note.seat,
        result.digest,
        result.size,
        (result.place,),
        seal(result.answer, workplace.chain.address, result.salt),
        recipient_of(identity),
        seal_result_key(key, view.spec.recipient),
    )
    receipt = await workplace.submit(note.task, payload)
    await workplace.tell(note, "delivered", receipt.txid)


async def fail(workplace: Workplace, view: TaskView, note: SeatNote, wanted_place: str, limit: int) -> None:
    """Bring the sealed report to the requester and claim the failure on chain."""
    failure = note.failure
    assert failure is not None, "there is a failure to claim"
    assert view.spec is not None, "it ran"
    if not failure.report:
        report = error_report(failure.exit_status, failure.cause, failure.tail)
        name = report_object(note.task, note.seat)
        with tempfile.TemporaryDirectory(prefix="eub-") as directory:
            # Sealed once, so that it can be brought to more than one store.
            once = DirectoryStore(Path(directory))
            await put_error(once, name, report, view.spec.recipient)
            source = once.root / name.text
            place, stored = await _bring(workplace, note, name, source, wanted_place, limit)
        failure = note.failure = msgspec.structs.replace(failure, report=stored.digest, place=place, tail=b"")
        await workplace.tell(note, f"uploaded the failure's report to {place}")
    payload = Fail(note.task, note.seat, failure.code, failure.exit_status, failure.report, failure.place)
    receipt = await workplace.submit(note.task, payload)
    await workplace.tell(note, f"reported that the application failed: {failure.cause}", receipt.txid)


async def _bring(
    workplace: Workplace, note: SeatNote, name: ObjectName, source: Path, wanted: str, limit: int
) -> tuple[str, Stored]:
    """Put a file into the requester's store, or else into our own; returns the place."""

    async def put() -> Stored:
        async with workplace.open(wanted) as store:
            try:
                return await store.put(name, source)
            except Fault as fault:
                if fault.reason.name != "object_fixed":
                    raise
                # An attempt of an earlier life of this agent, which nobody was told of.
                await store.delete(name)
                return await store.put(name, source)

    trouble: Fault | None = None
    if wanted and wanted != workplace.own_place:
        try:
            stored = await workplace.heights.before(limit, put)
        except Fault as fault:
            if workplace.shelf is None:
                raise
            trouble, stored = fault, None
        if stored is not None:
            return wanted, stored
    place = workplace.place_for(workplace.own_place, "result")
    assert workplace.shelf is not None, "who has a place has a shelf"
    if wanted and wanted != place:
        why = str(trouble) if trouble is not None else "it was too slow"
        await workplace.tell(note, f"serves the object itself, because the requester's store refused: {why}")
    await workplace.shelf.remove(name)
    return place, await workplace.shelf.take(name, source)


async def clear_room(workplace: Workplace, note: SeatNote) -> None:
    """Remove a seat's plaintext."""
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(remove_tree, workplace.room(note))
