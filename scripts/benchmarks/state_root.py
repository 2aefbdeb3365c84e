"""The state root: 10,000 updates over 2^20 entries, key hashes given, against hashing alone.

Here: `run`, one process, the base in memory. Not here: writing the result (ledger_write.py).
The reference is the bare BLAKE2b work of the same update: every new bucket and node hashed once.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from consensus.types.hashing import Tag, tagged_hash
from consensus.types.tree import (
    HashedWrite,
    StateTree,
    TreeUpdate,
    finish,
    key_hash,
    lay_out,
    leaf_hash,
    node_hash,
    update_steps,
    value_hash,
)

ENTRIES = 2**20
UPDATES = 10_000
REPEATS = 5


def run() -> list[dict[str, str | float]]:
    """Rows with name, value, unit, reference, ratio; milliseconds, the best of five."""
    old = [key_hash(number.to_bytes(8, "big")) for number in range(ENTRIES)]
    tree = lay_out((kh, value_hash(kh)) for kh in old)
    gc.freeze()
    step = ENTRIES // UPDATES
    known = [old[number * step] for number in range(UPDATES)]
    new = [key_hash(b"new" + number.to_bytes(8, "big")) for number in range(UPDATES // 2)]
    gone = sorted(known[: UPDATES // 2])
    cases: list[tuple[str, list[HashedWrite]]] = [
        ("state_root", _valued(known)),
        ("state_root_half_new", _valued(known[: UPDATES // 2] + new)),
        ("state_root_half_deleted", sorted(_valued(known[UPDATES // 2 :]) + [(kh, None) for kh in gone])),
    ]
    return [_measure(name, tree, writes) for name, writes in cases] + [_longest_slice(tree, cases[0][1])]


def _valued(hashes: list[bytes]) -> list[HashedWrite]:
    return [(kh, tagged_hash(Tag.STATE_VALUE, b"2", kh)) for kh in sorted(hashes)]


def _measure(name: str, tree: StateTree, writes: list[HashedWrite]) -> dict[str, str | float]:
    update = finish(update_steps(tree, writes))
    value = _best(lambda: finish(update_steps(tree, writes)))
    reference = _best(lambda: _bare(update))
    return {"name": name, "value": value, "unit": "ms", "reference": reference, "ratio": value / reference}


def _longest_slice(tree: StateTree, writes: list[HashedWrite]) -> dict[str, str | float]:
    """What the event loop waits at most, against the 5 ms that a slice may take."""
    runs = []
    for _ in range(REPEATS):
        longest, began = 0.0, time.perf_counter()
        for _ in update_steps(tree, writes):
            now = time.perf_counter()
            longest, began = max(longest, now - began), now
        runs.append(longest * 1e3)
    value = min(runs)  # the least disturbed run
    return {"name": "state_root_slice", "value": value, "unit": "ms", "reference": 5.0, "ratio": value / 5}


def _best(work: Callable[[], object]) -> float:
    took = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1e3)
    return min(took)


def _bare(update: TreeUpdate) -> None:
    for bucket in update.buckets.values():
        leaf_hash(bucket or b"")
    for node in update.nodes.values():
        node_hash(node or b"")


if __name__ == "__main__":
    for row in run():
        print(row)
