"""Three honest machines and a liar, told by hand who hears what: for attacks that chance meets too rarely.

Here: `Scripted` (a machine whose blocks are always here and valid), `decisions_after_an_old_polka`.
Not here: clocks, disks, signatures: a machine sees only what was verified.
"""

from __future__ import annotations

from collections.abc import Iterable

from consensus.agreement import effects as do
from consensus.agreement.inputs import (
    BlockChecked,
    BlockReceived,
    CertificateReceived,
    ProposalReceived,
    RecordedInput,
    StartHeight,
    TimeoutFired,
    TimeoutKind,
    VoteReceived,
)
from consensus.agreement.machine import step
from consensus.agreement.messages import Proposal, Vote, make_certificate
from consensus.agreement.proposer import proposer_index
from consensus.types.vote import PRECOMMIT, PREVOTE
from consensus.validators import TOTAL_POWER, Validator, ValidatorSet

SIGNATURE = bytes(64)
LIAR = 3
A, B = b"A" * 32, b"B" * 32


def validators() -> ValidatorSet:
    """Four of equal power."""
    return tuple(Validator(bytes([i]) * 20, bytes([i + 1]) * 32, TOTAL_POWER // 4) for i in range(4))


def start_of(me: int) -> StartHeight:
    """A height whose third round is the liar's."""
    for number in range(10_000):
        start = StartHeight(1, validators(), me, number.to_bytes(32, "big"), 0)
        if [proposer_index(start, r) == LIAR for r in range(3)] == [False, False, True]:
            return start
    raise AssertionError("some beacon draws the liar")


class Scripted:
    """An honest machine; `said` is what it signed."""

    def __init__(self, me: int) -> None:
        self.me = me
        self.said: dict[tuple[int, int], Vote] = {}
        """By round and kind."""
        self.decided: bytes | None = None
        self.state, effects = step(None, start_of(me))
        self._perform(effects)

    def hear(self, *events: RecordedInput) -> None:
        """Take inputs in order."""
        for event in events:
            self.state, effects = step(self.state, event)
            self._perform(effects)

    def _perform(self, effects: do.Effects) -> None:
        for effect in effects:
            match effect:
                case do.RequestBlock(block_id=block_id):
                    self.hear(BlockReceived(block_id))
                case do.RequestValidity(block_id=block_id):
                    self.hear(BlockChecked(block_id, True))
                case do.SignVote():
                    vote = Vote(effect.kind, 1, effect.round, effect.block_id, self.me, SIGNATURE)
                    self.said[effect.round, effect.kind] = vote
                    self.hear(VoteReceived(vote))
                case do.Decide(block_id=block_id):
                    self.decided = block_id

    def time_out(self, kind: TimeoutKind) -> None:
        self.hear(TimeoutFired(kind, self.state.round))


def proposal(round_: int, block_id: bytes, valid_round: int | None, header_round: int) -> ProposalReceived:
    """Of that round's proposer."""
    return ProposalReceived(Proposal(1, round_, block_id, valid_round, SIGNATURE), header_round, True)


def exchange(round_: int, kind: int, speakers: Iterable[Scripted], hearers: Iterable[Scripted]) -> None:
    """The hearers hear what the speakers said in this step."""
    told = [VoteReceived(one.said[round_, kind]) for one in speakers]
    for hearer in hearers:
        hearer.hear(*(event for event in told if event.vote.validator != hearer.me))


def liars_vote(kind: int, round_: int, block_id: bytes | None) -> VoteReceived:
    return VoteReceived(Vote(kind, 1, round_, block_id, LIAR, SIGNATURE))


def decisions_after_an_old_polka() -> list[bytes | None]:
    """What three honest machines decide when a liar shows, in round 2, a polka of round 0 that it hid.

    In round 1 the first of them decided B, unheard; the two others hold the lock on B that goes with it.
    """
    first, second, third = everybody = [Scripted(me) for me in range(3)]
    # Round 0: two prevote A, one saw nothing; the liar's prevote would make the polka and stays hidden.
    for machine in (first, second):
        machine.hear(proposal(0, A, None, 0))
    third.time_out(TimeoutKind.PROPOSE)
    exchange(0, PREVOTE, everybody, everybody)
    for machine in everybody:
        machine.time_out(TimeoutKind.PREVOTE)
    exchange(0, PRECOMMIT, everybody, everybody)
    for machine in everybody:
        machine.time_out(TimeoutKind.PRECOMMIT)
    # Round 1: all lock B; only the first hears all precommits.
    for machine in everybody:
        machine.hear(proposal(1, B, None, 1))
    exchange(1, PREVOTE, everybody, everybody)
    exchange(1, PRECOMMIT, everybody, [first])
    exchange(1, PRECOMMIT, (second, third), (second, third))
    for machine in (second, third):
        machine.hear(liars_vote(PRECOMMIT, 1, None))
        machine.time_out(TimeoutKind.PRECOMMIT)
    # Round 2: the liar proposes A again, with the polka that it kept.
    polka = make_certificate(PREVOTE, 1, 0, A, dict.fromkeys((0, 1, LIAR), SIGNATURE), 4)
    for machine in (second, third):
        machine.hear(CertificateReceived(polka), proposal(2, A, 0, 0))
    exchange(2, PREVOTE, (second, third), (second, third))
    for machine in (second, third):
        machine.hear(liars_vote(PREVOTE, 2, A))
        machine.time_out(TimeoutKind.PREVOTE)
    exchange(2, PRECOMMIT, (second, third), (second, third))
    for machine in (second, third):
        machine.hear(liars_vote(PRECOMMIT, 2, A))
    return [machine.decided for machine in everybody]
