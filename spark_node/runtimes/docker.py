"""The container runtime: Docker images, with GPUs, locked in as far as the engine can.

Here: the check before a deposit is locked, the life of one container, what is left after a crash.
Not here: the engine's calls and the container's options (docker_engine.py), sized disks (disks.py).
Keeps: a container is removed with its volumes before `run` returns, raises or is cancelled; the result's
disk stays until `clean`; `reap` removes both by label and place, so a crash at any point leaves nothing.
The SDK blocks: every call is in a thread; those that last as long as the program have threads of their own.
Errors: 3324 runtime_not_installed, and those of the files named above.
"""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio

from consensus.types.errors import Fault, Reason
from spark_node.job import DOCKER, Spec, check_spec
from spark_node.runtimes.disks import (
    Disk,
    can_mount,
    drop_disk,
    free_bytes,
    is_full,
    make_disk,
    open_up,
    reap_disks,
)
from spark_node.runtimes.docker_engine import (
    IMAGE_MISSING,
    Attached,
    Engine,
    EngineSettings,
)
from spark_node.runtimes.log_lines import Line, LogSink, Progress
from spark_node.runtimes.runtime import (
    ENDING_STATUS,
    GPU_MISSING,
    MACHINE_TOO_SMALL,
    Ending,
    Order,
    Outcome,
    WallClock,
    explain_exit,
    plain_files,
    size_below,
)

RUNTIME_NOT_INSTALLED = Reason(
    3324,
    "runtime_not_installed",
    "runtime:text",
    "The engine has no container runtime '{runtime}'.",
    "Install it and name it in the engine's daemon.json, or leave container_runtime empty.",
)

LONG_THREADS_MAX = 64
"""Two per running container; one task more than 32 waits for its turn."""
LOG_GRACE_S = 5.0
"""What the log stream may still bring after the program's end."""
DISK_WATCH_S = 0.25
"""Between two looks at a disk without a hard limit."""
FILE_SIZE_STATUS = 153
"""128 + SIGXFSZ: one file larger than the whole disk."""
SYSTEM_CALL_STATUS = 159
"""128 + SIGSYS: a system call that the sandbox forbids."""

T = TypeVar("T")


class DockerRuntime:
    """Runs containers on one engine."""

    name = DOCKER

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._engine = Engine(settings)
        self._long_threads = trio.CapacityLimiter(LONG_THREADS_MAX)

    async def check(self, spec: Spec) -> None:
        """Refuse what cannot run here: 3300, 3303, 3304, 3320, 3321, 3323, 3324."""
        assert spec.runtime == DOCKER, "the agent routes by runtime"
        check_spec(spec)
        settings = self._settings
        if spec.gpus > settings.gpus:
            why = "the inventory found no more" if settings.gpus else "it has none"
            raise Fault(GPU_MISSING, need=spec.gpus, have=settings.gpus, why=why)
        capacity = await trio.to_thread.run_sync(self._engine.capacity)
        if settings.container_runtime and settings.container_runtime not in capacity.runtimes:
            raise Fault(RUNTIME_NOT_INSTALLED, runtime=settings.container_runtime)
        free = await trio.to_thread.run_sync(free_bytes, settings.disks)
        for what, need, have in (
            ("thousandths of a core", spec.cpu_milli, settings.cpu_milli_max or capacity.cpu_milli),
            ("bytes of memory", spec.memory_bytes, settings.memory_bytes_max or capacity.memory_bytes),
            ("bytes of disk", spec.disk_bytes, free),
        ):
            if need > have:
                raise Fault(MACHINE_TOO_SMALL, what=what, need=need, have=have)
        if not await trio.to_thread.run_sync(self._engine.is_available, spec.image, abandon_on_cancel=True):
            raise Fault(IMAGE_MISSING, image=spec.image)

    async def prepare(self, order: Order) -> DockerExecution:
        """Fetch the image, make the disk, create the container; leaves nothing behind if it fails."""
        await self.check(order.spec)
        image = await trio.to_thread.run_sync(self._engine.fetch, order.spec.image, abandon_on_cancel=True)
        execution = DockerExecution(order, self._settings, self._engine, self._long_threads)
        try:
            await execution.create(image)
        except BaseException:
            with trio.CancelScope(shield=True):
                await execution.clean()
            raise
        return execution

    async def reap(self) -> int:
        """Remove containers and disks of an earlier life; only while this spark runs nothing."""
        containers = await trio.to_thread.run_sync(self._engine.ours)
        for container in containers:
            await trio.to_thread.run_sync(self._engine.remove, container)
        return len(containers) + await trio.to_thread.run_sync(reap_disks, self._settings.disks)


