"""Handing the job to the matched spark: the sealed job and the transaction that carries it.

Here: the job of an order, its envelope for one spark, `grant`.
Not here: the envelope's layout (spark_node/envelopes.py), uploading the input (inputs.py).
Keeps: the job of a task is made once, before the post, and is the same for ever; it is sealed to the
matched spark's registered recipient only.
"""

from __future__ import annotations

import hashlib

import trio

from consensus.types.errors import Fault
from eubchain.client.sending import Final
from eubchain.client.task_run.journal import Journal, Keys
from eubchain.client.task_run.market import SEAT, one_spark
from eubchain.client.task_run.order import FUEL_PER_SECOND, ROLE, Order
from eubchain.client.task_run.requester import Requester, send_step
from eubchain.wallet.private_file import write_private
from spark_node.envelopes import JOB_FILE_NUMBER, input_object, seal_job, seal_job_file, seal_job_reference
from spark_node.job import Command, Input, Job, Limits, Variable, job_digest
from spark_node.storage.seal_requests import Sealed
from spark_node.storage.sealing import ENVELOPE_TOO_LARGE
from vm.task.payloads import Grant, SeatEnvelope

ENVELOPE, LARGE_JOB = "envelope", "job.age"


def job_of(order: Order, keys: Keys, sealed: Sealed | None, place: str) -> Job:
    """What the spark is told in secret."""
    inputs = () if sealed is None else (Input(place, sealed.digest, sealed.size),)
    return Job(
        commands=(Command(ROLE, order.command),),
        environment=tuple(Variable(name, value) for name, value in order.environment),
        inputs=inputs,
        input_identity=keys.input,
        limits=Limits(order.time_s, order.time_s * FUEL_PER_SECOND, order.log_bytes_max),
        log_place=place,
        salt=bytes.fromhex(keys.salt),
    )


async def grant(requester: Requester, journal: Journal, spark: bytes) -> Final:
    """Seal the job to the spark and send the grant; a repetition sends the same envelope.

    Raises `Fault` 341x, 346x, 311x and `RemoteRefusal`.
    """
    job = journal.job()
    envelope = await _envelope(requester, journal, job, spark)
    payload = Grant(journal.task, job_digest(job), (SeatEnvelope(SEAT, envelope),))
    return await send_step(requester, payload, journal)


async def _envelope(requester: Requester, journal: Journal, job: Job, spark: bytes) -> bytes:
    # Sealing is randomised: kept on disk, the repeated grant is the same transaction intent as the first.
    path = journal.folder / ENVELOPE
    if path.exists():
        return path.read_bytes()
    recipient = (await one_spark(requester.node, requester.network, spark)).recipient
    try:
        envelope = seal_job(job, recipient)
    except Fault as fault:
        if fault.reason is not ENVELOPE_TOO_LARGE:
            raise
        envelope = await _reference(requester, journal, job, recipient)
    write_private(path, envelope)
    return envelope


async def _reference(requester: Requester, journal: Journal, job: Job, recipient: str) -> bytes:
    """A job too large for an envelope lies sealed in the store; the envelope says where."""
    content, identity = await trio.to_thread.run_sync(seal_job_file, job)
    file = journal.folder / LARGE_JOB
    write_private(file, content, replace=True)
    place = journal.state.place
    name = input_object(journal.task, SEAT, JOB_FILE_NUMBER)
    async with requester.store(place, journal.state.place) as store:
        await store.delete(name)  # of an attempt whose key was lost
        await store.put(name, file)
    found = Input(place, hashlib.sha256(content).digest(), len(content))
    return seal_job_reference(found, identity, recipient)
