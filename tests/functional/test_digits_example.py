"""The container example from nothing: its image is made, loaded, and trains in a spark's runtime.

Slow, and it needs root, mmdebstrap, Docker Engine and a Debian mirror; without one of them it is skipped.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from eubchain.client.task_file import order_of, read_task_file
from spark_node.job import Limits, Spec
from spark_node.runtimes.docker import DockerRuntime
from spark_node.runtimes.docker_engine import EngineSettings
from spark_node.runtimes.log_lines import Line, Progress
from spark_node.runtimes.runtime import Ending, Order

pytest_plugins = ("tests.docker_engine",)
pytestmark = [pytest.mark.docker, pytest.mark.slow]

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
BUILD_S, RUN_S = 600, 300
"""Nothing here takes as long; it only keeps a hanging test from hanging all."""


@pytest.fixture(scope="module")
def task_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example, so that the id can be written into its task file."""
    copy = tmp_path_factory.mktemp("example") / "digits"
    shutil.copytree(DIGITS, copy)
    return copy / "task.toml"


@pytest.fixture(scope="module")
def image(session_engine, task_file: Path) -> str:
    """The image's id, as the script prints it."""
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed")
    built = subprocess.run(
        [
            *(sys.executable, str(task_file.parent / "build_image.py")),
            *("--engine", session_engine.address, "--set", str(task_file)),
        ],
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    if re.search(r"E: .*(fetch|resolve|connect|update)", built.stderr):
        pytest.skip("no Debian mirror can be reached")
    assert built.returncode == 0, built.stderr
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", built.stdout), "standard output is the id and nothing else"
    return built.stdout.strip()


async def test_the_example_trains_in_its_container_and_returns_model_and_report(
    session_engine, image: str, task_file: Path, tmp_path: Path
) -> None:
    """The script's image, the task file's sizes and command, the shipped program."""
    asked = order_of(read_task_file(task_file))
    assert asked.image == image
    spec = Spec(
        "docker", image, asked.input_mount, asked.output_mount, asked.cpu_milli, asked.memory_bytes,
        asked.disk_bytes, 0, 2**30, asked.output_bytes_max, "age1" + "q" * 58, (),
    )  # fmt: skip
    runtime = DockerRuntime(EngineSettings(state=tmp_path / "state", address=session_engine.address))
    room = tmp_path / "room"
    assert asked.input is not None
    shutil.copytree(asked.input, room / "input")
    order = Order("digits", spec, asked.command, asked.environment, Limits(RUN_S, 1, 2**20), room)
    with trio.fail_after(RUN_S):
        execution = await runtime.prepare(order)
        try:
            outcome = await execution.run()
            assert (outcome.ending, outcome.exit_status) == (Ending.EXIT, 0), outcome.tail.decode()
            report = json.loads((execution.output / "report.json").read_text())
            assert (execution.output / "model.joblib").stat().st_size > 10_000
        finally:
            await execution.clean()

    shown = [entry async for entry in execution.logs]
    assert report["accuracy"] > 0.98
    assert sum(map(sum, report["confusion"])) == report["tested"] == 450
    assert Line("out", f"accuracy on digits never seen: {report['accuracy']:.4f}") in shown
    assert [entry for entry in shown if isinstance(entry, Progress)][-1] == Progress(13, 13)


async def test_a_typing_error_in_the_command_is_the_applications_fault(
    session_engine, image: str, tmp_path: Path
) -> None:
    """There is no such program in the image, and the sentence says so."""
    runtime = DockerRuntime(EngineSettings(state=tmp_path / "state", address=session_engine.address))
    asked = order_of(read_task_file(DIGITS / "task.toml"))
    spec = Spec(
        "docker", image, "/input", "/output", 1_000, 2**26, 2**24, 0, 2**20, 2**20, "age1" + "q" * 58, ()
    )
    room = tmp_path / "room"
    (room / "input").mkdir(parents=True)
    command = ("pyhton3", *asked.command[1:])
    with trio.fail_after(RUN_S):
        execution = await runtime.prepare(Order("typo", spec, command, (), Limits(RUN_S, 1, 2**20), room))
        outcome = await execution.run()
        await execution.clean()

    assert outcome.exit_status == 127
    assert "pyhton3" in outcome.explanation
