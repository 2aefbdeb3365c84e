"""The agreement machine under any order of inputs, sensible or not."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.agreement.effects import Decide, Effect, SignAndSendProposal, SignVote
from consensus.agreement.inputs import (
    BlockBuilt,
    BlockChecked,
    BlockReceived,
    Input,
    ProposalReceived,
    TimeoutFired,
    TimeoutKind,
    VoteReceived,
)
from consensus.agreement.machine import commit_of, step
from consensus.agreement.replay import replay
from consensus.agreement.state import BlockStatus, Stage, State
from consensus.agreement.votes import quorum_of
from consensus.types.vote import PRECOMMIT, PREVOTE, PROPOSAL
from consensus.validators import is_quorum
from tests.agreement_world import SIZE, X, Y, certificate, proposed, start_height, vote

ROUNDS = st.integers(0, 3)
BLOCKS = st.sampled_from([X, Y])
KINDS = st.sampled_from([PREVOTE, PRECOMMIT])
START = start_height((0, 3, 1, 3))
"""This node, 3, proposes in rounds 1 and 3."""


@st.composite
def proposals(draw: st.DrawFn) -> ProposalReceived:
    round_ = draw(ROUNDS)
    valid_round = draw(st.sampled_from([None, *range(round_)]))
    return proposed(draw(BLOCKS), round_, valid_round, draw(ROUNDS), draw(st.booleans()))


EVENTS: st.SearchStrategy[Input] = st.one_of(
    st.builds(
        lambda kind, who, block, round_: VoteReceived(vote(kind, who, block, round_)),
        KINDS, st.integers(0, SIZE - 1), st.sampled_from([X, X, Y, None]), ROUNDS,
    ),
    proposals(),
    st.builds(BlockReceived, BLOCKS),
    st.builds(BlockChecked, BLOCKS, st.sampled_from([True, True, False])),
    st.builds(BlockBuilt, ROUNDS, BLOCKS),
    st.builds(TimeoutFired, st.sampled_from(list(TimeoutKind)), ROUNDS),
    st.builds(certificate, KINDS, BLOCKS, ROUNDS),
)  # fmt: skip


def check_state(state: State) -> None:
    """What holds whatever others say."""
    assert all(round_ <= state.round for round_ in [*state.votes.rounds, *state.proposals])
    assert all(len(held) <= 2 for held in state.proposals.values())
    assert all(slot is None or slot.round > state.round for slot in state.votes.future)
    assert len(state.blocks) <= 3 * (state.round + 1) + 1
    if state.locked is not None:
        assert state.valid is not None
        assert state.valid.round >= state.locked.round
        polka = quorum_of(state.votes, state.locked.round, PREVOTE)
        assert polka is not None


def check_effects(before: State, state: State, effects: tuple[Effect, ...]) -> None:
    """A precommit has a polka behind it, a decision a commit and a valid block."""
    for effect in effects:
        if isinstance(effect, SignVote) and effect.kind == PRECOMMIT and effect.block_id is not None:
            polka = quorum_of(state.votes, effect.round, PREVOTE)
            assert polka is not None
            assert polka.block_id == effect.block_id
            assert state.blocks[effect.block_id] is BlockStatus.VALID
        if isinstance(effect, Decide):
            assert before.stage is not Stage.DECIDED
            assert state.blocks[effect.block_id] is BlockStatus.VALID
            signers = effect.commit.signers(SIZE)
            assert is_quorum(sum(START.validators[i].power for i in signers))
            assert commit_of(state).block_id == effect.block_id


@settings(max_examples=300)
@given(events=st.lists(EVENTS, max_size=60))
def test_any_inputs_keep_what_the_machine_promises(events: list[Input]):
    """Steps that are signed only grow, memory is bounded, and the log's inputs give the state back."""
    state, effects = step(None, START)
    steps: list[tuple[int, int]] = []
    recorded = []
    for event in events:
        before = state
        state, effects = step(before, event)
        check_state(state)
        check_effects(before, state, effects)
        for effect in effects:
            if isinstance(effect, SignVote | SignAndSendProposal):
                kind = effect.kind if isinstance(effect, SignVote) else PROPOSAL
                steps.append((effect.round, kind))
        if state is not before:
            recorded.append(event)
        again, same = step(before, event)
        assert (again, same) == (state, effects)
    assert all(a < b for a, b in itertools.pairwise(steps))
    replayed = replay(START, recorded)  # type: ignore[arg-type]
    assert replayed.state == state
    assert replayed.last_step == (steps[-1] if steps else None)
