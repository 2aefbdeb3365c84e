"""The task market's part of the registry: its transactions and its due entries.

Here: `OPERATIONS` and `DUE_HANDLERS`, for vm/registry.py. Not here: what they do.
"""

from __future__ import annotations

from vm.operation import Operation
from vm.task import cancelling, delivering, judging, matching, offering, posting, running
from vm.task.deadlines import DUE_HANDLERS as DUE_HANDLERS

OPERATIONS: tuple[Operation, ...] = (
    posting.POST,
    offering.OFFER,
    matching.MATCH,
    cancelling.CANCEL,
    running.GRANT,
    running.START,
    running.RELEASE,
    running.DECLINE,
    delivering.DELIVER,
    delivering.FAIL,
    judging.ACCEPT,
    judging.REJECT,
    *judging.JUDGED,
)
"""By type number, 50 … 67."""
