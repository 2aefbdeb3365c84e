"""Who hunts which planted bug, and by which invariant it is found.

Here: `PLANTED`, hunts that return the violation they met. Not here: bugs (planted.py), stories (stories.py).
Keeps: a hunt finds nothing without its bug.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.sim import agreement_seeds, node_seeds, planted
from tests.sim.outcome import Outcome, in_words
from tests.sim.scripted import decisions_after_an_old_polka
from tests.sim.stories import (
    PROVING,
    SPLIT,
    one_decides_unheard,
    some_blocks,
    votes_sent_and_log_lost,
    windows_and_faults,
)
from tests.sim.whole.liars.babbler import Babbler
from tests.sim.whole.liars.forger import FutureProposer
from tests.sim.whole.town import Plan, Town, play

Hunt = Callable[[], str]


def first_violation(run_seed: Callable[[int], Outcome], seeds: int) -> str:
    """Of the first seed that fails; empty if none does."""
    for seed in range(seeds):
        outcome = run_seed(seed)
        if not outcome.ok:
            return outcome.violation
    return ""


def violation_of(plan: Plan, story: Callable[[Town], Any], seeds: int) -> str:
    """The same for a story told to several seeds."""
    for seed in range(seeds):
        try:
            play(seed, plan, story)
        except (AssertionError, BaseExceptionGroup) as error:
            return in_words(error)
    return ""


def seeds_of_agreement(count: int) -> Hunt:
    return lambda: first_violation(agreement_seeds.run_seed, count)


def seeds_of_nodes(count: int) -> Hunt:
    return lambda: first_violation(node_seeds.run_seed, count)


def an_old_polka() -> str:
    decided = decisions_after_an_old_polka()
    return "agreement: two decisions" if len({d for d in decided if d is not None}) > 1 else ""


PLANTED: dict[str, tuple[planted.Bug, Hunt, str]] = {
    "the lock is dropped": (planted.dropped_lock, seeds_of_agreement(60), "agreement|validity"),
    "a vote is counted twice": (
        planted.vote_counted_twice,
        lambda: violation_of(Plan([1] * 4, {1: Babbler}), some_blocks, 12),
        "liveness|validity|agreement|ended by itself",
    ),
    "an old proof of lock is accepted": (planted.old_proof_of_lock, an_old_polka, "agreement"),
    "a proof of lock is believed unseen": (
        planted.unseen_proof_of_lock, seeds_of_agreement(150), "validity|agreement",
    ),
    "the log is forgotten": (planted.forgotten_log, seeds_of_agreement(20), "liveness"),
    "the log lacks the block": (planted.body_not_in_the_log, seeds_of_nodes(20), "ended by itself.*KeyError"),
    "the guard is written after sending": (
        planted.guard_after_send,
        lambda: violation_of(Plan([1] * 4), votes_sent_and_log_lost, 4),
        "double signing",
    ),
    "any time is timely": (
        planted.any_time_is_timely,
        lambda: violation_of(Plan([1] * 4, {0: FutureProposer}), some_blocks, 6),
        "time: ",
    ),
    "the lock is dropped, in whole nodes": (
        planted.dropped_lock,
        lambda: violation_of(SPLIT, one_decides_unheard, 20),
        "agreement: 2 blocks|2060 diverged",
    ),
    "every share is believed": (
        planted.shares_believed, lambda: violation_of(PROVING, windows_and_faults, 1), "validity",
    ),
    "the header's round is the proposal's": (
        planted.header_round_is_the_proposals, seeds_of_agreement(20), "liveness",
    ),
}  # fmt: skip
"""Bug, who hunts it, the invariant that breaks."""


def is_found(violation: str, invariant: str) -> bool:
    """Whether a violation is of the invariant: one of its words, or all parts around `.*`."""
    parts = invariant.split(".*")
    if len(parts) > 1 and all(part in violation for part in parts):
        return True
    return any(word in violation for word in invariant.split("|"))


def hunt_all() -> str:
    """How many planted bugs are found, of how many, and which are not."""
    missed = []
    for name, (bug, hunt, invariant) in PLANTED.items():
        with bug():
            violation = hunt()
        if not is_found(violation, invariant):
            missed.append(f"{name} ({violation or 'nothing seen'})")
    found = f"planted bugs found: {len(PLANTED) - len(missed)} of {len(PLANTED)}"
    return "; not: ".join([found, *missed])
