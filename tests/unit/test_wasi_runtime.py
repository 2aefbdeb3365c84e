"""Strangers' modules in the wasi runtime: what they try, what they get, what is left.

Modules are WebAssembly text, so no compiler is needed; each runs in a real worker process.
"""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import trio
from wasmtime import wat2wasm

from consensus.types.codec import encode
from consensus.types.errors import Fault
from spark_node.job import MODULE_NAME, Limits, Spec
from spark_node.runtimes import wasi, wasi_worker
from spark_node.runtimes.log_lines import Line, Progress
from spark_node.runtimes.runtime import Ending, Order, Outcome
from spark_node.runtimes.wasi import WasiExecution, WasiRuntime
from spark_node.runtimes.wasi_profile import SIGNATURES

MEBIBYTE = 2**20
DEADLINE_S = 30
"""No run here takes longer; it only keeps a hanging test from hanging all."""
INPUT, OUTPUT = 3, 4
"""Descriptors of the two mounts."""
READ_WRITE = 66
"""Rights fd_read and fd_write."""
NOSPC, NOTCAPABLE, NOSYS, ROFS, NOTSUP, NOENT = 51, 76, 52, 69, 58, 44


def module(body: str, data: str = "", rest: str = "", pages: int = 2) -> bytes:
    """A module with every WASI call imported, `data` at 1024, and `body` as `_start`."""
    kinds = {"i": "i32", "I": "i64"}
    imports = "\n".join(
        f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {" ".join(kinds[k] for k in kind)})'
        f"{'' if name == 'proc_exit' else ' (result i32)'}))"
        for name, kind in SIGNATURES.items()
    )
    return bytes(
        wat2wasm(
            f"""(module {imports}
            (memory (export "memory") {pages})
            (data (i32.const 1024) "{data}")
            {rest}
            (func (export "_start") (local $n i32) (local $fd i32) {body}))"""
        )
    )


def write(descriptor: str, start: int, size: int) -> str:
    """Code that writes memory to a descriptor and leaves the error number."""
    return f"""(i32.store (i32.const 0) (i32.const {start})) (i32.store (i32.const 4) (i32.const {size}))
        (call $fd_write {descriptor} (i32.const 0) (i32.const 1) (i32.const 8))"""


def open_path(mount: int, start: int, size: int, create: bool = False) -> str:
    """Code that opens the path at `start` for writing too, and leaves the error number; result at 12."""
    return f"""(call $path_open (i32.const {mount}) (i32.const 0) (i32.const {start}) (i32.const {size})
        (i32.const {int(create)}) (i64.const {READ_WRITE if create else 2}) (i64.const 0) (i32.const 0)
        (i32.const 12))"""


def printing(size: int) -> str:
    """Code that prints the data."""
    return f"(drop {write('(i32.const 1)', 1024, size)})"


ENDLESS = "(loop $again (br $again))"


class World:
    """One spark, and a requester who wants something run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = WasiRuntime()
        self.limits = Limits(20, 10**9, MEBIBYTE)
        self.spec = Spec(
            "wasi", "", "/input", "/output", 1000, 8 * MEBIBYTE, MEBIBYTE, 0, MEBIBYTE, MEBIBYTE,
            "age1" + "q" * 58, (),
        )  # fmt: skip
        self.environment: tuple[tuple[str, str], ...] = ()

    def order(self, code: bytes, name: str = "room", **changes: object) -> Order:
        """An order for a module; changes go to the spec."""
        room = self.folder / name
        (room / "input").mkdir(parents=True, exist_ok=True)
        (room / "input" / MODULE_NAME).write_bytes(code)
        spec = msgspec.structs.replace(
            self.spec, **{"image": f"sha256:{hashlib.sha256(code).hexdigest()}"} | changes
        )
        return Order(name, spec, ("one",), self.environment, self.limits, room)

    async def run(self, code: bytes, **changes: object) -> Outcome:
        """Prepare, run, clean; nothing but the input may be left."""
        order = self.order(code, **changes)
        with trio.fail_after(DEADLINE_S):
            execution = await self.runtime.prepare(order)
            outcome = await execution.run()
            await execution.clean()
        assert [path.name for path in order.room.iterdir()] == ["input"]
        return outcome


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A spark that can run modules."""
    return World(tmp_path)


