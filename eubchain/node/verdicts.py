"""Verdicts on proofs of resource, computed by processes while a window waits to close.

Here: the memo that the transition asks, the processes that fill it, completing it before a close.
Not here: judging (verdict_worker.py), which claims there are (vm/claims.py).
Keeps: a verdict is a pure function of its claim, so the memo can neither be wrong nor matter; the event
loop computes none; what no later window asks for is forgotten; no process is waited for without an end, and
trouble with processes is never a verdict.
Errors: 1590 verdicts_failing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Sequence

import structlog
import trio

from consensus.resource.proof import Claim
from consensus.resource.windows import last_proof_at, opens_at
from consensus.types.codec import Codec, encode
from consensus.types.errors import Fault, Reason, Rejected
from eubchain.node.stepwise import in_slices
from spark_node.prover.process import child_environment, spare_threads
from vm.claims import claims_in_slices, judge_here
from vm.state import State
from vm.windows import last_window

ATTEMPTS_MAX = 3
RETRY_S = 1.0
START_S = 30.0
SHARE_S = 0.05
"""A process that needs longer than START_S and so much for every share hangs. It takes a second and 2 ms, but
at a lower priority than everything else."""
PATIENCE_MAX = 1_024
"""Whoever did not answer in time is given twice as long the next time, up to so many times as long: else a
machine that is merely slow would never come to an end."""
SHARES_PER_PROCESS = 256
"""A process takes at least so many if there are: starting one costs as much as fifty shares."""
VERDICTS: Codec[tuple[int, ...]] = Codec(tuple[int, ...])

log = structlog.get_logger("verdicts")

VERDICTS_FAILING = Reason(
    1590,
    "verdicts_failing",
    "attempts:count",
    "The processes that judge proofs of resource died or hung {attempts} times over one batch.",
    "Look for an out-of-memory message in the system log; the node goes on when the cause is gone.",
)


class Verdicts:
    """Run with `nursery.start_soon(verdicts.run)`; hand `judge` to the transition."""

    def __init__(self, processes: int = 0) -> None:
        self._processes = processes or spare_threads(os.cpu_count() or 1)
        self._known: dict[Claim, int] = {}
        self._looked_at = 0
        """The last window whose claims were final when `look` saw them."""
        self._view: State | None = None
        """State at the head in which they stand."""
        self._more = trio.Event()
        self._turn = trio.Lock()
        """One batch at a time: two would judge the same claims twice."""
        self._patience = 1
        """How many times as long as it should a process may take; doubled by one that hangs."""

    def drop(self) -> None:
        """Forget every verdict; they are judged again when they are asked for."""
        self._known = {}

    def judge(self, claim: Claim) -> int:
        """The verdict on a claim; known, unless nobody asked for it in time."""
        verdict = self._known.get(claim)
        return judge_here(claim) if verdict is None else verdict

    def look(self, state: State) -> None:
        """After a block: begin with the running window, once no more proofs can change what it needs."""
        last = last_window(state)
        if last is None or last.is_closed or state.block.height < last_proof_at(last.window):
            return
        if last.sample_beacon is None and last.shares > last.window.verify_budget:
            return  # crowded: which shares are looked at is not known before the sample beacon
        if self._looked_at != opens_at(last.window):
            self._looked_at, self._view = opens_at(last.window), state
            self._more.set()

    async def run(self) -> None:
        """Judge what `look` found, until cancelled."""
        while True:
            await self._more.wait()
            self._more = trio.Event()
            try:
                await self.complete(await in_slices(self._wanted()))
            except Fault as fault:
                # The close asks again, for as long as it takes; until then there is time to recover.
                log.error("proofs of resource cannot be judged yet", why=str(fault))

    def _wanted(self) -> Generator[None, None, list[Claim]]:
        assert self._view is not None, "there was something to look at"
        last = last_window(self._view)
        assert last is not None, "and it was a window"
        found = yield from claims_in_slices(self._view, last)
        return [claim for _, claim in found if claim.checked]

    async def answer(self, wanted: Sequence[Claim]) -> None:
        """Know the verdicts on all these claims, however often that has to be tried.

        A block's validity stands on them: without them there is no answer, and least of all "invalid".
        """
        while True:
            try:
                return await self.complete(wanted)
            except Fault as fault:
                log.error("proofs of resource cannot be judged; asking again", why=str(fault))
            await trio.sleep(RETRY_S)

    async def complete(self, wanted: Sequence[Claim]) -> None:
        """Know the verdicts on all these claims; raise `Fault` 1590."""
        if not wanted:
            return
        async with self._turn:
            missing = [claim for claim in wanted if claim not in self._known]
            if missing:
                window = wanted[0].window
                self._known = {c: v for c, v in self._known.items() if c.window == window}
                async with trio.open_nursery() as nursery:
                    for batch in _shared_out(missing, self._processes):
                        nursery.start_soon(self._judge, batch)
            if any(claim not in self._known for claim in missing):
                raise Fault(VERDICTS_FAILING, attempts=ATTEMPTS_MAX)
            self._patience = 1

    async def _judge(self, batch: list[Claim]) -> None:
        """Judge a batch in one process; one that dies or hangs is replaced, a few times."""
        shares = sum(len(claim.checked) for claim in batch)
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                await trio.sleep(RETRY_S)
            patience = self._patience
            try:
                with trio.fail_after(patience * (START_S + SHARE_S * shares)):
                    done = await trio.run_process(
                        [sys.executable, "-m", "eubchain.node.verdict_worker"],
                        stdin=encode(tuple(batch)),
                        capture_stdout=True,
                        capture_stderr=True,
                        check=False,
                        deliver_cancel=_kill,
                        env=child_environment(1),
                    )
                verdicts = VERDICTS.decode(done.stdout)
            except trio.TooSlowError:
                log.warning("a process that judges proofs hangs and is replaced", shares=shares)
                self._patience = min(PATIENCE_MAX, max(self._patience, 2 * patience))
                continue
            except (OSError, Rejected) as error:
                log.warning("a process that judges proofs did not answer", why=str(error))
                continue
            if len(verdicts) == len(batch) and done.returncode == 0:
                self._known.update(zip(batch, verdicts, strict=True))
                return
            log.warning("a process that judges proofs died", status=done.returncode)


async def _kill(process: trio.Process) -> None:
    """At once: it has nothing to tidy up, and one that is stopped hears nothing else."""
    process.kill()


def _shared_out(claims_: Sequence[Claim], processes: int) -> list[list[Claim]]:
    """The claims in at most so many batches of about equal work, fewer if there is little."""
    shares = sum(len(claim.checked) for claim in claims_)
    count = max(1, min(processes, shares // SHARES_PER_PROCESS))
    batches: list[list[Claim]] = [[] for _ in range(count)]
    work = [0] * count
    for claim in sorted(claims_, key=lambda c: -len(c.checked)):
        lightest = work.index(min(work))
        batches[lightest].append(claim)
        work[lightest] += len(claim.checked)
    return batches
