"""A spark whose every step a test decides: it registers, offers, opens grants, logs, delivers, or does not.

Here: `ScriptedSpark`, over RPC and a real store. Not here: the agent, which does this by itself
(spark_node/agent.py).
"""

from __future__ import annotations

import base64
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from pyrage.x25519 import Identity

from consensus.types.address import key_address
from consensus.types.amounts import eubc
from consensus.types.keys import SecretKey
from eubchain.client.connection import Connection, RemoteRefusal
from eubchain.client.network import Network, learn_network
from eubchain.client.sending import Final, send
from eubchain.client.task_run.market import Sight, look
from spark_node.envelopes import (
    Elsewhere,
    ResultKey,
    input_object,
    open_grant,
    open_job_file,
    report_object,
    result_object,
    seal_result_key,
)
from spark_node.job import SPEC, Job, Spec, answer_digest, seal
from spark_node.prover.numpy_backend import NumpyBackend
from spark_node.prover.order import Answer, Assignment
from spark_node.prover.search import prove
from spark_node.storage.age_keys import new_identity, parse_identity, recipient_of
from spark_node.storage.blob import AccessSigner
from spark_node.storage.logs import LogWriter, error_report, put_error
from spark_node.storage.places import open_store
from spark_node.storage.sealing import open_directory, seal_directory
from spark_node.storage.store import Store
from vm.registry import TRANSACTION
from vm.resource import Prove
from vm.spark import Hardware, RegisterSpark
from vm.stake import Bond
from vm.task.payloads import Decline, Deliver, Fail, Grant, Offer, Post, Start
from vm.task.records import Stage
from vm.task.terms import promise_least

HARDWARE = Hardware("scripted", 0, 0, 8, 64 * 2**30, 2**40)
POLL_S = 0.05


