"""Strangers' containers on a real engine: what they try, what they get, what is left.

Every test runs real containers; none needs a network. After each, neither a container nor a disk of
the spark is left on the machine.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import msgspec
import pytest
import trio

from consensus.types.errors import Fault
from spark_node.job import Limits, Spec
from spark_node.runtimes import disks
from spark_node.runtimes import docker as docker_runtime
from spark_node.runtimes.docker import DockerRuntime
from spark_node.runtimes.docker_engine import LABEL, EngineSettings
from spark_node.runtimes.log_lines import Line, Progress
from spark_node.runtimes.runtime import Ending, Order, Outcome
from tests.image_registry import Registry, image_archive

pytest_plugins = ("tests.docker_engine",)
pytestmark = pytest.mark.docker

MEBIBYTE = 2**20
DEADLINE_S = 60
"""No run here takes longer; it only keeps a hanging test from hanging all."""


class World:
    """One spark with its engine, and a requester who wants something run."""

    def __init__(self, address: str, image: str, folder: Path) -> None:
        self.settings = EngineSettings(state=folder / "state", address=address)
        self.runtime = DockerRuntime(self.settings)
        self.folder = folder
        self.spec = Spec(
            "docker", image, "/input", "/output", 500, 64 * MEBIBYTE, 16 * MEBIBYTE, 0, MEBIBYTE,
            8 * MEBIBYTE, "age1" + "q" * 58, (),
        )  # fmt: skip
        self.limits = Limits(30, 1, MEBIBYTE)

    def order(self, *command: str, **changes: object) -> Order:
        """An order for `command`; changes go to the spec."""
        room = self.folder / "room"
        (room / "input").mkdir(parents=True, exist_ok=True)
        spec = msgspec.structs.replace(self.spec, **changes)
        return Order("task-0", spec, command, (("COLOUR", "green"),), self.limits, room)

    async def run(self, order: Order) -> Outcome:
        """Prepare and run; the result stays until `clean`."""
        with trio.fail_after(DEADLINE_S):
            execution = await self.runtime.prepare(order)
            try:
                return await execution.run()
            finally:
                await execution.clean()

    async def shell(self, script: str, **changes: object) -> Outcome:
        """Run a shell script."""
        return await self.run(self.order("sh", "-c", script, **changes))

    def left_behind(self) -> list[str]:
        """Containers, volumes, mounts and files of this spark that still exist."""
        client = docker.DockerClient(base_url=self.settings.address)
        label = f"{LABEL}={self.settings.state}"
        found = [c.id for c in client.containers.list(all=True, filters={"label": label})]
        found += [volume.id for volume in client.volumes.list()]
        client.close()
        found += [line for line in Path("/proc/mounts").read_text().splitlines() if str(self.folder) in line]
        if self.settings.disks.exists():
            found += [path.name for path in self.settings.disks.iterdir()]
        return found


@pytest.fixture
def world(docker_engine: str, busybox_image: str, tmp_path: Path) -> Iterator[World]:
    """A spark; at the end nothing of it may be left."""
    made = World(docker_engine, busybox_image, tmp_path)
    yield made
    left = made.left_behind()
    disks.reap_disks(made.settings.disks)
    assert left == []


async def test_a_program_reads_its_input_and_leaves_its_result(world):
    """The ordinary case, with lines and progress arriving and the environment set."""
    order = world.order(
        "sh",
        "-c",
        "echo $COLOUR; echo EUB_PROGRESS 1/2; cat /input/question > /output/answer; echo done >&2",
    )
    (order.input / "question").write_text("why")
    execution = await world.runtime.prepare(order)
    outcome = await execution.run()

    assert (outcome.exit_status, outcome.ending) == (0, Ending.EXIT)
    assert (execution.output / "answer").read_text() == "why"
    assert outcome.output_bytes == 3
    assert outcome.has_result
    shown = [entry async for entry in execution.logs]
    assert Line("out", "green") in shown
    assert Line("err", "done") in shown
    assert Progress(1, 2) in shown
    await execution.clean()
    await execution.clean()


async def test_lines_arrive_while_the_program_still_runs(world):
    """The program waits for a file that the test makes only after it has seen the first line."""
    order = world.order("sh", "-c", "echo ready; while [ ! -e /output/go ]; do sleep 0.05; done; echo went")
    execution = await world.runtime.prepare(order)
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(execution.run)
            assert await execution.logs.receive() == Line("out", "ready")
            (execution.output / "go").touch()
            assert await execution.logs.receive() == Line("out", "went")
    await execution.clean()


async def test_a_container_has_no_rights_worth_having(world):
    """No capability, no new privileges, seccomp, an ordinary user, a read-only root, no network but lo."""
    outcome = await world.shell(
        "exec 2>&1; id -u; cat /proc/self/status; ls /sys/class/net; touch /x; touch /input/x;"
        "touch /tmp/x && echo tmp; touch /dev/shm/x && echo shm; ls ~; ls /input"
    )
    text = outcome.tail.decode()
    assert text.splitlines()[0] == "1000"
    for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert line in text
    assert "lo" in text.splitlines()
    assert "eth0" not in text
    assert "touch: /x: Read-only file system" in text
    assert "touch: /input/x: Read-only file system" in text
    assert "tmp" in text.splitlines()
    assert "shm" in text.splitlines()
    assert text.splitlines()[-1] == "x", "home is /tmp; the empty input is there"


async def test_the_host_cannot_be_mounted_or_reached(world):
    """Mounting needs a capability, devices are not there, and no engine socket is."""
    outcome = await world.shell(
        "mount -t tmpfs none /tmp || echo no-mount; mount -o bind /proc/1/root /output || echo no-bind;"
        "ls /dev/vda /dev/sda /var/run/docker.sock || echo no-devices;"
        "cat /proc/1/root/etc/shadow || echo no-host"
    )
    lines = outcome.tail.decode().splitlines()
    assert {"no-mount", "no-bind", "no-devices", "no-host"} <= set(lines)


async def test_a_network_scan_finds_no_network(world):
    """Neither a neighbour nor the cloud's metadata service can be reached."""
    outcome = await world.shell(
        "for a in 10.0.0.1 169.254.169.254 192.168.0.1; do nc -w 1 $a 80 </dev/null && echo open; done; true"
    )
    assert b"open" not in outcome.tail
    assert b"Network is unreachable" in outcome.tail


