"""The GPUs of this machine from task to task: who has which, and which a task has not given back.

Here: `Gpus`: taking and returning, what is still held, which backend can prove meanwhile.
Not here: asking the driver (inventory.py), handing a GPU to a container (runtimes/docker_engine.py).
Keeps: a GPU on which something of an ended task still runs is neither offered, nor given to another task,
nor proved with, until that is gone; this agent's own prover is nobody's leftover. What an earlier life of
the agent left is not known for what it is: its containers are removed before anything begins.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog
import trio

from consensus.types.errors import Fault
from spark_node.inventory import Gpu, read_gpus, still_held
from spark_node.policy import NUMPY, TORCH
from spark_node.runtimes.runtime import GPU_MISSING

log = structlog.get_logger("spark")

Seat = tuple[bytes, int]
"""Task and number."""
LOOKS, LOOK_S = 4, 0.5
"""How often and how far apart a GPU is looked at before it counts as held: drivers take a moment."""


class Held(NamedTuple):
    """A GPU that is not free though the task that used it is over."""

    gpu: Gpu
    processes: tuple[int, ...]
    """Which came with the task and stayed."""

    def describe(self) -> str:
        """What is the matter, for `spark status`."""
        numbers = ", ".join(str(process) for process in self.processes)
        return f"GPU {self.gpu.number} ({self.gpu.name}) is held by process {numbers} since a task ended"


class Gpus:
    """Which GPU is whose."""

    def __init__(
        self, all_: Sequence[Gpu], read: Callable[[], Sequence[Gpu]] = lambda: read_gpus()[0]
    ) -> None:
        self._all, self._read = tuple(all_), read
        self._tenants: dict[str, list[Seat]] = {gpu.uuid: [] for gpu in all_}
        self._before: dict[str, Gpu] = {}
        """By UUID, as it was when its first tenant came."""
        self.held: dict[str, Held] = {}
        """By UUID."""

    def free(self) -> tuple[Gpu, ...]:
        """Those that nobody's leftovers hold, by number."""
        return tuple(gpu for gpu in self._all if gpu.uuid not in self.held)

    async def take(self, seat: Seat, count: int) -> tuple[str, ...]:
        """UUIDs for a task, those with the fewest tenants first; raises `Fault` 3304 when some are held."""
        free = sorted(self.free(), key=lambda gpu: (len(self._tenants[gpu.uuid]), gpu.number))
        if len(free) < count:
            why = "; ".join(held.describe() for held in self.held.values()) or "there are no more"
            raise Fault(GPU_MISSING, need=count, have=len(free), why=why)
        chosen = tuple(gpu.uuid for gpu in free[:count])
        now = {gpu.uuid: gpu for gpu in await self._look_at(chosen)}
        for uuid in chosen:
            if not self._tenants[uuid] and uuid in now:
                self._before[uuid] = now[uuid]
            self._tenants[uuid].append(seat)
        return chosen

    async def give_back(self, seat: Seat) -> None:
        """End a task's tenancy; what it left on a GPU that is nobody else's makes that one held."""
        left = [uuid for uuid, tenants in self._tenants.items() if seat in tenants]
        for uuid in left:
            self._tenants[uuid].remove(seat)
        vacant = [uuid for uuid in left if not self._tenants[uuid]]
        before = tuple(self._before.pop(uuid) for uuid in vacant if uuid in self._before)
        for look in range(LOOKS):
            found = still_held(before, await self._look_at([gpu.uuid for gpu in before]))
            if not found:
                return
            if look + 1 < LOOKS:
                await trio.sleep(LOOK_S)
        known = {gpu.uuid: set(gpu.processes) for gpu in before}
        for gpu in found:
            stayed = tuple(process for process in gpu.processes if process not in known[gpu.uuid])
            self.held[gpu.uuid] = Held(gpu, stayed)
            log.warning(
                "a GPU is not free after a task and is not lent until it is",
                gpu=f"{gpu.number} {gpu.name}",
                processes=list(stayed),
                advice="end these processes, or reset the card; nvidia-smi shows them",
            )

    async def look(self) -> None:
        """See whether what was held is free again. Asks the driver only if something is."""
        if not self.held:
            return
        now = {gpu.uuid: gpu for gpu in await self._look_at(list(self.held))}
        for uuid, held in list(self.held.items()):
            # A card that the driver does not show is no card to lend.
            stay = tuple(p for p in held.processes if uuid not in now or p in now[uuid].processes)
            if stay:
                self.held[uuid] = held._replace(processes=stay)
            else:
                del self.held[uuid]
                log.info("a GPU is free again", gpu=f"{held.gpu.number} {held.gpu.name}")

    async def _look_at(self, uuids: Sequence[str]) -> tuple[Gpu, ...]:
        if not uuids:
            return ()
        found = await trio.to_thread.run_sync(self._read)
        return tuple(_without_own(gpu) for gpu in found if gpu.uuid in uuids)

    def backend(self, wanted: str) -> tuple[str, str]:
        """The prover's backend as the policy wants it, on a GPU that is free; and why it is another one."""
        kind, _, device = wanted.partition(":")
        if kind != TORCH or not self.held or device.startswith("cpu"):
            return wanted, ""
        why = "; ".join(held.describe() for held in self.held.values())
        _, _, number = device.partition(":")
        if not number:
            free = self.free()
            return (f"{TORCH}:cuda:{free[0].number}" if free else NUMPY), why
        is_held = any(str(held.gpu.number) == number for held in self.held.values())
        return (NUMPY, why) if is_held else (wanted, "")


def _without_own(gpu: Gpu) -> Gpu:
    return gpu._replace(processes=tuple(process for process in gpu.processes if not _is_own(process)))


def _is_own(process: int) -> bool:
    """Whether this agent is the parent: its prover is, a container's program is not."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return int(stat.rpartition(")")[2].split()[1]) == os.getpid()
