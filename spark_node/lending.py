"""What of a machine its owner lends, and the runtimes that run strangers' programs on it.

Here: inventory and policy put together; the runtimes; the hardware that a spark declares on chain.
Not here: looking at the machine (inventory.py), the runtimes themselves (runtimes/).
Keeps: one processor and a quarter of the memory stay the owner's unless the policy says otherwise.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from spark_node.folder import Folder
from spark_node.inventory import Machine
from spark_node.job import DOCKER, WASI
from spark_node.offering import Lent
from spark_node.policy import Policy
from spark_node.runtimes.docker import DockerRuntime
from spark_node.runtimes.docker_engine import EngineSettings
from spark_node.runtimes.runtime import Runtime
from spark_node.runtimes.wasi import WASI_MEMORY_BYTES_MAX, WasiRuntime
from vm.spark import Hardware

MODEL_CHARACTERS_MAX = 64


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
    cpus = policy.cpus or max(1, machine.cpus - 1)
    memory = policy.memory_bytes or machine.memory_bytes * 3 // 4
    gpus = machine.gpus[: policy.gpus]
    can_run = [WASI] if machine.docker_note else [WASI, DOCKER]
    return Lent(
        gpus=len(gpus),
        gpu_memory_bytes=min((gpu.memory_bytes for gpu in gpus), default=0),
        cpu_milli=min(cpus, machine.cpus) * 1000,
        memory_bytes=min(memory, machine.memory_bytes),
        disk_bytes=policy.disk_bytes,
        runtimes=tuple(name for name in can_run if name in policy.runtimes),
    )


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
