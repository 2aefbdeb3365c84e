"""One interface for every way of running a stranger's program.

Here: `Order` (what to run), `Outcome` (how it ended), the protocols `Runtime` and `Execution`, the wall
clock that stops while a program is paused, the sentence that explains an exit.
Not here: WebAssembly (wasi.py), containers (docker.py), output lines (log_lines.py).
Keeps: a run ends with exactly one `Ending`, whose value is the code of `task.fail`; nothing of an
execution is left after `clean`, and cancelling `run` ends the program first.
Errors: 3302 input_unsafe, 3303 machine_too_small, 3304 gpu_missing.
"""

from __future__ import annotations

import math
import os
import signal
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import trio

from consensus.types.codec import Record
from consensus.types.errors import Fault, Reason
from spark_node.job import Limits, Spec
from spark_node.runtimes.log_lines import Line, Progress

INPUT_UNSAFE = Reason(
    3302,
    "input_unsafe",
    "path:text why:text",
    "The file '{path}' can be neither input nor result: {why}.",
    "Use plain files and directories only.",
)
MACHINE_TOO_SMALL = Reason(
    3303,
    "machine_too_small",
    "what:text need:count have:count",
    "The task needs {need} of {what}; this machine can give {have}.",
    "Offer for smaller tasks, or raise what this spark may lend.",
)
GPU_MISSING = Reason(
    3304,
    "gpu_missing",
    "need:count have:count why:text",
    "The task needs {need} GPU(s); this machine can give {have}: {why}.",
    "A machine without a GPU is a CPU spark: let it offer for tasks that need none.",
)


DEPTH_MAX = 64
"""Directories inside each other, in an input or a result."""
UNKNOWN_BYTES = 2**62
"""More than any limit."""


class Ending(StrEnum):
    """Why a run is over; the values are the codes of `task.fail`."""

    EXIT = "exit"
    """The program ended by itself, whatever its exit status."""
    MEMORY = "memory"
    DISK = "disk"
    TIME = "time"
    """Wall time or fuel."""
    OUTPUT = "output"
    """Too much printed, or too large a result."""
    FORBIDDEN = "forbidden"
    """It asked for what no task may do."""
    OTHER = "other"
    """The machine's side: stopped by its owner, the engine failed."""


@dataclass(frozen=True)
class Order:
    """One run: what, with which limits, and in which room on this machine."""

    name: str
    """Unique on this machine, of [a-z0-9-]: the task's id and the seat."""
    spec: Spec
    command: tuple[str, ...] = field(repr=False)
    environment: tuple[tuple[str, str], ...] = field(repr=False)
    limits: Limits
    room: Path
    """A private directory of this run; `room/input` holds the unpacked input."""
    gpus: tuple[str, ...] = ()
    """UUIDs of the GPUs it gets; empty leaves the choice to the engine."""

    @property
    def input(self) -> Path:
        """The unpacked input, shown to the program read-only."""
        return self.room / "input"


class Outcome(Record, frozen=True):
    """How a run ended and what it used."""

    exit_status: int
    """As the program gave it; for other endings the number a shell would show, the same everywhere."""
    ending: Ending
    explanation: str
    """One sentence for the requester."""
    milliseconds: int
    """Wall time while not paused."""
    fuel: int
    """wasi only; 0 otherwise."""
    output_bytes: int
    log_bytes: int
    lines_dropped: int
    """Lines that nobody read in time; the tail below has the last ones whatever happened."""
    tail: bytes
    """The last 64 KiB printed, for the error report."""
    has_result: bool = False
    """Whether the program ended by itself, so that what it left is its answer. What it had written when a
    limit ended it depends on the machine; such an answer has the exit status and no files."""


class Execution(Protocol):
    """One prepared program."""

    output: Path
    """Where the result lies on this machine, from the end of `run` until `clean`."""

    @property
    def logs(self) -> trio.MemoryReceiveChannel[Line | Progress]:
        """Lines and progress while it runs; closed at its end. A full channel drops lines, counted."""

    async def run(self) -> Outcome:
        """Run to the end, once. Cancelling it ends the program before `Cancelled` goes on."""

    async def pause(self) -> None:
        """Freeze the program; its wall clock stops as well."""

    async def resume(self) -> None:
        """Let it go on."""

    async def stop(self) -> None:
        """End it now: `run` returns `Ending.OTHER`."""

    async def clean(self) -> None:
        """Remove whatever this execution made, the result included. May be repeated."""


class Runtime(Protocol):
    """A way of running programs on this machine."""

    name: str

    async def check(self, spec: Spec) -> None:
        """Refuse (`Fault`) what this machine cannot run, before any deposit is locked."""

    async def prepare(self, order: Order) -> Execution:
        """Fetch the image or check the module, set up disks; raises `Fault`."""

    async def reap(self) -> int:
        """Remove what an earlier life of this agent left behind; returns how many things."""


