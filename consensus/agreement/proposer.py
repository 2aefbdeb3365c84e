"""Whose turn it is: the proposer of a round as a position in the validator set.

Here: that position. Not here: the draw (consensus/validators.py).
"""

from __future__ import annotations

from consensus.agreement.inputs import StartHeight
from consensus.validators import proposer


def proposer_index(start: StartHeight, round_: int) -> int:
    """Position in V(height) of the round's proposer."""
    return start.validators.index(proposer(start.validators, start.beacon, start.height, round_))


def is_mine(start: StartHeight, round_: int) -> bool:
    """Whether this node proposes in the round."""
    return start.me is not None and proposer_index(start, round_) == start.me
