"""What a crash leaves open: everything asked for and not answered, and nothing else."""

from __future__ import annotations

import pytest

from consensus.agreement.effects import (
    BuildBlock,
    Decide,
    Effect,
    RequestBlock,
    RequestValidity,
    ScheduleTimeout,
    SignAndSendProposal,
    SignVote,
)
from consensus.agreement.inputs import BlockBuilt, BlockReceived, RecordedInput, TimeoutKind
from consensus.agreement.replay import replay
from consensus.types.vote import PRECOMMIT, PREVOTE
from tests.agreement_world import (
    EARLIEST_MS,
    HEIGHT,
    X,
    here,
    precommits,
    prevotes,
    proposed,
    start_height,
    timeout,
)

OTHERS, MINE = start_height((0, 1, 2)), start_height((3, 3))
REBROADCAST = ScheduleTimeout(TimeoutKind.REBROADCAST, 0, 2_000, 0)
PROPOSE = ScheduleTimeout(TimeoutKind.PROPOSE, 0, 1_000, EARLIEST_MS)
PREVOTE_X = SignVote(PREVOTE, HEIGHT, 0, X)

ROWS: list[tuple[str, list, list[Effect]]] = [
    ("nothing has happened", [OTHERS], [REBROADCAST, PROPOSE]),
    ("a block is to be built", [MINE], [REBROADCAST, PROPOSE, BuildBlock(0)]),
    ("a built block is to be signed", [MINE, BlockBuilt(0, X)],
     [REBROADCAST, PROPOSE, SignAndSendProposal(HEIGHT, 0, X, None, None)]),
    ("an own proposal stands in the log", [MINE, BlockBuilt(0, X), proposed(X)],
     [REBROADCAST, PROPOSE, RequestBlock(X)]),
    ("a block is being executed", [OTHERS, proposed(X), BlockReceived(X)],
     [REBROADCAST, PROPOSE, RequestValidity(X)]),
    ("a vote was asked for and nobody knows whether it was signed", [OTHERS, proposed(X), *here(X)],
     [REBROADCAST, PROPOSE, PREVOTE_X]),
    ("the vote stands in the log", [OTHERS, proposed(X), *here(X), *prevotes([3], X)],
     [REBROADCAST, PROPOSE]),
    ("a timeout has fired", [OTHERS, timeout(TimeoutKind.PROPOSE), *prevotes([3], None)], [REBROADCAST]),
    ("what was to be built in a round gone by is forgotten",
     [MINE, timeout(TimeoutKind.PROPOSE), *prevotes([3], None), *prevotes([0, 1], None, 2)],
     [REBROADCAST, ScheduleTimeout(TimeoutKind.PROPOSE, 2, 2_000, 0)]),
]  # fmt: skip


@pytest.mark.parametrize(("words", "history", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_row(words: str, history: list, expected: list[Effect]):
    """Every row of the table."""
    start, *inputs = history
    assert list(replay(start, inputs).open) == expected


def test_a_decided_log_decides_again():
    """The ledger may lack the block: deciding it once more is what recovery is for."""
    inputs: list[RecordedInput] = [proposed(X), *here(X), *prevotes([3, 0, 1], X), *precommits([3, 0, 1], X)]
    replayed = replay(OTHERS, inputs)
    assert isinstance(replayed.open[-1], Decide)
    assert replayed.last_step == (0, PRECOMMIT)
