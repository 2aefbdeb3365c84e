"""What all runtimes share: lines, progress, the wall clock, the sentence for an exit, the options."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from consensus.types.errors import Fault
from spark_node.job import Limits, Spec
from spark_node.runtimes.docker_engine import Engine, EngineSettings, container_options
from spark_node.runtimes.log_lines import (
    LINE_BYTES_MAX,
    LINES_WAITING_MAX,
    TAIL_BYTES,
    Line,
    LogSink,
    Progress,
    parse_progress,
)
from spark_node.runtimes.runtime import Ending, Order, WallClock, explain_exit

SPEC = Spec(
    "docker", f"sha256:{'0' * 64}", "/input", "/output", 1500, 2**30, 2**20, 0, 2**20, 2**20,
    "age1" + "q" * 58, (),
)  # fmt: skip


def taken(sink: LogSink) -> list[Line | Progress]:
    """Everything that waits in the channel."""
    found: list[Line | Progress] = []
    try:
        while True:
            found.append(sink.receive.receive_nowait())
    except (trio.WouldBlock, trio.EndOfChannel):
        return found


@pytest.mark.parametrize(
    ("line", "progress"),
    [
        ("EUB_PROGRESS 37/100", Progress(37, 100)),
        ("EUB_PROGRESS 0/1\r", Progress(0, 1)),
        ("EUB_PROGRESS 101/100", None),
        ("EUB_PROGRESS 1/0", None),
        ("EUB_PROGRESS -1/2", None),
        ("EUB_PROGRESS 1/2 done", None),
        (" EUB_PROGRESS 1/2", None),
        ("EUB_PROGRESS ٣/٤", None),
        ("progress 1/2", None),
    ],
)
def test_progress_is_one_exact_form(line, progress):
    """Anything else is an ordinary line."""
    assert parse_progress(line) == progress


async def test_lines_are_whole_however_the_bytes_come():
    """Cut anywhere, the streams apart, the last one without a newline."""
    sink = LogSink(1000)
    for chunk in (b"on", b"e\ntwo\nthr", b"ee"):
        assert sink.feed("out", chunk)
        sink.feed("err", b".")
    sink.feed("out", b"\nEUB_PROGRESS 1/2\n\xff")
    sink.close()
    assert taken(sink) == [
        Line("out", "one"),
        Line("out", "two"),
        Line("out", "three"),
        Progress(1, 2),
        Line("out", "\ufffd"),
        Line("err", "..."),
    ]
    assert sink.progress == Progress(1, 2)


async def test_an_endless_line_is_cut():
    """No newline is no way to fill memory."""
    sink = LogSink(10**6)
    sink.feed("out", b"x" * (3 * LINE_BYTES_MAX + 1))
    sink.close()
    assert [len(line.text) for line in taken(sink)] == [LINE_BYTES_MAX] * 3 + [1]


async def test_a_slow_reader_costs_lines_never_the_program():
    """Dropped lines are counted, and the tail has the last ones."""
    sink = LogSink(10**9)
    for number in range(LINES_WAITING_MAX + 10):
        sink.feed("out", b"%d\n" % number)
    sink.feed("out", b"z" * TAIL_BYTES)
    sink.close()
    assert sink.dropped > 10
    assert len(taken(sink)) == LINES_WAITING_MAX
    assert sink.tail() == b"z" * TAIL_BYTES


async def test_the_limit_of_printing_is_exact():
    """What is beyond it is neither shown nor kept."""
    sink = LogSink(5)
    assert sink.feed("out", b"12345")
    assert not sink.feed("out", b"6\n")
    sink.close()
    assert taken(sink) == [Line("out", "12345")]


async def test_the_wall_clock_stands_while_paused(autojump_clock):
    """Ten seconds are ten seconds of running."""
    clock = WallClock(10)
    begun = trio.current_time()

    async def live() -> None:
        clock.start()
        with clock.scope:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(live)
        await trio.sleep(4)
        clock.pause()
        await trio.sleep(1000)
        clock.start()
    assert trio.current_time() - begun == pytest.approx(1010)
    assert clock.milliseconds() == 10_000


@pytest.mark.parametrize(
    ("runtime", "status", "ending", "sentence"),
    [
        ("docker", 127, Ending.EXIT, "command not found (exit 127): eho"),
        ("docker", 126, Ending.EXIT, "cannot be executed (exit 126): eho"),
        ("docker", 139, Ending.EXIT, "ended by SIGSEGV (exit 139)"),
        ("docker", 137, Ending.MEMORY, "more memory than the task allows"),
        ("docker", 3, Ending.EXIT, "an error of its own (exit 3)"),
        ("docker", 0, Ending.EXIT, "ended without an error"),
        ("docker", 191, Ending.EXIT, "signal 63"),
        ("wasi", 127, Ending.EXIT, "an error of its own (exit 127)"),
        ("wasi", 134, Ending.EXIT, "trapped or aborted"),
        ("wasi", 152, Ending.TIME, "within the time (or fuel)"),
        ("wasi", 153, Ending.OUTPUT, "printed more"),
        ("wasi", 51, Ending.DISK, "filled the disk"),
        ("wasi", 159, Ending.FORBIDDEN, "no task may do"),
        ("docker", 137, Ending.OTHER, "stopped on the spark's side"),
    ],
)
def test_an_exit_is_explained_in_a_sentence(runtime, status, ending, sentence):
    """Whose doing it was is in the words."""
    assert sentence in explain_exit(runtime, ("eho", "hello"), status, ending)


def test_an_exit_of_the_images_own_command_is_explained_too():
    """No command was given."""
    assert "the image's own command" in explain_exit("docker", (), 127, Ending.EXIT)


def options(tmp_path: Path, **changes: object) -> dict[str, object]:
    """The options of a plain task."""
    order = Order("task-0", SPEC, (), (), Limits(1, 1, 1), tmp_path)
    settings = EngineSettings(tmp_path, **changes)
    return container_options(settings, order, ("/data", "/output"), tmp_path / "out")


def test_a_container_is_locked_in(tmp_path):
    """Every restriction is spelled, because an engine's defaults are not ours."""
    made = options(tmp_path)
    assert made["network_mode"] == "none"
    assert made["read_only"] is True
    assert made["cap_drop"] == ["ALL"]
    assert made["security_opt"] == ["no-new-privileges:true"]
    assert made["memswap_limit"] == made["mem_limit"] == SPEC.memory_bytes
    assert made["nano_cpus"] == 1_500_000_000
    assert made["ipc_mode"] == "none"
    assert made["use_config_proxy"] is False
    assert set(made["tmpfs"]) == {"/tmp", "/dev/shm", "/data"}
    assert "privileged" not in made
    assert not made["user"].startswith("0")
    assert "device_requests" not in made


