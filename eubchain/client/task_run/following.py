"""Following a task to its end: what its requester owes at each stage is done, what happens is told.

Here: `follow`. It looks at the chain's state again and again and does what that
state asks for, so it can begin anywhere: after the post, after a crash, in another terminal.
Not here: the steps (posting.py, inputs.py, granting.py, results.py, scoring.py), who is told (telling.py),
the words (story.py), the screen (eubchain/cli/task_screen.py).
Keeps: every step is safe to repeat; a failure here never ends the task, which goes on by itself.
Errors: 3163 task_forgotten, and those of the steps.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import trio

from consensus.types.errors import Fault, Reason
from consensus.types.wording import word_fault
from eubchain.client.connection import RemoteRefusal
from eubchain.client.task_run import story
from eubchain.client.task_run.answering import accept, agree, reject
from eubchain.client.task_run.granting import grant
from eubchain.client.task_run.inputs import upload_input
from eubchain.client.task_run.journal import Journal
from eubchain.client.task_run.log_tail import follow_log
from eubchain.client.task_run.market import OfferSight, Sight, look, standing_offers
from eubchain.client.task_run.posting import finish_post
from eubchain.client.task_run.quantities import counted, seconds_of
from eubchain.client.task_run.requester import Requester
from eubchain.client.task_run.results import RESULT_UNAVAILABLE, Fetched, fetch_report, fetch_result
from eubchain.client.task_run.scoring import score_result
from eubchain.client.task_run.story import WORKING, Closing
from eubchain.client.task_run.telling import Event, Kind, Listener
from vm.task.records import Seat, Stage

POLL_S_MAX = 1.0
AWAY_S_MAX, AWAY_PAUSE_S_MAX = 300, 8.0
"""A node or store that does not answer is asked again for so long."""
PASSING = frozenset({"node_unreachable", "finality_unknown", "submission_uncertain", "place_unreachable"})
"""Faults that time may heal."""
OVERTAKEN = (1605, 1606)
"""Refusals that mean: the seat's stage has changed meanwhile."""
FETCH_ATTEMPTS, FETCH_PAUSE_S = 3, 5.0
LOG_END_S = 6.0
"""How long the log's last lines are waited for after a delivery."""

TASK_FORGOTTEN = Reason(
    3163,
    "task_forgotten",
    "task:text",
    "The chain no longer holds task {task}: it was settled and its deposit returned.",
    "`eubchain wallet history` shows what it moved.",
)


class Followed(NamedTuple):
    """Where following ended."""

    sight: Sight | None
    closing: Closing | None
    """None when the post expired or the result was left in review."""


async def follow(requester: Requester, journal: Journal, listener: Listener) -> Followed:
    """Do and tell everything until the task is final or its result is left in review.

    Raise `Fault` 3155 when another command does so already, 3165 for another network, and those of the
    steps; cancelling is safe.
    """
    journal.check_network(requester.network.rules.genesis)
    with journal.held():
        if not await finish_post(requester, journal):
            text = "not included, nothing was spent, safe to send again"
            listener.told(Event("expired", text, {"task": journal.state.task}))
            return Followed(None, None)
        pursuit = _Pursuit(requester, journal, listener)
        return await pursuit.run()


