"""The shipped examples: they run as they are, their results are known to the byte, their task files are good.

Every module runs in the runtime that sparks use. A result that changes is a change to look at: the digests
below are what any spark anywhere must get.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import trio

from consensus.types.errors import Fault
from eubchain.client.task_file import order_of, read_task_file
from eubchain.client.task_run.order import Order as TaskOrder
from eubchain.client.task_run.order import check_order
from eubchain.client.task_run.scoring import score_result
from spark_node.job import MODULE_NAME, Limits, Spec
from spark_node.runtimes.log_lines import Progress
from spark_node.runtimes.runtime import Ending, Order, Outcome
from spark_node.runtimes.wasi import WasiRuntime

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
WORDS = EXAMPLES / "words"
TASK_FILES = sorted(EXAMPLES.glob("*/task.toml"))
MODULES = sorted(EXAMPLES.glob("*/*.wasm"))
BUILDS = sorted(EXAMPLES.glob("*/build.sh"))
MODULE_KIBIBYTES_MAX = 100
DEADLINE_S = 60
"""No run here takes longer; it only keeps a hanging test from hanging all."""
FUEL = 10**11


def task(example: str) -> TaskOrder:
    """What the example's task file asks for."""
    return order_of(read_task_file(EXAMPLES / example / "task.toml"))


