"""What the proofs of a window claim, and who judges it.

Here: who may prove, the claims as verifiers judge them, the ways to a verdict.
Not here: judging itself (consensus/resource/share.py), what a verdict leads to (vm/measuring.py).
Keeps: a claim is final once the sample beacon is; until then every share is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from consensus.resource.proof import SHARE_BYTES, Claim, sample_size, sampled
from consensus.resource.windows import closes_at, opens_at
from vm.slices import SLICE_CLAIMS, to_the_end
from vm.spark import ACTIVE, SPARKS, Spark
from vm.state import State
from vm.windows import PROOFS, LastWindow, last_window

Judge = Callable[[Claim], int]
"""A verdict on a claim: n, or the index of the first share that is false. Pure, so it may be known ahead."""


def judge_here(claim: Claim) -> int:
    """Judge by recomputing in this process."""
    # Imported when first needed: share.py is the only module that needs numpy, and a node that has its
    # verdicts computed by workers never loads it.
    from consensus.resource.share import verify

    return verify(claim)


def take_as_true(claim: Claim) -> int:
    """The verdict that all shares are true: what a proof in a block that the network agreed on mostly has."""
    return len(claim.shares) // SHARE_BYTES


def is_new_to(spark: Spark, epoch: int) -> bool:
    """Whether the spark registered too late for a window announced in `epoch`: not in an earlier one."""
    return spark.registered_epoch >= epoch


def may_prove(spark: Spark | None, epoch: int) -> bool:
    """Whether a spark may prove in a window announced in `epoch`, had it not yet."""
    return (
        spark is not None
        and spark.status == ACTIVE
        and not is_new_to(spark, epoch)
        and epoch >= spark.banned_until
    )


def claims(state: State, last: LastWindow) -> list[tuple[bytes, Claim]]:
    """Every proof of the window in one go; see `claims_in_slices`."""
    return to_the_end(claims_in_slices(state, last))


def claims_in_slices(state: State, last: LastWindow) -> Generator[None, None, list[tuple[bytes, Claim]]]:
    """Every proof of the window with its account, as it would be judged now; by address.

    What is checked may still change while proofs come in: it is final once `sample_beacon` is set.
    """
    if last.is_closed or last.seed is None:
        return []
    found: list[tuple[bytes, Claim]] = []
    window = last.window
    for index, (address, proof) in enumerate(state.scan(PROOFS)):
        if index % SLICE_CLAIMS == 0:
            yield
        spark = state.get(SPARKS, address)
        assert spark is not None, "only sparks prove"
        count = len(proof.shares) // SHARE_BYTES
        checked = tuple(range(count))
        if last.sample_beacon is not None:
            size = sample_size(count, last.shares, last.proofs, window.verify_budget)
            checked = sampled(last.sample_beacon, address, count, size)
        claim = Claim(
            window.profile, opens_at(window), last.seed, address, spark.difficulty, proof.shares, checked
        )
        found.append((address, claim))
    return found


def claims_to_close(state: State) -> Generator[None, None, list[Claim]]:
    """What the next block will judge: the claims of a window that closes in it, else nothing."""
    last = last_window(state)
    if last is None or last.is_closed or state.block.height + 1 != closes_at(last.window):
        return []
    found = yield from claims_in_slices(state, last)
    return [claim for _, claim in found if claim.checked]