class _Pursuit:
    """One following: what was told, and the work beside the looking."""

    def __init__(self, requester: Requester, journal: Journal, listener: Listener) -> None:
        self._requester, self._journal, self._listener = requester, journal, listener
        self._stage: Stage | None = None
        self._offers: list[OfferSight] | None = None
        self._is_posted = self._is_over = False
        self._uploaded, self._log_ended = trio.Event(), trio.Event()
        self._log_begun = False
        self._nursery: trio.Nursery | None = None
        self._away_since: float | None = None
        self._fault: Fault | RemoteRefusal | None = None

    async def run(self) -> Followed:
        """Follow with upload and log in the background; a background fault ends the following as itself."""
        done: Followed | None = None
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._begin(self._upload)

            async def pursue() -> None:
                nonlocal done
                done = await self._pursue()
                nursery.cancel_scope.cancel()

            self._begin(pursue)
        if self._fault is not None:
            raise self._fault
        assert done is not None, "it ended by itself"
        return done

    def _begin(self, work: Callable[[], Awaitable[None]]) -> None:
        assert self._nursery is not None, "it runs"
        self._nursery.start_soon(self._note, self._nursery.cancel_scope, work)

    async def _note(self, scope: trio.CancelScope, work: Callable[[], Awaitable[None]]) -> None:
        """Keep a fault, so that it leaves as itself and not in a group."""
        try:
            await work()
        except (Fault, RemoteRefusal) as fault:
            self._fault = self._fault or fault
            scope.cancel()

    def _tell(self, kind: Kind, text: str, **facts: Any) -> None:
        self._listener.told(Event(kind, text, {"task": self._journal.state.task, **facts}))

    async def _upload(self) -> None:
        state = self._journal.state
        if state.input_digest and not state.is_uploaded:
            while True:
                try:
                    await upload_input(self._requester, self._journal, self._moved("upload"))
                    break
                except Fault as fault:
                    await self._bear(fault)
            text = f"sealed input uploaded, {state.input_bytes:,} bytes"
            self._tell("uploaded", text, bytes=state.input_bytes)
        self._uploaded.set()

    def _moved(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self._listener.transferred(what, done, total)

    async def _pursue(self) -> Followed:
        """Step after step; what time may heal is borne, what the chain has overtaken is looked at again."""
        refused_in: object = None
        while True:
            try:
                done = await self._step()
            except Fault as fault:
                await self._bear(fault)
                continue
            except RemoteRefusal as refusal:
                if refusal.wording.code not in OVERTAKEN or refused_in == self._stage:
                    raise
                refused_in = self._stage
                done = None
            else:
                self._away_since = None
            if done is not None:
                return done
            await trio.sleep(min(POLL_S_MAX, self._requester.interval_ms / 2_000))

    async def _bear(self, fault: Fault) -> None:
        """Wait for a node or store that is away; raise the fault when it has been for too long."""
        now = trio.current_time()
        if self._away_since is None:
            self._away_since = now
        if fault.reason.name not in PASSING or now - self._away_since > AWAY_S_MAX:
            raise fault
        words = word_fault(fault, self._requester.network.prefix)
        self._tell("away", f"{words.sentence} The task goes on; asking again.", error=words.name)
        await trio.sleep(min(AWAY_PAUSE_S_MAX, 1 + (now - self._away_since) / 4))

    async def _step(self) -> Followed | None:
        """Look, tell, and do what the state asks for."""
        sight = await self._look()
        self._is_over = sight.seat is not None and sight.seat.stage not in WORKING
        self._tell_stage(sight)
        self._listener.seen(sight)
        if sight.is_final:
            return await self._finish(sight)
        if sight.seat is None:
            await self._tell_offers(sight)
        elif sight.seat.stage == Stage.MATCHED:
            await self._grant(sight, sight.seat)
        elif sight.seat.stage in WORKING:
            self._follow_log()
        elif sight.seat.stage == Stage.REVIEW and not await self._review(sight):
            return Followed(sight, None)
        return None

    async def _look(self) -> Sight:
        sight = await look(self._requester.node, self._requester.network, self._journal.task)
        if sight is None:
            self._journal.note(is_told=True)  # or a repeated command would ask for ever
            raise Fault(TASK_FORGOTTEN, task=self._journal.state.task[:12])
        return sight

    def _tell_stage(self, sight: Sight) -> None:
        seat, show = sight.seat, self._requester.network.show
        if not self._is_posted:
            self._is_posted = True
            text = f"posted in block {sight.task.posted}; offers until {self._when(sight, sight.offers_end)}"
            self._tell("posted", text, height=sight.task.posted, offers_end=sight.offers_end)
        if seat is None or seat.stage == self._stage:
            return
        before, self._stage = self._stage, Stage(seat.stage)
        if before is None:
            spark, back = show(seat.spark), sight.maximum - seat.price
            text = f"matched with {spark} for {story.amount(seat.price)}; {story.amount(back)} came back"
            self._tell("matched", text, spark=spark, price=str(seat.price), returned=str(back))
        if seat.stage == Stage.RESERVED:
            text = f"reserved: the job is handed over from {self._when(sight, sight.task.not_before)} on"
            self._tell("reserved", text, not_before=sight.task.not_before)
        if seat.stage == Stage.STARTING:
            self._tell_granted(sight, seat.deadline)
        elif seat.stage == Stage.RUNNING:
            text = (
                f"running since block {seat.started}, until {self._when(sight, seat.deadline)} at the latest"
            )
            self._tell("started", text, height=seat.started, deadline=seat.deadline)
        elif seat.stage == Stage.REVIEW and seat.result is not None:
            due = self._when(sight, seat.deadline)
            text = f"delivered {seat.result.size:,} bytes; your answer is due by {due}"
            self._tell("delivered", text, bytes=seat.result.size, deadline=seat.deadline)

    def _when(self, sight: Sight, height: int) -> str:
        """A height and the time of day that it will about have."""
        seconds = seconds_of(max(0, height - sight.height), self._requester.interval_ms)
        return f"block {height} (about {time.strftime('%H:%M:%S', time.localtime(time.time() + seconds))})"

    async def _tell_offers(self, sight: Sight) -> None:
        offers = await standing_offers(self._requester.node, self._requester.network, self._journal.task)
        if offers == self._offers or not (offers or self._offers):
            return
        self._offers = offers
        best = offers[0] if offers else None
        text = counted(len(offers), "offer")
        if best is not None:
            text += f", the best {story.amount(best.price)} from {self._requester.network.show(best.spark)}"
        if best is not None and sight.task.by_hand:
            spark = self._requester.network.show(best.spark)
            text += f"; choose with: eubchain task match {self._journal.state.task[:12]} {spark}"
        rows = [
            {"spark": self._requester.network.show(o.spark), "price": str(o.price), "promise": o.promise}
            for o in offers
        ]
        self._tell("offers", text, offers=rows, until=sight.offers_end)

    async def _grant(self, sight: Sight, seat: Seat) -> None:
        await self._uploaded.wait()
        final = await grant(self._requester, self._journal, seat.spark)
        self._stage = Stage.STARTING
        self._tell_granted(sight, final.height + sight.task.windows.start)

    def _tell_granted(self, sight: Sight, deadline: int) -> None:
        text = f"granted; the spark prepares, until {self._when(sight, deadline)}"
        self._tell("granted", text, deadline=deadline)

    def _follow_log(self) -> None:
        if not self._log_begun:
            self._log_begun = True
            self._begin(self._log)

    async def _log(self) -> None:
        try:
            dropped = await follow_log(
                self._requester,
                self._journal,
                self._listener.line,
                self._listener.progress,
                is_over=lambda: self._is_over,
            )
            if dropped:
                self._tell("log_lost", f"the log is full: {dropped:,} bytes were not kept", bytes=dropped)
        except Fault as fault:
            # A log informs and proves nothing: the task is followed without it.
            words = word_fault(fault, self._requester.network.prefix)
            self._tell("log_lost", f"the log cannot be shown: {words.sentence}")
        finally:
            self._log_ended.set()

    async def _drain_log(self) -> None:
        self._follow_log()
        with trio.move_on_after(LOG_END_S):
            await self._log_ended.wait()

    # ------------------------------------------------------------------------------ the end

    async def _review(self, sight: Sight) -> bool:
        """Answer what was delivered or claimed; False when it is left in review."""
        seat = sight.seat
        assert seat is not None, "a review is of a seat"
        await self._drain_log()
        if seat.failure is not None:
            await self._answer_failure(sight, seat)
            return True
        fetched = await self._fetch(seat)
        score = await self._score(fetched)
        verdict = await self._listener.judge(sight, fetched, score)
        if verdict.answer == "leave":
            text = f"left in review: silence pays the spark after block {seat.deadline}"
            self._tell("left", text, deadline=seat.deadline)
            return False
        if verdict.answer == "reject":
            await reject(self._requester, self._journal)
        else:
            await accept(self._requester, self._journal, verdict.score, verdict.stars)
        self._tell("answered", f"{verdict.answer}ed", answer=verdict.answer, score=verdict.score)
        return True

    async def _answer_failure(self, sight: Sight, seat: Seat) -> None:
        report = await fetch_report(self._requester, self._journal, seat)
        assert seat.failure is not None, "asked only then"
        text = f"{story.failure_sentence(seat, report)} {story.failure_costs(sight)}"
        tail = report.tail.decode("utf-8", "replace") if report is not None else ""
        self._tell(
            "failed",
            text,
            code=seat.failure.code,
            exit_status=seat.failure.exit_status,
            cause=report.cause if report is not None else None,
            tail=tail,
        )
        await agree(self._requester, self._journal)

    async def _fetch(self, seat: Seat) -> Fetched:
        target = Path(self._journal.state.result_path or self._journal.state.output)
        attempt = 0
        while True:
            attempt += 1
            try:
                fetched = await fetch_result(
                    self._requester,
                    self._journal,
                    seat,
                    target,
                    self._moved("download"),
                )
                break
            except Fault as fault:
                if fault.reason is not RESULT_UNAVAILABLE or attempt == FETCH_ATTEMPTS:
                    raise
                self._tell("away", f"{fault.facts['why']!s} Asking again.")
                await trio.sleep(FETCH_PAUSE_S)
        files = counted(fetched.files, "file")
        text = f"result in {fetched.directory}: {files}, digest {fetched.digest.hex()} is right"
        self._tell(
            "fetched",
            text,
            output=str(fetched.directory),
            files=fetched.files,
            bytes=fetched.size,
            result_sha256=fetched.digest.hex(),
        )
        return fetched

    async def _score(self, fetched: Fetched) -> int | None:
        state = self._journal.state
        if not state.check:
            return None
        score = await score_result(
            Path(state.check), fetched.directory, lambda text: self._listener.line(f"check: {text}")
        )
        self._journal.note(score=score)
        word = "passes" if score >= state.pass_mark else "is below"
        text = f"the check gives {score}, which {word} the mark of {state.pass_mark}"
        self._tell("scored", text, score=score, pass_mark=state.pass_mark)
        return score

    async def _finish(self, sight: Sight) -> Followed:
        if sight.seat is not None and self._log_begun:
            await self._drain_log()
        if sight.seat is not None and sight.seat.result is not None and not self._journal.state.result_path:
            await self._fetch_late(sight.seat)
        retain = self._requester.network.rules.params.market.task_retain_blocks
        closing = story.close(sight, self._journal.state, retain)
        self._tell("closed", f"{closing.why}\n{closing.money}", **closing.facts)
        # Only now: a crash before it has the same told again.
        kept = story.kept(closing, sight, self._requester.interval_ms)
        self._journal.note(is_told=True, ending=kept)
        self._journal.drop_sealed()
        return Followed(sight, closing)

    async def _fetch_late(self, seat: Seat) -> None:
        """A result that silence accepted is still there for a while; without it the end is told as well."""
        try:
            await self._fetch(seat)
        except Fault as fault:
            words = word_fault(fault, self._requester.network.prefix)
            self._tell("lost", f"the result cannot be had any more: {words.sentence}", error=words.name)
