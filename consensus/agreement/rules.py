"""The rules of Algorithm 1 of arXiv:1807.04938, one small function for each "upon", tagged with its lines.

Here: the rules that fire once their condition holds, and the verbs they use.
Not here: taking in what arrives (machine.py), counting (votes.py).
Keeps: a rule reads the state and either does not apply (None) or changes it, so that none fires twice;
within a round the stage only grows, therefore at most one vote of each kind is asked for per round.
Differences from the paper: blocks are known by id and fetched and executed apart, so "valid(v)" may be
unknown for a while, and a rule that needs it waits; the proposer too waits no longer than the propose
timeout, for its signer may be silent; a quorum for a block stands without the proposal that named it.
"""

from __future__ import annotations

from collections.abc import Callable

from consensus.agreement.effects import (
    BuildBlock,
    Decide,
    Diverged,
    Effects,
    ReportEvidence,
    RequestBlock,
    ScheduleTimeout,
    SignAndSendProposal,
    SignVote,
    Took,
)
from consensus.agreement.evidence import double_proposal
from consensus.agreement.inputs import ProposalReceived, TimeoutKind
from consensus.agreement.proposer import is_mine, proposer_index
from consensus.agreement.state import (
    PROPOSALS_PER_ROUND_MAX,
    BlockStatus,
    Point,
    Stage,
    State,
    has_its_polka,
    is_acceptable,
    is_free,
    proposal_of,
)
from consensus.agreement.votes import certificate_of, enter, has_any_quorum, quorum_of, skip_target
from consensus.types.vote import PRECOMMIT, PREVOTE

Change = tuple[State, Effects]


def settle(state: State) -> Change:
    """Apply rules until none does. Ends: each use moves stage, round, commit or a flag forward."""
    effects: Effects = ()
    changed = True
    while changed and state.stage is not Stage.DECIDED:
        changed = False
        for rule in RULES:
            change = rule(state)
            if change is not None:
                state, effects, changed = change[0], effects + change[1], True
                break
    return state, effects


def enter_round(state: State, round_: int, line: str) -> Change:
    """L11-L21: begin a round; `line` says what led here."""
    assert round_ >= state.round, "rounds only grow"
    book, proposals = enter(state.votes, round_)
    state = state._replace(
        round=round_,
        stage=Stage.PROPOSE,
        votes=book,
        has_proposed=False,
        has_prevote_timeout=False,
        has_precommit_timeout=False,
        has_polka=False,
    )
    effects: Effects = (Took(line, round_),)
    for received in proposals:
        state, more = keep_proposal(state, received)
        effects += more
    not_before_ms = state.start.earliest_ms if round_ == 0 else 0
    effects += (_timeout(state, TimeoutKind.PROPOSE, not_before_ms),)  # L21
    if not is_mine(state.start, round_):  # L14
        return state, effects
    if state.valid is None:
        return state, (*effects, Took("L18", round_), BuildBlock(round_))
    return _propose(state, state.valid.block_id, state.valid, effects, "L16")


def propose_built(state: State, block_id: bytes) -> Change:
    """L18-L19: the block that was asked for is ready; propose it."""
    return _propose(state, block_id, None, (), "L19")


def _propose(state: State, block_id: bytes, valid: Point | None, effects: Effects, line: str) -> Change:
    polka = None
    if valid is not None:
        polka = certificate_of(state.votes, state.height, valid.round, PREVOTE)
        assert polka is not None, "a valid value has its polka"
    valid_round = None if valid is None else valid.round
    sign = SignAndSendProposal(state.height, state.round, block_id, valid_round, polka)
    return state._replace(has_proposed=True), (*effects, Took(line, state.round), sign)


def keep_proposal(state: State, received: ProposalReceived) -> Change:
    """Keep a proposal of a round up to the current one; a second, different one is evidence."""
    round_ = received.proposal.round
    held = state.proposals.get(round_, ())
    same = any(other.proposal.block_id == received.proposal.block_id for other in held)
    if same or len(held) == PROPOSALS_PER_ROUND_MAX:
        return state, ()
    effects: Effects = ()
    if held:
        key = state.start.validators[proposer_index(state.start, round_)].key
        effects = (ReportEvidence(double_proposal(held[0].proposal, received.proposal, key)),)
    return state._replace(proposals={**state.proposals, round_: (*held, received)}), effects


def prevote(state: State, block_id: bytes | None, line: str) -> Change:
    """Prevote and go to the next stage."""
    assert state.stage is Stage.PROPOSE, "one prevote per round"
    return state._replace(stage=Stage.PREVOTE), _vote(state, PREVOTE, block_id, line)


def precommit(state: State, block_id: bytes | None, line: str) -> Change:
    """Precommit and go to the next stage."""
    assert state.stage is Stage.PREVOTE, "one precommit per round"
    return state._replace(stage=Stage.PRECOMMIT), _vote(state, PRECOMMIT, block_id, line)


def _vote(state: State, kind: int, block_id: bytes | None, line: str) -> Effects:
    took = Took(line, state.round)
    if state.start.me is None:
        return (took,)
    return (took, SignVote(kind, state.height, state.round, block_id))


def _timeout(state: State, kind: TimeoutKind, not_before_ms: int = 0) -> ScheduleTimeout:
    after_ms = state.start.timeouts.duration_ms(kind, state.round)
    return ScheduleTimeout(kind, state.round, after_ms, not_before_ms)


def _notice_commit(state: State) -> Change | None:
    """L49, first half: remember the first commit that the precommits of this round show."""
    if state.commit is not None:
        return None
    commit = certificate_of(state.votes, state.height, state.round, PRECOMMIT)
    return None if commit is None else (state._replace(commit=commit), ())


