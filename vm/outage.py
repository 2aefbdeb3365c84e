"""Outages: epochs in which the network, not its members, was at fault.

Here: the two decisions at an epoch's end, and reading them for as long as forfeits may wait for them.
Not here: when sparks failed together (vm/task/failures.py), what is excused (jailing in vm/epoch.py,
forfeits in vm/task/forfeits.py).
Keeps: an outage excuses faults of availability only, never double signing, false shares, wrong results.
Sparks that fail tasks together excuse those failures and nothing else: tasks of one's own can be failed
for their fees, and would farm an excuse for windows never computed and blocks never signed.
"""

from __future__ import annotations

from consensus.types.codec import Record, Uint
from consensus.types.receipt import EventKind
from vm.state import Namespace, State, Table
from vm.tally import Tally
from vm.task.failures import is_spark_outage
from vm.task.records import FORFEITS, forfeits_of

OUTAGE = EventKind(
    1951,
    "outage",
    "epoch:count commits:count thin:count",
    "Epoch {epoch} was an outage ({thin} of {commits} commits lacked more than a quarter of power): "
    "nobody is punished for being absent.",
)
TASKS_OUTAGE = EventKind(
    1955,
    "tasks_outage",
    "epoch:count",
    "So many sparks failed their tasks together in epoch {epoch} that the network is to blame: "
    "what they would forfeit returns.",
)


class EpochEnd(Record, frozen=True):
    """What an epoch's end decided, keyed by the epoch."""

    outage: bool
    """Too much power was absent: every absence is excused."""
    tasks_outage: bool
    """Too many sparks failed together: failed tasks are excused, and nothing else."""
    ended: Uint
    """The height of its last block."""


EPOCHS = Table(Namespace.EPOCH, EpochEnd)


def _key(epoch: int) -> bytes:
    return epoch.to_bytes(8, "big")


def decide(state: State, counted: Tally) -> bool:
    """Whether the ending epoch was an outage: more than a quarter of power was absent in half of its
    commits. Stored, with whether many sparks failed together, for the forfeits that wait for it.
    """
    epoch = state.block.epoch
    is_outage = counted.commits > 0 and 2 * counted.commits_thin >= counted.commits
    is_tasks_outage = is_spark_outage(state, epoch)
    state.put(EPOCHS, _key(epoch), EpochEnd(is_outage, is_tasks_outage, state.block.height))
    if is_outage:
        state.emit(OUTAGE(epoch=epoch, commits=counted.commits, thin=counted.commits_thin))
    if is_tasks_outage:
        state.emit(TASKS_OUTAGE(epoch=epoch))
    return is_outage


def was_outage(state: State, epoch: int) -> bool:
    """Whether an epoch that has ended was an outage; of one that is forgotten it cannot be said any more."""
    found = state.get(EPOCHS, _key(epoch))
    return found is not None and found.outage


def excuses_tasks(state: State, epoch: int) -> bool:
    """Whether the availability faults of tasks in an ended epoch are excused: by either outage."""
    found = state.get(EPOCHS, _key(epoch))
    return found is not None and (found.outage or found.tasks_outage)


def forget(state: State, epoch: int) -> None:
    """Delete the decisions up to an old epoch, but those that forfeits still wait for: however late the
    due queue runs, each is decided by its own epoch.
    """
    if epoch < 0:
        return
    for key, _ in state.scan(EPOCHS, stop=_key(epoch + 1)):
        if state.scan(FORFEITS, *forfeits_of(int.from_bytes(key, "big")), 1):
            return  # the younger ones stay with it; the next epoch's end looks again
        state.delete(EPOCHS, key)
