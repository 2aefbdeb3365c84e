"""The embedded runtime: WebAssembly modules of profile `wasi/1`, each run in a process of its own.

Here: the check of a spec, the worker process, its clock, pausing, what is left and what is removed.
Not here: what happens inside the process (wasi_worker.py), the system calls (wasi_calls.py).
Keeps: a module runs only if its SHA-256 is the one in the spec; the worker is killed before `run`
returns or is cancelled; secrets travel over a pipe, never as arguments or environment.
Errors: 3310 module_missing, 3311 module_mismatch, 3312 module_too_large.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import trio

from consensus.types.codec import encode
from consensus.types.errors import Fault, Reason, Rejected
from spark_node.job import MODULE_NAME, WASI, Spec, check_spec
from spark_node.runtimes import wasi_worker
from spark_node.runtimes.log_lines import Line, LogSink, Progress
from spark_node.runtimes.runtime import (
    ENDING_STATUS,
    MACHINE_TOO_SMALL,
    Ending,
    Order,
    Outcome,
    WallClock,
    explain_exit,
    plain_files,
)
from spark_node.runtimes.wasi_profile import MODULE_BYTES_MAX

MODULE_MISSING = Reason(
    3310,
    "module_missing",
    "name:text",
    "The sealed input holds no file '{name}' at its root.",
    "Pack the compiled module under that name; `task run` does it.",
)
MODULE_MISMATCH = Reason(
    3311,
    "module_mismatch",
    "expected:hash found:hash",
    "The module's SHA-256 is {found}; the task names {expected}.",
    "The requester grants again with the module that was posted.",
)
MODULE_TOO_LARGE = Reason(
    3312,
    "module_too_large",
    "size:bytes limit:bytes",
    "The module has {size} bytes; the limit is {limit}.",
    "Strip debug information, or move data out of the module into the input.",
)

WASI_MEMORY_BYTES_MAX = 4 * 2**30
"""What a 32-bit module can address."""
READ_BYTES = 64 * 1024
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class WasiRuntime:
    """Runs modules that need nothing but a processor; works on every machine."""

    name = WASI

    def __init__(self, memory_bytes_max: int = WASI_MEMORY_BYTES_MAX) -> None:
        """`memory_bytes_max`: what one task may use of this machine's memory."""
        self._memory_bytes_max = memory_bytes_max

    async def check(self, spec: Spec) -> None:
        """Refuse what cannot run here: 3300, 3303."""
        assert spec.runtime == WASI, "the agent routes by runtime"
        check_spec(spec)
        if spec.memory_bytes > self._memory_bytes_max:
            raise Fault(
                MACHINE_TOO_SMALL,
                what="bytes of memory",
                need=spec.memory_bytes,
                have=self._memory_bytes_max,
            )

    async def prepare(self, order: Order) -> WasiExecution:
        """Compare the module with the spec and look through the input: 3302, 3303, 3310, 3311, 3312."""
        await self.check(order.spec)
        await trio.to_thread.run_sync(_check_input, order)
        return WasiExecution(order)

    async def reap(self) -> int:
        """Nothing outlives this process: the worker ends when its pipe closes."""
        return 0


def _check_input(order: Order) -> None:
    for _ in plain_files(order.input):
        pass
    module = order.input / MODULE_NAME
    if not module.is_file():
        raise Fault(MODULE_MISSING, name=MODULE_NAME)
    size = module.stat().st_size
    if size > MODULE_BYTES_MAX:
        raise Fault(MODULE_TOO_LARGE, size=size, limit=MODULE_BYTES_MAX)
    found, expected = hashlib.sha256(module.read_bytes()).digest(), _module_digest(order.spec)
    if found != expected:
        raise Fault(MODULE_MISMATCH, expected=expected, found=found)


def _module_digest(spec: Spec) -> bytes:
    return bytes.fromhex(spec.image.removeprefix("sha256:"))