async def start(execution: WasiExecution, nursery: trio.Nursery) -> list[Outcome]:
    """Run in the background; the list gets the outcome."""
    outcomes: list[Outcome] = []

    async def run() -> None:
        outcomes.append(await execution.run())

    nursery.start_soon(run)
    return outcomes


def state_of(execution: WasiExecution) -> str:
    """The kernel's letter for what the worker does: R, S, T (stopped), …"""
    return Path(f"/proc/{execution._process.pid}/stat").read_text().split()[2]


async def test_lines_and_progress_arrive_while_the_program_runs(world):
    """The program prints and then never ends; its lines are here all the same."""
    code = module(printing(24) + ENDLESS, "hello\\nEUB_PROGRESS 3/10\\n")
    world.limits = Limits(DEADLINE_S, 2**60, MEBIBYTE)
    execution = await world.runtime.prepare(world.order(code))
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await start(execution, nursery)
            assert await execution.logs.receive() == Line("out", "hello")
            assert await execution.logs.receive() == Progress(3, 10)
            nursery.cancel_scope.cancel()


async def test_a_cancelled_run_leaves_neither_process_nor_files(world):
    """Ctrl-C of the agent, in the middle of an endless loop."""
    order = world.order(module(printing(1) + ENDLESS, "\\n"))
    world.limits = order.limits
    execution = await world.runtime.prepare(order)
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await start(execution, nursery)
            await execution.logs.receive()
            process = execution._process
            nursery.cancel_scope.cancel()
    assert process is not None
    assert process.returncode is not None
    await execution.clean()
    assert [path.name for path in order.room.iterdir()] == ["input"]


async def test_an_exit_status_is_kept(world):
    """A program's own failure is an answer, with its result."""
    outcome = await world.run(module("(call $proc_exit (i32.const 7))"))
    assert (outcome.exit_status, outcome.ending, outcome.has_result) == (7, Ending.EXIT, True)


async def test_a_trap_is_the_programs_own_end(world):
    """It has no exit status; it gets the one of abort()."""
    outcome = await world.run(module("unreachable"))
    assert (outcome.exit_status, outcome.ending) == (134, Ending.EXIT)
    assert "unreachable" in outcome.explanation


async def test_an_endless_loop_runs_out_of_fuel(world):
    """And pays for exactly what it was given."""
    world.limits = Limits(DEADLINE_S, 10**7, MEBIBYTE)
    outcome = await world.run(module(ENDLESS))
    assert (outcome.exit_status, outcome.ending, outcome.has_result) == (152, Ending.TIME, False)
    assert outcome.fuel == 10**7


async def test_calls_cost_fuel_too(world):
    """A loop that keeps the host busy instead of the processor ends as well."""
    world.limits = Limits(DEADLINE_S, 10**7, MEBIBYTE)
    outcome = await world.run(
        module("(loop $again (drop (call $random_get (i32.const 1024) (i32.const 60000))) (br $again))")
    )
    assert outcome.ending is Ending.TIME


async def test_an_endless_loop_with_endless_fuel_meets_the_clock(world):
    """Wall time, one second."""
    world.limits = Limits(1, 2**60, MEBIBYTE)
    outcome = await world.run(module(ENDLESS))
    assert (outcome.exit_status, outcome.ending) == (152, Ending.TIME)


async def test_memory_that_is_refused_is_named_as_the_reason(world):
    """It grows until it may not, then gives up."""
    greedy = "(loop $again (br_if $again (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0)))) unreachable"
    outcome = await world.run(module(greedy))
    assert (outcome.exit_status, outcome.ending) == (134, Ending.MEMORY)


async def test_a_module_that_starts_too_large_never_starts(world):
    """Its minimum is beyond the task's memory."""
    outcome = await world.run(module("", pages=200))
    assert (outcome.exit_status, outcome.ending) == (137, Ending.MEMORY)


