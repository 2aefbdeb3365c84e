"""A GPU that a task did not give back: not lent, not proved with, said in the status, until it is free.

The driver is replaced, as in test_inventory.py; processes are numbers that it shows.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from consensus.types.errors import Fault
from spark_node import gpus as gpus_module
from spark_node.gpus import Gpus
from spark_node.inventory import read_gpus
from spark_node.job import Limits
from spark_node.lending import PROVER_GPU_BYTES, hardware_of, lent_of
from spark_node.policy import default_policy_text, parse_policy
from spark_node.runtimes.docker_engine import EngineSettings, container_options
from spark_node.runtimes.runtime import Order
from spark_node.status import status_lines, status_of
from tests.spark_world import MACHINE, SparkWorld

A, B = (bytes([1]) * 32, 0), (bytes([2]) * 32, 0)
POLICY = parse_policy(default_policy_text())


class Driver:
    """Two cards and who is on them."""

    def __init__(self) -> None:
        self.processes: list[list[int]] = [[7], []]

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Answer in place of NVML."""
        made = {
            "nvmlInit": lambda: None,
            "nvmlShutdown": lambda: None,
            "nvmlDeviceGetCount": lambda: len(self.processes),
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetMemoryInfo": lambda card: SimpleNamespace(total=24 * 2**30, used=2**30),
            "nvmlDeviceGetName": lambda card: "Example 4090",
            "nvmlDeviceGetUUID": lambda card: f"GPU-{card}",
            "nvmlDeviceGetUtilizationRates": lambda card: SimpleNamespace(gpu=0),
            "nvmlDeviceGetComputeRunningProcesses": lambda card: [
                SimpleNamespace(pid=process) for process in self.processes[card]
            ],
            "nvmlDeviceGetGraphicsRunningProcesses": lambda card: [],
        }
        for name, call in made.items():
            monkeypatch.setattr(pynvml, name, call)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Two cards; the owner has a process on the first."""
    made = Driver()
    made.install(monkeypatch)
    monkeypatch.setattr(gpus_module, "LOOK_S", 0.0)
    return made


@pytest.fixture
def gpus(driver: Driver) -> Gpus:
    """The watch over both."""
    return Gpus(read_gpus()[0])


async def test_a_task_that_goes_leaves_its_cards_free(driver: Driver, gpus: Gpus) -> None:
    """The owner's process was there before, and one that is gone holds nothing."""
    assert await gpus.take(A, 2) == ("GPU-0", "GPU-1")
    driver.processes = [[7, 100], [100]]
    driver.processes = [[7], []]
    await gpus.give_back(A)
    assert [gpu.number for gpu in gpus.free()] == [0, 1]
    await gpus.give_back(A)


async def test_a_card_with_a_process_left_on_it_is_held_until_that_is_gone(
    driver: Driver, gpus: Gpus, capsys: pytest.CaptureFixture[str]
) -> None:
    await gpus.take(A, 2)
    driver.processes = [[7], [100, 101]]
    await gpus.give_back(A)
    assert [gpu.number for gpu in gpus.free()] == [0]
    assert "advice=" in capsys.readouterr().out
    driver.processes = [[7], [101, 500]]
    await gpus.look()
    assert gpus.held["GPU-1"].processes == (101,)
    driver.processes = [[7], [500]]
    await gpus.look()
    assert [gpu.number for gpu in gpus.free()] == [0, 1], "what came later is somebody else's"


async def test_a_task_gets_no_card_that_another_left_held(driver: Driver, gpus: Gpus) -> None:
    """By its UUID, where the engine's own choice would be the first ones; and too few are said to be so."""
    await gpus.take(A, 1)
    driver.processes = [[7, 100], []]
    await gpus.give_back(A)
    assert await gpus.take(B, 1) == ("GPU-1",)
    with pytest.raises(Fault) as caught:
        await gpus.take(A, 2)
    assert caught.value.reason.name == "gpu_missing"
    assert "held by process 100 since a task ended" in str(caught.value)


async def test_two_tasks_have_a_card_each(driver: Driver, gpus: Gpus) -> None:
    """And what the second one runs is not the first one's leftover."""
    assert await gpus.take(A, 1) == ("GPU-0",)
    assert await gpus.take(B, 1) == ("GPU-1",)
    driver.processes = [[7], [200]]
    await gpus.give_back(A)
    assert not gpus.held


