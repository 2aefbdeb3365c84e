"""Outages: epochs in which the network, not its members, was at fault.

Here: the decision at an epoch's end, and reading it for as long as forfeits may wait for it.
Not here: when sparks failed together (vm/task/failures.py), what is excused (jailing in vm/epoch.py,
forfeits in vm/task/forfeits.py).
Keeps: an outage excuses faults of availability only, never double signing, false shares, wrong results.
"""

from __future__ import annotations

from consensus.types.codec import Record, Uint
from consensus.types.receipt import EventKind
from vm.state import Namespace, State, Table
from vm.tally import Tally
from vm.task.failures import is_spark_outage

OUTAGE = EventKind(
    1951,
    "outage",
    "epoch:count commits:count thin:count",
    "Epoch {epoch} was an outage ({thin} of {commits} commits lacked more than a quarter of power, or "
    "many sparks failed together): nobody is punished for being absent.",
)


class EpochEnd(Record, frozen=True):
    """What an epoch's end decided, keyed by the epoch."""

    outage: bool
    ended: Uint
    """The height of its last block."""


EPOCHS = Table(Namespace.EPOCH, EpochEnd)


def _key(epoch: int) -> bytes:
    return epoch.to_bytes(8, "big")


def decide(state: State, counted: Tally) -> bool:
    """Whether the ending epoch was an outage: more than a quarter of power was absent in half of its
    commits, or many sparks failed together. Stored for the forfeits that wait for it.
    """
    validators_out = counted.commits > 0 and 2 * counted.commits_thin >= counted.commits
    is_outage = validators_out or is_spark_outage(state, state.block.epoch)
    state.put(EPOCHS, _key(state.block.epoch), EpochEnd(is_outage, state.block.height))
    if is_outage:
        thin = counted.commits_thin
        state.emit(OUTAGE(epoch=state.block.epoch, commits=counted.commits, thin=thin))
    return is_outage


def was_outage(state: State, epoch: int) -> bool:
    """Whether an epoch that has ended was an outage."""
    found = state.get(EPOCHS, _key(epoch))
    assert found is not None, "asked after the epoch's end, within the unbonding time"
    return found.outage


def forget(state: State, epoch: int) -> None:
    """Delete an old epoch's decision, if there is one."""
    if epoch >= 0 and state.get(EPOCHS, _key(epoch)) is not None:
        state.delete(EPOCHS, _key(epoch))
