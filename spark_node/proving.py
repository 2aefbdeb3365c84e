"""Proving compute in the network's windows: search while one is open, send what was found.

Here: `Proving`: when to search, for how long and with what, pausing what runs, sending the proof.
Not here: the search and its second look (prover/), the file that outlives a restart (search_file.py), what
a proof is worth (vm/measuring.py).
Keeps: one search a window; the proof is on its way before the grace blocks begin; a search that finds
nothing is sent as well: it earns nothing, but shows that the spark is there, and quarters a difficulty
that nobody could meet. A search that was cut off goes on where it stopped, if its window still takes
proofs, and so does one whose backend was lost, by numpy; whoever misses a window is told why. D is read
anew in the open window, where it cannot change: shares found at an old one would be false.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from consensus.types.errors import Fault
from spark_node.chain import OwnSpark, ProvingWindow, Refused
from spark_node.lending import pauses_for_proof
from spark_node.policy import NUMPY, Policy
from spark_node.prover.order import NOT_BEGUN, Answer, Assignment, Order, Progress
from spark_node.prover.process import Tell, prove_in_process, spare_threads
from spark_node.search_file import clear_searches, save_search, saved_search
from spark_node.workplace import Workplace, log
from vm.resource import ALREADY_PROVED, NO_OPEN_WINDOW, OTHER_WINDOW, Prove

PROFILE = 1
BUDGET_MS_LEAST = 500
"""Less than this does not pay for starting the prover."""
GRACE_SHARED_LEAST = 4
"""Grace blocks from which on a backend that does not answer leaves half of them to numpy."""
NO_TASK = bytes(32)
SLOW = "if it happens again, lower proving.threads or give the machine less to do"

TENTH_PERCENT = 10
"""How much further a search is when the log hears of it again."""

Prover = Callable[[Order, int, Tell], Awaitable[Answer]]


class Proving:
    """One machine's proofs."""

    def __init__(self, prove: Prover = prove_in_process) -> None:
        self._prove = prove
        self._seen = 0
        self._reached = NOT_BEGUN
        """How far the search in that window is."""
        self._reserve_ms = 0
        """Of the time to search, kept for sending: more after a proof came late."""
        self._cleared_but = -1
        """The window whose file stayed when files were last cleared away."""
        self.last = ""
        """What came of the last window, in words; for `status`."""
        self.now = ""
        """How far the running search is, in words; empty while there is none."""

    async def look(
        self, workplace: Workplace, policy: Policy, spark: OwnSpark, hold: Callable[[bool], Awaitable[None]]
    ) -> None:
        """Search in the open window, if there is one for this spark; returns when its proof is final.

        `hold` freezes what runs, and lets it go on.
        """
        window = await workplace.chain.window()
        await self._clear_but(workplace, 0 if window is None else window.window)
        if window is None or window.seed is None or not self._is_ours(policy, spark, window):
            return
        now = await workplace.chain.spark()
        if now is None or not self._is_ours(policy, now, window):
            return
        assignment = Assignment(PROFILE, window.window, window.seed, workplace.chain.address, now.difficulty)
        begun = await trio.to_thread.run_sync(saved_search, workplace.folder, assignment)
        is_late = workplace.heights.height >= window.last_proof
        if _left_ms(workplace, window) < BUDGET_MS_LEAST and (begun == NOT_BEGUN or is_late):
            return
        self._seen, self._reached = window.window, begun
        is_alone = pauses_for_proof(policy, workplace.machine)
        answer: Answer | None = None
        try:
            if is_alone:
                await hold(True)
            answer = await self._search(workplace, policy, window, assignment)
        except Fault as fault:
            self._missed(window, str(fault), fault.reason.hint)
        finally:
            self.now = ""
            if is_alone:
                await hold(False)
        if answer is not None:
            await self._send(workplace, window, answer)

    async def _search(
        self, workplace: Workplace, policy: Policy, window: ProvingWindow, assignment: Assignment
    ) -> Answer | None:
        """The answer of the policy's backend; when that one is lost, of numpy, which every machine has.

        What the lost one found is kept: it is looked at again like everything that is sent. Numpy has a
        second try as well, for a process that was killed.
        """
        wanted, trouble = workplace.gpus.backend(policy.prover_backend)
        if trouble:
            log.warning("the prover does without a GPU that is held", instead=wanted, why=trouble)
        threads = policy.prover_threads or spare_threads(workplace.machine.cpus)
        lost, why, advice = "", "no time was left", SLOW
        for backend in (wanted, NUMPY):
            until = _patience_height(window, backend)
            if workplace.heights.height >= until:
                continue
            if lost:
                log.error("a backend is lost; numpy goes on", backend=lost, why=why, advice=advice)
            # Shares that an earlier process found are worth sending even when the time to search is over.
            budget = max(BUDGET_MS_LEAST, _left_ms(workplace, window) - self._reserve_ms)
            order = Order(assignment, backend, budget, self._reached)
            follow = self._follower(workplace, window, order)
            await follow(self._reached)
            try:
                answer = await workplace.heights.before(until, partial(self._prove, order, threads, follow))
            except Fault as fault:
                why, advice = str(fault), fault.reason.hint
            else:
                if answer is not None:
                    return answer
                why, advice = f"the backend {backend} had no answer by block {until}", SLOW
                self._reserve_ms += workplace.chain.params.chain.block_interval_ms
            lost = backend
        self._missed(window, why, advice)
        return None

    def _missed(self, window: ProvingWindow, why: str, advice: str) -> None:
        self.last = f"the window of block {window.window} was missed: {why}"
        log.error("a window is missed: it counts as one without a proof", why=why, advice=advice)

    def _is_ours(self, policy: Policy, spark: OwnSpark, window: ProvingWindow) -> bool:
        return (
            policy.proving
            and spark.is_active
            and not window.has_proved
            and window.window > self._seen
            and spark.registered_epoch < window.epoch
            and window.epoch >= spark.banned_until
        )

    def _follower(self, workplace: Workplace, window: ProvingWindow, order: Order) -> Tell:
        """Keep what the search reports, and say how much of the window's time is gone."""
        assignment, began = order.assignment, trio.current_time()
        interval_ms = workplace.chain.params.chain.block_interval_ms
        whole_ms = (window.search_until - window.window) * interval_ms
        told = -1

        async def follow(progress: Progress) -> None:
            nonlocal told
            self._reached = progress
            left_ms = order.budget_ms - (trio.current_time() - began) * 1000
            percent = max(0, min(100, round(100 * (whole_ms - left_ms) / max(1, whole_ms))))
            self.now = f"window {assignment.window}: {percent} %, {len(progress.shares)} shares"
            if percent // TENTH_PERCENT > told:
                told = percent // TENTH_PERCENT
                log.info(f"proving {self.now}", tiles=progress.tiles)
            if progress == NOT_BEGUN:
                return
            try:
                await trio.to_thread.run_sync(save_search, workplace.folder, assignment, progress)
            except Fault as fault:
                # A search that cannot be kept is still a search.
                log.warning("a search cannot be kept for a restart", why=str(fault))

        return follow

    async def _clear_but(self, workplace: Workplace, window: int) -> None:
        """Delete what was kept of windows that take proofs no more; at most once for each."""
        if window == self._cleared_but:
            return
        self._cleared_but = window
        try:
            await trio.to_thread.run_sync(clear_searches, workplace.folder, window)
        except Fault as fault:
            log.warning("an old search cannot be deleted", why=str(fault))

    async def _send(self, workplace: Workplace, window: ProvingWindow, answer: Answer) -> None:
        shares = answer.proof.count
        if answer.dropped:
            log.error(
                "the hardware computes wrongly; its false shares were kept back", dropped=answer.dropped
            )
        try:
            await workplace.submit(NO_TASK, Prove(answer.proof))
        except Refused as refused:
            self._tell_refusal(workplace, window, refused)
            return
        await self._clear_but(workplace, 0)
        self._reserve_ms = self._reserve_ms * 3 // 4
        self.last = f"{shares} shares in the window of block {window.window}"
        log.info("proved", window=window.window, shares=shares, tiles=answer.tiles)

    def _tell_refusal(self, workplace: Workplace, window: ProvingWindow, refused: Refused) -> None:
        why, advice = str(refused), refused.wording.hint
        self.last = f"the proof for block {window.window} was refused: {refused.wording.sentence}"
        match refused.wording.code:
            case NO_OPEN_WINDOW.code | OTHER_WINDOW.code:
                self._reserve_ms += workplace.chain.params.chain.block_interval_ms
                self.last = f"the proof for block {window.window} came too late"
                advice = f"from now on a search ends {self._reserve_ms} ms earlier; {SLOW}"
                log.warning("a proof came too late, so its window is missed", why=why, advice=advice)
            case ALREADY_PROVED.code:
                log.info("the window is proved already", why=why)
            case _:
                log.warning("a proof was refused, so its window is missed", why=why, advice=advice)


def _left_ms(workplace: Workplace, window: ProvingWindow) -> int:
    """Of the time to search."""
    interval_ms = workplace.chain.params.chain.block_interval_ms
    return (window.search_until - workplace.heights.height) * interval_ms


def _patience_height(window: ProvingWindow, backend: str) -> int:
    """Until when a backend may answer: a card that hangs leaves numpy time to send what it had found."""
    grace = window.last_proof - window.search_until
    return window.last_proof - (grace // 2 if backend != NUMPY and grace >= GRACE_SHARED_LEAST else 0)
