"""What a node says again while its height is not decided.

Here: the choice. Not here: when (the machine's timer), to whom (eubchain/node).
Keeps: bounded by the size of the set, and enough: a peer that lost everything this node ever sent of
the height can follow it into its round, because what justified entering the round is repeated too. What
others said is repeated as well: two validators without a line between them hear of each other through a
third, or a height that needs both would stand still for ever.
"""

from __future__ import annotations

from consensus.agreement.effects import Rebroadcast
from consensus.agreement.messages import Certificate, Proposal, Vote
from consensus.agreement.state import BlockStatus, State, proposal_of
from consensus.agreement.votes import certificate_of, has_any_quorum, tally_of
from consensus.types.vote import PRECOMMIT, PREVOTE


def rebroadcast(state: State) -> Rebroadcast:
    """A known commit alone; otherwise proposal and votes of this round, the polka, the way here."""
    if state.commit is not None:
        return Rebroadcast((state.commit,))
    messages: list[Proposal | Vote | Certificate] = []
    received = proposal_of(state)
    if received is not None and _is_here(state, received.proposal):
        messages.append(received.proposal)
    if state.valid is not None:
        polka = certificate_of(state.votes, state.height, state.valid.round, PREVOTE)
        assert polka is not None, "a valid value has its polka"
        messages.append(polka)
    messages += _way_here(state)
    messages += _votes(state, state.round, (PREVOTE, PRECOMMIT))
    return Rebroadcast(tuple(messages))


def _is_here(state: State, proposal: Proposal) -> bool:
    """A proposal travels with its block, which a twin's proposal or one from before a loss may lack."""
    return state.blocks.get(proposal.block_id, BlockStatus.WANTED) is not BlockStatus.WANTED


def _votes(state: State, round_: int, kinds: tuple[int, ...]) -> list[Vote]:
    tallies = (tally_of(state.votes, round_, kind) for kind in kinds)
    return [vote for tally in tallies for vote in tally.firsts if vote is not None]


def _way_here(state: State) -> list[Vote]:
    """Why this round was entered, where its own votes do not show it: the precommits of the one before."""
    before = state.round - 1
    if before < 0 or not has_any_quorum(state.votes, before, PRECOMMIT):
        return []
    return _votes(state, before, (PRECOMMIT,))
