"""What a running seat prints, on its way to the requester; and the owner's hand on the run.

Here: `SealedLog`, `Control`. Not here: chunks and their spool (storage/logs.py), lines (runtimes).
Keeps: the program never waits for a store; a store that refuses ends the log and not the task; one
writer at a time for one log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from consensus.types.errors import Fault
from spark_node.chain import TaskView
from spark_node.job import Job
from spark_node.journal import SeatNote
from spark_node.runtimes.log_lines import Progress
from spark_node.runtimes.runtime import Execution
from spark_node.storage.logs import LogWriter
from spark_node.workplace import Workplace, log

LOG_GRACE_S = 10.0
"""How long a claim waits for the last lines to reach the requester's store."""


OWN_LINE = "[spark]"
"""Begins a line that the spark and not the program wrote."""


class Control:
    """The owner's hand on one seat."""

    def __init__(self) -> None:
        self.execution: Execution | None = None
        self.is_paused = False
        self.progress: Progress | None = None
        self.gives_up = ""
        """Why the seat is to be given up; empty while it is not."""
        self.tell: Callable[[str], Awaitable[None]] | None = None
        """Puts a line of the spark's own into the log while the program runs."""
        self._wanted = trio.Event()

    async def pause(self, why: str) -> None:
        """Freeze the program, now or as soon as it starts; the requester sees why."""
        if not self.is_paused:
            self.is_paused = True
            if self.execution is not None:
                await self.execution.pause()
                await self._tell(f"paused: {why}")

    async def resume(self) -> None:
        """Let it go on."""
        if self.is_paused:
            self.is_paused = False
            if self.execution is not None:
                await self.execution.resume()
                await self._tell("goes on")

    async def _tell(self, text: str) -> None:
        if self.tell is not None:
            await self.tell(f"{OWN_LINE} {text}")

    def give_up(self, why: str) -> None:
        """Ask for the seat's release; the first reason counts."""
        self.gives_up = self.gives_up or why
        self._wanted.set()

    async def until_given_up(self) -> None:
        """Return once the seat is to be given up."""
        await self._wanted.wait()


class SealedLog:
    """The log of one seat: lines go in, sealed chunks reach the requester's store while it runs.

    Use as an async context manager. After `close` it waits at most `LOG_GRACE_S` for what has not
    arrived; without, it stops at once, and a later one goes on from the spool.
    """

    def __init__(self, workplace: Workplace, view: TaskView, note: SeatNote, job: Job) -> None:
        assert view.spec is not None, "it runs"
        self._workplace, self._note = workplace, note
        self._place = job.log_place or workplace.own_place
        self._recipient, self._bytes_max = view.spec.recipient, job.limits.log_bytes_max
        self._writer: LogWriter | None = None
        self._is_closed = False
        self._scope = trio.CancelScope()
        self._opened, self._sent = trio.Event(), trio.Event()

    async def __aenter__(self) -> SealedLog:
        if self._place:
            self._workplace.background.start_soon(self._send)
            await self._opened.wait()
        else:
            self._sent.set()
        return self

    async def __aexit__(self, *error: object) -> None:
        try:
            if self._is_closed:
                with trio.move_on_after(LOG_GRACE_S):
                    await self._sent.wait()
        finally:
            # Also when the seat was closed meanwhile: its spool is removed next, under nobody's hands.
            self._scope.cancel()
            with trio.CancelScope(shield=True):
                await self._sent.wait()

    async def _send(self) -> None:
        try:
            with self._scope:
                spool = self._workplace.sealed(self._note) / "log"
                async with self._workplace.open(self._place) as store:
                    self._writer = LogWriter(
                        store,
                        self._note.task,
                        self._note.seat,
                        self._recipient,
                        spool,
                        bytes_max=self._bytes_max,
                    )
                    self._opened.set()
                    await self._writer.run()
        except Fault as fault:
            log.warning("the requester's store takes no log", why=str(fault))
            self._writer = None
        finally:
            self._opened.set()
            self._sent.set()

    async def follow(self, execution: Execution, control: Control) -> None:
        """Write every line until the run's end."""
        control.tell = self._write
        async for line in execution.logs:
            if isinstance(line, Progress):
                control.progress = line
                text = f"EUB_PROGRESS {line.done}/{line.total}"
            else:
                text = line.text
            await self._write(text)
        control.tell = None

    async def say(self, text: str) -> None:
        """A line of the spark's own, before the program runs."""
        await self._write(f"{OWN_LINE} {text}")

    async def _write(self, text: str) -> None:
        if self._writer is None:
            return
        try:
            await self._writer.write(text.encode() + b"\n")
        except Fault as fault:
            log.warning("a line of the log was lost", why=str(fault))

    async def close(self) -> None:
        """Nothing more comes: the last chunk says so."""
        self._is_closed = True
        if self._writer is not None:
            try:
                await self._writer.close()
            except Fault as fault:
                log.warning("the log has no end mark", why=str(fault))
