"""Agreement as a pure machine: `step(state, input) -> (state, effects)`.

Here: taking in one input of one height. Tags and rules are those of Algorithm 1 of arXiv:1807.04938.
Not here: the rules that then fire (rules.py), carrying out effects and routing by height (eubchain/node).
Keeps: no clock, no randomness, no IO; equal inputs in equal order give equal states and effects. An input
that changes nothing returns the same state object and no effects, so it need not be written to the WAL.
What an honest peer would not send was refused before; here it changes nothing.
"""

from __future__ import annotations

from consensus.agreement.effects import Effects, ReportEvidence, RequestValidity, ScheduleTimeout
from consensus.agreement.evidence import double_proposal, double_vote
from consensus.agreement.inputs import (
    BlockBuilt,
    BlockChecked,
    BlockReceived,
    CertificateReceived,
    Input,
    ProposalReceived,
    StartHeight,
    TimeoutFired,
    TimeoutKind,
    VoteReceived,
)
from consensus.agreement.messages import Certificate, Vote
from consensus.agreement.proposer import is_mine, proposer_index
from consensus.agreement.rebroadcast import rebroadcast
from consensus.agreement.rules import (
    Change,
    enter_round,
    keep_proposal,
    precommit,
    prevote,
    propose_built,
    settle,
)
from consensus.agreement.state import BlockStatus, Stage, State, is_under_execution
from consensus.agreement.votes import (
    add_certificate,
    add_future_proposal,
    add_vote,
    certificate_of,
    empty_book,
)
from consensus.types.block import Commit
from consensus.types.vote import PRECOMMIT


def step(state: State | None, event: Input) -> Change:
    """Apply one input; return the new state and what the node must now do, in this order.

    The state is None only before the first `StartHeight`; every other input must be of its height.
    """
    if isinstance(event, StartHeight):
        return _start_height(event)
    assert state is not None, "a height starts first"
    taken, effects = _take(state, event)
    if taken is state:
        return state, effects
    settled, more = settle(taken)
    return settled, effects + more


def commit_of(state: State) -> Commit:
    """The commit of a decided height with every precommit heard since: more signers, more rewards."""
    assert state.stage is Stage.DECIDED, "the height is decided"
    assert state.commit is not None, "by a commit"
    known = certificate_of(state.votes, state.height, state.commit.round, PRECOMMIT)
    if known is None or len(known.signatures) < len(state.commit.signatures):
        return state.commit.commit()
    return known.commit()


def _start_height(start: StartHeight) -> Change:
    """L10, L53-L54: forget the height before, begin round 0."""
    assert start.me is None or 0 <= start.me < len(start.validators), "a position in the set"
    book = empty_book(tuple(validator.power for validator in start.validators))
    state = State(
        start, 0, Stage.PROPOSE, None, None, book, {}, {}, None, False, False, False, False, ()
    )  # fmt: skip
    state, effects = enter_round(state, 0, "L10")
    state, more = settle(state)
    return state, (_rebroadcast_timer(state), *effects, *more)


def _take(state: State, event: Input) -> Change:
    if state.stage is Stage.DECIDED:
        return _take_late(state, event)
    match event:
        case VoteReceived(vote=vote):
            return _take_vote(state, vote)
        case ProposalReceived():
            return _take_proposal(state, event)
        case BlockReceived(block_id=block_id):
            if state.blocks.get(block_id) is not BlockStatus.WANTED:
                return state, ()
            return _mark(state, block_id, BlockStatus.HELD), (RequestValidity(block_id),)
        case BlockChecked(block_id=block_id, is_valid=is_valid):
            verdict = BlockStatus.VALID if is_valid else BlockStatus.INVALID
            if state.blocks.get(block_id) in (None, verdict):
                return state, ()
            return _mark(state, block_id, verdict), ()
        case BlockBuilt(round=round_, block_id=block_id):
            return _take_built(state, round_, block_id)
        case CertificateReceived(certificate=certificate):
            return _take_certificate(state, certificate)
        case TimeoutFired(kind=kind, round=round_):
            return _take_timeout(state, kind, round_)
    raise AssertionError("every input is matched")


