"""What a node says again while its height is not decided.

Here: the choice. Not here: when (the machine's timer), to whom (eubchain/node).
Keeps: bounded by the size of the set, and enough: a peer that lost everything this node ever sent of
the height can follow it into its round, because what justified entering the round is repeated too.
"""

from __future__ import annotations

from consensus.agreement.effects import Rebroadcast
from consensus.agreement.messages import Certificate, Proposal, Vote
from consensus.agreement.proposer import is_mine
from consensus.agreement.state import BlockStatus, State, proposal_of
from consensus.agreement.votes import certificate_of, has_any_quorum, tally_of
from consensus.types.vote import PRECOMMIT, PREVOTE


def rebroadcast(state: State) -> Rebroadcast:
    """A known commit alone; otherwise proposal and votes of this round, the polka, the way here."""
    if state.commit is not None:
        return Rebroadcast((state.commit,))
    messages: list[Proposal | Vote | Certificate] = []
    received = proposal_of(state)
    if received is not None and is_mine(state.start, state.round) and _is_here(state, received.proposal):
        messages.append(received.proposal)
    if state.valid is not None:
        polka = certificate_of(state.votes, state.height, state.valid.round, PREVOTE)
        assert polka is not None, "a valid value has its polka"
        messages.append(polka)
    messages += _own_votes(state)
    messages += _way_here(state)
    return Rebroadcast(tuple(messages))


def _is_here(state: State, proposal: Proposal) -> bool:
    """A proposal travels with its block, which a twin's proposal or one from before a loss may lack."""
    return state.blocks.get(proposal.block_id, BlockStatus.WANTED) is not BlockStatus.WANTED


def _own_votes(state: State) -> list[Vote]:
    me = state.start.me
    if me is None:
        return []
    found = (tally_of(state.votes, state.round, kind).firsts[me] for kind in (PREVOTE, PRECOMMIT))
    return [vote for vote in found if vote is not None]


def _way_here(state: State) -> list[Vote]:
    """Why this round was entered: the precommits of the one before, else those met in this one."""
    before = state.round - 1
    if before >= 0 and has_any_quorum(state.votes, before, PRECOMMIT):
        tallies = [tally_of(state.votes, before, PRECOMMIT)]
    elif state.round > 0:
        tallies = [tally_of(state.votes, state.round, kind) for kind in (PREVOTE, PRECOMMIT)]
    else:
        tallies = []
    return [
        vote
        for tally in tallies
        for index, vote in enumerate(tally.firsts)
        if vote is not None and (vote.round < state.round or index != state.start.me)
    ]
