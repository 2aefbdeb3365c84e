"""When compute is proved: windows announced by the beacon, memoryless and the same for all.

Here: whether a height announces a window, its seed, its heights, when it is void.
Not here: what a proof contains (proof.py), what it earns (difficulty.py), whose proofs are missing
(the transition, which knows the sparks).
Keeps: at most one window at a time; a window lives by the rules of its announcement, also when a new
version changes them; seconds play no part.
"""

from __future__ import annotations

from consensus.types.codec import Record, Uint
from consensus.types.hashing import Tag, tagged_hash


class Window(Record, frozen=True):
    """One window: the height that announced it and the parameters that held there."""

    announced: Uint
    """a: the height whose beacon drew it."""
    profile: Uint
    window_blocks: Uint
    """W: blocks to compute in."""
    grace_blocks: Uint
    """G: blocks more in which a proof may be included."""
    verify_blocks: Uint
    """V: blocks for verifying before the verdicts enter state."""
    difficulty_min: Uint
    verify_budget: Uint
    """Shares that all proofs together may hold before verification samples."""


def is_announced(beacon: bytes, mean_wait_blocks: int) -> bool:
    """Whether this height's beacon announces a window, which one height in `mean_wait_blocks` does.

    Asked at every height above the last window's close.
    """
    assert mean_wait_blocks >= 1, "a mean wait is at least a block"
    drawn = int.from_bytes(tagged_hash(Tag.WINDOW, beacon)[:8], "big")
    return drawn < 2**64 // mean_wait_blocks


def window_seed(announcing_beacon: bytes, opening_block: bytes) -> bytes:
    """The seed of the tiles: the announcing beacon and the id of the block at the opening height.

    State holds no block's own id, so the seed enters state in the block after, as its parent.
    """
    return tagged_hash(Tag.WINDOW_SEED, announcing_beacon, opening_block)


def opens_at(window: Window) -> int:
    """o: the height whose block id completes the seed; a window is named by it."""
    return window.announced + 1


def last_proof_at(window: Window) -> int:
    """The last height whose block may hold a proof: o + W + G; the first is o + 1."""
    return opens_at(window) + window.window_blocks + window.grace_blocks


def takes_proofs_at(window: Window, height: int) -> bool:
    """Whether a proof for this window may stand in a block of this height."""
    return opens_at(window) < height <= last_proof_at(window)


def sample_beacon_at(window: Window) -> int:
    """The height whose beacon chooses what is checked: the first after the last proof."""
    return last_proof_at(window) + 1


def closes_at(window: Window) -> int:
    """c: the height at which verdicts enter state; the next announcement is above it."""
    return last_proof_at(window) + window.verify_blocks


def is_void(covered: int, total: int, last_was_void: bool, one_before_was_void: bool) -> bool:
    """Whether the window counts for nothing but false shares.

    `covered` is the ΣS of sparks whose proof was included and not found false, `total` the ΣS of
    sparks neither barred nor retired at the announcement. Below two thirds the network failed, not
    the sparks; but two voids in a row are the limit, or withholding could stop the measure for good.
    """
    assert covered >= 0, "speeds are not negative"
    return 3 * covered < 2 * total and not (last_was_void and one_before_was_void)
