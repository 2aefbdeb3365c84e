"""One seat, from the grant to the claim: starting, running, and what to do when either goes wrong.

Here: `work`, which does what the seat's stage on chain asks for next.
Not here: fetching and preparing (intake.py), results and reports (handover.py), lines on their way
(sealed_log.py), which seats there are (agent.py).
Keeps: a seat is declined, failed or released before its deadline, so that an honest spark never meets a
timeout; the application is blamed only for what the program itself did; a program whose agent died is
started once more if the promised time still fits, else the seat is given up; nothing runs and no
plaintext lies here once `work` has returned.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from consensus.types.errors import Fault
from spark_node.chain import SeatView, TaskView
from spark_node.handover import clear_room, deliver, fail, failure_of, seal_result
from spark_node.intake import Ready, decline_code, make_ready, open_job
from spark_node.job import Job
from spark_node.journal import SeatNote
from spark_node.runtimes.runtime import Ending, Execution, Outcome
from spark_node.sealed_log import Control, SealedLog
from spark_node.workplace import Workplace, log
from vm.task.payloads import Decline, DeclineCode, Release, Start, Way
from vm.task.records import Stage

MARGIN_MS = 5_000
"""Kept free before a deadline, for the transaction that meets it and a report's upload."""
MARGIN_BLOCKS_LEAST = 2
RUNS_MAX = 2
FAILURES_ARE_ANSWERS = (Way.QUORUM, Way.RERUN)
"""On these ways a program that fails has an answer, delivered and compared like any other."""


