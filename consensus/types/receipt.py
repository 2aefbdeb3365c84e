"""Receipts: what a transaction did, as codes and facts; and the events of the block itself.

Here: the records, the registry of event kinds.
Not here: words (rendered at the edge from `Reason` and `EventKind`).
Keeps: `receipts_root` covers one receipt per transaction and, last, the block's own receipt, whose
events are what the queue of due entries and the epoch's end did.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Annotated, ClassVar

from msgspec import Meta

from consensus.types.codec import Codec, Record, Uint, encode
from consensus.types.errors import KINDS
from consensus.types.hashing import SLICE_NODES, list_root, list_root_steps

OK = 0
"""The code of a receipt whose transaction did what it said."""

Fact = Uint | Annotated[bytes, Meta(max_length=64)]


class Event(Record, frozen=True):
    """Something that happened: the code of an `EventKind` and its facts in declared order."""

    code: Uint
    facts: tuple[Fact, ...]


class Receipt(Record, frozen=True):
    """[code, units, fee, facts, events]; a refused transaction has a `Reason`'s code and no events."""

    code: Uint
    units: Uint
    fee: Uint
    """Grains paid: the burned base part and the proposer's tip together."""
    facts: tuple[Fact, ...]
    events: tuple[Event, ...]


RECEIPT = Codec[Receipt](Receipt)


class EventKind:
    """A kind of event, declared once where it happens; `kind(…)` makes one, checked against it."""

    registry: ClassVar[dict[int, EventKind]] = {}
    __slots__ = ("code", "facts", "name", "sentence")

    def __init__(self, code: int, name: str, facts: str, sentence: str) -> None:
        self.code, self.name, self.sentence = code, name, sentence
        self.facts = tuple((f.split(":")[0], f.split(":")[1]) for f in facts.split())
        assert all(kind in KINDS for _, kind in self.facts), f"{name}: unknown kind of fact"
        assert code not in self.registry, f"{name}: event code {code} is taken"
        self.registry[code] = self

    def __call__(self, **values: int | bytes) -> Event:
        assert {name for name, _ in self.facts} == set(values), f"{self.name}: facts {set(values)}"
        return Event(self.code, tuple(values[name] for name, _ in self.facts))


def receipts_root(receipts: list[Receipt]) -> bytes:
    """Commit to the receipts in order, the block's own one last."""
    return list_root([encode(receipt) for receipt in receipts])


def receipts_root_steps(receipts: Sequence[Receipt]) -> Generator[None, None, bytes]:
    """`receipts_root`, pausing about once a millisecond."""
    encoded: list[bytes] = []
    for start in range(0, len(receipts), SLICE_NODES):
        encoded += [encode(receipt) for receipt in receipts[start : start + SLICE_NODES]]
        yield
    return (yield from list_root_steps(encoded))
