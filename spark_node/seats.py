"""The seats of this spark: a worker for each that needs the machine, and the end of each in the journal.

Here: `Seats`: starting and stopping workers, the owner's pauses and releases, settling.
Not here: what a worker does (seat_work.py), offers (market.py), the loops (agent.py).
Keeps: one worker per seat; the chain's word decides: a seat that it closed has its worker stopped, and
only then is it settled and its ciphertext removed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import trio

from consensus.types.errors import Fault
from spark_node.chain import Refused, SeatView, TaskView
from spark_node.folder import release_wish, remove_tree
from spark_node.journal import KeptEnd, SeatNote
from spark_node.sealed_log import Control
from spark_node.seat_work import release_reservation, work
from spark_node.workplace import Workplace, log
from vm.task.records import Stage

RETRY_S_FIRST, RETRY_S_MAX = 2.0, 30.0
AT_WORK = (Stage.STARTING, Stage.RUNNING)
ON_MACHINE = (Stage.MATCHED, *AT_WORK)
"""Stages that need this machine now or soon; a seat in review needs only its ciphertext."""

Key = tuple[bytes, int]


@dataclass
class Worker:
    """One seat being worked on."""

    scope: trio.CancelScope
    control: Control
    paused_at: float | None = None


class Seats:
    """Every seat that is not settled."""

    def __init__(self) -> None:
        self.workers: dict[Key, Worker] = {}
        self.stages: dict[Key, SeatView] = {}
        """As the chain had them at the last look; for `status`."""
        self._wait: dict[Key, tuple[float, float]] = {}
        """Until when a failed worker waits, and how long it will the next time."""
        self._is_held = False

    def on_machine(self) -> int:
        """Seats that need the machine now or soon."""
        return sum(1 for seat in self.stages.values() if seat.stage in ON_MACHINE)

    async def attend(self, workplace: Workplace, own: Sequence[TaskView]) -> None:
        """Bring workers and journal to what the chain says."""
        self.stages = {}
        known: set[Key] = set()
        for view in own:
            for seat in view.seats:
                if seat.spark != workplace.chain.address:
                    continue
                key = (view.task, seat.number)
                known.add(key)
                note = workplace.journal.notes.get(key)
                if note is None:
                    note = await _begin(workplace, view, seat)
                if note.end is not None:
                    continue
                if seat.stage == Stage.CLOSED:
                    await self._close(workplace, note, seat)
                else:
                    self.stages[key] = seat
                    self._wake(workplace, view, seat, note)
        for note in workplace.journal.unsettled():
            if note.key not in known and await workplace.chain.task(note.task) is None:
                await self._close(workplace, note, None)

    def _wake(self, workplace: Workplace, view: TaskView, seat: SeatView, note: SeatNote) -> None:
        key = note.key
        wants_release = workplace.folder.has_wish(release_wish(*key))
        if key in self.workers:
            if wants_release:
                self.workers[key].control.give_up("its owner gave it up")
            return
        if trio.current_time() < self._wait.get(key, (0.0, 0.0))[0]:
            return
        if seat.stage == Stage.RESERVED and wants_release:

            async def release(_: Control) -> None:
                await release_reservation(workplace, note, "its owner gave it up")

            self._spawn(workplace, note, release)
        elif seat.stage in AT_WORK:

            async def go_on(control: Control) -> None:
                if wants_release:
                    control.give_up("its owner gave it up")
                await work(workplace, view, seat, note, control)

            self._spawn(workplace, note, go_on)

    def _spawn(self, workplace: Workplace, note: SeatNote, job: Callable[[Control], Awaitable[None]]) -> None:
        worker = Worker(trio.CancelScope(), Control())
        worker.control.is_paused = self._is_held
        worker.paused_at = trio.current_time() if self._is_held else None
        self.workers[note.key] = worker
        workplace.background.start_soon(self._run, workplace, note, worker, job)

    async def _run(
        self,
        workplace: Workplace,
        note: SeatNote,
        worker: Worker,
        job: Callable[[Control], Awaitable[None]],
    ) -> None:
        try:
            with worker.scope:
                await job(worker.control)
            self._wait.pop(note.key, None)
        except (Fault, Refused) as trouble:
            # A refusal mostly says that the chain moved on meanwhile: the next look sees how.
            _, delay = self._wait.get(note.key, (0.0, RETRY_S_FIRST))
            self._wait[note.key] = (trio.current_time() + delay, min(2 * delay, RETRY_S_MAX))
            log.warning("a seat waits", task=note.task.hex()[:16], seconds=delay, why=str(trouble))
        finally:
            del self.workers[note.key]

    async def _close(self, workplace: Workplace, note: SeatNote, seat: SeatView | None) -> None:
        """Settle a seat that the chain closed; a worker that is still at it is stopped first."""
        worker = self.workers.get(note.key)
        if worker is not None:
            worker.scope.cancel()
            return
        ended = seat.ended if seat is not None else None
        if ended is None:
            note.end = KeptEnd("forgotten", "nobody", workplace.heights.height, 0, 0, 0, 0)
        else:
            note.end = KeptEnd(*ended)
            await workplace.pay("paid", ended.paid, note.task, once=f"paid-{note.seat}")
            await workplace.pay("gas", ended.gas_returned, note.task, once=f"unlocked-{note.seat}")
        await workplace.tell(note, f"settled: {note.end.ending}")
        workplace.folder.take_back(release_wish(*note.key))
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(remove_tree, workplace.sealed(note))

    # ---------------------------------------------------------------------------------- the owner

    async def hold(self, is_held: bool, release_after_s: float, why: str) -> None:
        """Freeze every program, or let them go on; give up what was frozen for too long."""
        self._is_held = is_held
        for worker in list(self.workers.values()):
            if not is_held:
                worker.paused_at = None
                await worker.control.resume()
                continue
            if worker.paused_at is None:
                worker.paused_at = trio.current_time()
            await worker.control.pause(why)
            if trio.current_time() - worker.paused_at >= release_after_s:
                worker.control.give_up(why)


async def _begin(workplace: Workplace, view: TaskView, seat: SeatView) -> SeatNote:
    note = SeatNote(
        view.task,
        seat.number,
        view.requester,
        seat.price,
        seat.gas,
        seat.promise,
        workplace.now_ms(),
    )
    await workplace.pay("gas", -seat.gas, view.task, once=f"locked-{seat.number}")
    await workplace.tell(note, "won the seat")
    return note
