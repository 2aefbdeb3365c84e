"""The task file: TOML that says what to run, with what, for how much.

Here: its options with their comments, reading it, the commented file that `task init` writes, and the
order that file and command line make together.
Not here: what an order means on chain (task_run/order.py), the TOML refusals (spark_node/settings.py).
Keeps: a misspelt key is refused with line, caret and nearest name; paths are relative to the file.
Errors: 3153 task_file_invalid; 3150–3152 of values.
"""

from __future__ import annotations

import re
from pathlib import Path

from consensus.types.amounts import PPB, parse_eubc
from consensus.types.errors import Fault, Reason, Rejected
from consensus.types.wording import word_fault
from eubchain.client.task_run.order import Order, refuse
from eubchain.client.task_run.quantities import parse_duration, parse_size
from spark_node.settings import Option, Values, options_text, read_options, refusal

TASK_FILE_INVALID = Reason(
    3153,
    "task_file_invalid",
    "path:text line:count why:text shown:text",
    "{path}, line {line}: {why}.\n{shown}",
    "Mend the line; `eubchain task init` writes a file with every option and its meaning.",
)

HEAD = (
    "# A task for `eubchain task run --file FILE`: every option; paths are relative to this file.",
    "# Options on the command line take the place of those written here.",
)
OPTIONS = (
    Option("run", "module", "", "A WebAssembly (WASI) program: runs on every spark. Or else an image:"),
    Option("run", "image", "", "A container image, pinned: name@sha256:… or sha256:… (docker runtime)."),
    Option("run", "command", (), "Arguments for the module, or the container's command and arguments."),
    Option("run", "environment", (), 'Environment variables, sealed: ["NAME=value"].'),
    Option("files", "input", "", "A file or directory that the program finds under input_mount."),
    Option("files", "output", "", "A new directory for the result; empty: result-TASK beside you."),
    Option("files", "input_mount", "/input", "Where the program sees its input."),
    Option("files", "output_mount", "/output", "Where the program leaves its result."),
    Option("files", "place", "", "Where sealed data lies; empty: the store of your node."),
    Option("machine", "gpus", 0, "GPUs (containers only)."),
    Option("machine", "gpu_memory", "0", "Memory of each GPU, as in 24G."),
    Option("machine", "cpus", "1", "Processor cores, as in 0.5 or 4."),
    Option("machine", "memory", "512M", "Memory."),
    Option("machine", "disk", "1G", "Disk for everything that the program writes."),
    Option("machine", "result_max", "256M", "The largest result."),
    Option("price", "maximum", "1", "The most you pay, in EUBC; the best offer costs less."),
    Option("price", "cloud_hour", "0", "What an hour of such a machine costs elsewhere, to compare; EUBC."),
    Option("price", "time", "10m", "What the program may take: 30s, 10m, 2h, 1h30m, 3d."),
    Option("market", "allow", (), "If there are any, only these sparks may offer (addresses)."),
    Option("market", "avoid", (), "Sparks that may not offer (addresses)."),
    Option("market", "min_coefficient", 0, "The least coefficient of a spark, in percent."),
    Option("market", "by_hand", False, "Choose among the offers yourself: `eubchain task match`."),
    Option("market", "start_in", "", "A reservation: the price is fixed now, its clocks start then (2h)."),
    Option("market", "offer_time", "", "How long offers are taken; empty: about three blocks."),
    Option("market", "grant_time", "", "How long you have to hand over the job; empty: 1m."),
    Option("market", "start_time", "", "How long the spark has to prepare; empty: 1m, containers 20m."),
    Option("market", "review_time", "", "How long you have to look at the result; empty: 1h."),
    Option("judge", "check", "", "A WASI module that scores the result (at /result), run on your machine."),
    Option("judge", "pass_mark", 60, "The score from which a result is good, 0 to 100."),
)
DEFAULTS: Values = {(option.section, option.key): option.default for option in OPTIONS}
_PATHS = (("run", "module"), ("files", "input"), ("files", "output"), ("judge", "check"))
_CPUS = re.compile(r"([0-9]{1,4})(?:\.([0-9]{1,3}))?", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}=.*", re.ASCII | re.DOTALL)