class WallClock:
    """A deadline that moves on while the program is paused."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._started: float | None = None
        self._used = 0.0
        self.scope = trio.CancelScope()

    def start(self) -> None:
        """Begin, or go on, counting."""
        if self._started is None:
            self._started = trio.current_time()
            self.scope.deadline = self._started + self._left - self._used

    def pause(self) -> None:
        """Stop counting."""
        if self._started is not None:
            self._used += trio.current_time() - self._started
            self._started = None
            self.scope.deadline = math.inf

    def milliseconds(self) -> int:
        """Time counted so far."""
        running = 0.0 if self._started is None else trio.current_time() - self._started
        return int((self._used + running) * 1000)


def plain_files(root: Path, depth: int = 0) -> Iterator[tuple[Path, os.stat_result]]:
    """Every directory and regular file below `root`, sorted; raises `Fault(INPUT_UNSAFE)` at others.

    Links are refused instead of followed, so that nothing names a file of the host. A root that does
    not exist is empty: a task need not have input.
    """
    if not root.exists():
        return
    if depth > DEPTH_MAX:
        raise Fault(INPUT_UNSAFE, path=root.name, why=f"directories nest more than {DEPTH_MAX} deep")
    try:
        with os.scandir(root) as found:
            entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise Fault(INPUT_UNSAFE, path=root.name, why=f"it cannot be read ({error.strerror})") from None
    for entry in entries:
        path = root / entry.name
        status = entry.stat(follow_symlinks=False)
        shown = os.fsencode(entry.name).decode("utf-8", "replace")
        if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
            raise Fault(INPUT_UNSAFE, path=shown, why="it is neither a plain file nor a directory")
        if shown.encode() != os.fsencode(entry.name):
            raise Fault(INPUT_UNSAFE, path=shown, why="its name is not UTF-8")
        yield path, status
        if stat.S_ISDIR(status.st_mode):
            yield from plain_files(path, depth + 1)


def size_below(root: Path) -> int:
    """Bytes of everything below `root`, links not followed; what vanishes meanwhile counts nothing.

    What cannot be looked at, or lies deeper than a result may, counts as `UNKNOWN_BYTES`: nobody hides
    from this by forbidding a directory or by nesting a thousand of them.
    """
    total = 0
    waiting = [(str(root), 0)]
    while waiting:
        folder, depth = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_size
                    elif depth < DEPTH_MAX:
                        waiting.append((entry.path, depth + 1))
                    else:
                        return UNKNOWN_BYTES
        except FileNotFoundError:
            continue
        except OSError:
            return UNKNOWN_BYTES
    return total


def explain_exit(runtime: str, command: tuple[str, ...], status: int, ending: Ending) -> str:
    """Say in one sentence what happened, so that an application's fault never sounds like a spark's."""
    program = command[0] if command else "the image's own command"
    match ending:
        case Ending.MEMORY:
            return f"The program needed more memory than the task allows (exit {status})."
        case Ending.DISK:
            return f"The program filled the disk that the task allows (exit {status})."
        case Ending.TIME:
            return "The program did not end within the time (or fuel) that the task allows."
        case Ending.OUTPUT:
            return "The program printed more, or left a larger result, than the task allows."
        case Ending.FORBIDDEN:
            return f"The program asked for something that no task may do (exit {status})."
        case Ending.OTHER:
            return "The run was stopped on the spark's side, not by the program."
        case Ending.EXIT:
            return _explain_status(runtime, program, status)


def _explain_status(runtime: str, program: str, status: int) -> str:
    if status == 0:
        return "The program ended without an error."
    if runtime == "docker" and status == 127:
        return f"command not found (exit 127): {program}"
    if runtime == "docker" and status == 126:
        return f"command cannot be executed (exit 126): {program} is a directory or lacks permission"
    if runtime == "wasi" and status == WASI_TRAP_STATUS:
        return f"The module trapped or aborted (exit {status})."
    if 128 < status <= 128 + 64:
        try:
            name = signal.Signals(status - 128).name
        except ValueError:
            name = f"signal {status - 128}"
        return f"The program was ended by {name} (exit {status})."
    return f"The program reported an error of its own (exit {status})."


WASI_TRAP_STATUS = 134
"""What a shell shows after abort(): a trap has no exit status of its own."""
ENDING_STATUS = {
    Ending.MEMORY: 137,
    Ending.DISK: 153,
    Ending.TIME: 152,
    Ending.OUTPUT: 153,
    Ending.FORBIDDEN: 159,
    Ending.OTHER: 137,
}
"""Exit status of a run that a limit ended (128 + SIGKILL, SIGXFSZ, SIGXCPU, SIGXFSZ, SIGSYS, SIGKILL)."""