async def test_endless_recursion_is_a_trap(world):
    """The stack has an end, and it is the guest's, not the worker's."""
    outcome = await world.run(module("(call $deep)", rest="(func $deep (call $deep))"))
    assert (outcome.exit_status, outcome.ending) == (134, Ending.EXIT)
    assert "stack_overflow" in outcome.explanation


async def test_printing_a_gigabyte_ends_the_program(world):
    """At the first byte too many; what was kept is the limit, exactly."""
    outcome = await world.run(module(f"(loop $again {printing(100_000)} (br $again))"))
    assert (outcome.exit_status, outcome.ending) == (153, Ending.OUTPUT)
    assert outcome.log_bytes == MEBIBYTE
    assert len(outcome.tail) == 64 * 1024


async def test_a_program_that_fills_the_disk_is_told_so(world):
    """A hard 'no space left' after the last byte; the reason says disk, the result is what fitted."""
    filler = f"""(drop {open_path(OUTPUT, 1024, 1, create=True)}) (local.set $fd (i32.load (i32.const 12)))
        (loop $again (local.set $n {write("(local.get $fd)", 1024, 100_000)})
            (br_if $again (i32.eqz (local.get $n)))) (call $proc_exit (local.get $n))"""
    outcome = await world.run(module(filler, "a"))
    assert (outcome.exit_status, outcome.ending, outcome.has_result) == (NOSPC, Ending.DISK, True)
    assert outcome.output_bytes == MEBIBYTE


async def test_a_result_that_is_too_large_is_no_result(world):
    """It fits on the disk but not in what was agreed to be uploaded."""
    large = f"""(drop {open_path(OUTPUT, 1024, 1, create=True)})
        (drop {write("(i32.load (i32.const 12))", 1024, 100_000)})"""
    outcome = await world.run(module(large, "a"), output_bytes_max=99_999)
    assert (outcome.exit_status, outcome.ending) == (153, Ending.OUTPUT)
    assert outcome.output_bytes == 0


@pytest.mark.parametrize(
    ("mount", "path", "number"),
    [
        (INPUT, "/etc/passwd", NOTCAPABLE),
        (INPUT, "../secret", NOTCAPABLE),
        (INPUT, "a/../../secret", NOTCAPABLE),
        (OUTPUT, "../../secret", NOTCAPABLE),
        (INPUT, MODULE_NAME, NOENT),
        (INPUT, "a/question", 0),
        (INPUT, "./a/../a/question", 0),
    ],
)
async def test_no_path_leads_out_of_the_mounts(world, mount, path, number):
    """Absolute, climbing, or the module itself."""
    code = module(f"(call $proc_exit {open_path(mount, 1024, len(path))})", path)
    order = world.order(code)
    (order.input / "a").mkdir()
    (order.input / "a" / "question").write_text("why")
    (order.room / "secret").write_text("no")
    execution = await world.runtime.prepare(order)
    assert (await execution.run()).exit_status == number


async def test_input_cannot_be_written_and_links_cannot_be_made(world):
    """Read-only input; no symbolic links, so none to follow."""
    code = module(
        f"(if (i32.ne {open_path(INPUT, 1024, 1, create=True)} (i32.const {ROFS})) (then unreachable))"
        "(call $proc_exit (call $path_symlink (i32.const 1024) (i32.const 1) (i32.const 4) (i32.const 1024)"
        "(i32.const 1)))",
        "x",
    )
    assert (await world.run(code)).exit_status == NOTSUP


async def test_there_is_no_network(world):
    """Sockets are calls that do not exist."""
    code = module("(call $proc_exit (call $sock_accept (i32.const 3) (i32.const 0) (i32.const 0)))")
    assert (await world.run(code)).exit_status == NOSYS


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            '(module (import "env" "system" (func)) (memory (export "memory") 1) (func (export "_start")))',
            "env",
        ),
        ('(module (memory (export "memory") 1 1 shared) (func (export "_start")))', "profile"),
        ('(module (memory i64 1) (export "memory" (memory 0)) (func (export "_start")))', "profile"),
        ('(module (memory (export "memory") 1) (memory 1) (func (export "_start")))', "profile"),
        ('(module (func (export "_start")))', "memory"),
        ('(module (memory (export "memory") 1) (func (export "_start") (param i32)))', "parameters"),
        (
            '(module (memory (export "memory") 1) (func (export "_start") (drop (i32x4.relaxed_trunc_f32x4_s '
            "(v128.const i32x4 0 0 0 0)))))",
            "profile",
        ),
    ],
)
async def test_what_the_profile_does_not_have_is_forbidden(world, text, why):
    """Foreign imports, threads, 64-bit and several memories, relaxed SIMD."""
    outcome = await world.run(bytes(wat2wasm(text)))
    assert (outcome.exit_status, outcome.ending) == (159, Ending.FORBIDDEN)
    assert why in outcome.explanation


