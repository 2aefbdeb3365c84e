"""What of a machine its owner lends, and the runtimes that run strangers' programs on it.

Here: inventory and policy put together; the runtimes; the hardware that a spark declares on chain; whether
tasks stand still while the machine proves.
Not here: looking at the machine (inventory.py), the runtimes themselves (runtimes/).
Keeps: one processor and a quarter of the memory stay the owner's unless the policy says otherwise; where
the prover wants a GPU, tasks leave it a gibibyte of its memory.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from spark_node.folder import Folder
from spark_node.inventory import Machine
from spark_node.job import DOCKER, WASI
from spark_node.offering import Lent
from spark_node.policy import ALWAYS, AUTO, Policy
from spark_node.prover.process import spare_threads
from spark_node.runtimes.docker import DockerRuntime
from spark_node.runtimes.docker_engine import EngineSettings
from spark_node.runtimes.runtime import Runtime
from spark_node.runtimes.wasi import WASI_MEMORY_BYTES_MAX, WasiRuntime
from vm.spark import Hardware

MODEL_CHARACTERS_MAX = 64
PROVER_GPU_BYTES = 2**30
"""Of each GPU: a program that is frozen keeps its memory, and the prover needs some beside it."""


def engine_settings(policy: Policy, folder: Folder, gpus: int) -> EngineSettings | None:
    """How to use the Docker engine; None where the owner wants none."""
    if not policy.docker_address or DOCKER not in policy.runtimes:
        return None
    return EngineSettings(
        folder.containers,
        policy.docker_address,
        policy.container_runtime,
        gpus=gpus,
        gpu_devices=policy.gpu_devices,
        memory_bytes_max=policy.memory_bytes,
        cpu_milli_max=policy.cpus * 1000,
    )


def lent_of(policy: Policy, machine: Machine) -> Lent:
    """What may be offered."""
    memory = policy.memory_bytes or machine.memory_bytes * 3 // 4
    gpus = machine.gpus[: policy.gpus]
    kept = PROVER_GPU_BYTES if policy.proves_on_gpu else 0
    can_run = [WASI] if machine.docker_note else [WASI, DOCKER]
    return Lent(
        gpus=len(gpus),
        gpu_memory_bytes=max(0, min((gpu.memory_bytes for gpu in gpus), default=0) - kept),
        cpu_milli=_lent_cpus(policy, machine) * 1000,
        memory_bytes=min(memory, machine.memory_bytes),
        disk_bytes=policy.disk_bytes,
        runtimes=tuple(name for name in can_run if name in policy.runtimes),
    )


def _lent_cpus(policy: Policy, machine: Machine) -> int:
    return min(policy.cpus or max(1, machine.cpus - 1), machine.cpus)


def pauses_for_proof(policy: Policy, machine: Machine) -> bool:
    """Whether what runs stands still while a window is searched.

    A prover on processors that tasks were promised slows both: its lowest priority counts among the agent's
    own processes only, since a container has a share of its own. One on processors that nobody lends
    disturbs nobody.
    """
    if policy.pause_tasks != AUTO:
        return policy.pause_tasks == ALWAYS
    if policy.proves_on_gpu and machine.gpus:
        return True
    threads = policy.prover_threads or spare_threads(machine.cpus)
    return threads > machine.cpus - _lent_cpus(policy, machine)


def hardware_of(policy: Policy, machine: Machine, disk: Path) -> Hardware:
    """What is declared on chain: the lent part of the machine, by the name of its first GPU."""
    lent = lent_of(policy, machine)
    names = [gpu.name for gpu in machine.gpus[: lent.gpus]]
    return Hardware(
        model_name(names[0] if names else f"cpu-{machine.cpus}-cores"),
        lent.gpus,
        lent.gpu_memory_bytes,
        lent.cpu_milli // 1000,
        lent.memory_bytes,
        min(lent.disk_bytes, shutil.disk_usage(disk).free),
    )


def model_name(text: str) -> str:
    """A driver's name for a card in the letters that the chain takes."""
    plain = re.sub(r"[^a-z0-9._:/@-]+", "-", text.lower()).strip("-")
    return plain[:MODEL_CHARACTERS_MAX] or "unknown"


def runtimes_of(policy: Policy, folder: Folder, lent: Lent) -> dict[str, Runtime]:
    """The runtimes that work here, by name."""
    found: dict[str, Runtime] = {}
    if WASI in lent.runtimes:
        found[WASI] = WasiRuntime(min(WASI_MEMORY_BYTES_MAX, lent.memory_bytes))
    settings = engine_settings(policy, folder, lent.gpus)
    if DOCKER in lent.runtimes and settings is not None:
        found[DOCKER] = DockerRuntime(settings)
    return found
