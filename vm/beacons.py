"""Beacons of the past for due entries that fire late.

Here: keeping and reading them. Not here: the beacon itself (consensus/beacon.py).
Keeps: a beacon is stored only while an entry that was due at its height or before still waits, so the
store is empty unless the due queue runs late, and nobody has to ask for one in advance.
"""

from __future__ import annotations

from consensus.types.codec import Hash32, Record
from vm.due import DUE
from vm.state import Namespace, State, Table


class Beacon(Record, frozen=True):
    """beacon(height), keyed by the height."""

    value: Hash32


BEACONS = Table(Namespace.BEACON, Beacon)


def beacon_at(state: State, height: int) -> bytes:
    """beacon(height) for the handler of an entry due at `height`, this block's or an earlier one's.

    A draw asked for in block h is an entry due at h + draw_delay: nobody could know its beacon then,
    and firing late changes nothing.
    """
    if height == state.block.height:
        return state.block.beacon
    kept = state.get(BEACONS, height.to_bytes(8, "big"))
    assert kept is not None, "a beacon is kept while an entry due at its height waits"
    return kept.value


def keep_for_late_entries(state: State) -> None:
    """After the queue has fired: keep this block's beacon if entries still wait, forget what none needs."""
    height = state.block.height
    waiting = state.scan(DUE, stop=(height + 1).to_bytes(8, "big"), limit=1)
    needed_from = waiting[0][0][:8] if waiting else height.to_bytes(8, "big")
    for key, _ in state.scan(BEACONS, stop=needed_from):
        state.delete(BEACONS, key)
    if waiting:
        state.put(BEACONS, height.to_bytes(8, "big"), Beacon(state.block.beacon))
