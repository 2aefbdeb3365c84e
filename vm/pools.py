"""The chain's two pools: what provers share at an epoch's end, and what pays auditors nobody else pays.

Here: adding and taking. Not here: who is paid (vm/epoch.py, vm/task).
Keeps: supply.pools is the sum of both.
"""

from __future__ import annotations

from consensus.types.codec import Record, Uint
from vm.state import Namespace, State, Table

RESOURCE, AUDIT = b"resource", b"audit"


class Pool(Record, frozen=True):
    """Grains in a pool."""

    amount: Uint


POOLS = Table(Namespace.POOL, Pool)


def held(state: State, pool: bytes) -> int:
    """Grains in the pool."""
    found = state.get(POOLS, pool)
    return 0 if found is None else found.amount


def add(state: State, pool: bytes, amount: int) -> None:
    """Put grains in; the caller takes them from another column of the supply."""
    assert amount >= 0, "a pool is given something"
    if amount:
        state.put(POOLS, pool, Pool(held(state, pool) + amount))
        state.supply.pools += amount


def take(state: State, pool: bytes, amount: int) -> int:
    """Take up to `amount`; returns the grains taken, which the caller puts elsewhere."""
    assert amount >= 0, "what is taken is not negative"
    before = held(state, pool)
    taken = min(before, amount)
    if taken:
        state.put(POOLS, pool, Pool(before - taken))
        state.supply.pools -= taken
    return taken