async def test_a_fork_bomb_meets_the_limit_of_processes(world):
    """The machine lives on; the bomb runs into its limit and into its time."""
    world.limits = Limits(3, 1, MEBIBYTE)
    outcome = await world.shell("bomb() { bomb | bomb & sleep 30; }; bomb; sleep 30")
    assert b"fork: Resource temporarily unavailable" in outcome.tail
    assert outcome.ending in (Ending.TIME, Ending.MEMORY)
    assert (await world.shell("echo alive")).tail == b"alive\n"


async def test_a_program_that_fills_the_disk_is_told_so(world):
    """A hard 'no space left', and the reason says disk."""
    if not disks.can_mount():
        pytest.skip("this machine cannot make a disk in a file")
    outcome = await world.shell("dd if=/dev/zero of=/output/a bs=1M count=14 && cat /dev/zero > /output/b")
    assert outcome.ending is Ending.DISK
    assert outcome.exit_status == 1
    assert b"No space left on device" in outcome.tail
    assert outcome.output_bytes <= 18 * MEBIBYTE


async def test_without_a_hard_disk_the_filler_is_killed(world, monkeypatch):
    """Where no disk can be made, somebody watches: many files, each below the limit of one."""
    monkeypatch.setattr(docker_runtime, "can_mount", lambda: False)
    outcome = await world.shell(
        "n=0; while true; do head -c 1000000 /dev/zero > /output/$n; n=$((n+1)); done",
        disk_bytes=9 * MEBIBYTE,
    )
    assert (outcome.ending, outcome.exit_status) == (Ending.DISK, 153)