async def test_garbage_is_not_a_module(world):
    """Neither a crash nor the spark's fault; nor is text that the engine could read."""
    for garbage in (b"\0asm\1\0\0\0" + bytes(range(256)), b"", b'(module (func (export "_start")))'):
        outcome = await world.run(garbage)
        assert outcome.ending is Ending.FORBIDDEN
        assert "not a module" in outcome.explanation


CURIOUS = f"""
    (drop (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 2048)))
    (drop (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 2056)))
    (drop (call $random_get (i32.const 2064) (i32.const 100)))
    (drop (call $path_filestat_get
        (i32.const 3) (i32.const 0) (i32.const 1025) (i32.const 1) (i32.const 2200)))
    (drop (call $fd_readdir (i32.const 3) (i32.const 2304) (i32.const 1024) (i64.const 0) (i32.const 2296)))
    (drop (call $fd_filestat_get (i32.const 4) (i32.const 3400)))
    (drop (call $fd_fdstat_get (i32.const 1) (i32.const 3500)))
    (drop (call $args_get (i32.const 3600) (i32.const 3620)))
    (f32.store (i32.const 3700) (f32.sub (f32.const inf) (f32.const inf)))
    (drop {open_path(OUTPUT, 1024, 1, create=True)})
    (drop {write("(i32.load (i32.const 12))", 2048, 2048)})"""


async def test_two_machines_cannot_be_told_apart(world):
    """A program writes down whatever it can learn; files of other ages and order leave the same answer."""
    code = module(CURIOUS, "ab")
    seen: list[tuple[bytes, int]] = []
    for name, files in (("first", "bcd"), ("second", "dcb")):
        order = world.order(code, name)
        for age, file in enumerate(files):
            (order.input / file).write_text(f"content {file}")
            os.utime(order.input / file, (age * 1000, age * 1000))
        execution = await world.runtime.prepare(order)
        outcome = await execution.run()
        assert (outcome.exit_status, outcome.ending) == (0, Ending.EXIT)
        seen.append(((execution.output / "a").read_bytes(), outcome.fuel))
    assert seen[0] == seen[1]
    assert seen[0][0][:16] == bytes(16), "clocks stand still"
    assert seen[0][0][16:100].strip(b"\0"), "but random bytes are there"


async def test_secrets_are_not_in_the_workers_arguments_or_environment(world):
    """Whoever lists processes sees neither; the program does."""
    world.environment = (("TOKEN", "hunter2"),)
    world.limits = Limits(DEADLINE_S, 2**60, MEBIBYTE)
    code = module(
        "(drop (call $environ_get (i32.const 3000) (i32.const 1024)))" + printing(15) + ENDLESS,
        "01234567890123\\n",
    )
    order = world.order(code)
    execution = await world.runtime.prepare(order)
    assert "hunter2" not in repr(order)
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await start(execution, nursery)
            line = await execution.logs.receive()
            assert isinstance(line, Line)
            assert line.text.startswith("TOKEN=hunter2")
            process = Path(f"/proc/{execution._process.pid}")
            assert b"hunter2" not in (process / "cmdline").read_bytes()
            assert (process / "environ").read_bytes().split(b"\0")[:-1] == [
                f"PYTHONPATH={wasi._PACKAGE_ROOT}".encode(),
                b"PYTHONDONTWRITEBYTECODE=1",
            ]
            nursery.cancel_scope.cancel()


