"""State as the rules see it: typed tables over a reader, written on an overlay that can be undone.

Here: namespaces, `Table`, the context of a block and of a call, `State` with its journal, the supply.
Not here: what the records mean (each family's module), the root of the writes (consensus/types/tree.py).
Keeps: reading never changes anything; a refused transaction leaves the overlay as it found it;
the supply's columns always add up (`Supply.is_conserved`).
"""

from __future__ import annotations

from collections.abc import Generator
from enum import IntEnum
from typing import ClassVar, Generic, NamedTuple, TypeVar

import msgspec

from consensus.types.codec import Record, Uint, encode
from consensus.types.params import Params
from consensus.types.reader import StateReader
from consensus.types.receipt import Event
from vm.slices import SLICE_WRITES, to_the_end

R = TypeVar("R", bound=Record)


class Namespace(IntEnum):
    """The first byte of every key in state."""

    HEAD = 1
    SUPPLY = 2
    PARAMS = 3
    ACCOUNT = 4
    VESTING = 5
    STAKE = 6
    VALIDATOR = 7
    CONSENSUS_KEY = 8
    VALIDATOR_SET = 9
    TALLY = 10
    INFRACTION = 11
    BEACON = 12
    SPARK = 13
    WINDOW = 14
    PROOF = 15
    STANDING = 16
    TASK = 17
    OFFER = 18
    SEAT = 19
    DISPUTE = 20
    JUDGE = 21
    FORFEIT = 22
    DUE = 23
    POOL = 24
    MEMBERS = 25
    """Lists of addresses that the epoch's end walks: registered validators, registered sparks."""
    EPOCH = 26
    """What an epoch's end decided, by epoch."""
    MISSED = 27
    """What sparks lost by missing windows in the running epoch, which may still be an outage."""


class Table(Generic[R]):
    """A namespace and the record that all its values are; declared once, by the family that owns it."""

    registry: ClassVar[dict[int, Table[Record]]] = {}
    __slots__ = ("decode", "namespace", "number", "prefix", "record")

    def __init__(self, namespace: Namespace, record: type[R]) -> None:
        assert namespace not in self.registry, f"{namespace.name} has an owner already"
        self.namespace = namespace
        self.number = int(namespace)
        """The namespace as a plain integer: an enumeration is slow as an index."""
        self.prefix = bytes([namespace])
        self.record = record
        self.decode = msgspec.msgpack.Decoder(record).decode
        self.registry[namespace] = self  # type: ignore[assignment]  # the registry only lists


class BlockContext(NamedTuple):
    """What the rules may know of the block they run in."""

    height: int
    time_ms: int
    epoch: int
    beacon: bytes
    """beacon(height): this block's own, after its reveal."""
    base_price: int
    """Grains per unit."""
    proposer: bytes
    params: Params
    genesis: bytes
    chain_id: str
    vesting: frozenset[bytes] | None = None
    """Accounts with vesting locks; None asks the table for every account, which costs a read each."""


class Call(msgspec.Struct, frozen=True, gc=False):
    """Who calls, in which transaction."""

    sender: bytes
    txid: bytes
    wtxid: bytes


class Supply(Record, frozen=True):
    """Where every grain that was ever issued is; grains."""

    issued: Uint
    burned: Uint
    balances: Uint
    bonded: Uint
    unbonding: Uint
    escrow: Uint
    gas: Uint
    deposits: Uint
    pools: Uint
    accrued: Uint


class SupplyColumns:
    """The supply while a block runs: plain attributes, because every operation moves two of them."""

    __slots__ = Supply.__struct_fields__

    def __init__(self, supply: Supply) -> None:
        self.issued: int = 0
        self.burned: int = 0
        self.balances: int = 0
        self.bonded: int = 0
        self.unbonding: int = 0
        self.escrow: int = 0
        self.gas: int = 0
        self.deposits: int = 0
        self.pools: int = 0
        self.accrued: int = 0
        self.load(supply)

    def load(self, supply: Supply) -> None:
        """Take the figures of a record."""
        for name in Supply.__struct_fields__:
            setattr(self, name, getattr(supply, name))

    def save(self) -> tuple[int, ...]:
        """The figures in declared order, for `restore`; cheaper than a record, taken per transaction."""
        return (
            self.issued,
            self.burned,
            self.balances,
            self.bonded,
            self.unbonding,
            self.escrow,
            self.gas,
            self.deposits,
            self.pools,
            self.accrued,
        )

    def restore(self, saved: tuple[int, ...]) -> None:
        """Go back to what `save` returned."""
        for name, value in zip(Supply.__struct_fields__, saved, strict=True):
            setattr(self, name, value)

    def record(self) -> Supply:
        """The figures as a record; asserts that none is negative."""
        values = [getattr(self, name) for name in Supply.__struct_fields__]
        assert min(values) >= 0, f"a column of the supply is negative: {values}"
        return Supply(*values)

    def is_conserved(self) -> bool:
        """issued = burned + balances + bonded + unbonding + escrow + gas + deposits + pools + accrued."""
        return self.issued == (
            self.burned
            + self.balances
            + self.bonded
            + self.unbonding
            + self.escrow
            + self.gas
            + self.deposits
            + self.pools
            + self.accrued
        )


