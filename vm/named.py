"""Which transactions live records name: what a pruned node and a snapshot must keep of old blocks.

Here: `named_transactions`. Not here: the records (vm/task/records.py), keeping the bytes
(eubchain/ledger).
Keeps: every field of a record that holds a wtxid is read here; a new one is added here too.
"""

from __future__ import annotations

from vm.state import State
from vm.task.records import SEATS, TASKS


def named_transactions(state: State) -> frozenset[bytes]:
    """The wtxids in live records: specs, grants with their envelopes, endpoints, deliveries, reports."""
    found: set[bytes] = {task.post for _, task in state.scan(TASKS)}
    for _, seat in state.scan(SEATS):
        named = (
            seat.grant,
            seat.endpoint,
            None if seat.result is None else seat.result.delivery,
            None if seat.failure is None else seat.failure.claim,
        )
        found.update(wtxid for wtxid in named if wtxid is not None)
    return frozenset(found)
