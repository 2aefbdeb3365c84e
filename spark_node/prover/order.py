"""What a prover is asked and what it answers.

Here: the records that cross the process boundary, and their frame.
Not here: the search (search.py), the process (process.py).
Keeps: no numpy here, so that asking costs the agent nothing.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from consensus.resource.proof import PANELS, SHARES_MAX, Proof
from consensus.types.codec import Address, Codec, Hash32, Name, Record, Uint


class Assignment(Record, frozen=True):
    """The tiles to search: those of one account in one window."""

    profile: Uint
    window: Uint
    """The height that opened the window."""
    seed: Hash32
    account: Address
    difficulty: Uint


Panel = Annotated[int, Meta(ge=0, lt=PANELS)]


class Progress(Record, tag=1, frozen=True):
    """How far a search has come; from here another process can go on."""

    shares: Annotated[tuple[tuple[Panel, Panel], ...], Meta(max_length=SHARES_MAX)]
    """Found, and not yet confirmed by the reference."""
    first_panel: Annotated[int, Meta(ge=0, le=PANELS)]
    """Of side A: where the band that is searched now begins; those before it are left behind."""
    height: Uint
    """Of that band, the most panels of side A that any block of it had."""
    next_panel: Annotated[int, Meta(ge=0, le=PANELS)]
    """Of side B: in this band no block at or after it was searched."""
    tiles: Uint


NOT_BEGUN = Progress((), 0, 0, 0, 0)


class Order(Record, frozen=True):
    """An assignment with the means for it."""

    assignment: Assignment
    backend: Name
    """`numpy`, `torch` or `torch:DEVICE`."""
    budget_ms: Uint
    """How long to search; re-checking comes on top, about 2 ms a share."""
    begun: Progress
    """What an earlier process left, `NOT_BEGUN` for nothing."""


class Answer(Record, tag=2, frozen=True):
    """The proof to send, and what the operator may want to know about it."""

    proof: Proof
    tiles: Uint
    """Tiles computed, by earlier processes too."""
    dropped: Uint
    """Shares that the reference did not confirm: more than none says that the hardware errs."""
    backend: Name
    """What multiplied last, as in `numpy:float32` or `torch:cuda:int8`."""


ORDER_CODEC: Codec[Order] = Codec(Order)
REPORT_CODEC: Codec[Progress | Answer] = Codec(Progress | Answer)

LENGTH_BYTES = 4
"""Before each report on the child's standard output stands its length, big-endian."""
