"""The due queue: what happens at a height by itself, without a transaction.

Here: entries, their order, the work limit per block.
Not here: what an entry does (each family's handler, listed in vm/registry.py).
Keeps: entries fire in (height, kind, id) order; rules compare heights with the entry's due height,
never with whether the queue has fired, so a late queue changes no outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from enum import IntEnum

from consensus.types.codec import Record
from vm.slices import SLICE_RECORDS, to_the_end
from vm.state import Namespace, State, Table


class DueKind(IntEnum):
    """Kinds in firing order within a height. Numbers are part of the protocol."""

    UNBONDING = 1
    FORFEITS = 2
    TASK_OFFERS_END = 10
    TASK_BEGIN = 11
    """A reservation's `not_before`: its clocks start."""
    TASK_GRANT_END = 12
    TASK_START_END = 13
    TASK_RUN_END = 14
    TASK_CANCEL = 15
    TASK_REVIEW_END = 16
    TASK_FORGET = 17
    """The records of a final task are deleted and its deposit returns."""


class Due(Record, frozen=True):
    """An entry; its key says everything."""


DUE = Table(Namespace.DUE, Due)
Handler = Callable[[State, bytes, int], None]
"""handler(state, id, due_height)"""


def _key(height: int, kind: DueKind, entry: bytes) -> bytes:
    return height.to_bytes(8, "big") + bytes([kind]) + entry


def schedule(state: State, height: int, kind: DueKind, entry: bytes) -> None:
    """Fire `kind` for `entry` at `height`, which lies ahead or is this block (fired in its step 7)."""
    assert height >= state.block.height, "nothing is scheduled in the past"
    state.put(DUE, _key(height, kind, entry), Due())


def unschedule(state: State, height: int, kind: DueKind, entry: bytes) -> None:
    """Take an entry back, if it stands."""
    key = _key(height, kind, entry)
    if state.get(DUE, key) is not None:
        state.delete(DUE, key)


def is_scheduled(state: State, height: int, kind: DueKind, entry: bytes) -> bool:
    """Whether the entry stands."""
    return state.get(DUE, _key(height, kind, entry)) is not None


def fire(state: State, handlers: Mapping[DueKind, Handler]) -> None:
    """Run what is due in one go; see `fire_in_slices`."""
    to_the_end(fire_in_slices(state, handlers))


def fire_in_slices(state: State, handlers: Mapping[DueKind, Handler]) -> Generator[None, None, None]:
    """Run what is due, up to `max_due_per_block` counting 1 + the records that an entry touches.

    The first entry of a block always fires, so that no entry is too large ever to fire. What a handler
    schedules for this height fires after all that waited before it.
    """
    limit = state.block.params.chain.max_due_per_block
    stop = (state.block.height + 1).to_bytes(8, "big")
    spent = paused = 0
    while spent < limit:
        waiting = state.scan(DUE, stop=stop, limit=limit - spent)
        if not waiting:
            return
        for key, _ in waiting:
            if spent >= limit:
                return
            if state.get(DUE, key) is None:
                continue  # an earlier entry's handler took it back
            state.delete(DUE, key)
            touched = state.records_touched
            handlers[DueKind(key[8])](state, key[9:], int.from_bytes(key[:8], "big"))
            spent += 1 + state.records_touched - touched
            if spent - paused >= SLICE_RECORDS:
                paused = spent
                yield
