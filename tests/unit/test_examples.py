"""The shipped examples: they run as they are, their results are known to the byte, their task files are good.

Every module runs in the runtime that sparks use. A result that changes is a change to look at: the digests
below are what any spark anywhere must get.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path
from types import ModuleType

import pytest
import trio
import typer

from eubchain.cli.main import build, take_shared_options
from eubchain.cli.session import SESSION
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
WORDS, TRACER = EXAMPLES / "words", EXAMPLES / "path-tracer"
TASK_FILES = sorted(EXAMPLES.glob("*/task.toml"))
MODULES = sorted(EXAMPLES.glob("*/*.wasm"))
BUILDS = sorted(EXAMPLES.glob("*/build.sh"))
MODULE_KIBIBYTES_MAX = 100
DEADLINE_S = 120
"""No run here takes longer; it only keeps a hanging test from hanging all."""
FUEL = 10**11
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


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
            "b.csv": b'\xef\xbb\xbfwhen,site,value\r\nMon,"a ""b"", c",-1.5\r\nTue,x,0.25\r\n\r\nWed,x,n/a',
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


# --------------------------------------------------------------------------------------------- path-tracer


def pixels_of(png: bytes) -> tuple[int, int, bytes]:
    """Width, height and bytes of an image, by a reader that shares nothing with the writer."""
    assert png.startswith(PNG_SIGNATURE)
    chunks, place = {}, len(PNG_SIGNATURE)
    while place < len(png):
        size, kind = struct.unpack_from(">I4s", png, place)
        body, sum_ = png[place + 8 : place + 8 + size], png[place + 8 + size : place + 12 + size]
        assert int.from_bytes(sum_, "big") == zlib.crc32(kind + body)
        chunks[kind], place = body, place + 12 + size
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *kind = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert kind == [8, 2, 0, 0, 0]
    data, rows, above = zlib.decompress(chunks[b"IDAT"]), [], bytes(3 * width)
    assert len(data) == height * (3 * width + 1)
    for start in range(0, len(data), 3 * width + 1):
        above = unfiltered(data[start], data[start + 1 : start + 1 + 3 * width], above)
        rows.append(above)
    return width, height, b"".join(rows)


def unfiltered(kind: int, row: bytes, above: bytes) -> bytes:
    """A row of an image from its differences."""
    made = bytearray()
    for index, difference in enumerate(row):
        left, up = (made[index - 3], above[index]) if index >= 3 else (0, above[index])
        corner = above[index - 3] if index >= 3 else 0
        nearest = min((left, up, corner), key=lambda value: abs(left + up - corner - value))
        made.append((difference + (0, left, up, (left + up) // 2, nearest)[kind]) % 256)
    return bytes(made)


SCENES = {"marbles": "65c07dc92be3dc94", "pyramid": "d1fa2a3f763dcc62", "room": "d5ebc9b6a7dd36c7"}


def test_every_scene_that_is_shipped_is_rendered_here() -> None:
    assert sorted(path.stem for path in (TRACER / "scenes").iterdir()) == sorted(SCENES)


@pytest.mark.parametrize("scene", SCENES)
async def test_a_scene_becomes_the_same_image_everywhere(spark: Spark, scene: str) -> None:
    files = {f"{scene}.txt": (TRACER / "scenes" / f"{scene}.txt").read_bytes()}
    ran = await spark.run("path-tracer", *("--size", "60x40", "--samples", "8"), files=files)

    assert (ran.outcome.ending, ran.outcome.exit_status) == (Ending.EXIT, 0), ran.said
    assert ran.digests == {f"{scene}.png": SCENES[scene]}
    assert ran.progress[-1] == Progress(40, 40)
    width, height, pixels = pixels_of((ran.output / f"{scene}.png").read_bytes())
    assert (width, height) == (60, 40)
    assert min(pixels) < 60
    assert max(pixels) > 200


async def test_an_image_of_one_colour_is_a_good_file_too(spark: Spark) -> None:
    """The code of such an image is the shortest that there is."""
    ran = await spark.run(
        "path-tracer",
        files={"sky.txt": b"image 33 9\nsamples 1\nsky 1 1 1  1 1 1\ncamera 0 0 1 0 0 0 20 0\n"},
    )
    width, height, pixels = pixels_of((ran.output / "sky.png").read_bytes())
    assert (width, height, len(set(pixels))) == (33, 9, 1)


async def test_several_scenes_are_one_task_with_one_count(spark: Spark) -> None:
    camera = b"image 8 8\nsamples 1\ncamera 0 0 1 0 0 0 20 0\n"
    ran = await spark.run("path-tracer", files={"b.txt": camera, "a.txt": camera})

    assert list(ran.digests) == ["a.png", "b.png"]
    assert ran.progress == [Progress(8, 16), Progress(16, 16)]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"spere 0 0 0 1 red", "line 1: no line begins with 'spere'"),
        (b"sphere 0 0 0 1 red", "line 1: there is no material 'red' above this line"),
        (b"sphere 0 0 0 nan red", "line 1: the radius is a number from 0.001 to 1e+06, not 'nan'"),
        (b"image 480", "line 1: the height is missing"),
        (b"samples 1.5", "line 1: the number of samples is a whole number"),
        (b"seed 7 8", "line 1: '8' is one word too many"),
        (b"camera 0 5 0  0 0 0  40 0", "line 1: the camera looks straight up or down"),
        (b"# nothing", "line 1: the scene has no camera"),
        (b"x" * 600, "line 1: the line is too long"),
    ],
)
async def test_a_scene_that_cannot_be_read_is_refused_with_its_line(
    spark: Spark, line: bytes, complaint: str
) -> None:
    ran = await spark.run("path-tracer", files={"scene.txt": line + b"\n"})

    assert ran.outcome.exit_status == 1
    assert f"/input/scene.txt, {complaint}" in ran.said


@pytest.mark.slow
async def test_the_image_in_the_guide_is_what_the_task_file_gives(spark: Spark) -> None:
    ran = await spark.run("path-tracer")

    assert (ran.output / "marbles.png").read_bytes() == (ROOT / "docs/how-to/marbles.png").read_bytes()


# -------------------------------------------------------------------------------------------------- digits


@pytest.fixture
def build_image(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that makes the image."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "digits"))
    return importlib.import_module("build_image")


def unpacked(seconds: int) -> io.BytesIO:
    """What the packages would unpack to, in small; `seconds` is when."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path, kind in (
            ("./", tarfile.DIRTYPE),
            ("./bin/sh", tarfile.REGTYPE),
            ("./dev/null", tarfile.CHRTYPE),
            ("./tmp/", tarfile.DIRTYPE),
            ("./usr/bin/gcc", tarfile.REGTYPE),
            ("./usr/bin/python3", tarfile.SYMTYPE),
            ("./usr/bin/python3.11", tarfile.REGTYPE),
            ("./usr/include/stdio.h", tarfile.REGTYPE),
            ("./usr/lib/python3/dist-packages/sklearn/__init__.py", tarfile.REGTYPE),
            ("./usr/lib/python3/dist-packages/sklearn/tests/test_base.py", tarfile.REGTYPE),
            ("./usr/lib/x86_64-linux-gnu/libm.so.6", tarfile.REGTYPE),
            ("./usr/lib/x86_64-linux-gnu/libm.a", tarfile.REGTYPE),
            ("./usr/share/doc/python3/README", tarfile.REGTYPE),
            ("./var/lib/dpkg/status", tarfile.REGTYPE),
        ):
            entry = tarfile.TarInfo(path)
            entry.type, entry.mtime, entry.uname, entry.mode = kind, seconds, f"user{seconds}", 0o755
            entry.linkname = "python3.11" if kind == tarfile.SYMTYPE else ""
            entry.size = len(path) if kind == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(path.encode()))
    stream.seek(0)
    return stream


