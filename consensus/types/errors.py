"""What can go wrong, worded once: a `Reason` has a code, a name, facts, a sentence and a hint.

Here: `Reason`, the registry that refuses a second use of a code, `Fault` and `Rejected`.
Not here: the reasons of a family (beside the rule that raises them), addresses and language at the
edge (the renderer takes a formatter for each kind of fact).
Keeps: a receipt commits to code and facts, never to words, so rewording is not a fork.

Code ranges: 1000 encoding and transactions · 1100 accounts · 1200 stake · 1300 validators ·
1400 sparks · 1500 proof of resource · 1600–1799 tasks · 1800 evidence · 1900 blocks ·
2000 agreement, WAL and guard · 2100 ledger · 2200 mempool · 2300 RPC · 2400 network · 2500 node and
configuration · 3000 wallet · 3100 client and task run · 3200 spark agent · 3300 runtimes ·
3400 storage and sealing · 3900 command line.
"""

from __future__ import annotations

import re
from typing import ClassVar

FactValue = int | bytes | str
"""Chain facts are integers or bytes of at most 64; text exists only in faults that never reach a receipt."""
KINDS = frozenset(
    {"address", "eubc", "grains", "count", "height", "blocks", "bytes", "hash", "text", "ppb", "seconds"}
)
"""How a fact is shown: `address` as bech32m, `eubc` an amount in EUBC, `ppb` parts per billion, …"""


class Reason:
    """Why something is refused or failed. Constructing one registers it; codes are never reused.

    `facts` declares names and kinds in the order in which a receipt stores them, as in
    "account:address have:eubc need:eubc"; sentence and hint name them in braces.
    """

    registry: ClassVar[dict[int, Reason]] = {}
    __slots__ = ("code", "facts", "hint", "name", "sentence")

    def __init__(self, code: int, name: str, facts: str, sentence: str, hint: str) -> None:
        self.code, self.name, self.sentence, self.hint = code, name, sentence, hint
        self.facts = tuple((f.split(":")[0], f.split(":")[1]) for f in facts.split())
        known = {fact for fact, _ in self.facts}
        used = set(re.findall(r"\{(\w+)\}", sentence + hint))
        assert used <= known, f"{name}: no fact declared for {used - known}"
        assert all(kind in KINDS for _, kind in self.facts), f"{name}: unknown kind of fact"
        assert code not in self.registry, f"{name}: code {code} is {self.registry[code].name}'s"
        assert all(name != other.name for other in self.registry.values()), f"{name} exists twice"
        self.registry[code] = self

    def __repr__(self) -> str:
        return f"Reason({self.code}, {self.name})"


class Fault(Exception):
    """A refusal or failure that a person may meet: a reason and its facts, rendered at the edge."""

    def __init__(self, reason: Reason, /, **facts: FactValue) -> None:
        assert {name for name, _ in reason.facts} == set(facts), f"{reason.name}: facts {set(facts)}"
        super().__init__(reason, facts)
        self.reason = reason
        self.facts = facts

    def __str__(self) -> str:
        shown = {k: v.hex() if isinstance(v, bytes) else v for k, v in self.facts.items()}
        return f"{self.reason.code} {self.reason.name}: {self.reason.sentence.format(**shown)}"


class Rejected(Fault):
    """The chain's own refusal: the only exception that may fail a transaction."""

    def values(self) -> tuple[int | bytes, ...]:
        """Facts in declared order as a receipt stores them; integers are clamped to 2**63-1."""
        return tuple(_receipt_value(self.facts[name]) for name, _ in self.reason.facts)


def _receipt_value(value: FactValue) -> int | bytes:
    if isinstance(value, int):
        return min(max(value, 0), 2**63 - 1)
    return (value.encode() if isinstance(value, str) else value)[:64]