async def test_volumes_of_the_image_are_no_way_around_the_disk_limit(world):
    """The image declares /scratch; it is memory, bounded like /tmp."""
    outcome = await world.shell(
        "for n in 1 2 3; do head -c 8000000 /dev/zero > /scratch/$n || exit; done; echo all"
    )
    assert outcome.exit_status == 1
    assert b"all" not in outcome.tail
    mounts = (await world.shell("cat /proc/mounts")).tail.decode().splitlines()
    (scratch,) = (line for line in mounts if " /scratch " in line)
    assert scratch.startswith("tmpfs ")
    assert "noexec" in scratch


async def test_one_file_larger_than_the_disk_ends_the_program(world):
    """The kernel's signal for it reads as a full disk."""
    outcome = await world.shell("exec head -c 40000000 /dev/zero > /tmp/a")
    assert (outcome.ending, outcome.exit_status) == (Ending.DISK, 153)


async def test_a_result_that_is_too_large_is_no_result(world):
    """It fits on the disk but not in what was agreed to be uploaded."""
    outcome = await world.shell("head -c 9000000 /dev/zero > /output/a")
    assert (outcome.ending, outcome.exit_status) == (Ending.OUTPUT, 153)


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("ln -s /etc/passwd /output/a", "neither a plain file"),
        ("mkfifo /output/a", "neither a plain file"),
        ("cd /output; n=0; while [ $n -lt 1500 ]; do mkdir d; cd d; n=$((n+1)); done", "deep"),
    ],
)
async def test_a_result_that_cannot_be_delivered_is_refused(world, monkeypatch, hard, script, why):
    """Links could show the spark's own files; a deep tree must not stop the spark from cleaning up."""
    if not hard:
        monkeypatch.setattr(docker_runtime, "can_mount", lambda: False)
    elif not disks.can_mount():
        pytest.skip("this machine cannot make a disk in a file")
    outcome = await world.shell(script)
    # Where somebody watches the disk, a tree that cannot be measured may end the run before it ends.
    assert not outcome.has_result
    assert outcome.ending in ((Ending.FORBIDDEN,) if hard else (Ending.FORBIDDEN, Ending.DISK))
    assert outcome.ending is Ending.DISK or why in outcome.explanation


async def test_forbidden_directories_hide_nothing(world):
    """The program locks its result; it is measured and removed all the same."""
    outcome = await world.shell("mkdir /output/d; echo 1234 > /output/d/a; chmod 0 /output/d/a /output/d")
    assert (outcome.ending, outcome.output_bytes) == (Ending.EXIT, 5)


async def test_printing_a_gigabyte_ends_the_program(world):
    """Neither memory, nor the engine's disk, nor the reader pays for it."""
    outcome = await world.shell("yes | head -c 1000000000")
    assert outcome.ending is Ending.OUTPUT
    assert len(outcome.tail) <= 64 * 1024
    assert outcome.log_bytes < 100_000_000


async def test_a_program_that_runs_for_ever_is_ended(world):
    """At its wall time, with the sentence that says so."""
    world.limits = Limits(1, 1, MEBIBYTE)
    outcome = await world.shell("while true; do :; done")
    assert (outcome.ending, outcome.exit_status, outcome.has_result) == (Ending.TIME, 152, False)
    assert "time" in outcome.explanation


async def test_too_much_memory_is_named_as_the_reason(world):
    """Killed by the kernel inside its own limit."""
    outcome = await world.shell("exec dd if=/dev/zero of=/dev/null bs=200M")
    assert (outcome.ending, outcome.exit_status) == (Ending.MEMORY, 137)


async def test_a_killed_child_is_not_the_programs_end(world):
    """The flag alone decides nothing: the program went on and ended well."""
    outcome = await world.shell("(dd if=/dev/zero of=/dev/null bs=200M) || echo survived; exit 0")
    assert b"survived" in outcome.tail
    assert (outcome.ending, outcome.exit_status) == (Ending.EXIT, 0)