def test_an_image_holds_what_runs_and_its_id_depends_on_nothing_else(
    build_image: ModuleType, tmp_path: Path
) -> None:
    layers = [tmp_path / "one.tar", tmp_path / "two.tar"]
    digests = []
    for seconds, path in zip((1, 2_000_000_000), layers, strict=True):
        with path.open("w+b") as layer:
            digests.append(build_image.write_layer(unpacked(seconds), layer))

    assert digests[0] == digests[1] == hashlib.sha256(layers[0].read_bytes()).hexdigest()
    with tarfile.open(layers[0]) as layer:
        assert layer.getnames() == [
            "bin/sh",
            "tmp",
            "usr/bin/python3",
            "usr/bin/python3.11",
            "usr/lib/python3/dist-packages/sklearn/__init__.py",
            "usr/lib/x86_64-linux-gnu/libm.so.6",
        ]
    description, image = build_image.describe(digests[0])
    build_image.write_archive(layers[0], description, tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as archive:
        (manifest,) = json.loads(archive.extractfile("manifest.json").read())
        assert f"sha256:{manifest['Config'].removesuffix('.json')}" == image
        assert archive.extractfile(manifest["Config"]).read() == description
        assert archive.extractfile("layer.tar").read() == layers[0].read_bytes()


def test_the_id_is_written_into_the_task_file_and_nothing_else_changes(
    build_image: ModuleType, tmp_path: Path
) -> None:
    shipped, copy = EXAMPLES / "digits" / "task.toml", tmp_path / "task.toml"
    copy.write_bytes(shipped.read_bytes())
    image = f"sha256:{'7' * 64}"
    build_image.set_image(copy, image)

    assert order_of(read_task_file(copy)).image == image
    assert copy.read_text().replace(image, "") == shipped.read_text()
    copy.write_text("[run]\n")
    with pytest.raises(SystemExit, match="has no line that begins with image ="):
        build_image.set_image(copy, image)


def test_the_program_of_digits_is_python_and_its_candidates_are_lists() -> None:
    program = EXAMPLES / "digits" / "program"
    compile((program / "train.py").read_text(), "train.py", "exec")
    assert json.loads((program / "candidates.json").read_text()).keys() == {"C", "gamma"}


# ------------------------------------------------------------------------------------------------ the pages

PAGES = ("tutorials/first-task.md", "how-to/render-a-scene.md", "how-to/train-in-a-container.md")
MADE_ON_THE_WAY = {"mine", "summary", "mine-result", "image", "room", "large", "model"}
"""Directories that a page makes, or asks for."""


def commands_of(page: str) -> list[list[str]]:
    """Every command line of a page, in words."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    return [shlex.split(line) for line in re.findall(r"(?m)^\$ (.+)$", text)]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_has_its_verb_its_options_and_its_files(
    page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SESSION, "home", SESSION.home)  # put back what the lines choose
    commands = commands_of(page)
    assert any(words[:3] == ["eubchain", "task", "run"] for words in commands)
    for words in commands:
        for word in words:
            if word.startswith("examples/"):
                assert (ROOT / word).exists(), f"{word} is not shipped"
        if words[0] != "eubchain":
            continue
        verb, rest = build(), take_shared_options(words[1:])
        command = typer.main.get_command(verb)
        while isinstance(getattr(command, "commands", None), dict):
            command, rest = command.commands[rest[0]], rest[1:]
        context = command.make_context(words[1], rest)
        given = context.params.get("input_path")
        assert given is None or given.exists() or given.name in MADE_ON_THE_WAY
        output = context.params.get("output")
        assert output is None or output.name in MADE_ON_THE_WAY


@pytest.mark.parametrize(("page", "example"), [(PAGES[0], "words"), (PAGES[2], "digits")])
def test_what_a_page_shows_of_a_task_file_stands_in_it(page: str, example: str) -> None:
    shown = re.findall(r"(?ms)^```toml\n(.*?)^```", (ROOT / "docs" / page).read_text("utf-8"))
    assert shown
    lines = (EXAMPLES / example / "task.toml").read_text().splitlines()
    for line in shown[0].splitlines():
        assert line in lines


async def test_the_small_scene_of_the_guide_can_be_rendered(spark: Spark) -> None:
    text = (ROOT / "docs/how-to/render-a-scene.md").read_text("utf-8")
    (scene,) = re.findall(r"(?ms)^```text\n(image .*?)^```", text)
    ran = await spark.run("path-tracer", "--size", "24x16", files={"mine.txt": scene.encode()})

    assert ran.outcome.exit_status == 0, ran.said
    assert pixels_of((ran.output / "mine.png").read_bytes())[:2] == (24, 16)


async def test_the_readers_own_table_of_the_tutorial_is_summed_up(spark: Spark) -> None:
    (line,) = [words for words in commands_of(PAGES[0]) if words[0] == "printf"]
    (run,) = [words for words in commands_of(PAGES[0]) if "--" in words]
    table = line[1].replace("\\n", "\n").encode()
    ran = await spark.run("words", *run[run.index("--") + 1 :], files={"sales.csv": table})

    assert '"north",2,0,22.750,11.375,10.250,12.500,"Mon"' in (ran.output / "summary.csv").read_text()