async def test_what_shares_a_card_is_looked_at_when_the_last_one_goes(driver: Driver, gpus: Gpus) -> None:
    await gpus.take(A, 2)
    await gpus.take(B, 2)
    driver.processes = [[7], [200]]
    await gpus.give_back(A)
    assert not gpus.held, "200 may be the other task's"
    await gpus.give_back(B)
    assert [*gpus.held] == ["GPU-1"]


@pytest.fixture
def own_child() -> Iterator[int]:
    """A process of this one, as the prover is the agent's."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield child.pid
    child.communicate()


async def test_the_agents_own_prover_is_nobodys_leftover(driver: Driver, gpus: Gpus, own_child: int) -> None:
    """A task may end while a window is searched."""
    await gpus.take(A, 1)
    driver.processes = [[7, own_child], []]
    await gpus.give_back(A)
    assert not gpus.held


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("torch", "torch:cuda:1"),
        ("torch:cuda", "torch:cuda:1"),
        ("torch:cuda:0", "numpy"),
        ("torch:cuda:1", "torch:cuda:1"),
        ("torch:cpu", "torch:cpu"),
        ("numpy", "numpy"),
    ],
)
async def test_a_held_card_is_not_proved_with(wanted: str, found: str, driver: Driver, gpus: Gpus) -> None:
    """Another one is if the policy leaves the choice, else the processor."""
    assert gpus.backend(wanted) == (wanted, "")
    await gpus.take(A, 1)
    driver.processes = [[7, 100], []]
    await gpus.give_back(A)
    backend, why = gpus.backend(wanted)
    assert backend == found
    assert ("held by process 100" in why) == (backend != wanted)


async def test_when_every_card_is_held_the_processor_proves(driver: Driver, gpus: Gpus) -> None:
    await gpus.take(A, 2)
    driver.processes = [[7, 100], [101]]
    await gpus.give_back(A)
    assert gpus.backend("torch")[0] == "numpy"


async def test_the_agent_neither_offers_nor_hides_a_held_card(driver: Driver, tmp_path: Path) -> None:
    """What it lends shrinks at once, `spark status` says why, and it comes back by itself."""
    world = SparkWorld(tmp_path)
    world.machine = MACHINE._replace(gpus=read_gpus()[0])
    async with world.running() as agent:
        assert agent.lent().gpus == 2
        await agent.gpus.take(A, 2)
        driver.processes = [[7], [100]]
        await agent.gpus.give_back(A)
        assert agent.lent().gpus == 1
        facts = status_of(agent)
        assert facts["lent"]["gpus"] == 1
        (line,) = [line for line in status_lines(facts, True) if line.startswith("gpu ")]
        assert line == (
            "gpu       GPU 1 (Example 4090) is held by process 100 since a task ended: "
            "neither lent nor proved with"
        )
        driver.processes = [[7], []]
        await world.until(lambda: agent.lent().gpus == 2)
        assert status_of(agent)["gpus_held"] == []


def test_a_container_gets_the_very_cards_that_were_chosen(tmp_path: Path) -> None:
    """Without a choice it is a number of them, which AMD's device files ignore as before."""
    spec = SparkWorld(tmp_path).spec(b"", runtime="docker", gpus=1)
    order = Order("a-0", spec, ("true",), (), Limits(1_000, 1, 2**20), tmp_path, ("GPU-1",))
    settings = EngineSettings(tmp_path, gpus=2)
    (request,) = container_options(settings, order, (), tmp_path)["device_requests"]
    assert (request["DeviceIDs"], request["Count"]) == (["GPU-1"], 0)


def test_where_the_prover_wants_a_gpu_tasks_leave_it_a_gibibyte(driver: Driver, tmp_path: Path) -> None:
    """A frozen program keeps its memory; who proves by numpy lends the whole card."""
    machine = MACHINE._replace(gpus=read_gpus()[0])
    proving = POLICY._replace(prover_backend="torch:cuda:0")
    whole, less = lent_of(POLICY, machine), lent_of(proving, machine)
    assert whole.gpu_memory_bytes - less.gpu_memory_bytes == PROVER_GPU_BYTES
    assert hardware_of(proving, machine, tmp_path).gpu_memory_bytes == less.gpu_memory_bytes
    assert lent_of(proving._replace(proving=False), machine) == whole