async def test_a_command_that_does_not_exist_is_the_requesters_mistake(world):
    """Exit 127, in words."""
    outcome = await world.run(world.order("eho", "hello"))
    assert (outcome.exit_status, outcome.ending) == (127, Ending.EXIT)
    assert outcome.explanation == "command not found (exit 127): eho"


async def test_an_exit_status_is_kept(world):
    """A program's own failure is an answer."""
    outcome = await world.shell("exit 3")
    assert (outcome.exit_status, outcome.ending, outcome.has_result) == (3, Ending.EXIT, True)


async def test_a_gpu_is_refused_where_there_is_none(world):
    """By the inventory before anything is locked; by the engine if the inventory was wrong."""
    spec = msgspec.structs.replace(world.spec, gpus=1)
    with pytest.raises(Fault, match="gpu_missing"):
        await world.runtime.check(spec)
    world.runtime = DockerRuntime(replace(world.settings, gpus=1))
    with pytest.raises(Fault, match="gpu_missing"):
        await world.shell("true", gpus=1)


async def test_a_missing_image_is_refused_before_anything_is_locked(world):
    """As an id that is not here, and as a name whose registry cannot be reached."""
    for image in (f"sha256:{'0' * 64}", f"127.0.0.1:1/nobody/nothing@sha256:{'0' * 64}"):
        with pytest.raises(Fault, match="image_missing"):
            await world.runtime.check(msgspec.structs.replace(world.spec, image=image))


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A registry with an image that the engine does not have."""
    archive, _ = image_archive(Path("/bin/busybox").read_bytes(), {"Labels": {"from": "registry"}})
    with Registry(archive) as made:
        yield made


async def test_an_image_is_pulled_by_its_digest(world, registry):
    """Named by RepoDigest: found in the registry, pulled, compared, run."""
    order = world.order("echo", "pulled", image=registry.name())
    await world.runtime.check(order.spec)
    assert (await world.run(order)).tail == b"pulled\n"
    assert (await world.run(order)).tail == b"pulled\n", "and again, from this machine"
    client = docker.DockerClient(base_url=world.settings.address)
    client.images.remove(registry.name(), force=True)
    client.close()


async def test_a_digest_that_the_registry_does_not_have_is_refused(world, registry):
    """Before anything is locked."""
    image = registry.name(f"sha256:{'0' * 64}")
    with pytest.raises(Fault, match="image_missing"):
        await world.runtime.check(msgspec.structs.replace(world.spec, image=image))


async def test_a_registry_that_lies_is_not_believed(world, registry):
    """Other bytes under the same digest never become an image here."""
    registry.lie()
    with pytest.raises(Fault, match="image_missing"):
        await world.run(world.order("echo", "pulled", image=registry.name()))


async def test_more_than_the_machine_has_is_refused(world):
    """Cores, memory, disk."""
    for changes, reason in (
        ({"cpu_milli": 1_000_000}, "machine_too_small"),
        ({"memory_bytes": 2**50}, "machine_too_small"),
        ({"disk_bytes": 2**50}, "machine_too_small"),
    ):
        with pytest.raises(Fault, match=reason):
            await world.runtime.prepare(world.order("true", **changes))


async def test_an_engine_that_is_not_there_is_named(tmp_path):
    """One sentence, no traceback of the SDK."""
    runtime = DockerRuntime(EngineSettings(tmp_path, f"unix://{tmp_path}/none.sock"))
    with pytest.raises(Fault, match="engine_absent"):
        await runtime.reap()


async def test_an_unknown_container_runtime_is_refused(world):
    """gVisor where it is not installed."""
    runtime = DockerRuntime(replace(world.settings, container_runtime="runsc-none"))
    with pytest.raises(Fault, match="runtime_not_installed"):
        await runtime.check(world.spec)


AGENT = """
import sys, trio
from pathlib import Path
from tests.functional.test_docker_runtime import World
from dataclasses import replace

