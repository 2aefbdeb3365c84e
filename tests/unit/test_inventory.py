"""What a machine says it has, with and without a GPU. The driver is replaced; its errors are its own."""

from __future__ import annotations

from types import SimpleNamespace

import pynvml
import pytest

from spark_node import inventory
from spark_node.inventory import read_gpus, still_held, take_inventory
from spark_node.runtimes.docker_engine import EngineSettings


@pytest.fixture
def driver(monkeypatch):
    """A driver with two GPUs, the second of which says little."""

    def rates(handle):
        if handle:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(gpu=37)

    made = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(total=24 * 2**30, used=2**30),
        "nvmlDeviceGetName": lambda handle: b"Example 4090" if handle else "Example 4090",
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle}",
        "nvmlDeviceGetUtilizationRates": rates,
        "nvmlDeviceGetComputeRunningProcesses": lambda handle: [
            SimpleNamespace(pid=7),
            SimpleNamespace(pid=3),
        ],
        "nvmlDeviceGetGraphicsRunningProcesses": lambda handle: [SimpleNamespace(pid=7)],
    }
    for name, call in made.items():
        monkeypatch.setattr(pynvml, name, call)
    return monkeypatch


def test_gpus_are_described(driver):
    """Name, memory, load and who is on it; what the driver does not tell is -1."""
    gpus, note = read_gpus()
    assert note == ""
    assert [gpu.name for gpu in gpus] == ["Example 4090", "Example 4090"]
    assert [gpu.utilisation_percent for gpu in gpus] == [37, -1]
    assert gpus[0].processes == (3, 7)
    assert gpus[0].memory_bytes - gpus[0].memory_used_bytes == 23 * 2**30


def test_one_lost_gpu_does_not_hide_the_other(driver):
    """It fell off the bus."""

    def memory(handle):
        if handle == 0:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return SimpleNamespace(total=1, used=0)

    driver.setattr(pynvml, "nvmlDeviceGetMemoryInfo", memory)
    gpus, note = read_gpus()
    assert [gpu.number for gpu in gpus] == [1]
    assert note == ""


def test_what_a_task_left_on_a_gpu_is_seen(driver):
    """A new process after its end is not the owner's, who was there before."""
    before, _ = read_gpus()
    assert still_held(before, before) == ()
    left = (before[0], before[1]._replace(processes=(3, 7, 9)))
    assert [gpu.number for gpu in still_held(before, left)] == [1]


async def test_a_machine_without_a_gpu_is_a_cpu_spark(monkeypatch):
    """Said kindly, and no error."""

    def no_library():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", no_library)
    machine = await take_inventory()
    assert machine.kind == "cpu"
    assert machine.gpus == ()
    assert machine.cpus >= 1
    assert machine.memory_bytes > 2**20
    assert machine.describe().startswith("A CPU spark: ")
    assert "no NVIDIA driver here" in machine.describe()


async def test_a_gpu_spark_names_its_cards(driver):
    """As a person reads them."""
    machine = await take_inventory()
    assert machine.kind == "gpu"
    assert "Example 4090 (24 GiB), Example 4090 (24 GiB)" in machine.describe()


async def test_an_absent_engine_is_noted(tmp_path, monkeypatch):
    """The machine still runs WebAssembly."""
    monkeypatch.setattr(inventory, "read_gpus", lambda: ((), "None."))
    machine = await take_inventory(EngineSettings(tmp_path, f"unix://{tmp_path}/none.sock"))
    assert "No Docker engine answers" in machine.docker_note
    assert "it runs WebAssembly." in machine.describe()
