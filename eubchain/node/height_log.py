"""The log of one height as the engine uses it: when the disk refuses, it falls silent instead of failing.

Here: `HeightLog` over the write-ahead log, `DiskAlarm` (what is said meanwhile, when there is room again).
Not here: the log's file (wal.py), the guard (guard.py), who stops signing (engine.py).
Keeps: a log that has failed never says that something is durable: `sync` raises from then on, so nothing
more is signed on it; the height is entered anew from what reached the disk, as after a crash.
Errors: 2551 log_disk_refuses.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from consensus.agreement.inputs import RecordedInput
from consensus.types.errors import Fault, Reason
from eubchain.node.durable_files import DurableFiles
from eubchain.node.guard import GUARD_NOT_WRITTEN
from eubchain.node.wal import WAL_NOT_WRITTEN, Wal, WalContents

log = structlog.get_logger("disk")

PROBE_NAME = "room_probe"
ROOM_BYTES = 16 * 2**20
"""What must be writable before signing goes on: a log with the largest block, and its ledger batch."""
PROBE_INTERVAL_S = 2.0
DISK_REFUSALS = (WAL_NOT_WRITTEN, GUARD_NOT_WRITTEN)
"""After one of these a node signs nothing and follows; any other failure of the disk stops it."""

DISK_REFUSES = Reason(
    2551,
    "log_disk_refuses",
    "file:text why:text needed:bytes",
    "The disk takes no writes to {file}: {why}. This node signs nothing until {needed} can be written there.",
    "Make room on that disk; the node notices by itself and signs again.",
)


class DiskAlarm:
    """Whether the disk refuses, for `status` and metrics; `changed` is told 1 and 0."""

    def __init__(self, files: DurableFiles, changed: Callable[[int], None] = lambda value: None) -> None:
        self._files, self.changed = files, changed
        self.why = ""
        """A sentence while the disk refuses, else empty."""

    def begin(self, fault: Fault) -> None:
        """Say it, once."""
        if self.why:
            return
        words = Fault(
            DISK_REFUSES, file=str(fault.facts["file"]), why=str(fault.facts["why"]), needed=ROOM_BYTES
        )
        self.why = words.reason.sentence.format(**{**words.facts, "needed": f"{ROOM_BYTES} bytes"})
        log.error("the disk refuses: nothing is signed, the chain is followed", why=self.why)
        self.changed(1)

    async def wait_for_room(self) -> None:
        """Return once `ROOM_BYTES` can be written and synced."""
        while True:
            if await trio.to_thread.run_sync(self._has_room):
                break
            await trio.sleep(PROBE_INTERVAL_S)
        self.end()

    def end(self) -> None:
        """Say that the disk takes writes again, if it had refused them."""
        if self.why:
            self.why = ""
            log.warning("the disk takes writes again")
            self.changed(0)

    def _has_room(self) -> bool:
        try:
            probe = self._files.create(PROBE_NAME)
        except OSError:
            return False
        try:
            probe.write_at(0, bytes(ROOM_BYTES))
            probe.sync()
        except OSError:
            return False
        finally:
            probe.truncate(0)
            probe.close()
        return True


class HeightLog:
    """A height's write-ahead log; `failed` is called once, when the disk first refuses."""

    def __init__(self, wal: Wal | None, failed: Callable[[Fault], None]) -> None:
        self._wal, self._failed = wal, failed
        self._why: Fault | None = None

    @classmethod
    async def begin(
        cls, files: DurableFiles, genesis: bytes, height: int, failed: Callable[[Fault], None]
    ) -> HeightLog:
        """Begin the log of a height (F6)."""
        made = cls(None, failed)
        try:
            made._wal = await trio.to_thread.run_sync(Wal.create, files, genesis, height)
        except Fault as fault:
            made.fall_silent(fault)
        return made

    @classmethod
    async def resume(
        cls, files: DurableFiles, contents: WalContents, failed: Callable[[Fault], None]
    ) -> HeightLog:
        """Go on with the log that was found."""
        made = cls(None, failed)
        try:
            made._wal = await trio.to_thread.run_sync(Wal.resume, files, contents)
        except Fault as fault:
            made.fall_silent(fault)
        return made

    @property
    def is_silent(self) -> bool:
        """Whether the disk has refused."""
        return self._why is not None

    def fall_silent(self, fault: Fault) -> None:
        """From now on nothing is written and `sync` raises; other faults than the disk's pass through."""
        if fault.reason not in DISK_REFUSALS:
            raise fault
        if self._why is None:
            self._why = fault
            self._failed(fault)

    def append_input(self, event: RecordedInput, *, is_own: bool = False) -> None:
        """As `Wal.append_input`, without effect once silent."""
        if self._wal is not None and self._why is None:
            try:
                self._wal.append_input(event, is_own=is_own)
            except Fault as fault:
                self.fall_silent(fault)

    def holds(self, block_id: bytes) -> bool:
        """As `Wal.holds`; a log that has fallen silent wants no more."""
        return self._wal is None or self._why is not None or self._wal.holds(block_id)

    def append_block(self, block_id: bytes, data: bytes) -> None:
        """As `Wal.append_block`, without effect once silent."""
        if self._wal is not None and self._why is None:
            try:
                self._wal.append_block(block_id, data)
            except Fault as fault:
                self.fall_silent(fault)

    def sync(self) -> None:
        """As `Wal.sync`; raises the fault that made it silent."""
        if self._why is not None:
            raise self._why
        assert self._wal is not None, "a log that has not failed has its file"
        self._wal.sync()

    def close(self) -> None:
        """Close the file."""
        if self._wal is not None:
            self._wal.close()
