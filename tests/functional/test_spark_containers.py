"""The agent with a real container engine: a sealed task runs in a container, and a crash leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import trio

from consensus.types.amounts import eubc
from spark_node.job import Command, Limits
from spark_node.lending import engine_settings, lent_of
from spark_node.policy import default_policy_text, parse_policy
from spark_node.runtimes import disks
from spark_node.runtimes.docker import DockerRuntime
from spark_node.runtimes.docker_engine import LABEL
from spark_node.runtimes.runtime import Order
from tests.spark_world import MACHINE, MEBIBYTE, SparkWorld
from vm.task.records import Stage

pytest_plugins = ("tests.docker_engine",)
pytestmark = pytest.mark.docker

FILE = b"why"
"""What the requester seals as its input; `grant` names the file module.wasm."""


@pytest.fixture
def world(docker_engine: str, tmp_path: Path) -> Iterator[SparkWorld]:
    """A spark that lends an engine; at the end no container and no disk of it may be left."""
    made = SparkWorld(tmp_path)
    made.machine = MACHINE._replace(docker_note="")
    made.changes |= {("docker", "address"): docker_engine, ("price", "cpu_hour"): "0.01"}
    yield made
    left = _left_behind(made, docker_engine)
    disks.reap_disks(made.folder.containers / "disks")
    assert left == []


def _left_behind(world: SparkWorld, address: str) -> list[str]:
    client = docker.DockerClient(base_url=address)
    label = f"{LABEL}={world.folder.containers}"
    found = [str(c.id) for c in client.containers.list(all=True, filters={"label": label})]
    client.close()
    kept = world.folder.containers / "disks"
    return found + [path.name for path in kept.iterdir()] if kept.exists() else found


def _spec(world: SparkWorld, image: str) -> object:
    return world.spec(FILE, runtime="docker", image=image, memory_bytes=64 * MEBIBYTE)


async def test_a_container_task_is_run_and_its_result_delivered(
    world: SparkWorld, busybox_image: str
) -> None:
    """The same way as a module's, with the engine's own walls around the program."""
    script = "echo $NAME; echo EUB_PROGRESS 1/2; cat /input/module.wasm > /output/answer"
    async with world.running():
        task = await world.matched(FILE, spec=_spec(world, busybox_image), maximum=eubc(5))
        await world.grant(task, FILE, commands=(Command("main", ("sh", "-c", script)),))
        await world.until(world.is_at(task, Stage.REVIEW))
        _, files = await world.fetched(task)
        assert files == {"answer": FILE}
        assert await world.log_of(task) == "value\nEUB_PROGRESS 1/2\n"
    assert world.plaintext() == []


async def test_a_command_that_is_not_there_is_the_applications_fault(
    world: SparkWorld, busybox_image: str
) -> None:
    """Exit 127, with the sentence that names what was not found."""
    async with world.running() as agent:
        task = await world.matched(FILE, spec=_spec(world, busybox_image), maximum=eubc(5))
        await world.grant(task, FILE, commands=(Command("main", ("eho", "hello")),))
        await world.until(world.is_at(task, Stage.REVIEW))
        failure = world.market.seat(task).failure
        assert failure is not None
        assert failure.exit_status == 127
        kept = agent.journal.notes[task, 0].failure
        assert kept is not None
        assert "command not found (exit 127): eho" in kept.cause


async def test_a_container_that_a_killed_agent_left_is_removed_by_the_next(
    world: SparkWorld, busybox_image: str, docker_engine: str
) -> None:
    """Found by its label, also when the journal knows nothing of it."""
    policy = parse_policy(default_policy_text(world.changes))
    settings = engine_settings(policy, world.folder, lent_of(policy, world.machine).gpus)
    assert settings is not None
    room = world.folder.rooms / "left"
    (room / "input").mkdir(parents=True)
    spec = world.spec(FILE, runtime="docker", image=busybox_image, memory_bytes=64 * MEBIBYTE)
    order = Order("left-0", spec, ("sleep", "1000"), (), Limits(1_000, 1, MEBIBYTE), room)
    await DockerRuntime(settings).prepare(order)
    assert _left_behind(world, docker_engine) != []
    async with world.running():
        await trio.lowlevel.checkpoint()
        assert _left_behind(world, docker_engine) == []
    assert world.plaintext() == []
