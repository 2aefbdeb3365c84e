"""What a prover is asked and what it answers.

Here: the records that cross the process boundary. Not here: the search (search.py), the process
(process.py). Keeps: no numpy here, so that asking costs the agent nothing.
"""

from __future__ import annotations

from consensus.resource.proof import Proof
from consensus.types.codec import Address, Codec, Hash32, Name, Record, Uint


class Assignment(Record, frozen=True):
    """The tiles to search: those of one account in one window."""

    profile: Uint
    window: Uint
    """The height that opened the window."""
    seed: Hash32
    account: Address
    difficulty: Uint


class Order(Record, frozen=True):
    """An assignment with the means for it."""

    assignment: Assignment
    backend: Name
    """`numpy`, `torch` or `torch:DEVICE`."""
    budget_ms: Uint
    """How long to search; re-checking comes on top, about 2 ms a share."""


class Answer(Record, frozen=True):
    """The proof to send, and what the operator may want to know about it."""

    proof: Proof
    tiles: Uint
    """Tiles computed in the budget."""
    dropped: Uint
    """Shares that the reference did not confirm: more than none says that the hardware errs."""
    backend: Name
    """What multiplied, as in `numpy:float32` or `torch:cuda:int8`."""


ORDER_CODEC: Codec[Order] = Codec(Order)
ANSWER_CODEC: Codec[Answer] = Codec(Answer)
