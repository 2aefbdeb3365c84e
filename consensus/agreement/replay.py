"""From the recorded inputs of a height back to its state, and to what was still to be done.

Here: replaying, and which effects a crash left open.
Not here: reading the WAL (eubchain/node/wal.py), whether to sign at all (eubchain/node/recovery.py).
Keeps: an effect whose answer stands among the inputs is not asked for again; a signature that was
asked for and does not stand there is, and the signer then returns, makes or refuses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from consensus.agreement.effects import (
    BuildBlock,
    Effect,
    Effects,
    Rebroadcast,
    RequestBlock,
    RequestValidity,
    ScheduleTimeout,
    SignAndSendProposal,
    SignVote,
    Took,
)
from consensus.agreement.inputs import (
    BlockBuilt,
    BlockChecked,
    BlockReceived,
    ProposalReceived,
    RecordedInput,
    StartHeight,
    TimeoutFired,
    TimeoutKind,
    VoteReceived,
)
from consensus.agreement.machine import step
from consensus.agreement.proposer import is_mine
from consensus.agreement.state import State
from consensus.types.vote import PROPOSAL


class Replayed(NamedTuple):
    """A height as it stood before the crash."""

    state: State
    open: Effects
    """What to do now: everything asked for and not answered, in order."""
    last_step: tuple[int, int] | None
    """(round, kind) of the last thing that this node was to sign; None if there was none."""


def replay(start: StartHeight, inputs: Sequence[RecordedInput]) -> Replayed:
    """Run the inputs of one height and tell what they left open."""
    state, effects = step(None, start)
    asked = list(effects)
    for event in inputs:
        state, effects = step(state, event)
        asked += effects
    answered = {_answer_key(start, event) for event in inputs}
    left = [effect for effect in asked if _is_open(effect, state, answered)]
    steps = [(e.round, _kind(e)) for e in asked if isinstance(e, SignVote | SignAndSendProposal)]
    return Replayed(state, tuple(left), steps[-1] if steps else None)


Key = tuple[str, int, int | bytes]


def _kind(effect: SignVote | SignAndSendProposal) -> int:
    return effect.kind if isinstance(effect, SignVote) else PROPOSAL


def _answer_key(start: StartHeight, event: RecordedInput) -> Key | None:
    """What an input answers; None if nobody asked for it."""
    match event:
        case VoteReceived(vote=vote) if vote.validator == start.me:
            return "signed", vote.round, vote.kind
        case ProposalReceived(proposal=proposal) if is_mine(start, proposal.round):
            return "signed", proposal.round, PROPOSAL
        case BlockBuilt(round=round_):
            return "built", round_, 0
        case BlockReceived(block_id=block_id):
            return "received", 0, block_id
        case BlockChecked(block_id=block_id):
            return "checked", 0, block_id
        case TimeoutFired(kind=kind, round=round_):
            return "timeout", round_, int(kind)
    return None


def _is_open(effect: Effect, state: State, answered: set[Key | None]) -> bool:
    match effect:
        case Took() | Rebroadcast():
            return False
        case SignVote() | SignAndSendProposal():
            return ("signed", effect.round, _kind(effect)) not in answered
        case BuildBlock(round=round_):
            return round_ == state.round and ("built", round_, 0) not in answered
        case RequestBlock(block_id=block_id):
            return ("received", 0, block_id) not in answered
        case RequestValidity(block_id=block_id):
            return ("checked", 0, block_id) not in answered
        case ScheduleTimeout(kind=TimeoutKind.REBROADCAST):
            return True
        case ScheduleTimeout(kind=kind, round=round_):
            return round_ == state.round and ("timeout", round_, int(kind)) not in answered
    return True
