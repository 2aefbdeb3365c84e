"""Scoring a result on this machine: a WASI module looks at it and says a number.

Here: `score_result`. Not here: the runtime (spark_node/runtimes/wasi.py), what a score is for (answering.py).
Keeps: the check runs without clock, network or anything but the result, read-only at /result; its last
line is the score; whatever goes wrong is named as the check's, never as the result's.
Errors: 3160 check_failed.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import trio

from consensus.types.errors import Fault, Reason
from spark_node.job import MODULE_NAME, Limits, Spec
from spark_node.runtimes.log_lines import Line
from spark_node.runtimes.runtime import Ending, Order, Outcome
from spark_node.runtimes.wasi import WasiRuntime

CHECK_SECONDS = 600
CHECK_FUEL = 10**13
CHECK_MEMORY_BYTES = 2**30
CHECK_LOG_BYTES_MAX = 2**20
CHECK_DISK_BYTES = 2**28
RESULT_MOUNT, SCRATCH_MOUNT = "/result", "/scratch"
ANY_RECIPIENT = "age1" + "q" * 58
"""A spec names a recipient of logs; this run has none."""

CHECK_FAILED = Reason(
    3160,
    "check_failed",
    "file:text why:text",
    "The check {file} gave no score: {why}.",
    "A check prints an integer from 0 to 100 as its last line. The result itself is untouched.",
)

_SCORE = re.compile(r"\s*([0-9]{1,3})\s*", re.ASCII)


async def score_result(check: Path, result: Path, told: Callable[[str], None] = lambda _: None) -> int:
    """Run the check on a result directory; `told` hears its lines. Raise `Fault` 3160, 3310–3312."""
    room = Path(await trio.to_thread.run_sync(lambda: tempfile.mkdtemp(prefix="eub-check-")))
    try:
        await trio.to_thread.run_sync(_lay_out, check, result, room)
        lines: list[str] = []

        def heard(text: str) -> None:
            lines.append(text)
            told(text)

        outcome = await _run(check, room, heard)
        if outcome.ending is not Ending.EXIT or outcome.exit_status:
            raise Fault(CHECK_FAILED, file=check.name, why=outcome.explanation.rstrip("."))
        spoken = [line for line in lines if line.strip()]
        match = _SCORE.fullmatch(spoken[-1]) if spoken else None
        if match is None or int(match[1]) > 100:
            shown = spoken[-1][:60] if spoken else "nothing"
            raise Fault(CHECK_FAILED, file=check.name, why=f"its last line is '{shown}'")
        return int(match[1])
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(lambda: shutil.rmtree(room, ignore_errors=True))


def _lay_out(check: Path, result: Path, room: Path) -> None:
    # The module lies at the root of what is mounted and is not shown to the program.
    shutil.copytree(result, room / "input", symlinks=True)
    shutil.copyfile(check, room / "input" / MODULE_NAME)


async def _run(check: Path, room: Path, told: Callable[[str], None]) -> Outcome:
    digest = hashlib.sha256((room / "input" / MODULE_NAME).read_bytes()).hexdigest()
    spec = Spec(
        "wasi",
        f"sha256:{digest}",
        RESULT_MOUNT,
        SCRATCH_MOUNT,
        1_000,
        CHECK_MEMORY_BYTES,
        CHECK_DISK_BYTES,
        0,
        2**40,
        CHECK_DISK_BYTES,
        ANY_RECIPIENT,
        (),
    )
    limits = Limits(CHECK_SECONDS, CHECK_FUEL, CHECK_LOG_BYTES_MAX)
    execution = await WasiRuntime().prepare(Order("check", spec, (check.name,), (), limits, room))
    outcomes: list[Outcome] = []

    async def run() -> None:
        outcomes.append(await execution.run())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        async for line in execution.logs:
            if isinstance(line, Line):
                told(line.text)
    await execution.clean()
    return outcomes[0]
