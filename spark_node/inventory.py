"""What this machine has to lend: GPUs, processors, memory, a Docker engine.

Here: `take_inventory`, what is busy on a GPU, the sentence that describes a machine.
Not here: what the owner wants to lend (the policy), the proof of resource (the prover).
Keeps: a machine without a GPU is a CPU spark, which is no error; a driver that answers nonsense about
one GPU does not hide the others. Everything here is declared to others, and proved by nothing.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import pynvml
import trio

from consensus.types.errors import Fault
from spark_node.runtimes.docker_engine import Engine, EngineSettings

GIBIBYTE = 2**30


class Gpu(NamedTuple):
    """One graphics processor as its driver describes it, now."""

    number: int
    name: str
    uuid: str
    memory_bytes: int
    memory_used_bytes: int
    utilisation_percent: int
    """How much of the last sample period it was busy; -1 where the driver does not say."""
    processes: tuple[int, ...]
    """Process ids that hold memory on it, as far as this user may see them."""


class Machine(NamedTuple):
    """One machine, now."""

    cpus: int
    """Processors that this process may use."""
    memory_bytes: int
    gpus: tuple[Gpu, ...]
    gpu_note: str
    """Why there are no GPUs, in words; empty if there are some."""
    docker_note: str
    """Why there is no Docker engine; empty if there is one."""

    @property
    def kind(self) -> str:
        """`gpu` or `cpu`: for which tasks this machine may offer."""
        return "gpu" if self.gpus else "cpu"

    def describe(self) -> str:
        """One sentence for `spark status`."""
        own = f"{self.cpus} processors, {self.memory_bytes / GIBIBYTE:.1f} GiB of memory"
        runtimes = "containers and WebAssembly" if not self.docker_note else "WebAssembly"
        if not self.gpus:
            return f"A CPU spark: {own}; it runs {runtimes}. {self.gpu_note}"
        names = ", ".join(f"{gpu.name} ({gpu.memory_bytes / GIBIBYTE:.0f} GiB)" for gpu in self.gpus)
        return f"A GPU spark: {names}; {own}; it runs {runtimes}."


async def take_inventory(engine: EngineSettings | None = None) -> Machine:
    """Look at the machine; `engine` is None where the owner wants no containers."""
    return await trio.to_thread.run_sync(_look, engine)


def _look(engine: EngineSettings | None) -> Machine:
    gpus, gpu_note = read_gpus()
    return Machine(
        len(os.sched_getaffinity(0)),
        os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        gpus,
        gpu_note,
        "not configured" if engine is None else _docker_note(engine),
    )


def _docker_note(settings: EngineSettings) -> str:
    try:
        Engine(settings).capacity()
    except Fault as fault:
        return str(fault)
    return ""


def read_gpus() -> tuple[tuple[Gpu, ...], str]:
    """GPUs that the NVIDIA driver shows, and why there are none. Blocks for some milliseconds."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return (), _without_driver(error)
    try:
        found: list[Gpu] = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                found.append(_read_gpu(index))
            except pynvml.NVMLError:
                # A GPU that fell off the bus; the others still work.
                continue
    except pynvml.NVMLError as error:
        return (), f"The NVIDIA driver does not answer: {error}."
    finally:
        pynvml.nvmlShutdown()
    return tuple(found), "" if found else "The NVIDIA driver shows no GPU."


def still_held(before: tuple[Gpu, ...], now: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """GPUs on which something runs that did not run before: a task that is over left it behind."""
    known = {gpu.uuid: set(gpu.processes) for gpu in before}
    return tuple(gpu for gpu in now if set(gpu.processes) - known.get(gpu.uuid, set()))


def _without_driver(error: pynvml.NVMLError) -> str:
    if isinstance(error, pynvml.NVMLError_LibraryNotFound):
        return "There is no NVIDIA driver here, so it offers for tasks that need no GPU."
    return f"The NVIDIA driver cannot be used: {error}."


def _read_gpu(index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    try:
        utilisation = int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    except pynvml.NVMLError:
        utilisation = -1
    return Gpu(
        index,
        _text(pynvml.nvmlDeviceGetName(handle)),
        _text(pynvml.nvmlDeviceGetUUID(handle)),
        int(memory.total),
        int(memory.used),
        utilisation,
        _processes(handle),
    )


def _processes(handle: object) -> tuple[int, ...]:
    found: set[int] = set()
    for ask in (
        pynvml.nvmlDeviceGetComputeRunningProcesses,
        pynvml.nvmlDeviceGetGraphicsRunningProcesses,
    ):
        try:
            found |= {int(process.pid) for process in ask(handle)}
        except pynvml.NVMLError:
            continue
    return tuple(sorted(found))


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
