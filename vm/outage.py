"""Outages: epochs in which the network, not its members, was at fault.

Here: the decision at an epoch's end, and reading it for as long as forfeits may wait for it.
Not here: what it excuses (jailing in vm/epoch.py, forfeits in vm/task/forfeits.py).
Keeps: an outage excuses faults of availability only, never double signing, false shares, wrong results.
"""

from __future__ import annotations

from collections.abc import Generator

from consensus.types.codec import Record, Uint
from consensus.types.receipt import EventKind
from vm import members, spark
from vm.members import Register
from vm.state import SLICE_RECORDS, Namespace, State, Table
from vm.tally import Tally

SPARKS_LEAST = 4
SHARE_DIVISOR = 100
"""A spark counts for an outage from a hundredth of all proved compute on: dust cannot stage one."""

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


def decide(state: State, counted: Tally) -> Generator[None, None, bool]:
    """Whether the ending epoch was an outage: more than a quarter of power was absent in half of its
    commits, or many sparks failed together. Stored for the forfeits that wait for it.
    """
    validators_out = counted.commits > 0 and 2 * counted.commits_thin >= counted.commits
    sparks_out = yield from is_spark_outage(state)
    is_outage = validators_out or sparks_out
    state.put(EPOCHS, _key(state.block.epoch), EpochEnd(is_outage, state.block.height))
    if is_outage:
        thin = counted.commits_thin
        state.emit(OUTAGE(epoch=state.block.epoch, commits=counted.commits, thin=thin))
    return is_outage


def is_spark_outage(state: State) -> Generator[None, None, bool]:
    """Whether the sparks that failed a seat's availability in this epoch hold more than a third of ΣS,
    at least four of them with a hundredth of it each.
    """
    epoch = state.block.epoch
    total = failed = large = 0
    speeds: list[tuple[int, bool]] = []
    for index, address in enumerate(members.addresses(state, Register.SPARKS)):
        if index % SLICE_RECORDS == 0:
            yield
        record = state.get(spark.SPARKS, address)
        assert record is not None, "who is listed has a record"
        speed = spark.proving_capacity(record, epoch)
        total += speed
        speeds.append((speed, record.failed_epoch == epoch + 1))
    for speed, has_failed in speeds:
        if has_failed:
            failed += speed
            large += speed * SHARE_DIVISOR >= total
    return total > 0 and 3 * failed > total and large >= SPARKS_LEAST


def was_outage(state: State, epoch: int) -> bool:
    """Whether an epoch that has ended was an outage."""
    found = state.get(EPOCHS, _key(epoch))
    assert found is not None, "asked after the epoch's end, within the unbonding time"
    return found.outage


def forget(state: State, epoch: int) -> None:
    """Delete an old epoch's decision, if there is one."""
    if epoch >= 0 and state.get(EPOCHS, _key(epoch)) is not None:
        state.delete(EPOCHS, _key(epoch))
