"""Proving compute in the network's windows: search while one is open, send what was found.

Here: `Proving`: when to search, for how long, pausing what runs on the same GPU, sending the proof.
Not here: the search and its second look (prover/), what a proof is worth (vm/measuring.py).
Keeps: one search a window; the proof is on its way before the grace blocks begin; a search that finds
nothing is sent as well: it earns nothing, but shows that the spark is there, and quarters a difficulty
that nobody could meet. D is read anew in the open window, where it cannot change: shares found at an old
one would be false.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from consensus.types.errors import Fault
from spark_node.chain import OwnSpark, ProvingWindow, Refused
from spark_node.policy import Policy
from spark_node.prover.order import Answer, Assignment, Order
from spark_node.prover.process import prove_in_process, spare_threads
from spark_node.workplace import Workplace, log
from vm.resource import NO_OPEN_WINDOW, OTHER_WINDOW, Prove

PROFILE = 1
BUDGET_MS_LEAST = 500
"""Less than this does not pay for starting the prover."""
NUMPY = "numpy"
NO_TASK = bytes(32)

Prover = Callable[[Order, int], Awaitable[Answer]]


class Proving:
    """One machine's proofs."""

    def __init__(self, prove: Prover = prove_in_process) -> None:
        self._prove = prove
        self._seen = 0
        self._reserve_ms = 0
        """Of the time to search, kept for sending: more after a proof came late."""
        self.last = ""
        """What came of the last window, in words; for `status`."""

    async def look(
        self, workplace: Workplace, policy: Policy, spark: OwnSpark, hold: Callable[[bool], Awaitable[None]]
    ) -> None:
        """Search in the open window, if there is one for this spark; returns when its proof is final.

        `hold` freezes what runs, and lets it go on: a prover on the GPU wants it alone.
        """
        window = await workplace.chain.window()
        if window is None or window.seed is None or not self._is_ours(policy, spark, window):
            return
        now = await workplace.chain.spark()
        if now is None or not self._is_ours(policy, now, window):
            return
        interval = workplace.chain.params.chain.block_interval_ms
        left = (window.search_until - workplace.heights.height) * interval
        if left < BUDGET_MS_LEAST:
            return
        budget = max(BUDGET_MS_LEAST, left - self._reserve_ms)
        self._seen = window.window
        order = self._order(workplace, policy, now, window, budget)
        is_alone = not policy.prover_backend.startswith(NUMPY)
        try:
            if is_alone:
                await hold(True)
            answer = await self._prove(order, policy.prover_threads or _spare())
        except Fault as fault:
            self.last = f"the prover failed: {fault}"
            log.error("the prover failed", why=str(fault))
            return
        finally:
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

    def _order(
        self, workplace: Workplace, policy: Policy, spark: OwnSpark, window: ProvingWindow, budget: int
    ) -> Order:
        assert window.seed is not None, "looked at above"
        account = workplace.chain.address
        assignment = Assignment(PROFILE, window.window, window.seed, account, spark.difficulty)
        return Order(assignment, policy.prover_backend, budget)

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
        self._reserve_ms = self._reserve_ms * 3 // 4
        self.last = f"{shares} shares in the window of block {window.window}"
        log.info("proved", window=window.window, shares=shares, tiles=answer.tiles)


def _spare() -> int:
    return spare_threads(len(os.sched_getaffinity(0)))