async def test_a_paused_program_neither_runs_nor_ages(world):
    """Frozen, with its wall clock standing, until it is stopped."""
    world.limits = Limits(1, 2**60, 2**40)
    code = module(f"(loop $again {printing(2)} (br $again))", "x\\n")
    execution = await world.runtime.prepare(world.order(code))
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            outcomes = await start(execution, nursery)
            await execution.logs.receive()
            await execution.pause()
            with trio.move_on_after(1.5) as longer_than_the_limit:
                async for _ in execution.logs:
                    pass
            assert longer_than_the_limit.cancelled_caught
            assert state_of(execution) == "T"
            assert outcomes == []
            await execution.resume()
            await execution.logs.receive()
            await execution.stop()
    assert outcomes[0].ending is Ending.OTHER


async def test_a_worker_whose_parent_is_gone_ends(world):
    """Its pipe closes, and that is all it needs to know."""
    order = world.order(module(printing(1) + ENDLESS, "\\n"))
    world.limits = Limits(DEADLINE_S, 2**60, MEBIBYTE)
    execution = WasiExecution(Order("x", order.spec, (), (), world.limits, order.room))
    for directory in (execution.output, execution._store):
        directory.mkdir()
    worker = await trio.lowlevel.open_process(
        [sys.executable, "-m", wasi_worker.__name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=wasi._PACKAGE_ROOT,
    )
    request = encode(execution._request())
    with trio.fail_after(DEADLINE_S):
        await worker.stdin.send_all(struct.pack("<I", len(request)) + request)
        seen = b""
        while b"\n" not in seen:
            seen += await worker.stdout.receive_some(100)
        await worker.stdin.aclose()
        assert await worker.wait() == 1
    await worker.stdout.aclose()


async def test_a_module_that_the_compiler_cannot_stomach_is_the_modules_fault(world, monkeypatch):
    """The compiler dies at the process's memory limit; the spark is not to blame."""
    large = module("(local.set $n (i32.mul (local.get $n) (i32.load (local.get $n))))" * 60_000)
    request = WasiExecution._request

    def tight(execution: WasiExecution) -> wasi_worker.Request:
        """The same request with less room for the compiler than this module needs."""
        return msgspec.structs.replace(request(execution), memory_bytes=-wasi_worker.OVERHEAD_BYTES + 2**25)

    monkeypatch.setattr(WasiExecution, "_request", tight)
    outcome = await world.run(large)
    assert (outcome.exit_status, outcome.ending) == (159, Ending.FORBIDDEN)


async def test_another_module_than_the_posted_one_is_refused(world):
    """By digest, before anything runs."""
    with pytest.raises(Fault, match="module_mismatch"):
        await world.runtime.prepare(world.order(module(""), image=f"sha256:{'0' * 64}"))


async def test_a_missing_module_is_refused(world):
    """The input lacks the file."""
    order = world.order(module(""))
    (order.input / MODULE_NAME).unlink()
    with pytest.raises(Fault, match="module_missing"):
        await world.runtime.prepare(order)


async def test_a_giant_module_is_refused(world, monkeypatch):
    """Compiling costs many times its size."""
    monkeypatch.setattr(wasi, "MODULE_BYTES_MAX", 100)
    with pytest.raises(Fault, match="module_too_large"):
        await world.runtime.prepare(world.order(module("")))


@pytest.mark.parametrize("kind", ["link", "pipe", "name"])
async def test_input_that_is_not_plain_files_is_refused(world, kind):
    """A link would show the host's files; a pipe would hang; a name must mean the same everywhere."""
    order = world.order(module(""))
    plant(order, kind)
    with pytest.raises(Fault, match="input_unsafe"):
        await world.runtime.prepare(order)


def plant(order: Order, kind: str) -> None:
    """Put something into the input that no archive of ours holds."""
    if kind == "link":
        (order.input / "x").symlink_to("/etc/passwd")
    elif kind == "pipe":
        os.mkfifo(order.input / "x")
    else:
        Path(os.fsdecode(os.fsencode(order.input) + b"/\xff")).write_text("")


async def test_more_memory_than_the_machine_lends_is_refused(world):
    """Before any deposit is locked."""
    with pytest.raises(Fault, match="machine_too_small"):
        await WasiRuntime(memory_bytes_max=7 * MEBIBYTE).check(world.order(module("")).spec)
