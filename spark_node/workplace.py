"""What everything that works on a seat shares: chain, journal, runtimes, stores, the height it is.

Here: `Workplace`, `Heights`, opening the stores that a task names.
Not here: the work (intake.py, seat_work.py, handover.py), the loop around it (agent.py).
Keeps: a step on chain is in the journal with its fee as soon as it is final.
Errors: 3230 no_place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import structlog
import trio
from pyrage.x25519 import Identity

from consensus.types.errors import Fault, Reason
from spark_node.chain import Chain, Receipt, Refused
from spark_node.folder import Folder
from spark_node.gpus import Gpus
from spark_node.inventory import Machine
from spark_node.journal import Journal, Money, SeatNote
from spark_node.runtimes.runtime import Runtime
from spark_node.storage.blob import AccessSigner
from spark_node.storage.places import open_store
from spark_node.storage.shelf import Shelf
from spark_node.storage.store import Store

log = structlog.get_logger("spark")

NO_PLACE = Reason(
    3230,
    "no_place",
    "what:text",
    "There is no store for the {what}: the job names none and this agent serves none.",
    "The requester grants a job with a log place, or the owner sets storage.listen in the policy.",
)

T = TypeVar("T")


class Heights:
    """The newest height that the agent knows, to be waited for."""

    def __init__(self) -> None:
        self.height = 0
        self.time_ms = 0
        self._risen = trio.Event()

    def rise(self, height: int, time_ms: int) -> None:
        """A block came; heights never fall."""
        if height > self.height:
            self.height, self.time_ms = height, time_ms
            risen, self._risen = self._risen, trio.Event()
            risen.set()

    async def until(self, height: int) -> None:
        """Return once the chain has this height."""
        while self.height < height:
            await self._risen.wait()

    async def before(self, height: int, work: Callable[[], Awaitable[T]]) -> T | None:
        """Do the work unless the chain reaches `height` first: then cancel it and return None."""
        result: list[T] = []
        caught: Fault | Refused | None = None
        async with trio.open_nursery() as nursery:

            async def end() -> None:
                await self.until(height)
                nursery.cancel_scope.cancel()

            nursery.start_soon(end)
            try:
                result.append(await work())
            except (Fault, Refused) as error:
                # Kept, so that it leaves as itself and not in a group.
                caught = error
            nursery.cancel_scope.cancel()
        if caught is not None:
            raise caught
        return result[0] if result else None


@dataclass
class Workplace:
    """One agent's means; made once."""

    chain: Chain
    folder: Folder
    journal: Journal
    identity: Identity = field(repr=False)
    """Opens the grants that are sealed to this spark."""
    access: AccessSigner = field(repr=False)
    now_ms: Callable[[], int]
    """The wall clock, for people."""
    runtimes: Mapping[str, Runtime]
    machine: Machine
    """As it was when the agent started."""
    gpus: Gpus
    heights: Heights
    background: trio.Nursery
    """For what goes on beside a seat's work, until the agent ends."""
    shelf: Shelf | None = None
    own_place: str = ""
    """Where this agent serves what a requester's store refuses; empty for nowhere."""
    directory: Path | None = None
    """`file:` places below it may be used."""

    def sealed(self, note: SeatNote) -> Path:
        """Ciphertext of a seat, kept until it is settled."""
        return self.folder.sealed / note.name

    def room(self, note: SeatNote) -> Path:
        """Plaintext of a seat; never outlives its run."""
        return self.folder.rooms / note.name

    def open(self, place: str) -> Store:
        """The store at a place; raises `Fault` 3470 or 3471."""
        return open_store(place, self.access, directory_allowed=self.directory)

    async def tell(self, note: SeatNote, what: str, txid: bytes = b"") -> None:
        """Add to a seat's story, durably."""
        note.tell(self.now_ms(), self.heights.height, what, txid)
        log.info(what, task=note.task.hex()[:16], seat=note.seat, height=self.heights.height)
        await self.keep(note)

    async def keep(self, note: SeatNote) -> None:
        """Make a note durable."""
        await trio.to_thread.run_sync(self.journal.keep, note)

    async def pay(self, kind: str, grains: int, task: bytes, txid: bytes = b"", once: str = "") -> None:
        """Enter money into the journal; what is named `once` for its task counts once, also after a crash."""
        if grains:
            event = f"{once}:{task.hex()}" if once else ""
            entry = Money(self.now_ms(), self.heights.height, kind, grains, task.hex(), txid.hex(), event)
            await trio.to_thread.run_sync(self.journal.pay, entry)

    async def submit(self, task: bytes, payload: Any) -> Receipt:
        """Send a transaction and enter its fee; raises `Refused`, or `Fault` 3200."""
        try:
            receipt = await self.chain.submit(payload)
        except Refused as refused:
            await self.pay("fee", -refused.fee, task)
            raise
        await self.pay("fee", -receipt.fee, task, receipt.txid)
        return receipt

    def place_for(self, wanted: str, what: str) -> str:
        """The place that a job names, or this agent's own; raises `Fault` 3230 when there is neither."""
        place = wanted or self.own_place
        if not place:
            raise Fault(NO_PLACE, what=what)
        return place
