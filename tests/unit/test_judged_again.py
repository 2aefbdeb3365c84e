"""A resumed log's blocks are judged by the program that resumes, not by the one that wrote the log."""

from __future__ import annotations

import pytest

from consensus.agreement.inputs import BlockBuilt, BlockChecked, BlockReceived, TimeoutFired, TimeoutKind
from consensus.types.errors import Fault
from eubchain.node.judged_again import judge_again

GOOD, BAD = b"\x01" * 32, b"\x02" * 32


async def is_good(block_id: bytes) -> bool:
    return block_id == GOOD


async def test_every_verdict_is_made_again_in_its_place():
    """What was refused by mistake is valid now; all other inputs stay as they are."""
    timeout = TimeoutFired(TimeoutKind.PROPOSE, 0)
    logged = [BlockReceived(GOOD), timeout, BlockChecked(GOOD, False), BlockChecked(BAD, False)]
    again = await judge_again(logged, 7, is_good)
    assert again == [BlockReceived(GOOD), timeout, BlockChecked(GOOD, True), BlockChecked(BAD, False)]


@pytest.mark.parametrize("logged", [BlockChecked(BAD, True), BlockBuilt(0, BAD)])
async def test_a_block_that_is_valid_no_longer_stops_the_validator(logged: BlockChecked | BlockBuilt):
    """It may have voted for it: silence is the only thing that contradicts nothing."""
    with pytest.raises(Fault, match="log_verdict_differs") as stopped:
        await judge_again([logged], 7, is_good)
    assert stopped.value.facts == {"height": 7, "block": BAD}