class DockerExecution:
    """One container, run once."""

    def __init__(
        self, order: Order, settings: EngineSettings, engine: Engine, long_threads: trio.CapacityLimiter
    ) -> None:
        self._order, self._settings, self._engine = order, settings, engine
        self._long_threads = long_threads
        self._sink = LogSink(order.limits.log_bytes_max)
        self._clock = WallClock(order.limits.wall_seconds)
        self._container = ""
        self._disk: Disk | None = None
        self._decided: Ending | None = None
        self._running = False
        self._over = False
        self._ran = False
        self._paused = False
        self.output = settings.disks / f"{order.name}.disk"

    @property
    def logs(self) -> trio.MemoryReceiveChannel[Line | Progress]:
        """Lines and progress while it runs; closed at its end."""
        return self._sink.receive

    async def create(self, image: tuple[str, tuple[str, ...]]) -> None:
        """Make disk and container."""
        order = self._order
        await trio.to_thread.run_sync(_let_container_read, order.input)
        self._disk = await trio.to_thread.run_sync(
            make_disk, self._settings.disks, order.name, order.spec.disk_bytes, can_mount()
        )
        self._container = await trio.to_thread.run_sync(self._engine.create, order, image, self._disk.path)

    async def run(self) -> Outcome:
        """Run to the end; see `Execution.run`. Raises `Fault` if the engine cannot start it."""
        assert self._container and not self._ran, "an execution is prepared, and runs once"  # noqa: PT018
        self._ran = True
        try:
            status, ending = await self._start_and_follow()
            output_bytes, complaint, has_result = 0, "", self._decided is None
            if has_result:
                output_bytes, complaint = await trio.to_thread.run_sync(_measure, self.output)
        finally:
            self._running = False
            self._clock.pause()
            with trio.CancelScope(shield=True):
                await self._remove()
            self._sink.close()
        if complaint or output_bytes > self._order.spec.output_bytes_max:
            has_result = False
            # A program that failed for want of memory or disk keeps that as its reason.
            if ending is Ending.EXIT:
                ending = Ending.FORBIDDEN if complaint else Ending.OUTPUT
                status = ENDING_STATUS[ending]
        explanation = explain_exit(DOCKER, self._order.command, status, ending)
        return Outcome(
            status,
            ending,
            f"{explanation} {complaint}".rstrip(),
            self._clock.milliseconds(),
            0,
            output_bytes,
            self._sink.bytes,
            self._sink.dropped,
            self._sink.tail(),
            has_result,
        )

    async def _start_and_follow(self) -> tuple[int, Ending]:
        """Attach, start, and close what was attached if it does not start."""
        attached = await trio.to_thread.run_sync(self._engine.attach, self._container)
        try:
            status = await trio.to_thread.run_sync(self._engine.start, self._container, self._order.spec.gpus)
            if status is None:
                return await self._follow(attached)
        finally:
            attached.close()
        return status, Ending.EXIT

    async def _follow(self, attached: Attached) -> tuple[int, Ending]:
        """Watch a started container to its end, whoever decides it."""
        logs_done = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_logs, attached, logs_done)
            assert self._disk is not None, "prepared with a disk"
            if not self._disk.is_hard:
                nursery.start_soon(self._watch_disk)
            self._running = True
            if self._paused:
                await self._in_thread(self._engine.pause, self._container)
            else:
                self._clock.start()
            lost = False
            with self._clock.scope:
                try:
                    await self._in_thread(self._engine.wait, self._container)
                except Fault:
                    lost = True
            self._running, self._over = False, True
            if lost:
                self._decided = self._decided or Ending.OTHER
            elif self._clock.scope.cancelled_caught:
                self._decided = self._decided or Ending.TIME
                await trio.to_thread.run_sync(self._engine.kill, self._container)
            with trio.move_on_after(LOG_GRACE_S):
                await logs_done.wait()
            nursery.cancel_scope.cancel()
        if self._decided is not None:
            return ENDING_STATUS[self._decided], self._decided
        return await self._judge_end()

    async def _judge_end(self) -> tuple[int, Ending]:
        """The exit status decides; what the kernel did to it is only the reason."""
        ended = await trio.to_thread.run_sync(self._engine.ended, self._container)
        ending = Ending.EXIT
        if ended.status != 0 and ended.out_of_memory:
            ending = Ending.MEMORY
        elif ended.status != 0 and await self._met_a_full_disk(ended.status):
            ending = Ending.DISK
        elif ended.status == SYSTEM_CALL_STATUS:
            ending = Ending.FORBIDDEN
        return ended.status, ending

    async def _met_a_full_disk(self, status: int) -> bool:
        assert self._disk is not None, "prepared with a disk"
        return status == FILE_SIZE_STATUS or await trio.to_thread.run_sync(is_full, self._disk)

    async def _in_thread(self, call: Any, *arguments: Any) -> None:
        """A call that may last as long as the program; left to end by itself when cancelled."""
        await trio.to_thread.run_sync(
            partial(call, *arguments), abandon_on_cancel=True, limiter=self._long_threads
        )

    async def _follow_logs(self, attached: Attached, done: trio.Event) -> None:
        def take(stream: str, chunk: bytes) -> None:
            trio.from_thread.run_sync(self._take, stream, chunk)

        try:
            await self._in_thread(attached.read, take)
        finally:
            # Ends the thread, wherever it is.
            attached.close()
            done.set()

    def _take(self, stream: str, chunk: bytes) -> None:
        if not self._sink.feed(stream, chunk):
            self._decide(Ending.OUTPUT)

    def _decide(self, ending: Ending) -> None:
        """End the program for this reason, unless another came first or it is over."""
        if self._decided is None and not self._over:
            self._decided = ending
            self._clock.scope.cancel()

    async def _watch_disk(self) -> None:
        while True:
            used = await trio.to_thread.run_sync(size_below, self.output)
            if used > self._order.spec.disk_bytes:
                self._decide(Ending.DISK)
                return
            await trio.sleep(DISK_WATCH_S)

    async def pause(self) -> None:
        """Freeze the container; its wall clock stops. GPU memory stays occupied: `stop` frees it."""
        if not self._paused:
            self._paused = True
            self._clock.pause()
            if self._running:
                await trio.to_thread.run_sync(self._engine.pause, self._container)

    async def resume(self) -> None:
        """Let the container go on."""
        if self._paused:
            self._paused = False
            if self._running:
                await trio.to_thread.run_sync(self._engine.resume, self._container)
                self._clock.start()

    async def stop(self) -> None:
        """End it now."""
        self._decide(Ending.OTHER)

    async def _remove(self) -> None:
        container, self._container = self._container, ""
        if container:
            # An engine that is gone keeps it; `reap` finds it by its label when both are back.
            with contextlib.suppress(Fault):
                await trio.to_thread.run_sync(self._engine.remove, container)

    async def clean(self) -> None:
        """Remove the container, if it is still there, and the result's disk."""
        await self._remove()
        self._sink.close()
        await trio.to_thread.run_sync(drop_disk, self._settings.disks, self._order.name)


def _measure(output: Path) -> tuple[int, str]:
    """Bytes of a result, and why it is none: links and devices cannot be delivered."""
    open_up(output)
    try:
        return sum(status.st_size for path, status in plain_files(output) if path.is_file()), ""
    except Fault as fault:
        return 0, fault.reason.sentence.format(**fault.facts)


def _let_container_read(root: Path) -> None:
    """Let the container's user read the input; the room around it stays closed to everyone else."""
    root.mkdir(parents=True, exist_ok=True)
    root.parent.chmod(0o700)
    root.chmod(0o755)
    for path, status in plain_files(root):
        is_program = path.is_dir() or bool(status.st_mode & 0o100)
        path.chmod(0o755 if is_program else 0o644)
