"""The agreement machine, rule by rule: words, what happened before, the input, what must follow.

The last test fails when a tag of the source is reached by no case of the table.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from consensus.agreement.effects import (
    BuildBlock,
    Decide,
    Diverged,
    Effect,
    Rebroadcast,
    ReportEvidence,
    RequestBlock,
    RequestValidity,
    ScheduleTimeout,
    SignAndSendProposal,
    SignVote,
)
from consensus.agreement.inputs import (
    BlockBuilt,
    BlockChecked,
    BlockReceived,
    Input,
    StartHeight,
    TimeoutKind,
)
from consensus.agreement.machine import commit_of, step
from consensus.agreement.state import Point, Stage, State
from consensus.types.vote import PRECOMMIT, PREVOTE, PROPOSAL
from tests.agreement_world import (
    EARLIEST_MS,
    HEIGHT,
    X,
    Y,
    certificate,
    here,
    lines,
    precommits,
    prevotes,
    proposal,
    proposed,
    run,
    start_height,
    then,
    timeout,
    validator_set,
    vote,
    without_lines,
)

PROPOSE, PREVOTE_WAIT, PRECOMMIT_WAIT = TimeoutKind.PROPOSE, TimeoutKind.PREVOTE, TimeoutKind.PRECOMMIT


def sign_prevote(block_id: bytes | None, round_: int = 0) -> SignVote:
    return SignVote(PREVOTE, HEIGHT, round_, block_id)


def sign_precommit(block_id: bytes | None, round_: int = 0) -> SignVote:
    return SignVote(PRECOMMIT, HEIGHT, round_, block_id)


def wait(kind: TimeoutKind, round_: int, after_ms: int, not_before_ms: int = 0) -> ScheduleTimeout:
    return ScheduleTimeout(kind, round_, after_ms, not_before_ms)


WAIT_REBROADCAST = wait(TimeoutKind.REBROADCAST, 0, 2_000)
OTHERS = start_height((0, 1, 2))
"""This node, 3, proposes in none of the first rounds."""
MINE = start_height((3, 3, 3))
MINE_SECOND = start_height((0, 3, 1))

PREVOTED_X: list[Input] = [proposed(X), *here(X), *prevotes([3], X)]
"""Up to this node's own prevote for X."""
LOCKED_X: list[Input] = [*PREVOTED_X, *prevotes([0, 1], X), *precommits([3], X)]
TO_ROUND_1: list[Input] = [*precommits([0, 1], None), timeout(PRECOMMIT_WAIT, 0)]
LOCKED_IN_ROUND_1: list[Input] = [*LOCKED_X, *TO_ROUND_1]


class Case(NamedTuple):
    """One row."""

    words: str
    start: StartHeight
    before: list[Input]
    event: Input | None
    """None looks at the start itself."""
    lines: list[str]
    effects: list[Effect]
    after: dict[str, object]


COMMIT_X = certificate(PRECOMMIT, X).certificate

