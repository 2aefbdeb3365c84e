"""What a family declares for each of its transactions; vm/registry.py lists the declarations.

Here: `Operation` and the cost of one. Not here: the families.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from consensus.types.params import FeeParams, Params
from vm.state import Call, State


class Cost(msgspec.Struct, frozen=True, gc=False):
    """Units besides those of the transaction's bytes and signatures."""

    fixed: int
    entries_max: int
    """The most entries it can create; each that it does create costs `new_entry` units."""
    due: int = 0
    """The most work that it leaves to the due queue, in entries and the records they touch; each costs
    `fees.due_units`, so that no block leaves more than one can do."""


class Operation(NamedTuple):
    """One type of transaction: its payload record and the functions that rule it."""

    name: str
    """As people write it: `transfer`, `task.post`."""
    payload: type[Any]
    """A Record with the type's number as its tag."""
    check: Callable[[Any, Params], None]
    """Refuse what no state could make valid; reads nothing else."""
    cost: Callable[[Any, FeeParams], Cost]
    apply: Callable[[State, Call, Any], None]
    """Refusals stand above the first write; only `Rejected` may be raised."""
    is_due: Callable[[State, Call, Any], bool] | None = None
    """Whether the state makes it due now, which lets it into the lane (vm/fees.py); reads only."""
    proves_itself: bool = False
    """Evidence: no sender, no fee; a refusal makes the block invalid instead of failing it."""


def check_nothing(payload: object, params: Params) -> None:
    """For payloads whose schema says it all."""
