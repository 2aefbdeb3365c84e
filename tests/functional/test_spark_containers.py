"""The agent with a real container engine: a task in a container, a crash, a proof that pauses it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import trio

from consensus.resource.proof import make_proof
from consensus.types.amounts import eubc
from spark_node.chain import ProvingWindow
from spark_node.folder import release_wish
from spark_node.job import Command, Limits
from spark_node.lending import engine_settings, lent_of
from spark_node.policy import default_policy_text, parse_policy
from spark_node.prover.order import Answer
from spark_node.prover.order import Order as ProofOrder
from spark_node.prover.process import Tell
from spark_node.runtimes import disks
from spark_node.runtimes.docker import DockerRuntime
from spark_node.runtimes.docker_engine import LABEL
from spark_node.runtimes.runtime import Order
from tests.spark_world import MACHINE, MEBIBYTE, SparkWorld
from vm.operation import Operation, check_nothing
from vm.resource import Prove
from vm.spark import no_entries
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


async def test_a_container_stands_still_while_its_machine_proves_and_goes_on_after(
    world: SparkWorld, busybox_image: str, docker_engine: str
) -> None:
    """The prover takes every processor that is lent: no tick of the program falls into the search."""
    client = docker.DockerClient(base_url=docker_engine)
    searching, may_end = trio.Event(), trio.Event()

    async def prove(order: ProofOrder, threads: int, tell: Tell) -> Answer:
        searching.set()
        await may_end.wait()
        return Answer(make_proof(order.assignment.window, [(1, 2)]), 64, 0, "numpy:test")

    def state() -> str:
        label = f"{LABEL}={world.folder.containers}"
        found = client.containers.list(all=True, filters={"label": label})
        return str(found[0].status) if found else "none"

    world.prove = prove
    world.changes["proving", "pause_tasks"] = "auto"
    proofs: list[Prove] = []
    world.market.operations[Prove] = Operation(
        "resource.prove", Prove, check_nothing, no_entries, lambda _, call, payload: proofs.append(payload)
    )
    script = "n=0; while true; do n=$((n+1)); echo EUB_PROGRESS $n/1000000; sleep 0.05; done"
    async with world.running() as agent:
        task = await world.matched(FILE, spec=_spec(world, busybox_image), maximum=eubc(5))
        await world.grant(task, FILE, commands=(Command("main", ("sh", "-c", script)),))
        await world.until(world.is_at(task, Stage.RUNNING))
        control = (await world.until(lambda: agent.seats.workers.get((task, 0)))).control
        await world.until(lambda: control.progress is not None)
        assert state() == "running"

        world.chain.proving_window = ProvingWindow(7, 1, 10**6, 10**6, bytes([3]) * 32, False)
        await searching.wait()
        assert state() == "paused"
        height, ticks = world.market.height, control.progress
        await world.until(lambda: world.market.height > height + 50)
        assert control.progress is not None
        # One line may have been under way when it was frozen.
        assert control.progress.done <= ticks.done + 1
        assert "window 7: " in agent.proving.now

        may_end.set()
        await world.until(lambda: proofs)
        await world.until(lambda: control.progress.done > ticks.done + 3)
        assert state() == "running"
        world.folder.wish(release_wish(task, 0))
        await world.until(world.is_at(task, Stage.CLOSED))
    client.close()
