"""What a node does to its ledger between blocks: prune old ones, cut snapshots, beside the work of agreement.

Here: when each happens and how it stays out of the way.
Not here: pruning and snapshots themselves (eubchain/ledger), serving them (rpc/methods/snapshot.py).
Keeps: a prune's batch is written between two blocks' batches, never beside one; a cut, and the look at all
records for the transactions that they name, take one slice at a time with a pause after each, so that they
never have more than a fraction of the loop and no height waits for them.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

import structlog
import trio

from eubchain.ledger import prune
from eubchain.ledger.ledger import Ledger
from eubchain.ledger.reading import LedgerReader
from eubchain.ledger.snapshot import Manifest, cut
from eubchain.ledger.snapshot_folder import SnapshotFolder
from eubchain.node.stepwise import in_slices
from vm import head as heads
from vm.named import named_in_slices
from vm.rules import Rules

log = structlog.get_logger("upkeep")

PAUSE_S = 0.01
"""After each slice of some 3 ms: a million entries then take half a minute and a quarter of the loop."""


class _Named(NamedTuple):
    """The transactions that live records named at a height."""

    height: int
    wtxids: frozenset[bytes]


class Upkeep:
    """The upkeep of one ledger; `after_block` is awaited by whoever commits, `run` beside it."""

    def __init__(
        self, ledger: Ledger, rules: Rules, folder: SnapshotFolder, *, retain_blocks: int,
        every_epochs: int, keep: int,
    ) -> None:  # fmt: skip
        self.folder = folder
        self._ledger, self._rules = ledger, rules
        self._retain_blocks, self._every_epochs, self._keep = retain_blocks, every_epochs, keep
        # One cut at a time: while one runs, the next is left out and said so.
        self._send, self._receive = trio.open_memory_channel[tuple[int, Generator[None, None, Manifest]]](1)
        self.is_cutting = False
        self._looks, self._look = trio.open_memory_channel[LedgerReader](1)
        self._is_looking = False
        self._named: _Named | None = None
        """What a prune keeps, once it is known; each prune asks anew."""

    async def after_block(self, height: int) -> None:
        """Prune a step, begin a snapshot, if it is time; nothing else writes the ledger meanwhile."""
        chain = self._rules.params.chain
        if self._retain_blocks and prune.due(self._ledger, self._retain_blocks) >= prune.STEP_BLOCKS:
            await self._prune()
        if self._every_epochs and not height % (self._every_epochs * chain.epoch_blocks):
            self._begin(height)

    async def _prune(self) -> None:
        length, named = self._rules.params.chain.epoch_blocks, self._named
        lowest = self._ledger.meta.lowest
        if named is None or named.height < lowest + prune.STEP_BLOCKS:
            if not self._is_looking:
                self._is_looking = True
                self._looks.send_nowait(self._ledger.view())
            return
        prepared = await in_slices(
            prune.prune_steps(
                self._ledger, self._retain_blocks, named.wtxids, lambda height: not height % length
            )
        )
        self._named = None
        if prepared is not None:
            await trio.to_thread.run_sync(self._ledger.write_batch, prepared)
            self._ledger.advance(prepared)

    def _begin(self, height: int) -> None:
        if self.is_cutting:
            log.warning("a snapshot is still being cut, this one is left out", height=height)
            return
        self.is_cutting = True
        # The head is read here, before the next block; what follows works on LevelDB's snapshot of it.
        reader, named = self._ledger.view(), set[bytes]()
        writing = cut(self._ledger, self.folder.begin(height), named)

        def steps() -> Generator[None, None, Manifest]:
            named.update((yield from named_in_slices(heads.view(reader, self._rules))))
            return (yield from writing)

        self._send.send_nowait((height, steps()))

    async def run(self) -> None:
        """Do what `after_block` begins, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_looks)
            nursery.start_soon(self._run_cuts)

    async def _run_looks(self) -> None:
        async for reader in self._look:
            steps = named_in_slices(heads.view(reader, self._rules))
            self._named = _Named(reader.height, await in_slices(steps, PAUSE_S))
            self._is_looking = False

    async def _run_cuts(self) -> None:
        async for height, steps in self._receive:
            try:
                await in_slices(steps, PAUSE_S)
                await trio.to_thread.run_sync(self.folder.finish, height, self._keep)
                log.info("a snapshot is ready", height=height, place=str(self.folder.place(height)))
            except OSError as error:
                # A full disk costs the snapshot, not the validator.
                log.error("a snapshot could not be written", height=height, why=error.strerror or str(error))
            finally:
                self.is_cutting = False