def margin_blocks(workplace: Workplace, window: int) -> int:
    """Blocks to keep free before a deadline that ends a window of so many blocks."""
    interval = workplace.chain.params.chain.block_interval_ms
    return min(max(MARGIN_BLOCKS_LEAST, -(-MARGIN_MS // interval)), max(1, window // 4))


async def work(
    workplace: Workplace, view: TaskView, seat: SeatView, note: SeatNote, control: Control
) -> None:
    """Do what the seat waits for; returns when its next step is another's.

    Raises `Refused` or `Fault` for what may pass; calling again goes on where this ended.
    """
    try:
        if seat.stage == Stage.STARTING:
            await _start(workplace, view, seat, note, control)
        elif seat.stage == Stage.RUNNING:
            await _finish(workplace, view, seat, note, control)
    finally:
        control.execution = None
        await clear_room(workplace, note)
        with trio.CancelScope(shield=True):
            await workplace.gpus.give_back(note.key)


# ------------------------------------------------------------------------------------------ starting


async def _start(
    workplace: Workplace, view: TaskView, seat: SeatView, note: SeatNote, control: Control
) -> None:
    window = view.post.windows.start
    limit = seat.deadline - margin_blocks(workplace, window)
    if note.gave_up:
        await _decline(workplace, note, DeclineCode(note.decline or DeclineCode.OTHER), note.gave_up)
        return

    async def prepare() -> Ready:
        job = await open_job(workplace, seat, note)
        await workplace.tell(note, "opened the job")
        return await make_ready(workplace, view, note, job, seat.deadline - window // 2)

    try:
        ready = await _unless_given_up(workplace, control, limit, prepare)
    except Fault as fault:
        await _decline(workplace, note, decline_code(fault), str(fault))
        return
    if ready is None:
        if control.gives_up:
            await _release(workplace, note, control.gives_up)
        else:
            await _decline(workplace, note, DeclineCode.OTHER, "it was not ready to start in time")
        return
    try:
        receipt = await workplace.submit(note.task, Start(note.task, note.seat, b""))
        await workplace.tell(note, "started", receipt.txid)
        current = await workplace.chain.task(note.task)
        running = next((s for s in current.seats if s.number == seat.number), None) if current else None
        if running is not None and running.stage == Stage.RUNNING:
            await _run(workplace, view, running, note, control, ready)
    finally:
        await _clean(ready.execution)


async def _unless_given_up(
    workplace: Workplace, control: Control, limit: int, work: Callable[[], Awaitable[Ready]]
) -> Ready | None:
    """The work's result; None when the chain reached `limit` or the owner wanted the machine first."""

    async def guarded() -> Ready | None:
        found: list[Ready] = []
        caught: Fault | None = None
        async with trio.open_nursery() as nursery:

            async def end() -> None:
                await control.until_given_up()
                nursery.cancel_scope.cancel()

            nursery.start_soon(end)
            try:
                found.append(await work())
            except Fault as fault:
                caught = fault
            nursery.cancel_scope.cancel()
        if caught is not None:
            raise caught
        return found[0] if found else None

    return await workplace.heights.before(limit, guarded)


async def _decline(workplace: Workplace, note: SeatNote, code: DeclineCode, why: str) -> None:
    note.gave_up, note.decline = why, int(code)
    await workplace.tell(note, f"declines ({code.name.lower()}): {why}")
    receipt = await workplace.submit(note.task, Decline(note.task, note.seat, code))
    await workplace.tell(note, "declined", receipt.txid)


async def _release(workplace: Workplace, note: SeatNote, why: str) -> None:
    note.gave_up = why
    await workplace.tell(note, f"gives the seat up: {why}")
    receipt = await workplace.submit(note.task, Release(note.task, note.seat))
    await workplace.tell(note, "released", receipt.txid)


async def release_reservation(workplace: Workplace, note: SeatNote, why: str) -> None:
    """Give up a seat whose time has not come."""
    await _release(workplace, note, why)


async def _clean(execution: Execution) -> None:
    with trio.CancelScope(shield=True):
        await execution.clean()


# ------------------------------------------------------------------------------------------- running


async def _finish(
    workplace: Workplace, view: TaskView, seat: SeatView, note: SeatNote, control: Control
) -> None:
    """A seat that runs on chain: finish its paperwork, start it once more, or give it up."""
    if note.gave_up:
        await _release(workplace, note, note.gave_up)
        return
    if note.result is None and note.failure is None:
        if note.runs >= RUNS_MAX or workplace.heights.height + seat.promise > seat.deadline:
            await _release(workplace, note, "the agent stopped while the program ran, and no time is left")
            return
        await workplace.tell(note, "starts the program again, because the agent stopped while it ran")
        try:
            job = await open_job(workplace, seat, note)
            ready = await make_ready(workplace, view, note, job, workplace.heights.height)
        except Fault as fault:
            await _release(workplace, note, f"it could not be started again: {fault}")
            return
        try:
            await _run(workplace, view, seat, note, control, ready)
        finally:
            await _clean(ready.execution)
        return
    job = await open_job(workplace, seat, note)
    async with SealedLog(workplace, view, note, job) as lines:
        await _claim(workplace, view, seat, note, job, lines)


async def _run(
    workplace: Workplace,
    view: TaskView,
    seat: SeatView,
    note: SeatNote,
    control: Control,
    ready: Ready,
) -> None:
    """Run the program, watch its limits, and claim what came of it."""
    limit = seat.deadline - margin_blocks(workplace, seat.deadline - seat.started)
    note.runs += 1
    await workplace.keep(note)
    async with SealedLog(workplace, view, note, ready.job) as lines:
        if note.runs > 1:
            await lines.say("the spark's agent stopped; the program begins again, and its lines with it")
        outcome, is_late = await _execute(workplace, control, ready.execution, limit, lines)
        paused = control.is_paused
        control.execution = None
        why = control.gives_up
        if not why and is_late and paused:
            why = "it was paused for its owner until its time ran out"
        if not why and not is_late and outcome.ending is Ending.OTHER:
            why = "the machine could not run it to its end"
        if not why:
            await _judge(workplace, view, note, ready, outcome, is_late)
        await _clean(ready.execution)
        await clear_room(workplace, note)
        await workplace.gpus.give_back(note.key)
        if why:
            await _release(workplace, note, why)
        else:
            await _claim(workplace, view, seat, note, ready.job, lines)


async def _judge(
    workplace: Workplace, view: TaskView, note: SeatNote, ready: Ready, outcome: Outcome, is_late: bool
) -> None:
    """Turn an outcome into a result or a failure in the journal."""
    seconds = outcome.milliseconds / 1000
    if is_late:
        cause = f"The program did not end within the time of the task ({seconds:.0f} s)."
        note.failure = failure_of(outcome, cause, Ending.TIME)
    elif outcome.ending is Ending.EXIT and outcome.exit_status == 0:
        pass
    elif view.post.way not in FAILURES_ARE_ANSWERS:
        note.failure = failure_of(outcome)
    if note.failure is not None:
        await workplace.tell(note, f"the program failed after {seconds:.1f} s: {note.failure.cause}")
        return
    await workplace.tell(note, f"the program ended after {seconds:.1f} s")
    await seal_result(workplace, view, note, ready.job, ready.execution, outcome)


async def _execute(
    workplace: Workplace, control: Control, execution: Execution, limit: int, lines: SealedLog
) -> tuple[Outcome, bool]:
    """Run to the end; returns the outcome and whether the deadline ended it."""
    is_late = False
    found: list[Outcome] = []
    caught: Fault | None = None
    async with trio.open_nursery() as nursery:

        async def end_in_time() -> None:
            nonlocal is_late
            await workplace.heights.until(limit)
            is_late = True
            await execution.stop()

        async def end_for_owner() -> None:
            await control.until_given_up()
            await execution.stop()

        async with trio.open_nursery() as watchers:
            watchers.start_soon(end_in_time)
            watchers.start_soon(end_for_owner)
            nursery.start_soon(lines.follow, execution, control)
            control.execution = execution
            if control.is_paused:
                await execution.pause()
            try:
                found.append(await execution.run())
            except Fault as fault:
                caught = fault
            watchers.cancel_scope.cancel()
        # `follow` ends by itself: the end of a run closes its channel.
    if caught is not None:
        log.warning("the runtime failed", why=str(caught))
        return _no_outcome(str(caught)), False
    return found[0], is_late and found[0].ending is Ending.OTHER


def _no_outcome(why: str) -> Outcome:
    return Outcome(
        exit_status=1,
        ending=Ending.OTHER,
        has_result=False,
        explanation=why,
        milliseconds=0,
        fuel=0,
        output_bytes=0,
        log_bytes=0,
        lines_dropped=0,
        tail=b"",
    )


async def _claim(
    workplace: Workplace,
    view: TaskView,
    seat: SeatView,
    note: SeatNote,
    job: Job,
    lines: SealedLog,
) -> None:
    """Say on chain what came of the run, and let the log's end arrive."""
    wanted = job.log_place or workplace.own_place
    # From this height on our own store has to do, so that the claim itself is in time.
    limit = seat.deadline - max(1, margin_blocks(workplace, seat.deadline - seat.started) // 2)
    if note.result is not None:
        await deliver(workplace, view, note, wanted, limit)
    else:
        await fail(workplace, view, note, wanted, limit)
    await lines.close()