CASES = [
    Case("a height starts by waiting for another's proposal until the parent's interval is over",
         OTHERS, [], None, ["L10"], [WAIT_REBROADCAST, wait(PROPOSE, 0, 1_000, EARLIEST_MS)],
         {"round": 0, "stage": Stage.PROPOSE}),
    Case("a proposer starts by building a block", MINE, [], None, ["L10", "L18"],
         [WAIT_REBROADCAST, wait(PROPOSE, 0, 1_000, EARLIEST_MS), BuildBlock(0)], {}),
    Case("a built block is proposed", MINE, [], BlockBuilt(0, X), ["L19"],
         [SignAndSendProposal(HEIGHT, 0, X, None, None)], {"has_proposed": True}),
    Case("a block built too late is dropped", MINE, [timeout(PROPOSE)], BlockBuilt(0, X), [], [], {}),
    Case("a second built block is dropped", MINE, [BlockBuilt(0, X)], BlockBuilt(0, Y), [], [], {}),
    Case("a block nobody asked for is dropped", OTHERS, [], BlockBuilt(0, X), [], [], {}),
    Case("a proposer validates its own block like any other", MINE, [BlockBuilt(0, X)], proposed(X),
         [], [RequestBlock(X)], {"stage": Stage.PROPOSE}),
    Case("a proposal makes the node fetch its block", OTHERS, [], proposed(X), [], [RequestBlock(X)], {}),
    Case("a complete block is executed", OTHERS, [proposed(X)], BlockReceived(X), [],
         [RequestValidity(X)], {}),
    Case("a block that arrives twice is executed once", OTHERS, [proposed(X), BlockReceived(X)],
         BlockReceived(X), [], [], {}),
    Case("a block nobody named is not executed", OTHERS, [], BlockReceived(X), [], [], {}),
    Case("a verdict nobody asked for changes nothing", OTHERS, [], BlockChecked(X, True), [], [], {}),
    Case("a valid new block is prevoted", OTHERS, [proposed(X), BlockReceived(X)], BlockChecked(X, True),
         ["L24"], [sign_prevote(X)], {"stage": Stage.PREVOTE}),
    Case("an invalid new block gets a prevote for nil", OTHERS, [proposed(X), BlockReceived(X)],
         BlockChecked(X, False), ["L26"], [sign_prevote(None)], {"stage": Stage.PREVOTE}),
    Case("an untimely block gets a prevote for nil and is not fetched", OTHERS, [],
         proposed(X, timely=False), ["L26"], [sign_prevote(None)], {"blocks": {}}),
    Case("a new block whose header is of another round gets a prevote for nil", OTHERS,
         [timeout(PROPOSE), *precommits([0, 1, 2], None), timeout(PRECOMMIT_WAIT)],
         proposed(X, 1, header_round=0), ["L26"], [sign_prevote(None, 1)], {}),
    Case("a locked node prevotes nil for another new block without executing it", OTHERS,
         LOCKED_IN_ROUND_1, proposed(Y, 1), ["L26"], [RequestBlock(Y), sign_prevote(None, 1)],
         {"locked": Point(0, X)}),
    Case("a locked node prevotes its own block when it is proposed as new", OTHERS, LOCKED_IN_ROUND_1,
         proposed(X, 1), ["L24"], [sign_prevote(X, 1)], {}),
    Case("a re-proposal waits for the polka it names", OTHERS,
         [timeout(PROPOSE), *precommits([0, 1, 2], None), timeout(PRECOMMIT_WAIT),
          proposed(X, 1, 0), BlockReceived(X)], BlockChecked(X, True), [], [], {"stage": Stage.PROPOSE}),
    Case("a re-proposal with its polka is prevoted", OTHERS,
         [timeout(PROPOSE), *precommits([0, 1, 2], None), timeout(PRECOMMIT_WAIT),
          proposed(X, 1, 0, timely=False), *here(X)], certificate(PREVOTE, X), ["L30"],
         [sign_prevote(X, 1)], {"stage": Stage.PREVOTE}),
    Case("an invalid re-proposal gets nil", OTHERS,
         [timeout(PROPOSE), *precommits([0, 1, 2], None), timeout(PRECOMMIT_WAIT),
          certificate(PREVOTE, X), proposed(X, 1, 0), BlockReceived(X)], BlockChecked(X, False), ["L32"],
         [sign_prevote(None, 1)], {}),
    Case("a re-proposal whose header is younger than its polka gets nil", OTHERS,
         [timeout(PROPOSE), *precommits([0, 1, 2], None), timeout(PRECOMMIT_WAIT)],
         proposed(X, 1, 0, header_round=1), ["L32"], [sign_prevote(None, 1)], {}),
    Case("a later polka frees from an older lock", OTHERS,
         [*LOCKED_IN_ROUND_1, timeout(PROPOSE, 1), *precommits([0, 1, 2], None, 1),
          timeout(PRECOMMIT_WAIT, 1), proposed(Y, 2, 1), *here(Y)], certificate(PREVOTE, Y, 1), ["L30"],
         [sign_prevote(Y, 2)], {"locked": Point(0, X)}),
    Case("an older polka does not free from a later lock", start_height((0, 1, 2)),
         [timeout(PROPOSE), *precommits([0, 1, 2], None), timeout(PRECOMMIT_WAIT),
          proposed(X, 1), *here(X), *prevotes([0, 1, 2], X, 1), *precommits([0, 1], None, 1),
          *precommits([3], X, 1), timeout(PRECOMMIT_WAIT, 1), certificate(PREVOTE, Y, 0)],
         proposed(Y, 2, 0), ["L32"], [RequestBlock(Y), sign_prevote(None, 2)], {"locked": Point(1, X)}),
    Case("a silent proposer costs a prevote for nil", OTHERS, [], timeout(PROPOSE), ["L59"],
         [sign_prevote(None)], {"stage": Stage.PREVOTE}),
    Case("a block still incomplete at the timeout costs a prevote for nil", OTHERS, [proposed(X)],
         timeout(PROPOSE), ["L59"], [sign_prevote(None)], {}),
    Case("a complete block under execution outlasts the timeout", OTHERS,
         [proposed(X), BlockReceived(X)], timeout(PROPOSE), [], [], {"stage": Stage.PROPOSE}),
    Case("and is voted for when its verdict comes", OTHERS,
         [proposed(X), BlockReceived(X), timeout(PROPOSE)], BlockChecked(X, True), ["L24"],
         [sign_prevote(X)], {}),
    Case("a proposer waits no longer than others for its own proposal", MINE, [], timeout(PROPOSE),
         ["L59"], [sign_prevote(None)], {}),
    Case("a timeout of the past changes nothing", OTHERS, PREVOTED_X, timeout(PROPOSE), [], [], {}),
    Case("a timeout of another round changes nothing", OTHERS, [], timeout(PRECOMMIT_WAIT, 3), [], [], {}),
    Case("prevotes that differ start a wait", OTHERS, [*PREVOTED_X, *prevotes([0], None)],
         *prevotes([1], None), ["L35"], [wait(PREVOTE_WAIT, 0, 500)], {"has_prevote_timeout": True}),
    Case("once", OTHERS, [*PREVOTED_X, *prevotes([0, 1], None)], *prevotes([2], X), [], [],
         {"has_prevote_timeout": True}),
    Case("at its end this node precommits nil", OTHERS, [*PREVOTED_X, *prevotes([0, 1], None)],
         timeout(PREVOTE_WAIT), ["L63"], [sign_precommit(None)], {"stage": Stage.PRECOMMIT}),
    Case("a polka locks and is precommitted", OTHERS, [*PREVOTED_X, *prevotes([0], X)],
         *prevotes([1], X), ["L40"], [sign_precommit(X)],
         {"stage": Stage.PRECOMMIT, "locked": Point(0, X), "valid": Point(0, X)}),
    Case("a polka for a block of unknown validity waits for it", OTHERS,
         [timeout(PROPOSE), *prevotes([3], None), *prevotes([0, 1], X)], *prevotes([2], X), [],
         [RequestBlock(X)], {"stage": Stage.PREVOTE}),
    Case("and locks when the verdict comes", OTHERS,
         [timeout(PROPOSE), *prevotes([3], None), *prevotes([0, 1, 2], X), BlockReceived(X)],
         BlockChecked(X, True), ["L40"], [sign_precommit(X)], {"locked": Point(0, X)}),
    Case("a polka seen too late only tells what to propose next", OTHERS,
         [*PREVOTED_X, *prevotes([0], X), *prevotes([1], None), timeout(PREVOTE_WAIT),
          *precommits([3], None)], *prevotes([2], X), ["L42"], [],
         {"locked": None, "valid": Point(0, X)}),
    Case("a polka seen while waiting for the proposal is used after the prevote", OTHERS,
         [*prevotes([0, 1, 2], X), proposed(X), BlockReceived(X)], BlockChecked(X, True),
         ["L24", "L40"], [sign_prevote(X), sign_precommit(X)], {"locked": Point(0, X)}),
    Case("a polka for nil is precommitted as nil", OTHERS, [timeout(PROPOSE), *prevotes([0, 1], None)],
         *prevotes([3], None), ["L45"], [sign_precommit(None)], {"stage": Stage.PRECOMMIT}),
    Case("precommits that differ start a wait", OTHERS, [*LOCKED_X, *precommits([0], None)],
         *precommits([1], None), ["L48"], [wait(PRECOMMIT_WAIT, 0, 500)], {}),
    Case("at its end the next round begins", OTHERS, [*LOCKED_X, *precommits([0, 1], None)],
         timeout(PRECOMMIT_WAIT), ["L67"], [wait(PROPOSE, 1, 1_500)],
         {"round": 1, "stage": Stage.PROPOSE, "has_prevote_timeout": False}),
    Case("a proposer of a later round proposes the valid block with its polka", MINE_SECOND,
         [*LOCKED_X, *precommits([0, 1], None)], timeout(PRECOMMIT_WAIT), ["L67", "L16"],
         [wait(PROPOSE, 1, 1_500),
          SignAndSendProposal(HEIGHT, 1, X, 0, certificate(PREVOTE, X, 0, (0, 1, 3)).certificate)], {}),
    Case("a commit decides", OTHERS, [*LOCKED_X, *precommits([0], X)], *precommits([1], X), ["L51"],
         [Decide(HEIGHT, X, 0, certificate(PRECOMMIT, X, 0, (0, 1, 3)).certificate.commit())],
         {"stage": Stage.DECIDED}),
    Case("a commit of an earlier round decides", OTHERS,
         [*LOCKED_X, *precommits([0], X), *precommits([1], None), timeout(PRECOMMIT_WAIT)],
         *precommits([2], X), ["L51"],
         [Decide(HEIGHT, X, 0, certificate(PRECOMMIT, X, 0, (0, 2, 3)).certificate.commit())],
         {"stage": Stage.DECIDED, "round": 1}),
    Case("a commit without its block fetches it", OTHERS, [], certificate(PRECOMMIT, X), ["L48"],
         [RequestBlock(X), wait(PRECOMMIT_WAIT, 0, 500)], {"commit": COMMIT_X}),
    Case("and decides when it is valid", OTHERS, [certificate(PRECOMMIT, X), BlockReceived(X)],
         BlockChecked(X, True), ["L51"], [Decide(HEIGHT, X, 0, COMMIT_X.commit())], {}),
    Case("a commit of a round to come decides without entering it", OTHERS, [*PREVOTED_X],
         certificate(PRECOMMIT, X, 5), ["L51"],
         [Decide(HEIGHT, X, 5, certificate(PRECOMMIT, X, 5).certificate.commit())], {"round": 0}),
    Case("one validator ahead moves nobody", OTHERS, [], *prevotes([0], None, 4), [], [], {"round": 0}),
    Case("more than a third ahead take this node along", OTHERS, prevotes([0], None, 4),
         *precommits([1], None, 3), ["L56"], [wait(PROPOSE, 3, 2_500)], {"round": 3}),
    Case("a polka of a round to come takes this node there", OTHERS, [], certificate(PREVOTE, X, 2),
         ["L56"], [wait(PROPOSE, 2, 2_000), RequestBlock(X)], {"round": 2}),
    Case("a polka for an invalid block says that this node diverged", OTHERS,
         [proposed(X), BlockReceived(X), BlockChecked(X, False), *prevotes([0, 1], X)],
         *prevotes([2], X), ["L35"],
         [Diverged(certificate(PREVOTE, X).certificate), wait(PREVOTE_WAIT, 0, 500)],
         {"stage": Stage.PREVOTE}),
    Case("and a second verdict after that is believed", OTHERS,
         [proposed(X), BlockReceived(X), BlockChecked(X, False), *prevotes([0, 1, 2], X)],
         BlockChecked(X, True), ["L40"], [sign_precommit(X)], {}),
    Case("what is known is known", OTHERS, PREVOTED_X, *prevotes([3], X), [], [], {}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.words for case in CASES])