class Ran:
    """One run of a module: how it ended, what it printed, what it left."""

    def __init__(self, outcome: Outcome, progress: list[Progress], output: Path) -> None:
        self.outcome, self.progress, self.output = outcome, progress, output

    @property
    def said(self) -> str:
        """All that it printed."""
        return self.outcome.tail.decode()

    @property
    def digests(self) -> dict[str, str]:
        """The first sixteen hexadecimal digits of each file's SHA-256."""
        return {
            path.relative_to(self.output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            for path in sorted(self.output.rglob("*"))
            if path.is_file()
        }


class Spark:
    """Runs an example's module as a spark does, within what its task file asks for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def run(self, example: str, *command: str, files: dict[str, bytes] | None = None) -> Ran:
        """Run with the shipped input and command, or with others."""
        asked = task(example)
        assert asked.module is not None, "these examples are modules"
        assert asked.input is not None, "these examples have an input"
        room, kept = self.folder / "room", self.folder / "result"
        shutil.rmtree(kept, ignore_errors=True)
        if files is not None:
            (room / "input").mkdir(parents=True)
            for name, content in files.items():
                (room / "input" / name).write_bytes(content)
        elif asked.input.is_dir():
            shutil.copytree(asked.input, room / "input")
        else:
            (room / "input").mkdir(parents=True)
            shutil.copy(asked.input, room / "input")
        code = asked.module.read_bytes()
        (room / "input" / MODULE_NAME).write_bytes(code)
        spec = Spec(
            "wasi", f"sha256:{hashlib.sha256(code).hexdigest()}", asked.input_mount, asked.output_mount,
            asked.cpu_milli, asked.memory_bytes, asked.disk_bytes, 0, 2**30, asked.output_bytes_max,
            "age1" + "q" * 58, (),
        )  # fmt: skip
        limits = Limits(DEADLINE_S, FUEL, 2**20)
        with trio.fail_after(DEADLINE_S):
            execution = await WasiRuntime().prepare(
                Order("example", spec, command or asked.command, (), limits, room)
            )
            outcome = await execution.run()
        progress = [line async for line in execution.logs if isinstance(line, Progress)]
        shutil.copytree(execution.output, kept)
        await execution.clean()
        shutil.rmtree(room)
        return Ran(outcome, progress, kept)


@pytest.fixture
def spark(tmp_path: Path) -> Spark:
    """A spark for modules."""
    return Spark(tmp_path)


# ------------------------------------------------------------------------------------------ all of them


@pytest.mark.parametrize("path", TASK_FILES, ids=lambda path: path.parent.name)
def test_the_task_file_names_files_that_are_there_and_asks_for_what_can_be_had(path: Path) -> None:
    values = read_task_file(path)
    if path.parent.name == "digits":
        # Its image is made on the machine that runs it, so its id comes from the command line.
        values["run", "image"] = f"sha256:{'0' * 64}"
    check_order(order_of(values))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_committed_module_is_small(path: Path) -> None:
    assert path.stat().st_size <= MODULE_KIBIBYTES_MAX * 1024


@pytest.mark.parametrize("path", BUILDS, ids=lambda path: path.parent.name)
def test_the_committed_modules_are_what_their_source_compiles_to(path: Path, tmp_path: Path) -> None:
    for program in ("clang", "wasm-ld"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if not Path("/usr/lib/wasm32-wasi/libc.a").exists():
        pytest.skip("wasi-libc is not installed")
    built_with = re.search(r"Built with: (clang [0-9.]+)", path.read_text())
    version = subprocess.run(["clang", "--version"], capture_output=True, text=True, check=True).stdout
    assert built_with is not None, "build.sh says which compiler the committed bytes come from"
    if built_with[1].replace("clang ", "clang version ") not in version:
        pytest.skip(f"the committed modules were built with {built_with[1]}; here is {version.split()[3]}")
    subprocess.run([str(path), str(tmp_path)], check=True, capture_output=True)

    built = sorted(tmp_path.glob("*.wasm"))
    assert [module.name for module in built] == [module.name for module in sorted(path.parent.glob("*.wasm"))]
    for module in built:
        assert module.read_bytes() == (path.parent / module.name).read_bytes(), (
            f"run {path.parent.name}/build.sh"
        )


# -------------------------------------------------------------------------------------------------- words


def test_the_readings_are_what_their_script_makes() -> None:
    made = subprocess.run(
        [sys.executable, str(WORDS / "make_readings.py")], capture_output=True, check=True
    ).stdout
    assert made == (WORDS / "input" / "readings.csv").read_bytes()


async def test_words_sums_up_the_shipped_readings_and_its_check_gives_full_marks(spark: Spark) -> None:
    ran = await spark.run("words")

    assert (ran.outcome.ending, ran.outcome.exit_status) == (Ending.EXIT, 0), ran.said
    assert ran.digests == {"summary.csv": "657fa3101fe9357f", "summary.json": "276293b9c397f9a5"}
    assert ran.progress[-1] == Progress(2, 2)
    assert "Pool: 10028.037 kwh in 613 readings, most at 2026-01-30 10:00 (30.388); 12 missing" in ran.said
    summary = json.loads((ran.output / "summary.json").read_text())
    assert summary["rows"] == 5000
    assert [group["group"] for group in summary["groups"]] == sorted(g["group"] for g in summary["groups"])
    assert await score_result(WORDS / "check.wasm", ran.output) == 100


async def test_words_reads_all_files_and_every_way_of_writing_a_table(spark: Spark) -> None:
    ran = await spark.run(
        "words",
        *("site", "value", "when"),
        files={
            "b.csv": b'when,site,value\r\nMon,"a ""b"", c",-1.5\r\nTue,x,0.25\r\n\r\nWed,x,n/a',
            "a.csv": b"value,when,site\n2,Thu,x\n",
            "notes.txt": b"not a table",
        },
    )

    assert (ran.output / "summary.csv").read_text() == (
        "group,readings,missing,sum,mean,least,most,most_at\n"
        '"a ""b"", c",1,0,-1.500,-1.500,-1.500,-1.500,"Mon"\n'
        '"x",2,1,2.250,1.125,0.250,2.000,"Thu"\n'
    )
    assert json.loads((ran.output / "summary.json").read_text())["groups"][0]["group"] == 'a "b", c'
    assert await score_result(WORDS / "check.wasm", ran.output) == 100


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, "/input: it holds no .csv file"),
        ({"r.csv": b""}, "/input/r.csv: it is empty; a first line names the columns"),
        ({"r.csv": b"hour,kwh\n"}, "/input/r.csv: there is no column 'building'; its columns are: hour, kwh"),
        ({"r.csv": b"hour,building,kwh\n1,a\n"}, "line 2: it has more or fewer columns than the first line"),
        ({"r.csv": b'hour,building,kwh\n"1,a,2\n'}, "line 2: a quotation mark is never closed"),
    ],
)
async def test_words_says_what_is_wrong_with_its_input(
    spark: Spark, files: dict[str, bytes], complaint: str
) -> None:
    ran = await spark.run("words", files=files)

    assert ran.outcome.exit_status == 1
    assert complaint in ran.said


async def test_the_check_of_words_takes_points_for_what_does_not_add_up(spark: Spark) -> None:
    ran = await spark.run("words")
    table = ran.output / "summary.csv"
    good = table.read_text()
    said: list[str] = []

    table.write_text(good.replace("5444.920", "5544.920"))
    assert await score_result(WORDS / "check.wasm", ran.output, said.append) == 60
    assert "lost 20: sum, mean, least and most of a group disagree" in said
    header, first, second, *rest = good.splitlines(keepends=True)
    table.write_text("".join([header, second, first, *rest]))
    assert await score_result(WORDS / "check.wasm", ran.output) == 80
    table.write_text("nothing of the kind")
    assert await score_result(WORDS / "check.wasm", ran.output) == 0
