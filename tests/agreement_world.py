"""A height of four validators, one of them this node, for tests of the agreement machine.

Signatures are stand-ins: the machine never looks at them.
"""

from __future__ import annotations

from collections.abc import Sequence

from consensus.agreement.effects import Effect, Effects, Took
from consensus.agreement.inputs import (
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
from consensus.agreement.machine import step
from consensus.agreement.messages import Proposal, Vote, make_certificate
from consensus.agreement.proposer import proposer_index
from consensus.agreement.state import State
from consensus.types.vote import PRECOMMIT, PREVOTE
from consensus.validators import TOTAL_POWER, Validator

HEIGHT = 7
X, Y = b"x" * 32, b"y" * 32
"""Two blocks."""
EARLIEST_MS = 5_000
SIZE = 4


def validator_set(size: int = SIZE) -> tuple[Validator, ...]:
    """Equal powers, the first takes what is left over."""
    share = TOTAL_POWER // size
    powers = [TOTAL_POWER - share * (size - 1)] + [share] * (size - 1)
    return tuple(Validator(bytes([i]) * 20, bytes([i]) * 32, power) for i, power in enumerate(powers))


def signature(*what: object) -> bytes:
    """64 bytes that differ for different things."""
    return repr(what).encode()[:64].ljust(64, b".")


def start_height(order: Sequence[int] = (0, 1, 2), me: int | None = 3, size: int = SIZE) -> StartHeight:
    """A height whose first rounds have these proposers: the beacon is searched for."""
    for number in range(100_000):
        beacon = number.to_bytes(32, "big")
        start = StartHeight(HEIGHT, validator_set(size), me, beacon, EARLIEST_MS)
        if all(proposer_index(start, round_) == index for round_, index in enumerate(order)):
            return start
    raise AssertionError("some beacon draws any order")


def proposal(block_id: bytes, round_: int = 0, valid_round: int | None = None) -> Proposal:
    return Proposal(HEIGHT, round_, block_id, valid_round, signature("proposal", block_id[:1], round_))


def proposed(
    block_id: bytes,
    round_: int = 0,
    valid_round: int | None = None,
    header_round: int | None = None,
    timely: bool = True,
) -> ProposalReceived:
    """A proposal whose header fits unless told otherwise."""
    fitting = round_ if valid_round is None else valid_round
    header = fitting if header_round is None else header_round
    return ProposalReceived(proposal(block_id, round_, valid_round), header, timely)


def vote(kind: int, who: int, block_id: bytes | None, round_: int = 0) -> Vote:
    return Vote(kind, HEIGHT, round_, block_id, who, signature(kind, who, block_id and block_id[:1]))


def prevotes(who: Sequence[int], block_id: bytes | None, round_: int = 0) -> list[Input]:
    return [VoteReceived(vote(PREVOTE, i, block_id, round_)) for i in who]


def precommits(who: Sequence[int], block_id: bytes | None, round_: int = 0) -> list[Input]:
    return [VoteReceived(vote(PRECOMMIT, i, block_id, round_)) for i in who]


def certificate(
    kind: int, block_id: bytes, round_: int = 0, who: Sequence[int] = (0, 1, 2)
) -> CertificateReceived:
    signatures = {i: vote(kind, i, block_id, round_).signature for i in who}
    return CertificateReceived(make_certificate(kind, HEIGHT, round_, block_id, signatures, SIZE))


def here(block_id: bytes, is_valid: bool = True) -> list[Input]:
    """A block arrives and is executed."""
    return [BlockReceived(block_id), BlockChecked(block_id, is_valid)]


def timeout(kind: TimeoutKind, round_: int = 0) -> TimeoutFired:
    return TimeoutFired(kind, round_)


def run(start: StartHeight, *events: Input | list[Input]) -> tuple[State, list[Effect]]:
    """Start the height and give it these inputs; effects of all of them."""
    state, effects = step(None, start)
    found = list(effects)
    for event in events:
        for single in event if isinstance(event, list) else [event]:
            state, effects = step(state, single)
            found += effects
    return state, found


def then(state: State, *events: Input | list[Input]) -> tuple[State, list[Effect]]:
    """Give a state more inputs; effects of those."""
    found: list[Effect] = []
    for event in events:
        for single in event if isinstance(event, list) else [event]:
            state, effects = step(state, single)
            found += effects
    return state, found


def lines(effects: Sequence[Effect] | Effects) -> list[str]:
    """The paper's lines that were taken."""
    return [effect.line for effect in effects if isinstance(effect, Took)]


def without_lines(effects: Sequence[Effect] | Effects) -> list[Effect]:
    """What the node must do."""
    return [effect for effect in effects if not isinstance(effect, Took)]