def test_rule(case: Case):
    """Every row of the table."""
    if case.event is None:
        state, effects = run(case.start)
    else:
        before, _ = run(case.start, case.before)
        state, effects = then(before, case.event)
        if not effects and not case.after:
            assert state is before, "what changes nothing returns the same state"
    assert lines(effects) == case.lines
    assert without_lines(effects) == case.effects
    for name, value in case.after.items():
        assert getattr(state, name) == value, name


def test_a_follower_without_a_voice_decides_too():
    """A node outside the set goes the same way and signs nothing."""
    state, effects = run(
        start_height((0,), me=None), proposed(X), here(X), prevotes([0, 1, 2], X), precommits([0, 1, 2], X)
    )
    assert state.stage is Stage.DECIDED
    assert not [e for e in effects if isinstance(e, SignVote | SignAndSendProposal)]


def test_a_validator_alone_decides_by_itself():
    """Its own votes are a quorum."""
    start = start_height((0,), me=0, size=1)
    state, effects = run(start, BlockBuilt(0, X), proposed(X), here(X), prevotes([0], X))
    assert sign_precommit(X) in effects
    state, effects = then(state, precommits([0], X))
    assert isinstance(effects[-1], Decide)
    assert effects[-1].commit.bitmap == b"\x01"


def test_precommits_after_the_decision_make_the_commit_fuller():
    """Whoever signs late is still paid."""
    state, _ = run(OTHERS, LOCKED_X, precommits([0, 1], X))
    assert len(commit_of(state).signatures) == 3
    state, effects = then(state, precommits([2], X))
    assert effects == []
    assert len(commit_of(state).signatures) == 4
    assert then(state, prevotes([2], X), proposed(Y), timeout(PRECOMMIT_WAIT))[0] is state


