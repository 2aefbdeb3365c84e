"""A spark's agent on a chain in memory, and a requester who seals real inputs and opens real results.

`SparkWorld` mines a block every `BLOCK_S` seconds of real time: runs and sealing are real processes, so no
clock may jump. Tests wait for conditions with `until`, never for time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from wasmtime import wat2wasm

from consensus.types.address import key_address
from consensus.types.codec import encode
from consensus.types.errors import Fault, Rejected
from consensus.types.hashing import Tag, tagged_hash
from consensus.types.keys import SecretKey
from consensus.types.wording import word_fault
from spark_node.agent import Agent, Means
from spark_node.chain import (
    CHAIN_AWAY,
    Account,
    Ended,
    Granted,
    Head,
    OwnEvent,
    OwnSpark,
    ProvingWindow,
    Receipt,
    Refused,
    SeatView,
    TaskView,
)
from spark_node.envelopes import ResultKey, input_object, open_result_key, result_object, seal_job
from spark_node.folder import Folder
from spark_node.inventory import Machine
from spark_node.job import SPEC, Command, Input, Job, Limits, Spec, Variable, job_digest
from spark_node.lending import lent_of, runtimes_of
from spark_node.owner import Observed
from spark_node.policy import PolicyFile, default_policy_text
from spark_node.prover.process import prove_in_process
from spark_node.proving import Prover
from spark_node.runtimes.runtime import Runtime
from spark_node.storage.age_keys import identity_from_secret, new_identity, parse_identity, recipient_of
from spark_node.storage.blob import AccessSigner
from spark_node.storage.logs import LogReader
from spark_node.storage.places import open_store
from spark_node.storage.sealing import open_directory, seal_directory
from tests.market import REQUESTER, Market
from vm import funds
from vm.spark import OPERATIONS as SPARK_OPERATIONS
from vm.spark import SPARKS, Hardware
from vm.stake import stake
from vm.task.access import last_height, offers_end, seats_of_task
from vm.task.payloads import Deliver, Grant, Resources, SeatEnvelope, Windows
from vm.task.records import TASKS, Blame, Ending, Seat, Stage, TaskState

BLOCK_S = 0.02
LOOK_S_MAX = 2.0
"""An agent that retired or lost its chain looks no more: blocks go on without it."""
WAIT_S = 60
"""No test here takes so long; it only keeps a hanging one from hanging all."""
MEBIBYTE = 2**20
KEY = SecretKey(bytes([7]) * 32)
ADDRESS = key_address(KEY.public)
IDENTITY = identity_from_secret(bytes([8]) * 32)
REQUESTER_IDENTITY = identity_from_secret(bytes([9]) * 32)
WINDOWS = Windows(offer=3, grant=100, start=600, run=4_000, review=200)
MACHINE = Machine(8, 16 * 2**30, (), "There is no NVIDIA driver here.", "not configured")
SALT = bytes(range(16))
HELLO = """(module
    (import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 2)
    (data (i32.const 1024) "EUB_PROGRESS 1/2\\nhello\\n")
    (data (i32.const 2048) "answer")
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 23))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (drop (call $open (i32.const 4) (i32.const 0) (i32.const 2048) (i32.const 6) (i32.const 1)
            (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 12)))
        (i32.store (i32.const 0) (i32.const 1041)) (i32.store (i32.const 4) (i32.const 5))
        (drop (call $write (i32.load (i32.const 12)) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $exit (i32.const STATUS))))"""


def hello(status: int = 0) -> bytes:
    """A module that prints `hello`, says that it is half done, writes `/output/answer`, and exits."""
    return bytes(wat2wasm(HELLO.replace("STATUS", str(status))))


def endless() -> bytes:
    """A module that never ends."""
    return bytes(wat2wasm('(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))'))


class MarketChain:
    """The agent's chain over a market in memory."""

    genesis = bytes([1]) * 32
    prefix = "deub"

    def __init__(self, market: Market, address: bytes = ADDRESS) -> None:
        self.market, self.address, self.params = market, address, market.params
        self.payloads: dict[bytes, Any] = {}
        """Of everything sent, by wtxid."""
        self.sent: list[Any] = []
        """By the agent."""
        self.is_away = False
        self.own_events: list[OwnEvent] = []
        self.proving_window: ProvingWindow | None = None
        self.mined = trio.Event()

    def send(self, sender: bytes, payload: Any) -> bytes:
        """Anybody's transaction; raises `Rejected`."""
        txid = self.market.send(sender, payload)
        self.payloads[tagged_hash(Tag.WTXID, txid)] = payload
        return txid

    def mine(self) -> None:
        """A block."""
        self.market.mine()
        mined, self.mined = self.mined, trio.Event()
        mined.set()

    def _ask(self) -> None:
        if self.is_away:
            raise Fault(CHAIN_AWAY, why="it sleeps")

    async def head(self) -> Head:
        self._ask()
        return Head(self.market.height - 1, self.market.height * 500)

    async def account(self) -> Account:
        self._ask()
        state = self.market.state
        return Account(funds.spendable(state, self.address), stake(state, self.address).bonded)

    async def spark(self) -> OwnSpark | None:
        self._ask()
        found = self.market.state.get(SPARKS, self.address)
        if found is None:
            return None
        return OwnSpark(
            found.status == 1,
            found.recipient,
            found.hardware,
            found.slots,
            found.judging,
            found.running,
            found.kappa,
            found.difficulty,
            found.registered_epoch,
            found.banned_until,
        )

    async def window(self) -> ProvingWindow | None:
        self._ask()
        return self.proving_window

    async def open_tasks(self) -> Sequence[TaskView]:
        self._ask()
        return [view for view in self._views() if view.is_open]

    async def own_tasks(self) -> Sequence[TaskView]:
        self._ask()
        return [view for view in self._views() if any(s.spark == self.address for s in view.seats)]

    async def task(self, task: bytes) -> TaskView | None:
        self._ask()
        return next((view for view in self._views() if view.task == task), None)

    async def events(self, first: int, last: int) -> Sequence[OwnEvent]:
        self._ask()
        return [event for event in self.own_events if first <= event.height <= last]

    async def granted(self, grant: bytes, seat: int) -> Granted:
        self._ask()
        payload = self.payloads[grant]
        assert isinstance(payload, Grant)
        envelope = next((e.envelope for e in payload.envelopes if e.seat == seat), b"")
        return Granted(payload.job, envelope)

    async def submit(self, payload: Any) -> Receipt:
        self._ask()
        await trio.lowlevel.checkpoint()
        try:
            txid = self.send(self.address, payload)
        except Rejected as rejected:
            raise Refused(word_fault(rejected, self.prefix)) from None
        self.sent.append(payload)
        return Receipt(txid, self.market.height, 0)

    async def wait_for_change(self, timeout_s: float) -> None:
        with trio.move_on_after(timeout_s):
            await self.mined.wait()

    def _views(self) -> list[TaskView]:
        state = self.market.state
        views = []
        for identity, task in state.scan(TASKS):
            post = self.payloads[task.post]
            try:
                spec = SPEC.decode(post.spec)
            except Rejected:
                spec = None
            seats = tuple(_seat(n, s, task) for n, s in seats_of_task(state, identity))
            views.append(
                TaskView(
                    identity,
                    task.requester,
                    post,
                    spec,
                    task.state == TaskState.OPEN,
                    task.offers,
                    offers_end(task),
                    seats,
                )
            )
        return views