class WasiExecution:
    """One module, run once."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._sink = LogSink(order.limits.log_bytes_max)
        self._clock = WallClock(order.limits.wall_seconds)
        self._process: trio.Process | None = None
        self._paused = False
        self._stopped = trio.Event()
        self._end: wasi_worker.End | None = None
        self.output = order.room / "output"
        self._store = order.room / "wasi-files"

    @property
    def logs(self) -> trio.MemoryReceiveChannel[Line | Progress]:
        """Lines and progress while it runs."""
        return self._sink.receive

    async def run(self) -> Outcome:
        """Run to the end; see `Execution.run`."""
        assert self._process is None, "an execution runs once"
        await self.clean()
        for directory in (self.output, self._store):
            directory.mkdir(mode=0o700)
        # A fresh environment: nothing of the agent's own, which may hold secrets, reaches the worker.
        self._process = await trio.lowlevel.open_process(
            [sys.executable, "-m", wasi_worker.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._store,
            env={"PYTHONPATH": str(_PACKAGE_ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            start_new_session=True,
        )
        ending: Ending | None = None
        try:
            if self._paused:
                self._process.send_signal(signal.SIGSTOP)
            else:
                self._clock.start()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._cancel_when_stopped, nursery.cancel_scope)
                with self._clock.scope:
                    ending = await self._converse(self._process)
                nursery.cancel_scope.cancel()
        finally:
            self._clock.pause()
            await self._end_process(self._process)
            self._sink.close()
            shutil.rmtree(self._store, ignore_errors=True)
        if self._stopped.is_set():
            ending = Ending.OTHER
        elif self._clock.scope.cancelled_caught:
            ending = Ending.TIME
        return self._outcome(ending)

    async def _cancel_when_stopped(self, scope: trio.CancelScope) -> None:
        await self._stopped.wait()
        scope.cancel()

    async def _converse(self, process: trio.Process) -> Ending | None:
        """Send the request, then read frames until the end; returns an ending that we decided."""
        assert process.stdin is not None and process.stdout is not None, "both are pipes"  # noqa: PT018
        request = encode(self._request())
        try:
            await process.stdin.send_all(struct.pack("<I", len(request)) + request)
        except trio.BrokenResourceError:
            return Ending.OTHER
        waiting = bytearray()
        # Until the module is compiled, the worker can only have died of it: the compiler met the
        # process's memory limit.
        died_of = Ending.FORBIDDEN
        async for block in process.stdout:
            waiting += block
            while (message := _take_frame(waiting)) is not None:
                kind, body = message
                if len(body) > wasi_worker.FRAME_BYTES_MAX:
                    return Ending.OTHER
                if kind == wasi_worker.END:
                    try:
                        self._end = wasi_worker.END_CODEC.decode(body)
                    except Rejected:
                        return Ending.OTHER
                    return None
                if kind == wasi_worker.COMPILED:
                    died_of = Ending.OTHER
                elif not self._sink.feed("out" if kind == wasi_worker.OUT else "err", body):
                    return Ending.OUTPUT
        return died_of

    def _request(self) -> wasi_worker.Request:
        order = self._order
        return wasi_worker.Request(
            _module_digest(order.spec),
            str(order.input),
            str(self._store),
            str(self.output),
            order.spec.input_mount,
            order.spec.output_mount,
            # A program expects its own name first.
            (MODULE_NAME, *order.command),
            order.environment,
            order.spec.memory_bytes,
            order.spec.disk_bytes,
            order.spec.output_bytes_max,
            order.limits.log_bytes_max,
            order.limits.fuel,
        )

    async def _end_process(self, process: trio.Process) -> None:
        """Kill and collect the worker, whatever state it is in."""
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    await pipe.aclose()

    def _outcome(self, ending: Ending | None) -> Outcome:
        end = self._end
        if ending is None and end is not None:
            status, found, detail = end.exit_status, end.ending, end.detail
            fuel, output_bytes, has_result = end.fuel, end.output_bytes, end.by_itself
        else:
            found = ending or Ending.OTHER
            status, detail, fuel, output_bytes, has_result = ENDING_STATUS[found], "", 0, 0, False
        explanation = explain_exit(WASI, self._order.command, status, found)
        if detail:
            explanation = f"{explanation} ({detail})"
        return Outcome(
            status,
            found,
            explanation,
            self._clock.milliseconds(),
            fuel,
            output_bytes,
            self._sink.bytes,
            self._sink.dropped,
            self._sink.tail(),
            has_result,
        )

    async def pause(self) -> None:
        """Freeze the worker; its wall clock stops."""
        self._paused = True
        self._clock.pause()
        self._signal(signal.SIGSTOP)

    async def resume(self) -> None:
        """Let the worker go on."""
        self._paused = False
        if self._process is not None:
            self._clock.start()
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            os.kill(self._process.pid, number)

    async def stop(self) -> None:
        """End it now."""
        self._stopped.set()

    async def clean(self) -> None:
        """Remove the output and whatever the program wrote."""
        for directory in (self.output, self._store):
            await trio.to_thread.run_sync(lambda path=directory: shutil.rmtree(path, ignore_errors=True))


def _take_frame(waiting: bytearray) -> tuple[int, bytes] | None:
    """Cut one whole frame off. A worker that a module took over may announce any size; it is cut short."""
    if len(waiting) < 5:
        return None
    size, kind = struct.unpack_from("<IB", waiting)
    size = min(size, wasi_worker.FRAME_BYTES_MAX + 1)
    if len(waiting) < 5 + size:
        return None
    body = bytes(waiting[5 : 5 + size])
    del waiting[: 5 + size]
    return kind, body