def test_the_engine_may_be_told_another_runtime_and_other_devices(tmp_path):
    """gVisor and AMD are the operator's configuration."""
    order = Order(
        "task-0", SPEC.__class__(*(2 if f == "gpus" else getattr(SPEC, f) for f in SPEC.__struct_fields__)),
        (), (), Limits(1, 1, 1), tmp_path,
    )  # fmt: skip
    settings = EngineSettings(tmp_path, container_runtime="runsc", gpu_devices=("/dev/kfd",))
    made = container_options(settings, order, (), tmp_path)
    assert made["runtime"] == "runsc"
    assert made["devices"] == ["/dev/kfd:/dev/kfd:rw"]
    nvidia = container_options(EngineSettings(tmp_path), order, (), tmp_path)
    assert nvidia["device_requests"][0]["Count"] == 2


def test_without_root_the_agents_own_user_is_used(tmp_path, monkeypatch):
    """Only it can remove the files afterwards."""
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    assert options(tmp_path)["user"] == "4321:4321"


@pytest.mark.parametrize(
    "image", [f"sha256:{'1' * 64}", f"registry.example/a@sha256:{'2' * 64}", f"a@sha256:{'3' * 64}"]
)
def test_an_engine_that_answers_with_another_image_is_refused(tmp_path, image):
    """The engine is asked by digest and must answer with it."""
    found = SimpleNamespace(
        id=f"sha256:{'0' * 64}", attrs={"RepoDigests": [f"a@sha256:{'4' * 64}"], "Config": {}}
    )
    engine = Engine(EngineSettings(tmp_path))
    engine._client = SimpleNamespace(images=SimpleNamespace(get=lambda name: found))
    with pytest.raises(Fault, match="image_mismatch"):
        engine.fetch(image)
    found.id, found.attrs["RepoDigests"] = f"sha256:{'1' * 64}", [image]
    found.attrs["Config"] = {"Volumes": {"/data": {}}}
    assert engine.fetch(image) == (found.id, ("/data",))
