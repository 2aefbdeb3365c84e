"""The verdicts of a resumed log: what its blocks are is found out anew, never read.

Here: the inputs of a log with every verdict on a block made again, in place.
Not here: reading the log (wal.py), judging (production.py), replaying (consensus/agreement/replay.py).
Keeps: whatever wrote the log, the validator goes on with its own judgement; where that takes back what it
may have voted for, it stops before it says anything, because no lock can be kept on a block that is refused.
Errors: 2061 log_verdict_differs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from consensus.agreement.inputs import BlockBuilt, BlockChecked, RecordedInput
from consensus.types.errors import Fault, Reason

LOG_VERDICT_DIFFERS = Reason(
    2061,
    "log_verdict_differs",
    "height:height block:hash",
    "The log of height {height} was written by a program that found block {block} valid, and this one finds "
    "it invalid: this node may have voted for it, and signs nothing more.",
    "Start the version that wrote the log, or run `eubchain inspect` and restore what is damaged.",
)


async def judge_again(
    inputs: Sequence[RecordedInput], height: int, is_valid: Callable[[bytes], Awaitable[bool]]
) -> list[RecordedInput]:
    """The same inputs with today's verdicts; raise `Fault` 2061 if a block that was valid no longer is."""
    again: list[RecordedInput] = []
    for event in inputs:
        match event:
            case BlockChecked(block_id=block_id, is_valid=was_valid):
                again.append(BlockChecked(block_id, await _judge(block_id, height, was_valid, is_valid)))
            case BlockBuilt(block_id=block_id):
                await _judge(block_id, height, True, is_valid)
                again.append(event)
            case _:
                again.append(event)
    return again


async def _judge(
    block_id: bytes, height: int, was_valid: bool, is_valid: Callable[[bytes], Awaitable[bool]]
) -> bool:
    found = await is_valid(block_id)
    if was_valid and not found:
        raise Fault(LOG_VERDICT_DIFFERS, height=height, block=block_id)
    return found