class ScriptedSpark:
    """One spark account; use `async with ScriptedSpark.at(url, key) as spark`."""

    def __init__(
        self, node: Connection, network: Network, key: SecretKey, room: Path, identity: Identity
    ) -> None:
        self.node, self.network, self.key, self.room = node, network, key, room
        self.identity = identity
        self.address = key_address(key.public)
        self.directory_allowed: Path | None = None
        self._sending = trio.Lock()
        """One transaction at a time: it may prove while it works."""

    @classmethod
    @asynccontextmanager
    async def at(cls, url: str, key: SecretKey, identity: Identity) -> AsyncIterator[ScriptedSpark]:
        """A spark at a node; it is registered unless it was before."""
        with tempfile.TemporaryDirectory(prefix="scripted-") as room:
            async with Connection(url) as node:
                spark = cls(node, await learn_network(node), key, Path(room), identity)
                known = [view["address"] for view in await node.call("spark_list")]
                if spark.network.show(spark.address) not in known:
                    await spark.register()
                yield spark

    async def send(self, payload: Any) -> Final:
        """Send a step that must succeed."""
        async with self._sending:
            final = await send(self.node, self.network, self.key, payload)
        assert final.error is None, final.error
        return final

    async def proves(self, blocks_of_tiles: int, *, task_status: trio.TaskStatus[None]) -> None:
        """Prove in every window from now on by so many blocks of tiles; started after the first."""
        address = self.network.show(self.address)
        proved, is_first = 0, True
        while True:
            await trio.sleep(POLL_S)
            window = await self.node.call("por_window", address=address)
            if window is None or not window["is_open"] or window["seed"] is None:
                continue
            record = await self.node.call("spark_get", address=address)
            if window["window"] <= proved or record["registered_epoch"] >= window["epoch"]:
                continue
            seed = bytes.fromhex(window["seed"].removeprefix("0x"))
            assignment = Assignment(1, window["window"], seed, self.address, int(record["difficulty"]))
            answer = await trio.to_thread.run_sync(searched, assignment, blocks_of_tiles)
            proved = window["window"]
            try:
                async with self._sending:
                    final = await send(self.node, self.network, self.key, Prove(answer.proof))
            except RemoteRefusal:
                continue  # too late, on a machine with more to do
            if is_first and final.error is None:
                is_first = False
                task_status.started()

    async def register(self, hardware: Hardware = HARDWARE) -> None:
        """Bond and register."""
        await self.send(Bond(eubc(10)))
        await self.send(RegisterSpark(recipient_of(self.identity), hardware, 4, False, 16))

    def store(self, place: str) -> Store:
        """The store at a place."""
        signer = AccessSigner(self.key, self.network.rules.genesis, lambda: int(time.time()))
        return open_store(place, signer, directory_allowed=self.directory_allowed)

    # ------------------------------------------------------------------------------- the path

    async def open_task(self) -> bytes:
        """Wait for a task that takes offers."""
        while True:
            page = await self.node.call("task_list", state="open")
            if page["tasks"]:
                return bytes.fromhex(page["tasks"][0]["task"][2:])
            await trio.sleep(POLL_S)

    async def offer(self, task: bytes, percent: int = 50, *, hasty: bool = False) -> None:
        """Offer at so many percent of the maximum, for half of the window or as soon as one may promise."""
        sight = await self.sight(task)
        run = sight.task.windows.run
        promise = promise_least(run) if hasty else max(run // 2, 1)
        await self.send(Offer(task, 0, sight.maximum * percent // 100, promise))

    async def sight(self, task: bytes) -> Sight:
        """The task as it stands."""
        sight = await look(self.node, self.network, task)
        assert sight is not None
        return sight

    async def until(self, task: bytes, stage: Stage) -> Sight:
        """Wait for a stage of the seat."""
        while True:
            sight = await self.sight(task)
            if sight.seat is not None and sight.seat.stage == stage:
                return sight
            await trio.sleep(POLL_S)

    async def granted(self, task: bytes) -> tuple[Spec, Job]:
        """Wait for the grant; open it and, where it is large, its file."""
        sight = await self.until(task, Stage.STARTING)
        assert sight.seat is not None
        assert sight.seat.grant is not None
        grant = await self.payload(sight.seat.grant)
        assert isinstance(grant, Grant)
        found = open_grant(grant.envelopes[0].envelope, self.identity)
        post = await self.payload(sight.task.post)
        assert isinstance(post, Post)
        spec: Spec = SPEC.decode(post.spec)
        if not isinstance(found, Elsewhere):
            return spec, found.job
        path = self.room / "job.age"
        async with self.store(found.file.place) as store:
            await store.get(input_object(task, 0, 1_000), path, digest=found.file.digest)
        return spec, open_job_file(path.read_bytes(), found)

    async def payload(self, wtxid: bytes) -> Any:
        """What a named transaction carries."""
        raw = await self.node.call("tx_getRaw", wtxid="0x" + wtxid.hex())
        return TRANSACTION.decode(base64.b64decode(raw["transaction"])).body.payload

    async def fetch_input(self, task: bytes, job: Job) -> Path:
        """Download and open the input."""
        sealed, opened = self.room / "in.age", self.room / "input"
        async with self.store(job.inputs[0].place) as store:
            await store.get(input_object(task, 0, 0), sealed, digest=job.inputs[0].digest)
        await open_directory(sealed, opened, parse_identity(job.input_identity), job.inputs[0].digest)
        return opened

    async def start(self, task: bytes) -> None:
        """Say that it runs."""
        await self.send(Start(task, 0, b""))

    async def say(self, task: bytes, spec: Spec, job: Job, text: bytes) -> None:
        """Print something and close the log."""
        async with self.store(job.log_place) as store:
            writer = LogWriter(store, task, 0, spec.recipient, self.room / "log")
            await writer.write(text)
            await writer.close()
            await writer.run()

    async def deliver(
        self,
        task: bytes,
        spec: Spec,
        job: Job,
        result: Path,
        *,
        digest: bytes | None = None,
        answer: bytes | None = None,
        identity: str | None = None,
    ) -> None:
        """Seal, upload and deliver a directory; a lie is named where there is one."""
        own = new_identity()
        sealed = await seal_directory(result, self.room / "out.age", recipient_of(own))
        async with self.store(job.log_place) as store:
            await store.put(result_object(task, 0), self.room / "out.age")
        contents = [(content.path, content.digest) for content in sealed.contents]
        said = answer or answer_digest(job.salt, 0, contents)
        salt = bytes(16)
        key = ResultKey(identity or str(own), said, salt)
        await self.send(
            Deliver(
                task,
                0,
                digest or sealed.digest,
                sealed.size,
                (job.log_place,),
                seal(said, self.address, salt),
                recipient_of(own),
                seal_result_key(key, spec.recipient),
            )
        )

    async def fail(self, task: bytes, spec: Spec, job: Job, code: int, status: int, cause: str) -> None:
        """Claim that the application failed."""
        report = error_report(status, cause, b"the last words\n")
        async with self.store(job.log_place) as store:
            stored = await put_error(store, report_object(task, 0), report, spec.recipient)
        await self.send(Fail(task, 0, code, status, stored.digest, job.log_place))

    async def decline(self, task: bytes, code: int) -> None:
        """Refuse what was granted."""
        await self.send(Decline(task, 0, code))

    # ------------------------------------------------------------------------------ scripts

    async def begin(self, percent: int = 50, *, hasty: bool = False) -> tuple[bytes, Spec, Job]:
        """From the post to the start, as an honest spark."""
        task = await self.open_task()
        await self.offer(task, percent, hasty=hasty)
        spec, job = await self.granted(task)
        await self.fetch_input(task, job)
        await self.start(task)
        return task, spec, job

    async def echo(self, percent: int = 50, said: bytes = b"hello\n") -> bytes:
        """Honest all the way: the result is the input."""
        task, spec, job = await self.begin(percent)
        await self.say(task, spec, job, said)
        await self.deliver(task, spec, job, self.room / "input")
        return task


def searched(assignment: Assignment, blocks_of_tiles: int) -> Answer:
    """A search of a fixed length, by numpy."""
    left = iter([True] * blocks_of_tiles)
    return prove(NumpyBackend(), assignment, lambda: next(left, False))