def test_a_commit_learnt_whole_is_the_commit_of_the_height():
    """When this node counted fewer votes than the certificate it got."""
    state, _ = run(OTHERS, PREVOTED_X, certificate(PRECOMMIT, X, 5))
    assert commit_of(state).round == 5


@pytest.mark.parametrize("round_", [0, 6])
def test_two_votes_of_one_validator_are_evidence_once(round_: int):
    """In this round and in one to come; the first vote counts."""
    state, _ = run(OTHERS, prevotes([1], X, round_))
    state, effects = then(state, prevotes([1], Y, round_))
    (report,) = effects
    assert isinstance(report, ReportEvidence)
    proof = report.evidence
    assert (proof.kind, proof.round, proof.key) == (PREVOTE, round_, validator_set()[1].key)
    assert (proof.a.block_id, proof.b.block_id) == (X, Y)
    assert then(state, prevotes([1], Y, round_), prevotes([1], None, round_)) == (state, [])


@pytest.mark.parametrize("round_", [0, 2])
def test_two_proposals_of_one_round_are_evidence_once(round_: int):
    """The first counts, the second is kept, a third is nothing."""
    state, _ = run(OTHERS, proposed(Y, round_))
    state, effects = then(state, proposed(X, round_))
    (report,) = effects
    assert isinstance(report, ReportEvidence)
    proof = report.evidence
    assert (proof.kind, proof.a.block_id, proof.b.block_id) == (PROPOSAL, X, Y)
    assert proof.key == validator_set()[0 if round_ == 0 else 2].key
    assert then(state, proposed(b"z" * 32, round_)) == (state, [])


