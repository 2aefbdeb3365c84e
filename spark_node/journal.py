"""What the agent must not forget: a note per seat, and every grain that moved.

Here: `SeatNote` and its parts, `Journal` on disk, entries of money.
Not here: what the chain knows better (stage, deadline, price: asked anew each time), offers
(market_notes.py).
A note is written before the step it makes possible: a result's key before its delivery is sent, so that
a crash at any point leaves a seat that can be delivered, failed or given up honestly.
Keeps: notes are replaced whole and durable, mode 0600, because they hold the keys of results; money is
appended and never rewritten; a line that a crash cut short is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from spark_node.folder import Folder, append_durably, seat_name, write_durably

MOMENTS_MAX = 64
"""Of one seat's story; the first ones and the last ones stay."""


class Moment(msgspec.Struct, frozen=True):
    """Something that happened to a seat."""

    time_ms: int
    height: int
    what: str
    txid: str = ""


class KeptResult(msgspec.Struct, frozen=True):
    """A sealed result, from its sealing on: with it a delivery can be made at any time."""

    digest: bytes
    size: int
    identity: str
    """Opens it; a secret."""
    answer: bytes
    salt: bytes
    exit_status: int
    milliseconds: int
    place: str = ""
    """Where it was uploaded to; empty before."""

    def __repr__(self) -> str:
        return f"KeptResult({self.digest.hex()}, {self.size} bytes)"


class KeptFailure(msgspec.Struct, frozen=True):
    """Why the application failed, as it will be claimed."""

    code: int
    exit_status: int
    cause: str
    tail: bytes = b""
    """The last output, until the report is with the requester."""
    report: bytes = b""
    """Digest of the sealed report once it is uploaded."""
    place: str = ""


class KeptEnd(msgspec.Struct, frozen=True):
    """How it ended; grains."""

    ending: str
    blame: str
    height: int
    paid: int
    gas_returned: int
    gas_burned: int
    gas_held: int


class SeatNote(msgspec.Struct):
    """One seat of one task, as this machine remembers it."""

    task: bytes
    seat: int
    requester: bytes
    price: int
    gas: int
    promise: int
    first_ms: int
    runs: int = 0
    """How often the program was started here; a second time only after a crash of the agent."""
    result: KeptResult | None = None
    failure: KeptFailure | None = None
    gave_up: str = ""
    """Why it was declined or released, once that is decided."""
    decline: int = 0
    """With which code of `task.decline`."""
    end: KeptEnd | None = None
    moments: list[Moment] = msgspec.field(default_factory=list)

    @property
    def key(self) -> tuple[bytes, int]:
        """Task and seat."""
        return self.task, self.seat

    @property
    def name(self) -> str:
        """Of its files."""
        return seat_name(self.task, self.seat)

    def tell(self, time_ms: int, height: int, what: str, txid: bytes = b"") -> None:
        """Add to its story; repetitions of the last sentence are left out."""
        if self.moments and self.moments[-1].what == what:
            return
        if len(self.moments) >= MOMENTS_MAX:
            del self.moments[MOMENTS_MAX // 2]
        self.moments.append(Moment(time_ms, height, what, txid.hex()))


class Money(msgspec.Struct, frozen=True):
    """Grains that came (positive) or went (negative), and why.

    Kinds: `paid`, `gas`, `deposit`, `fee`, `forfeit`, `proof` and `reward`; `mark` moves nothing and says
    up to which height the blocks' own events are entered.
    """

    time_ms: int
    height: int
    kind: str
    grains: int
    task: str = ""
    txid: str = ""
    event: str = ""
    """Which event of the chain it is, so that one read twice counts once."""


class Journal:
    """Every note of this machine, in memory and on disk. Writing blocks: call it in a thread."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.notes: dict[tuple[bytes, int], SeatNote] = {}
        for path in sorted(folder.journal.glob("*.json")):
            try:
                note = msgspec.json.decode(path.read_bytes(), type=SeatNote)
            except (msgspec.DecodeError, OSError):
                # Written whole or not at all, so this is a hand's or a disk's work; the chain knows the rest.
                continue
            self.notes[note.key] = note

    def path(self, note: SeatNote) -> Path:
        """Where a note lies."""
        return self._folder.journal / f"{note.name}.json"

    def keep(self, note: SeatNote) -> None:
        """Make a note durable; raises `Fault` 3221. Blocks."""
        self.notes[note.key] = note
        write_durably(self.path(note), msgspec.json.encode(note))

    def pay(self, entry: Money) -> None:
        """Add an entry of money; raises `Fault` 3221. Blocks."""
        append_durably(self._folder.money, msgspec.json.encode(entry))

    def unsettled(self) -> list[SeatNote]:
        """Notes of seats whose end is not known yet."""
        return [note for note in self.notes.values() if note.end is None]


def read_money(path: Path) -> Iterator[Money]:
    """Every entry of money, oldest first; an event of the chain counts once."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    seen: set[str] = set()
    for line in lines:
        try:
            entry = msgspec.json.decode(line, type=Money)
        except msgspec.DecodeError:
            continue
        if entry.event and entry.event in seen:
            continue
        seen.add(entry.event)
        yield entry