NAMESPACES_MAX = 32
SUPPLY = Table(Namespace.SUPPLY, Supply)
EMPTY_SUPPLY = Supply(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


class State:
    """One block's overlay on a reader. Records are immutable: change one with `put` of a new one."""

    def __init__(self, reader: StateReader, block: BlockContext) -> None:
        self.block = block
        self.events: list[Event] = []
        """Of the transaction, or of the block's own part, that runs now."""
        self.entries_created = 0
        """Keys that the running transaction brought into being; each costs `new_entry` units."""
        self.records_touched = 0
        """Puts and deletes so far; the due queue counts its work in them."""
        self._reader = reader
        self._values: dict[bytes, Record | None] = {}
        self._dirty: list[dict[bytes, None]] = [{} for _ in range(NAMESPACES_MAX)]
        """Written keys by namespace, so that a scan sorts its own namespace only."""
        self._journal: dict[bytes, tuple[Record | None, bool]] = {}
        """(record before, whether it was written before) by key, of what runs now, in the order of the
        first write: a transfer writes its sender three times."""
        self.supply = SupplyColumns(self.get(SUPPLY, b"") or EMPTY_SUPPLY)
        self._saved = self.supply.save()

    @property
    def records_held(self) -> int:
        """How many records are in memory, read or written; a state that is only read grows by reading."""
        return len(self._values)

    def get(self, table: Table[R], key: bytes) -> R | None:
        """The record, or None."""
        full = table.prefix + key
        values = self._values
        if full in values:
            return values[full]  # type: ignore[return-value]  # a table has one record type
        raw = self._reader.get(full)
        value = None if raw is None else table.decode(raw)
        values[full] = value
        return value

    def put(self, table: Table[R], key: bytes, record: R | None) -> None:
        """Write the record; None is for `delete`."""
        full = table.prefix + key
        values = self._values
        old = values[full] if full in values else self.get(table, key)
        if old is None:
            self.entries_created += 1
        values[full] = record
        journal = self._journal
        if full not in journal:
            dirty = self._dirty[table.number]
            journal[full] = (old, full in dirty)
            dirty[full] = None
        self.records_touched += 1

    def delete(self, table: Table[R], key: bytes) -> None:
        """Remove a record that exists."""
        assert self.get(table, key) is not None, f"nothing to delete in {table.namespace.name}"
        self.put(table, key, None)

    def scan(
        self, table: Table[R], start: bytes = b"", stop: bytes | None = None, limit: int = 2**31
    ) -> list[tuple[bytes, R]]:
        """At most `limit` (key, record) with start <= key < stop, ascending, written ones included."""
        first = table.prefix + start
        last = bytes([table.namespace + 1]) if stop is None else table.prefix + stop
        # Written keys win over the reader's; merging two sorted runs keeps the reader lazy.
        overlay = sorted(k for k in self._dirty[table.number] if first <= k < last)
        found: list[tuple[bytes, R]] = []
        position = 0
        for key, raw in self._reader.scan(first, last):
            while position < len(overlay) and overlay[position] < key and len(found) < limit:
                self._append_written(found, overlay[position])
                position += 1
            if len(found) >= limit:
                return found
            if position < len(overlay) and overlay[position] == key:
                self._append_written(found, key)
                position += 1
            else:
                known = self._values.get(key)
                record: R = known if known is not None else table.decode(raw)  # type: ignore[assignment]  # as in get
                found.append((key[1:], record))
        for key in overlay[position:]:
            if len(found) >= limit:
                break
            self._append_written(found, key)
        return found

    def _append_written(self, found: list[tuple[bytes, R]], key: bytes) -> None:
        record = self._values[key]
        if record is not None:
            found.append((key[1:], record))  # type: ignore[arg-type]  # as in get

    def emit(self, event: Event) -> None:
        """Add to the events of whatever runs now."""
        self.events.append(event)

    def begin(self) -> None:
        """Start a transaction (or the block's own part): from here `undo` can go back."""
        self._journal.clear()
        self.entries_created = 0
        self.events = []
        self._saved = self.supply.save()

    def undo(self) -> None:
        """Take back everything since `begin`."""
        for full, (old, was_written) in self._journal.items():
            self._values[full] = old
            if not was_written:
                del self._dirty[full[0]][full]
        self._journal.clear()
        self.events = []
        self.entries_created = 0
        self.supply.restore(self._saved)

    def written(self, table: Table[R]) -> list[bytes]:
        """Keys of `table` written since `begin`, each once, in the order of their first write."""
        first = table.number
        return [full[1:] for full in self._journal if full[0] == first]

    def finish(self) -> dict[bytes, bytes | None]:
        """Close the block in one go; see `finish_in_slices`."""
        return to_the_end(self.finish_in_slices())

    def finish_in_slices(self) -> Generator[None, None, dict[bytes, bytes | None]]:
        """Close the block: store the supply and return every written key, encoded, in key order.

        None deletes, and only what the reader holds: an entry made and removed within the block is
        not mentioned.
        """
        assert self.supply.is_conserved(), f"supply is not conserved: {self.supply.record()}"
        self.put(SUPPLY, b"", self.supply.record())
        writes: dict[bytes, bytes | None] = {}
        for dirty in self._dirty:
            for index, key in enumerate(sorted(dirty)):
                if index % SLICE_WRITES == 0 and index:
                    yield
                value = self._values[key]
                if value is not None:
                    writes[key] = encode(value)
                elif self._reader.get(key) is not None:
                    writes[key] = None
        return writes