def _seat(number: int, seat: Seat, task: Any) -> SeatView:
    ended = None
    if seat.outcome is not None:
        o = seat.outcome
        ended = Ended(
            Ending(o.ending).name.lower(),
            Blame(o.blame).name.lower(),
            o.height,
            o.paid,
            o.gas_returned,
            o.gas_burned,
            o.gas_held,
        )
    return SeatView(
        number,
        seat.spark,
        Stage(seat.stage),
        seat.price,
        seat.promise,
        seat.gas,
        last_height(task, seat),
        seat.started,
        seat.grant,
        ended,
    )


class SparkWorld:
    """One requester, one spark, one chain, one place for sealed objects."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.market = Market()
        self.market.operations |= {operation.payload: operation for operation in SPARK_OPERATIONS}
        self.chain = MarketChain(self.market)
        self.market.fund(ADDRESS, 10**11)
        self.market.register(
            ADDRESS,
            recipient=recipient_of(IDENTITY),
            slots=8,
            hardware=Hardware("cpu", 0, 0, 7, 12 * 2**30, 2**40),
        )
        self.folder = Folder(root / "spark")
        self.folder.create()
        self.changes: dict[tuple[str, str], Any] = {
            ("storage", "directory"): str(root),
            ("storage", "listen"): "",
            ("docker", "address"): "",
        }
        (root / "store").mkdir()
        self.place = f"file://{root}/store"
        self.signer = AccessSigner(KEY, self.chain.genesis, lambda: int(time.time()))
        self.runtimes: dict[str, Runtime] | None = None
        self.observed = Observed(10**9, -1)
        self.agent: Agent
        self.prove: Prover = prove_in_process
        self.machine = MACHINE
        self.is_sealing = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Agent]:
        """The agent and the miner, until the block ends."""
        self.folder.policy.write_text(default_policy_text(self.changes))
        with trio.fail_after(WAIT_S):
            async with trio.open_nursery() as nursery:
                agent = self.new_agent()
                nursery.start_soon(self._mine)
                await nursery.start(agent.run)
                yield agent
                nursery.cancel_scope.cancel()

    def new_agent(self) -> Agent:
        """An agent over what the folder holds."""
        policy = PolicyFile(self.folder.policy)
        runtimes = self.runtimes
        if runtimes is None:
            runtimes = runtimes_of(policy.policy, self.folder, lent_of(policy.policy, self.machine))
        self.agent = Agent(
            Means(
                self.chain,
                self.folder,
                policy,
                KEY,
                IDENTITY,
                self.machine,
                runtimes,
                lambda: time.time_ns() // 10**6,
                lambda: 720,
                lambda rules, is_working: self.observed,
                self.prove,
            )
        )
        return self.agent

    async def _mine(self) -> None:
        """Blocks come no faster than the agent looks at them, and none while the requester seals."""
        while True:
            await trio.sleep(BLOCK_S)
            with trio.move_on_after(LOOK_S_MAX):
                await self._agent_looked()
            if not self.is_sealing:
                self.chain.mine()

    async def _agent_looked(self) -> None:
        while self.agent.looked_at < self.market.height - 1 and not self.chain.is_away:
            await self.agent.looked.wait()

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until the condition holds after a block; returns what it returned."""
        while not (found := condition()):
            await self.chain.mined.wait()
        return found

    # ------------------------------------------------------------------------------- the requester

    def spec(self, code: bytes, **changes: Any) -> Spec:
        """The spec of a module."""
        fields: dict[str, Any] = {
            "runtime": "wasi",
            "image": f"sha256:{hashlib.sha256(code).hexdigest()}",
            "input_mount": "/input",
            "output_mount": "/output",
            "cpu_milli": 1000,
            "memory_bytes": 16 * MEBIBYTE,
            "disk_bytes": 4 * MEBIBYTE,
            "gpus": 0,
            "input_bytes_max": 4 * MEBIBYTE,
            "output_bytes_max": 4 * MEBIBYTE,
            "recipient": recipient_of(REQUESTER_IDENTITY),
            "ports": (),
        }
        return Spec(**(fields | changes))

    def post(
        self, code: bytes, *, windows: Windows = WINDOWS, spec: Spec | None = None, **changes: Any
    ) -> bytes:
        """Post a task for a module."""
        from tests.market import post_of

        fields: dict[str, Any] = {
            "resources": Resources(0, 0, 1, MEBIBYTE, MEBIBYTE),
            "windows": windows,
            "spec": encode(spec or self.spec(code)),
        }
        return self.chain.send(REQUESTER, post_of(**(fields | changes)))

    async def grant(self, task: bytes, code: bytes, *, send: bool = True, **changes: Any) -> Job:
        """Seal and upload the module as input, and grant the job."""
        self.is_sealing = True
        identity = new_identity()
        source = self.root / "inputs" / task.hex()
        source.mkdir(parents=True)
        (source / "module.wasm").write_bytes(code)
        sealed_path = self.root / "inputs" / f"{task.hex()}.sealed"
        sealed = await seal_directory(source, sealed_path, recipient_of(identity))
        async with open_store(self.place, self.signer, directory_allowed=self.root) as store:
            await store.put(input_object(task, 0, 0), sealed_path)
        self.is_sealing = False
        fields: dict[str, Any] = {
            "commands": (Command("main", ()),),
            "environment": (Variable("NAME", "value"),),
            "inputs": (Input(self.place, sealed.digest, sealed.size),),
            "input_identity": str(identity),
            "limits": Limits(60, 2**62, MEBIBYTE),
            "log_place": self.place,
            "salt": SALT,
        }
        job = Job(**(fields | changes))
        if send:
            self.send_grant(task, job)
        return job

    def send_grant(self, task: bytes, job: Job, digest: bytes | None = None) -> None:
        """Put the job on chain; another digest is a lie."""
        envelope = seal_job(job, recipient_of(IDENTITY))
        self.chain.send(REQUESTER, Grant(task, digest or job_digest(job), (SeatEnvelope(0, envelope),)))

    def stage(self, task: bytes) -> Stage | None:
        """Of the task's only seat; None before the match."""
        seats = seats_of_task(self.market.state, task)
        return Stage(seats[0][1].stage) if seats else None

    def is_at(self, task: bytes, stage: Stage) -> Callable[[], bool]:
        """A condition: the seat is in a stage."""
        return lambda: self.stage(task) == stage

    async def matched(self, code: bytes, **changes: Any) -> bytes:
        """A task that the agent won."""
        task = self.post(code, **changes)
        await self.until(self.is_at(task, Stage.MATCHED))
        assert self.market.seat(task).spark == ADDRESS
        return task

    async def fetched(self, task: bytes) -> tuple[ResultKey, dict[str, bytes]]:
        """Open what was delivered: the key and the files of the result."""
        seat = self.market.seat(task)
        assert seat.result is not None
        delivery = self.chain.payloads[seat.result.delivery]
        assert isinstance(delivery, Deliver)
        key = open_result_key(delivery.envelope, REQUESTER_IDENTITY)
        target = self.root / "fetched" / task.hex()
        target.mkdir(parents=True)
        async with open_store(delivery.places[0], self.signer, directory_allowed=self.root) as store:
            await store.get(result_object(task, 0), target / "sealed", digest=delivery.digest)
        await open_directory(
            target / "sealed", target / "plain", parse_identity(key.identity), delivery.digest
        )
        return key, {path.name: path.read_bytes() for path in (target / "plain").iterdir()}

    async def log_of(self, task: bytes) -> str:
        """The whole log, read to its end."""
        text = b""
        async with open_store(self.place, self.signer, directory_allowed=self.root) as store:
            reader = LogReader(store, task, 0, REQUESTER_IDENTITY)
            while True:
                chunk = await reader.wait(0.05)
                text += chunk.data
                if chunk.is_last:
                    return text.decode()

    def plaintext(self) -> list[str]:
        """What is readable on the spark's disk of any task."""
        return sorted(str(path.relative_to(self.folder.rooms)) for path in self.folder.rooms.rglob("*"))

    def told(self, task: bytes) -> list[str]:
        """A seat's story as the journal has it."""
        note = self.agent.journal.notes[task, 0]
        return [moment.what for moment in note.moments]
