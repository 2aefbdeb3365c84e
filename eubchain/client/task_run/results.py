"""Getting what a spark delivered: fetched, compared with the chain, opened; and reports of failures.

Here: `fetch_result`, `fetch_report`.
Not here: whether the result is good (scoring.py), answering (answering.py).
Keeps: a download goes on where it was interrupted; plaintext appears whole or not at all, and only
after the ciphertext has the digest that the spark put on chain and the contents the answer it sealed.
Errors: 3157 delivery_unreadable, 3158 result_unavailable, 3159 answer_differs; 3405 of the target.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, NamedTuple

import trio

from consensus.types.errors import Fault, Reason
from consensus.types.wording import word_fault
from eubchain.client.task_run.journal import Journal
from eubchain.client.task_run.market import SEAT
from eubchain.client.task_run.requester import Requester
from spark_node.envelopes import ResultKey, open_result_key, report_object, result_object
from spark_node.job import answer_digest, seal
from spark_node.storage.age_keys import parse_identity
from spark_node.storage.logs import ErrorReport, get_error
from spark_node.storage.packing import TARGET_EXISTS, content_digests, refuse_occupied
from spark_node.storage.sealing import open_directory
from spark_node.storage.store import Progress
from vm.registry import TRANSACTION
from vm.task.payloads import Deliver, Fail
from vm.task.records import Seat

DELIVERY_UNREADABLE = Reason(
    3157,
    "delivery_unreadable",
    "task:text why:text",
    "The spark's delivery for task {task} cannot be opened: {why}.",
    "That is the spark's fault. `eubchain task reject {task}` says no and what it costs.",
)
RESULT_UNAVAILABLE = Reason(
    3158,
    "result_unavailable",
    "task:text place:text why:text",
    "The result of task {task} could not be fetched from {place}: {why}",
    "Repeat with `eubchain task fetch {task}`; what has arrived is kept. Nothing was accepted.",
)
ANSWER_DIFFERS = Reason(
    3159,
    "answer_differs",
    "task:text",
    "What task {task} delivered opens, but is not the answer that the spark sealed on chain.",
    "That is the spark's fault. `eubchain task reject {task}` says no and what it costs.",
)


class Fetched(NamedTuple):
    """An opened result."""

    directory: Path
    files: int
    size: int
    """Bytes of the ciphertext."""
    answer: bytes
    """D, of the contents."""
    digest: bytes
    """SHA-256 of the ciphertext, as on chain."""


async def _payload(requester: Requester, wtxid: bytes) -> Any:
    raw = await requester.node.call("tx_getRaw", wtxid="0x" + wtxid.hex())
    return TRANSACTION.decode(base64.b64decode(raw["transaction"])).body.payload


async def fetch_result(
    requester: Requester, journal: Journal, seat: Seat, target: Path, progress: Progress
) -> Fetched:
    """Download, compare and open the result as the new directory `target`.

    Raise `Fault` 3157–3159, 3405 and those of opening.
    """
    assert seat.result is not None, "only a delivery has a result"
    short = journal.state.task[:12]
    delivery = await _payload(requester, seat.result.delivery)
    assert isinstance(delivery, Deliver), "the seat names its delivery"
    key = _result_key(journal, delivery)
    if target.is_dir() and any(target.iterdir()):
        files = await _opened_before(journal, key, target)
        journal.note(result_path=str(target.absolute()))
        return Fetched(target, files, delivery.size, key.answer, delivery.digest)
    refuse_occupied(target)
    await _download(requester, journal, delivery, progress)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        identity = parse_identity(key.identity)
        opened = await open_directory(journal.result, target, identity, delivery.digest)
    except Fault as fault:
        if fault.reason.name in ("target_exists", "disk_refuses", "sealing_stopped"):
            raise
        raise _unreadable(journal, fault) from None
    contents = [(content.path, content.digest) for content in opened.contents]
    answer = answer_digest(journal.job().salt, 0, contents)
    if answer != key.answer or seal(answer, seat.spark, key.salt) != delivery.seal:
        raise Fault(ANSWER_DIFFERS, task=short)
    journal.note(result_path=str(target.absolute()))
    return Fetched(target, len(contents), opened.size, answer, delivery.digest)


async def _opened_before(journal: Journal, key: ResultKey, target: Path) -> int:
    """Files of a result that a crash left whole but unnoted; raise `Fault` 3405 for anything else."""
    contents = await trio.to_thread.run_sync(content_digests, target)
    if answer_digest(journal.job().salt, 0, contents) != key.answer:
        raise Fault(TARGET_EXISTS, path=str(target)[-120:])
    return len(contents)


def _result_key(journal: Journal, delivery: Deliver) -> ResultKey:
    try:
        return open_result_key(delivery.envelope, journal.identity())
    except Fault as fault:
        raise _unreadable(journal, fault) from None


def _unreadable(journal: Journal, fault: Fault) -> Fault:
    why = word_fault(fault, "").sentence.rstrip(".")
    return Fault(DELIVERY_UNREADABLE, task=journal.state.task[:12], why=why)


async def _download(requester: Requester, journal: Journal, delivery: Deliver, progress: Progress) -> None:
    """From the first place that has it; a place is a stranger's word, so each may fail in its own way."""
    if journal.result.exists():
        return  # whole: a download takes this name only when its digest was right
    name, last, where = result_object(journal.task, SEAT), None, ""
    for place in delivery.places:
        where = place
        try:
            async with requester.store(place, journal.state.place) as store:
                await store.get(
                    name,
                    journal.result,
                    digest=delivery.digest,
                    bytes_max=delivery.size,
                    progress=progress,
                )
            return
        except Fault as fault:
            last = fault
    assert last is not None, "a delivery names a place"
    why = word_fault(last, requester.network.prefix).sentence
    raise Fault(RESULT_UNAVAILABLE, task=journal.state.task[:12], place=where, why=why)


async def fetch_report(requester: Requester, journal: Journal, seat: Seat) -> ErrorReport | None:
    """The sealed report of a claimed failure; None when its place does not give it."""
    assert seat.failure is not None, "only a failure has a report"
    claim = await _payload(requester, seat.failure.claim)
    assert isinstance(claim, Fail), "the seat names its claim"
    try:
        async with requester.store(claim.place, journal.state.place) as store:
            name = report_object(journal.task, SEAT)
            return await get_error(store, name, journal.identity(), claim.report)
    except Fault:
        return None
