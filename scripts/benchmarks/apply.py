"""Executing transfers in one block, and the whole replay of a ledger's blocks without its signatures.

The reference is the least that any transfer costs here: two dict reads and two writes of fresh records.
"""

from __future__ import annotations

import time

from consensus.types.block import Header
from consensus.types.hashing import ZERO_HASH
from consensus.types.reader import MemoryState
from consensus.types.tree import empty_tree, update_tree
from scripts.benchmarks.transfers import found, rules_for, signed
from vm.funds import Account
from vm.genesis import genesis_writes
from vm.registry import decode_candidate
from vm.transition import apply_block

ACCOUNTS, EACH = 1_000, 5


def run() -> list[dict[str, str | float]]:
    """Microseconds per transfer, the best of three."""
    genesis, key = found(ACCOUNTS, 0)
    rules = rules_for(genesis)
    writes = genesis_writes(genesis)
    state = MemoryState()
    state.write(writes)
    candidates = [decode_candidate(raw, rules) for raw in signed(rules, ACCOUNTS, EACH)]
    chain = key.reveal_chain()
    header = Header(
        1, 1, 0, 500, rules.genesis, key.account("deub"), *(ZERO_HASH,) * 6, chain.reveal(chain.commitment)
    )
    figures, roots = [], []
    tree = empty_tree()
    tree.apply(update_tree(tree, writes))
    for _ in range(3):
        began = time.perf_counter()
        outcome = apply_block(state, rules, header, None, candidates, strict=True)
        middle = time.perf_counter()
        update_tree(tree, outcome.writes)
        figures.append((middle - began) / len(candidates) * 1e6)
        roots.append((time.perf_counter() - middle) / len(candidates) * 1e6)
    bare = min(_bare(len(candidates)) for _ in range(3))
    return [
        _row("apply", min(figures), bare),
        _row("apply_with_root", min(a + r for a, r in zip(figures, roots, strict=True)), bare),
    ]


def _bare(count: int) -> float:
    accounts = {i: Account(0, 10**12) for i in range(ACCOUNTS)}
    began = time.perf_counter()
    for i in range(count):
        sender, recipient = accounts[i % ACCOUNTS], accounts[(i * 7 + 1) % ACCOUNTS]
        accounts[i % ACCOUNTS] = Account(sender.nonce + 1, sender.balance - 5)
        accounts[(i * 7 + 1) % ACCOUNTS] = Account(recipient.nonce, recipient.balance + 5)
    return (time.perf_counter() - began) / count * 1e6


def _row(name: str, value: float, reference: float) -> dict[str, str | float]:
    return {"name": name, "value": value, "unit": "us/tx", "reference": reference, "ratio": value / reference}