def task_file_text(changes: Values | None = None) -> str:
    """The file that `task init` writes: every option, with these changes."""
    return options_text(HEAD, OPTIONS, changes)


def read_task_file(path: Path) -> Values:
    """What a file says, its paths resolved; raise `Fault` 3153 with line and caret."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        shown, line = "", 1
        raise Fault(
            TASK_FILE_INVALID, path=str(path), line=line, why=f"it cannot be read: {why}", shown=shown
        ) from None
    values = read_options(TASK_FILE_INVALID, str(path), text, OPTIONS)
    for name in _PATHS:
        if values.get(name):
            values[name] = str(path.parent / str(values[name]))
    for (section, key), value in values.items():
        try:
            order_of(DEFAULTS | {("run", "module"): "any", (section, key): value})
        except Fault as fault:
            why = str(fault.facts.get("why") or word_fault(fault, "deub").sentence.rstrip("."))
            raise refusal(TASK_FILE_INVALID, str(path), text, key, f"{section}.{key}: {why}") from None
    return values


def order_of(given: Values) -> Order:
    """The order that these values make; what is not given has its default. Raise `Fault` 1101, 315x."""
    values = DEFAULTS | given

    def text(section: str, key: str) -> str:
        return str(values[section, key])

    def texts(section: str, key: str) -> tuple[str, ...]:
        value = values[section, key]
        assert isinstance(value, tuple), "lists are read as tuples"
        return value

    def number(section: str, key: str) -> int:
        value = values[section, key]
        assert isinstance(value, int), "numbers are read as numbers"
        return value

    def path(section: str, key: str) -> Path | None:
        value = text(section, key)
        return Path(value) if value else None

    def seconds(section: str, key: str) -> int:
        value = text(section, key)
        return parse_duration(value) if value else 0

    least = number("market", "min_coefficient")
    if not 0 <= least <= 100:
        refuse("min_coefficient", "it is a number of percent from 0 to 100")
    disk = parse_size(text("machine", "disk"))
    return Order(
        maximum=_amount(text("price", "maximum")),
        cloud_hour=_amount(text("price", "cloud_hour")),
        time_s=parse_duration(text("price", "time")),
        image=text("run", "image"),
        module=path("run", "module"),
        command=texts("run", "command"),
        environment=_variables(texts("run", "environment")),
        input=path("files", "input"),
        output=path("files", "output"),
        input_mount=text("files", "input_mount"),
        output_mount=text("files", "output_mount"),
        gpus=number("machine", "gpus"),
        gpu_memory_bytes=parse_size(text("machine", "gpu_memory")),
        cpu_milli=_cores(text("machine", "cpus")),
        memory_bytes=parse_size(text("machine", "memory")),
        disk_bytes=disk,
        output_bytes_max=min(disk, parse_size(text("machine", "result_max"))),
        start_in_s=seconds("market", "start_in"),
        offer_s=seconds("market", "offer_time"),
        grant_s=seconds("market", "grant_time"),
        start_s=seconds("market", "start_time"),
        review_s=seconds("market", "review_time"),
        min_kappa=least * PPB // 100,
        allow=texts("market", "allow"),
        avoid=texts("market", "avoid"),
        by_hand=bool(values["market", "by_hand"]),
        place=text("files", "place"),
        check=path("judge", "check"),
        pass_mark=number("judge", "pass_mark"),
    )


def _amount(text: str) -> int:
    try:
        return parse_eubc(text)
    except Rejected as rejected:
        refuse("the price", f"'{text[:40]}' is no amount of EUBC, {rejected.facts['why']!s}")


def _cores(text: str) -> int:
    match = _CPUS.fullmatch(text)
    if match is None or (milli := int(match[1]) * 1_000 + int((match[2] or "0").ljust(3, "0"))) < 1:
        refuse("cpus", f"'{text[:40]}' is no number of cores, such as 0.5 or 4")
    return milli


def _variables(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    for text in texts:
        if _VARIABLE.fullmatch(text) is None:
            # Its value may be a secret, so at most the name is shown.
            refuse("environment", f"'{text.partition('=')[0][:40]}' is not NAME=value")
    return tuple((name, value) for name, _, value in (text.partition("=") for text in texts))