def _take_late(state: State, event: Input) -> Change:
    """After the decision only precommits still matter: the next block's commit may hold them."""
    if isinstance(event, VoteReceived) and event.vote.kind == PRECOMMIT:
        return _take_vote(state, event.vote)
    return state, ()


def _mark(state: State, block_id: bytes, status: BlockStatus) -> State:
    return state._replace(blocks={**state.blocks, block_id: status})


def _take_vote(state: State, vote: Vote) -> Change:
    assert vote.height == state.height, "the driver routes by height"
    assert vote.validator < len(state.start.validators), "checked with its signature"
    book, first = add_vote(state.votes, vote, state.round)
    if book is state.votes:
        return state, ()
    effects: Effects = ()
    if first is not None:
        key = state.start.validators[vote.validator].key
        effects = (ReportEvidence(double_vote(first, vote, key)),)
    state = state._replace(votes=book)
    if vote.kind == PRECOMMIT and state.commit is None and vote.round < state.round:
        # L49 holds for every round; the current one is looked at by the rules.
        state = state._replace(commit=certificate_of(book, state.height, vote.round, PRECOMMIT))
    return state, effects


def _take_proposal(state: State, received: ProposalReceived) -> Change:
    proposal = received.proposal
    assert proposal.height == state.height, "the driver routes by height"
    if proposal.round <= state.round:
        return keep_proposal(state, received)
    proposer = proposer_index(state.start, proposal.round)
    book, first = add_future_proposal(state.votes, received, proposer, state.round)
    if book is state.votes:
        return state, ()
    effects: Effects = ()
    if first is not None:
        key = state.start.validators[proposer].key
        effects = (ReportEvidence(double_proposal(first.proposal, proposal, key)),)
    return state._replace(votes=book), effects


def _take_built(state: State, round_: int, block_id: bytes) -> Change:
    """L18-L19: propose what was built, unless the round has gone on without it."""
    is_asked = round_ == state.round and state.stage is Stage.PROPOSE and not state.has_proposed
    if not is_asked or state.valid is not None or not is_mine(state.start, round_):
        return state, ()
    return propose_built(state, block_id)


def _take_certificate(state: State, certificate: Certificate) -> Change:
    """Enough votes for a threshold at once; they outrank what was counted one by one."""
    assert certificate.height == state.height, "the driver routes by height"
    if certificate.kind == PRECOMMIT and state.commit is None:
        state = state._replace(commit=certificate)
    if certificate.round > state.round:
        if certificate.kind == PRECOMMIT:
            return state, ()  # L49 needs no round to be entered
        state, effects = enter_round(state, certificate.round, "L56")
    else:
        effects = ()
    book, conflicts = add_certificate(state.votes, certificate, state.round)
    if book is state.votes:
        return state, effects
    keys = [validator.key for validator in state.start.validators]
    reports = tuple(ReportEvidence(double_vote(a, b, keys[a.validator])) for a, b in conflicts)
    return state._replace(votes=book), effects + reports


def _take_timeout(state: State, kind: TimeoutKind, round_: int) -> Change:
    if kind is TimeoutKind.REBROADCAST:
        # The state stays the same object: saying something again is nothing to remember.
        return state, (rebroadcast(state), _rebroadcast_timer(state))
    if round_ != state.round:
        return state, ()
    match kind, state.stage:
        case TimeoutKind.PROPOSE, Stage.PROPOSE if not is_under_execution(state):  # L57-L58
            return prevote(state, None, "L59")
        case TimeoutKind.PREVOTE, Stage.PREVOTE:  # L61-L62
            return precommit(state, None, "L63")
        case TimeoutKind.PRECOMMIT, _:  # L65-L66
            return enter_round(state, round_ + 1, "L67")
    return state, ()


def _rebroadcast_timer(state: State) -> ScheduleTimeout:
    after_ms = state.start.timeouts.duration_ms(TimeoutKind.REBROADCAST, state.round)
    return ScheduleTimeout(TimeoutKind.REBROADCAST, state.round, after_ms, 0)