async def main():
    world = World(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    await world.runtime.prepare(world.order("sleep", "600"))
    second = replace(world.order("sh", "-c", "echo up; sleep 600"), name="task-1")
    running = await world.runtime.prepare(second)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.run)
        await running.logs.receive()
        print("ready", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def test_a_spark_killed_between_create_and_start_leaves_nothing_after_reap(world):
    """Kill -9 with one container created and one running; the next life removes both and their disks."""
    agent = await trio.lowlevel.open_process(
        [sys.executable, "-c", AGENT, world.settings.address, world.spec.image, str(world.folder)],
        stdout=subprocess.PIPE,
    )
    with trio.fail_after(DEADLINE_S):
        said = b""
        while not said.endswith(b"\n"):
            said += await agent.stdout.receive_some()
        assert said == b"ready\n"
        agent.kill()
        await agent.wait()
    await agent.stdout.aclose()
    assert len(world.left_behind()) >= 4

    assert await DockerRuntime(world.settings).reap() == 4
    assert world.left_behind() == []
    assert await DockerRuntime(world.settings).reap() == 0


async def test_reaping_leaves_another_sparks_containers_alone(world):
    """Two sparks may share one engine."""
    execution = await world.runtime.prepare(world.order("true"))
    other = DockerRuntime(replace(world.settings, state=world.folder / "other"))
    assert await other.reap() == 0
    assert (await execution.run()).exit_status == 0
    await execution.clean()


async def test_cancelling_removes_the_container(world):
    """Ctrl-C of the agent, in the middle of a run."""
    execution = await world.runtime.prepare(world.order("sh", "-c", "echo up; sleep 600"))
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(execution.run)
            await execution.logs.receive()
            nursery.cancel_scope.cancel()
    await execution.clean()


async def test_stopping_is_the_sparks_doing(world):
    """The owner wants the machine: the program is not blamed."""
    execution = await world.runtime.prepare(world.order("sh", "-c", "echo up; sleep 600"))
    outcomes: list[Outcome] = []

    async def run() -> None:
        outcomes.append(await execution.run())

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await execution.logs.receive()
            await execution.stop()
    assert outcomes[0].ending is Ending.OTHER
    await execution.clean()


async def test_a_paused_program_neither_runs_nor_ages(world):
    """Frozen beyond its wall time it is still alive, and can be stopped while frozen."""
    world.limits = Limits(2, 1, MEBIBYTE)
    execution = await world.runtime.prepare(
        world.order("sh", "-c", "echo up; while [ ! -e /output/go ]; do sleep 0.05; done; echo went")
    )
    outcomes: list[Outcome] = []

    async def run() -> None:
        outcomes.append(await execution.run())

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await execution.logs.receive()
            await execution.pause()
            with trio.move_on_after(3):
                await execution.logs.receive()
                pytest.fail("a frozen program printed")
            (execution.output / "go").touch()
            await execution.resume()
            assert await execution.logs.receive() == Line("out", "went")
    assert outcomes[0].ending is Ending.EXIT
    await execution.clean()


async def test_an_engine_that_dies_is_not_the_programs_fault(mortal_engine, tmp_path):
    """Kill the engine under a running task; the run ends, and the next life of both finds what was left."""
    image = await trio.to_thread.run_sync(mortal_engine.load_busybox)
    world = World(mortal_engine.address, image, tmp_path)
    execution = await world.runtime.prepare(world.order("sh", "-c", "echo up; sleep 600"))
    outcomes: list[Outcome] = []

    async def run() -> None:
        outcomes.append(await execution.run())

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await execution.logs.receive()
            await trio.to_thread.run_sync(mortal_engine.kill)
        assert outcomes[0].ending is Ending.OTHER
        await execution.clean()
        with pytest.raises(Fault, match="engine_absent"):
            await world.runtime.check(world.spec)

        await trio.to_thread.run_sync(mortal_engine.start)
        await world.runtime.check(world.spec)
        assert await world.runtime.reap() == 1
    assert world.left_behind() == []
