"""Which transactions live records name: what a pruned node and a snapshot must keep of old blocks.

Here: `named_transactions`, stepwise as `named_in_slices`. Not here: the records (vm/task/records.py),
keeping the bytes (eubchain/ledger).
Keeps: every field of a record that holds a wtxid is read here; a new one is added here too. A record names
a transaction from the block on in which that stands, so what names none of a block's never will.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TypeVar

from consensus.types.codec import Record
from vm.slices import SLICE_RECORDS, to_the_end
from vm.state import State, Table
from vm.task.records import SEATS, TASKS

R = TypeVar("R", bound=Record)


def named_transactions(state: State) -> frozenset[bytes]:
    """The wtxids in live records in one go; see `named_in_slices`."""
    return to_the_end(named_in_slices(state))


def named_in_slices(state: State) -> Generator[None, None, frozenset[bytes]]:
    """The wtxids in live records: specs, grants with their envelopes, endpoints, deliveries, reports.

    Pauses after every few records; `state` must stay as it is meanwhile.
    """
    found: set[bytes] = set()
    for tasks in _pages(state, TASKS):
        found.update(task.post for _, task in tasks)
        yield
    for seats in _pages(state, SEATS):
        for _, seat in seats:
            named = (
                seat.grant,
                seat.endpoint,
                None if seat.result is None else seat.result.delivery,
                None if seat.failure is None else seat.failure.claim,
            )
            found.update(wtxid for wtxid in named if wtxid is not None)
        yield
    return frozenset(found)


def _pages(state: State, table: Table[R]) -> Iterator[list[tuple[bytes, R]]]:
    start = b""
    while page := state.scan(table, start=start, limit=SLICE_RECORDS):
        yield page
        start = page[-1][0] + b"\0"