def test_a_certificate_outranks_the_first_vote_of_a_double_signer():
    """One that told this node nil and the others X cannot hide the polka from it."""
    state, _ = run(OTHERS, PREVOTED_X, prevotes([0], None), prevotes([1], X))
    assert state.stage is Stage.PREVOTE
    state, effects = then(state, certificate(PREVOTE, X))
    reports = [e.evidence for e in effects if isinstance(e, ReportEvidence)]
    assert [(r.a.block_id, r.b.block_id) for r in reports] == [(None, X)]
    assert state.locked == Point(0, X)


def test_what_was_said_for_a_round_to_come_counts_once_it_begins():
    """A proposal and votes that ran ahead are not asked for again."""
    start = start_height((0, 1, 2))
    state, _ = run(start, proposed(X, 1), prevotes([1], X, 1))
    state, effects = then(state, prevotes([0], X, 1))
    assert state.round == 1
    assert RequestBlock(X) in effects
    state, effects = then(state, here(X), prevotes([3], X, 1))
    assert sign_precommit(X, 1) in effects


def test_a_validator_that_names_ever_higher_rounds_changes_little():
    """Each change is an input that the log keeps; a height that stands still could fill the disk."""
    state, _ = run(start_height())
    changes = 0
    for round_ in [*range(1, 5_000), *range(2**32 - 5_000, 2**32)]:
        before = state
        state, _ = then(state, prevotes([0], X, round_))
        changes += state is not before
    assert changes < 250
    near, _ = then(run(start_height())[0], *[prevotes([0], X, round_) for round_ in range(1, 9)])
    assert near.votes.future[0] is not None
    assert near.votes.future[0].round == 8, "next to this node every round is heard"


def test_only_the_highest_round_of_each_validator_is_kept_ahead():
    """Memory does not grow with the rounds that one validator invents."""
    state, _ = run(OTHERS)
    for round_ in range(1, 200):
        state, _ = then(state, prevotes([0], X, round_), precommits([0], None, round_))
    state, effects = then(state, prevotes([0], None, 50))
    assert effects == []
    assert state.votes.rounds == {}
    slot, *others = state.votes.future
    assert others == [None, None, None]
    assert slot is not None
    assert 199 - 199 // 8 <= slot.round <= 199, "far ahead not every round is heard"


