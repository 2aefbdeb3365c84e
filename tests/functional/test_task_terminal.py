"""`eubchain task run` on a terminal: questions, the moving line, Ctrl-C before the job is handed over.

Rules of this file: as in test_task_run.py; the command's terminal is a pseudo-terminal that the test reads.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from tests.functional.test_task_run import LIMIT_S, ROOT, Net, devnet, net
from vm.task.records import Ending, Stage

__all__ = ["devnet", "net"]
"""Fixtures of the file beside."""

_ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command on a pseudo-terminal."""

    def __init__(self, process: trio.Process, descriptor: int) -> None:
        self.process, self._descriptor = process, descriptor
        self.shown = b""

    async def until(self, text: str, times: int = 1) -> None:
        """Wait until the screen has shown `text` so many times."""
        while self.text.count(text) < times:
            await trio.lowlevel.wait_readable(self._descriptor)
            try:
                block = os.read(self._descriptor, 65_536)
            except OSError:  # the other side has ended
                block = b""
            assert block, self.text
            self.shown += block

    @property
    def text(self) -> str:
        """Everything shown, without escape sequences."""
        return _ESCAPES.sub(b"", self.shown).decode("utf-8", "replace")

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._descriptor, f"{text}\n".encode())


@asynccontextmanager
async def terminal(net: Net, *more: str) -> AsyncIterator[Terminal]:
    """`task run` without --yes and --json on a terminal."""
    ours, theirs = pty.openpty()
    line = [word for word in net.run_line(*more) if word not in ("--yes", "--json")]
    process = await trio.lowlevel.open_process(
        line, stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, start_new_session=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
    )  # fmt: skip
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(ours)


async def test_a_person_is_asked_before_signing_and_for_the_marks(net: Net) -> None:
    """The table, the question, the moving line, score and stars, the final line."""
    with trio.fail_after(LIMIT_S):
        async with net.spark() as spark, terminal(net, "--price", "2") as screen:
            await screen.until("Sign? [y/N]")
            for words in ("coefficient", "reserves   2 EUBC", "judge      you", "silence    accepts", "fees"):
                assert words in screen.text
            async with trio.open_nursery() as nursery:
                nursery.start_soon(spark.echo)
                screen.type("y")
                await screen.until("waiting for offers")
                await screen.until("Score, 0 to 100 [100]")
                screen.type("90")
                await screen.until("Stars, 1 to 5 [5]")
                screen.type("9")
                await screen.until("Stars, 1 to 5 [5] 9")
                screen.type("4")
                await screen.until("The result was accepted")
                await screen.until("next: ls ")
            assert await screen.process.wait() == 0


async def test_no_is_the_answer_and_nothing_is_signed(net: Net) -> None:
    """Enter alone leaves no task behind."""
    with trio.fail_after(LIMIT_S):
        async with net.spark(), terminal(net) as screen:
            await screen.until("Sign? [y/N]")
            before = await net.balance()
            screen.type("")
            await screen.until("Nothing was signed")
            assert await screen.process.wait() == 2
            assert await net.balance() == before


async def test_ctrl_c_before_the_grant_asks_and_can_cancel(net: Net) -> None:
    """The job is not handed over: cancelling is offered with its price, and everything comes back."""
    with trio.fail_after(LIMIT_S):
        file = net.room / "slow.toml"
        file.write_text('[market]\noffer_time = "40s"\n')
        async with net.spark() as spark, terminal(net, "--file", str(file)) as screen:
            await screen.until("Sign? [y/N]")
            screen.type("y")
            await screen.until("posted in block")
            task = await spark.open_task()
            screen.process.send_signal(signal.SIGINT)
            await screen.until("Cancel the task (costs about 0 EUBC)? (n goes on)")
            screen.type("n")
            await screen.until("going on with it")
            await screen.until("waiting for offers", screen.text.count("waiting for offers") + 1)
            screen.process.send_signal(signal.SIGINT)
            await screen.until("(n goes on)", 2)
            screen.type("y")
            await screen.until("cancelled")
            sight = await spark.sight(task)
    assert sight.task.ending == Ending.CANCELLED_OPEN
    assert sight.seat is None or sight.seat.stage == Stage.CLOSED


async def test_a_closed_stdin_refuses_instead_of_hanging(net: Net) -> None:
    """Nobody can be asked and --yes is not given: exit 2, nothing signed."""
    with trio.fail_after(LIMIT_S):
        async with net.spark():
            line = [word for word in net.run_line() if word != "--yes"]
            done = await trio.run_process(
                line,
                stdin=subprocess.DEVNULL,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                cwd=ROOT,
            )
    assert done.returncode == 2
    assert b'"not_confirmed"' in done.stdout