def _decide(state: State) -> Change | None:
    """L49-L51: a commit, and its block is here and valid."""
    commit = state.commit
    if commit is None or state.blocks.get(commit.block_id) is not BlockStatus.VALID:
        return None
    decide = Decide(state.height, commit.block_id, commit.round, commit.commit())
    return state._replace(stage=Stage.DECIDED), (Took("L51", state.round), decide)


def _skip_round(state: State) -> Change | None:
    """L55-L56: more than a third are in a later round, so at least one honest validator is."""
    target = skip_target(state.votes, state.round)
    return None if target is None else enter_round(state, target, "L56")


def _want_blocks(state: State) -> Change | None:
    """Ask for the block of a commit, of this round's polka, and of a proposal worth a vote."""
    wanted = [] if state.commit is None else [state.commit.block_id]
    polka = quorum_of(state.votes, state.round, PREVOTE)
    if polka is not None and polka.block_id is not None:
        wanted.append(polka.block_id)
    received = proposal_of(state)
    if received is not None and is_acceptable(received):
        wanted.append(received.proposal.block_id)
    for block_id in wanted:
        if block_id not in state.blocks:
            blocks = {**state.blocks, block_id: BlockStatus.WANTED}
            return state._replace(blocks=blocks), (RequestBlock(block_id),)
    return None


def _notice_divergence(state: State) -> Change | None:
    """A quorum stands behind a block that is invalid here: one of us is wrong, and they are many."""
    if BlockStatus.INVALID not in state.blocks.values():
        return None  # before a certificate is put together, which costs as much as all other rules
    polka = certificate_of(state.votes, state.height, state.round, PREVOTE)
    for certificate in (state.commit, polka):
        if certificate is None or certificate.block_id in state.diverged:
            continue
        if state.blocks.get(certificate.block_id) is BlockStatus.INVALID:
            diverged = (*state.diverged, certificate.block_id)
            return state._replace(diverged=diverged), (Diverged(certificate),)
    return None


def _prevote_on_new(state: State) -> Change | None:
    """L22-L27: a block proposed for the first time."""
    received = proposal_of(state)
    if state.stage is not Stage.PROPOSE or received is None or received.proposal.valid_round is not None:
        return None
    block_id = received.proposal.block_id
    if not is_acceptable(received) or not is_free(state, block_id, None):  # L23
        return prevote(state, None, "L26")
    return _prevote_by_verdict(state, block_id, "L24", "L26")


def _prevote_on_old(state: State) -> Change | None:
    """L28-L33: a block proposed again, with the polka of its valid round."""
    received = proposal_of(state)
    if state.stage is not Stage.PROPOSE or received is None or received.proposal.valid_round is None:
        return None
    proposal = received.proposal
    if not is_acceptable(received):
        return prevote(state, None, "L32")
    if not has_its_polka(state, received):
        return None
    if not is_free(state, proposal.block_id, proposal.valid_round):  # L29
        return prevote(state, None, "L32")
    return _prevote_by_verdict(state, proposal.block_id, "L30", "L32")


def _prevote_by_verdict(state: State, block_id: bytes, line: str, line_nil: str) -> Change | None:
    """valid(v): for the block, for nil, or not yet."""
    match state.blocks.get(block_id):
        case BlockStatus.VALID:
            return prevote(state, block_id, line)
        case BlockStatus.INVALID:
            return prevote(state, None, line_nil)
    return None


def _polka_for_block(state: State) -> Change | None:
    """L36-L43: lock and precommit at the right time; later, only remember what could be proposed."""
    if state.has_polka or state.stage < Stage.PREVOTE:
        return None
    quorum = quorum_of(state.votes, state.round, PREVOTE)
    if quorum is None or quorum.block_id is None:
        return None
    if state.blocks.get(quorum.block_id) is not BlockStatus.VALID:
        return None
    point = Point(state.round, quorum.block_id)
    state = state._replace(has_polka=True, valid=point)  # L42-L43
    if state.stage is not Stage.PREVOTE:  # L37
        return state, (Took("L42", state.round),)
    return precommit(state._replace(locked=point), quorum.block_id, "L40")  # L38-L41


def _polka_for_nil(state: State) -> Change | None:
    """L44-L46."""
    quorum = quorum_of(state.votes, state.round, PREVOTE)
    if state.stage is not Stage.PREVOTE or quorum is None or quorum.block_id is not None:
        return None
    return precommit(state, None, "L45")


def _prevotes_differ(state: State) -> Change | None:
    """L34-L35: more than two thirds prevoted; wait a little for them to agree."""
    if state.stage is not Stage.PREVOTE or state.has_prevote_timeout:
        return None
    if not has_any_quorum(state.votes, state.round, PREVOTE):
        return None
    effects = (Took("L35", state.round), _timeout(state, TimeoutKind.PREVOTE))
    return state._replace(has_prevote_timeout=True), effects


def _precommits_differ(state: State) -> Change | None:
    """L47-L48: more than two thirds precommitted; wait a little for them to agree."""
    if state.has_precommit_timeout or not has_any_quorum(state.votes, state.round, PRECOMMIT):
        return None
    effects = (Took("L48", state.round), _timeout(state, TimeoutKind.PRECOMMIT))
    return state._replace(has_precommit_timeout=True), effects


RULES: tuple[Callable[[State], Change | None], ...] = (
    _notice_commit,
    _decide,
    _skip_round,
    _want_blocks,
    _notice_divergence,
    _prevote_on_new,
    _prevote_on_old,
    _polka_for_block,
    _polka_for_nil,
    _prevotes_differ,
    _precommits_differ,
)
"""In the order in which they are tried: a decision first, waiting last."""
