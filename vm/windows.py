"""Windows of proving in state: the last one announced, its proofs, and what those before it have left.

Here: the records, which window is open, how many counted so far.
Not here: the arithmetic (consensus/resource), `resource.prove` (vm/resource.py), what proofs claim
(vm/claims.py), a window's course from announcement to close (vm/measuring.py).
Keeps: one record for the last window, so a block that concerns none reads one; proofs are deleted when
their window closes.
"""

from __future__ import annotations

from consensus.resource.difficulty import next_speed
from consensus.resource.proof import ShareBytes
from consensus.resource.windows import Window, takes_proofs_at
from consensus.types.codec import Hash32, Record, Uint
from vm.head import epoch_of
from vm.state import Namespace, State, Table

CAPACITY_MAX = 2**63 - 1
"""Where sums of S that enter state saturate; no sum of real machines comes near."""


class LastWindow(Record, frozen=True):
    """The last window that was announced, open or closed, and how those before it went."""

    window: Window
    announcing_beacon: Hash32
    seed: Hash32 | None
    """None until the block after the opening one: a block's own id is not in state."""
    sample_beacon: Hash32 | None
    """Chooses the shares that are checked; None until no more proofs can come."""
    capacity: Uint
    """ΣS of sparks neither barred nor retired at the announcement."""
    proofs: Uint
    shares: Uint
    """Of all proofs together."""
    is_closed: bool
    was_void: bool
    """Of the last window that closed."""
    was_void_before: bool
    """Of the one before that."""
    counted: Uint
    """Windows so far that closed and were not void."""


class Submitted(Record, frozen=True):
    """A proof in a block, keyed by its spark's address until the window closes."""

    height: Uint
    """Of the block that holds it."""
    shares: ShareBytes


WINDOWS = Table(Namespace.WINDOW, LastWindow)
PROOFS = Table(Namespace.PROOF, Submitted)


def last_window(state: State) -> LastWindow | None:
    """The last window announced; None before the first."""
    return state.get(WINDOWS, b"")


def open_window(state: State, height: int) -> LastWindow | None:
    """The window that takes proofs in a block of this height, if one does."""
    last = last_window(state)
    return last if last is not None and takes_proofs_at(last.window, height) else None


def announced_epoch(state: State, window: Window) -> int:
    """The epoch in which a window was announced."""
    return epoch_of(window.announced, state.block.params.chain.epoch_blocks)


def counted(state: State) -> int:
    """How many windows have closed so far and were not void."""
    last = last_window(state)
    return 0 if last is None else last.counted


def faded(capacity: int, missed: int) -> int:
    """S after so many missed windows: what a retirement has cost when its account comes back.

    Without it one machine could prove for account after account, and all could return at once.
    """
    for _ in range(missed):
        if capacity == 0:
            break
        capacity = next_speed(capacity, 0)
    return capacity
