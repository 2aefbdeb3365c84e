"""Eight classic bugs, each planted and found, with the invariant that breaks.

A simulation that finds nothing is worth what it would have found. Without the bug the same seeds and
stories pass: test_campaign.py runs the seeds, the stories are run here both ways.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest

from eubchain.node.wal import WAL_NAME
from tests.sim import agreement_seeds, node_seeds, planted
from tests.sim.network import Faults
from tests.sim.outcome import Outcome, in_words
from tests.sim.scripted import B, decisions_after_an_old_polka
from tests.sim.whole.checks import check_blocks
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


async def some_blocks(town: Town) -> None:
    """A quarter of an epoch in a network that repeats and delays."""
    town.faults(Faults(0.0, 0.3, (1, 150)))
    await town.until_height(6, 60_000)
    town.check_all()


async def votes_sent_and_log_lost(town: Town) -> None:
    """One node dies at the moment its guard is written, its log goes with it, and it starts again.

    Alone, a guard written late harms nothing: the log was synced before (F3), and its replay signs the
    same. Alone, a lost log harms nothing either: the guard knows, and silences the height.
    """
    victim = town.nodes[0]
    town.faults(Faults(0.1, 0.0, (1, 900)))
    for _ in range(400):
        await town.run(50)
        if victim.is_up and victim.disk.crash_on is None:
            victim.disk.crash_on = ("vote write signer_guard", 1)
        if not victim.is_up:
            victim.disk.names.pop(WAL_NAME, None)
            victim.start()
    await town.run(2_000)
    town.check()
    await town.heal()
    check_blocks(town, town.nodes[1])
    town.watch.check_slashed()


def an_old_polka() -> str:
    decided = decisions_after_an_old_polka()
    return "agreement: two decisions" if len({d for d in decided if d is not None}) > 1 else ""


PLANTED: dict[str, tuple[planted.Bug, Hunt, str]] = {
    "the lock is dropped": (planted.dropped_lock, seeds_of_agreement(40), "agreement"),
    "a vote is counted twice": (
        planted.vote_counted_twice,
        lambda: violation_of(Plan([1] * 4, {1: Babbler}), some_blocks, 3),
        "liveness|validity|agreement|ended by itself",
    ),
    "an old proof of lock is accepted": (planted.old_proof_of_lock, an_old_polka, "agreement"),
    "a proof of lock is believed unseen": (
        planted.unseen_proof_of_lock, seeds_of_agreement(40), "validity|agreement",
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
    "the header's round is the proposal's": (
        planted.header_round_is_the_proposals, seeds_of_agreement(20), "liveness",
    ),
}  # fmt: skip
"""Bug, who hunts it, the invariant that breaks."""


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found_by_the_invariant_it_breaks(name: str):
    """And by no crash of the simulation itself."""
    bug, hunt, invariant = PLANTED[name]
    with bug():
        violation = hunt()
    assert any(word in violation for word in invariant.split("|")) or _fits(violation, invariant), (
        violation or "not found"
    )


def _fits(violation: str, pattern: str) -> bool:
    parts = pattern.split(".*")
    return len(parts) > 1 and all(part in violation for part in parts)


@pytest.mark.parametrize("name", [n for n, (_, hunt, _) in PLANTED.items() if "seeds_of" not in repr(hunt)])
def test_without_the_bug_the_same_story_ends_well(name: str):
    """Else the hunt would prove nothing."""
    with nullcontext():
        assert PLANTED[name][1]() == ""


def test_without_the_bug_an_old_polka_frees_nobody():
    """Two keep their lock on what the third decided."""
    assert decisions_after_an_old_polka() == [B, None, None]
