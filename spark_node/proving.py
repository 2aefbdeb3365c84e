"""Proving compute in the network's windows: search while one is open, send what was found.

Here: `Proving`: when to search, for how long, pausing what runs on the same GPU, sending the proof.
Not here: the search and its second look (prover/), the file that outlives a restart (search_file.py), what
a proof is worth (vm/measuring.py).
Keeps: one search a window; the proof is on its way before the grace blocks begin; a search that finds
nothing is sent as well: it earns nothing, but shows that the spark is there, and quarters a difficulty
that nobody could meet. A search that was cut off goes on where it stopped, if its window still takes
proofs. D is read anew in the open window, where it cannot change: shares found at an old
one would be false.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import trio

from consensus.types.errors import Fault
from spark_node.chain import OwnSpark, ProvingWindow, Refused
from spark_node.policy import Policy
from spark_node.prover.order import NOT_BEGUN, Answer, Assignment, Order, Progress
from spark_node.prover.process import Tell, prove_in_process, spare_threads
from spark_node.search_file import clear_searches, save_search, saved_search
from spark_node.workplace import Workplace, log
from vm.resource import NO_OPEN_WINDOW, OTHER_WINDOW, Prove

PROFILE = 1
BUDGET_MS_LEAST = 500
"""Less than this does not pay for starting the prover."""
NUMPY = "numpy"
NO_TASK = bytes(32)

TENTH_PERCENT = 10
"""How much further a search is when the log hears of it again."""

Prover = Callable[[Order, int, Tell], Awaitable[Answer]]


class Proving:
    """One machine's proofs."""

    def __init__(self, prove: Prover = prove_in_process) -> None:
        self._prove = prove
        self._seen = 0
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

        `hold` freezes what runs, and lets it go on: a prover on the GPU wants it alone.
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
        interval = workplace.chain.params.chain.block_interval_ms
        left = (window.search_until - workplace.heights.height) * interval
        if left < BUDGET_MS_LEAST and (begun == NOT_BEGUN or workplace.heights.height >= window.last_proof):
            return
        # Shares that an earlier process found are worth sending even when the time to search is over.
        budget = max(BUDGET_MS_LEAST, left - self._reserve_ms)
        self._seen = window.window
        order = Order(assignment, policy.prover_backend, budget, begun)
        whole_ms = (window.search_until - window.window) * interval
        is_alone = not policy.prover_backend.startswith(NUMPY)
        try:
            if is_alone:
                await hold(True)
            follow = self._follower(workplace, order, whole_ms)
            await follow(begun)
            answer = await self._prove(order, policy.prover_threads or _spare(), follow)
        except Fault as fault:
            self.last = f"the prover failed: {fault}"
            log.error("the prover failed", why=str(fault))
            return
        finally:
            self.now = ""
            if is_alone:
                await hold(False)
        await self._send(workplace, window, answer)

    def _is_ours(self, policy: Policy, spark: OwnSpark, window: ProvingWindow) -> bool:
        return (
            policy.proving
            and spark.is_active
            and not window.has_proved
            and window.window > self._seen
            and spark.registered_epoch < window.epoch
            and window.epoch >= spark.banned_until
        )

    def _follower(self, workplace: Workplace, order: Order, whole_ms: int) -> Tell:
        """Keep what the search reports, and say how much of the window's time is gone."""
        assignment, began = order.assignment, trio.current_time()
        told = -1

        async def follow(progress: Progress) -> None:
            nonlocal told
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
            if refused.wording.code in (NO_OPEN_WINDOW.code, OTHER_WINDOW.code):
                self._reserve_ms += workplace.chain.params.chain.block_interval_ms
            self.last = f"the proof for block {window.window} was refused: {refused.wording.sentence}"
            log.warning("a proof was refused", why=str(refused))
            return
        await self._clear_but(workplace, 0)
        self._reserve_ms = self._reserve_ms * 3 // 4
        self.last = f"{shares} shares in the window of block {window.window}"
        log.info("proved", window=window.window, shares=shares, tiles=answer.tiles)


def _spare() -> int:
    return spare_threads(len(os.sched_getaffinity(0)))