def test_rebroadcast_says_what_a_lost_peer_needs():
    """The polka, the precommits that justified entering the round, and everybody's votes of it.

    Others' too: whoever has no line to one of them hears of it from a third.
    """
    state, _ = run(MINE_SECOND, LOCKED_IN_ROUND_1)
    state, _ = then(state, proposed(X, 1, 0), prevotes([3, 1], X, 1))
    same, effects = then(state, timeout(TimeoutKind.REBROADCAST, 0))
    assert same is state
    again, timer = effects
    assert isinstance(again, Rebroadcast)
    assert list(again.messages) == [
        proposal(X, 1, 0),
        certificate(PREVOTE, X, 0, (0, 1, 3)).certificate,
        *[vote(PRECOMMIT, i, None) for i in (0, 1)],
        vote(PRECOMMIT, 3, X),
        *[vote(PREVOTE, i, X, 1) for i in (1, 3)],
    ]
    assert timer == wait(TimeoutKind.REBROADCAST, 1, 2_000)


def test_rebroadcast_after_a_skip_shows_who_was_met_ahead():
    """No quorum of the round before is known, so the votes that led here are repeated."""
    state, _ = run(OTHERS, prevotes([0, 1], None, 3))
    _, effects = then(state, timeout(TimeoutKind.REBROADCAST, 0))
    assert effects[0] == Rebroadcast((vote(PREVOTE, 0, None, 3), vote(PREVOTE, 1, None, 3)))


def test_a_proposal_whose_block_is_not_here_is_not_repeated():
    """This node signed it in a life it has forgotten, or a twin did: there is nothing to send with it."""
    state, _ = run(MINE, proposed(X))
    _, effects = then(state, timeout(TimeoutKind.REBROADCAST, 0))
    assert effects[0] == Rebroadcast(())
    state, _ = then(state, BlockReceived(X))
    _, effects = then(state, timeout(TimeoutKind.REBROADCAST, 0))
    assert effects[0] == Rebroadcast((proposal(X),))


def test_rebroadcast_of_a_known_commit_is_the_commit():
    """It is all that anybody needs."""
    state, _ = run(OTHERS, certificate(PRECOMMIT, X))
    _, effects = then(state, timeout(TimeoutKind.REBROADCAST, 0))
    assert effects[0] == Rebroadcast((COMMIT_X,))


def test_waiting_grows_with_the_round_up_to_five_minutes():
    """Until the network is fast enough."""
    duration = OTHERS.timeouts.duration_ms
    assert [duration(PROPOSE, r) for r in (0, 1, 10)] == [1_000, 1_500, 6_000]
    assert [duration(PREVOTE_WAIT, r) for r in (0, 1, 10)] == [500, 750, 3_000]
    assert duration(PRECOMMIT_WAIT, 2**32 - 1) == 300_000


def test_a_message_of_another_height_is_our_own_mistake():
    """The driver routes by height."""
    state, _ = run(OTHERS)
    wrong = vote(PREVOTE, 0, X)
    with pytest.raises(AssertionError):
        step(state, type(prevotes([0], X)[0])(type(wrong)(PREVOTE, HEIGHT + 1, 0, X, 0, wrong.signature)))


def test_the_table_reaches_every_tag():
    """A tag that no row reaches is a branch that nobody has seen work."""
    folder = Path(__file__).parents[2] / "consensus" / "agreement"
    source = "".join((folder / name).read_text() for name in ("rules.py", "machine.py"))
    tags = set(re.findall(r'"(L\d+)"', source))
    assert len(tags) >= 17
    assert tags == {line for case in CASES for line in case.lines}


def test_states_are_values():
    """Nothing is changed in place: an old state answers as before after any number of steps."""
    states: list[State] = []
    state, _ = run(OTHERS)
    events = [*LOCKED_IN_ROUND_1, proposed(Y, 1), *prevotes([0, 1, 2], Y, 1)]
    for event in events:
        states.append(state)
        state, _ = step(state, event)
    again = step(None, OTHERS)[0]
    for event, old in zip(events, states, strict=True):
        assert old == again
        again, _ = step(again, event)
    assert again == state
