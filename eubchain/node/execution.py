"""Executing blocks: building one, checking one, committing one to the ledger.

Here: the one place where rules, state tree and ledger meet; work in slices, so that votes are never
delayed by a block; the rows of the optional indexes.
Not here: what a block does (vm/transition.py), deciding on one (consensus/agreement), the WAL.
Keeps: an `Executed` is only a cache by block id: after a crash or an eviction the block is executed
again; the ledger's tree advances only after its batch is durable.
Errors: 2540 other_roots.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, NamedTuple

import structlog
import trio

from consensus.resource.proof import Claim
from consensus.types.block import Block, Commit, Header, block_id, commit_hash
from consensus.types.errors import Reason
from consensus.types.hashing import list_root_steps
from consensus.types.receipt import EventKind, Receipt, receipts_root_steps
from consensus.types.transaction import Candidate
from consensus.types.tree import TreeUpdate, hash_writes, update_steps
from consensus.validators import validators_hash
from eubchain.ledger.layout import SLICE_ROWS, IndexRows
from eubchain.ledger.ledger import Ledger, NewBlock
from eubchain.node.stepwise import in_slices
from eubchain.node.verdicts import Verdicts
from vm import head as heads
from vm.claims import Judge, claims_to_close, take_as_true
from vm.inclusion import Broken
from vm.rules import Rules
from vm.transition import Outcome, apply_in_slices
from vm.validity import BlockInvalid

log = structlog.get_logger("execution")

OTHER_ROOTS = Reason(
    2540,
    "other_roots",
    "what:text theirs:hash ours:hash",
    "The block states the {what} {theirs}; executing it gives {ours}.",
    "The proposer is faulty, or one of the two runs other rules: compare the versions.",
)


class Executed(NamedTuple):
    """A block with all that committing it needs."""

    block: Block
    block_id: bytes
    outcome: Outcome
    update: TreeUpdate

    @property
    def names(self) -> list[bytes]:
        """The wtxids of its transactions."""
        return [candidate.wtxid for candidate in self.outcome.included]


class Execution:
    """Execution on one ledger; one block is built or checked at a time."""

    def __init__(
        self, ledger: Ledger, rules: Rules, *, with_index: bool, verdicts: Verdicts | None = None
    ) -> None:
        self.ledger = ledger
        self.rules = rules
        self.verdicts = verdicts or Verdicts()
        """Of proofs of resource."""
        self._with_index = with_index
        self._wider: Commit | None = None
        self.verdicts.look(heads.view(ledger, rules))

    async def build(
        self,
        header: Header,
        last_commit: Commit | None,
        candidates: Iterable[Candidate[Any]],
        enough: Callable[[], bool],
    ) -> Executed:
        """Fill the rest of a header that names version, height, round, time, parent, proposer, reveal.

        What validation would refuse is left out; candidates that met a bug of ours are logged.
        """
        await self._complete_verdicts()
        running = apply_in_slices(
            self.ledger,
            self.rules,
            header,
            last_commit,
            candidates,
            strict=False,
            enough=enough,
            judge=self.verdicts.judge,
        )
        outcome = await in_slices(running)
        for skipped in outcome.skipped:
            if isinstance(skipped.cause, Broken):
                log.error("a transaction met a bug and is dropped", wtxid=skipped.candidate.wtxid.hex())
        update = await self._update(outcome.writes)
        current = heads.validators_at(heads.view(self.ledger, self.rules), header.height)
        assert current, "a height has validators"
        complete = Header(
            header.version,
            header.height,
            header.round,
            header.time_ms,
            header.parent,
            header.proposer,
            commit_hash(last_commit),
            await in_slices(list_root_steps([c.wtxid for c in outcome.included])),
            update.root,
            await in_slices(receipts_root_steps(outcome.receipts)),
            validators_hash(current),
            outcome.next_validators_hash,
            header.reveal,
        )
        block = Block(complete, tuple(c.raw for c in outcome.included), last_commit)
        return Executed(block, block_id(self.rules.genesis, complete), outcome, update)

    async def execute(
        self, block: Block, candidates: list[Candidate[Any]], *, is_decided: bool = False
    ) -> Executed:
        """Apply a block whose header and signatures hold; raise `BlockInvalid` when roots differ.

        Of a decided block, proofs of resource are taken as true first and judged only if it is refused
        then: the network has judged them, and its roots say how. What the judged ones lead to counts.
        `Broken` passes through: whoever asks knows whether the block is proposed or decided.
        """
        if is_decided:
            try:
                return await self._execute(block, candidates, take_as_true)
            except (BlockInvalid, Broken):
                if not await self._to_close():
                    raise
        await self._complete_verdicts()
        return await self._execute(block, candidates, self.verdicts.judge)

    async def _complete_verdicts(self) -> None:
        """Before a block in which a window closes: all verdicts must be there, for the loop computes none."""
        await self.verdicts.answer(await self._to_close())

    async def _to_close(self) -> list[Claim]:
        """The claims that the next block will judge; mostly none."""
        return await in_slices(claims_to_close(heads.view(self.ledger, self.rules)))

    async def _execute(self, block: Block, candidates: list[Candidate[Any]], judge: Judge) -> Executed:
        header = block.header
        running = apply_in_slices(
            self.ledger, self.rules, header, block.last_commit, candidates, strict=True, judge=judge
        )
        outcome = await in_slices(running)
        update = await self._update(outcome.writes)
        receipts = await in_slices(receipts_root_steps(outcome.receipts))
        found = (
            ("state root", header.state_root, update.root),
            ("receipts root", header.receipts_root, receipts),
            ("next validators hash", header.next_validators_hash, outcome.next_validators_hash),
        )
        for what, theirs, ours in found:
            if theirs != ours:
                raise BlockInvalid(OTHER_ROOTS, what=what, theirs=theirs, ours=ours)
        return Executed(block, block_id(self.rules.genesis, header), outcome, update)

    async def _update(self, writes: Mapping[bytes, bytes | None]) -> TreeUpdate:
        hashed = await in_slices(hash_writes(writes, self.ledger.hash_of_key))
        return await in_slices(update_steps(self.ledger.tree, hashed))

    async def commit(self, executed: Executed, commit: Commit | None) -> None:
        """Make a decided block durable (F5) and advance; on return its effects may leave the node."""
        rows_of = index_rows if self._with_index else named_rows
        rows = await in_slices(rows_of(executed.outcome))
        new = NewBlock(
            executed.block,
            executed.block_id,
            commit,
            executed.outcome.receipts,
            executed.outcome.writes,
            executed.update,
            rows,
            executed.outcome.next_set if is_new_set(executed.block.header) else (),
        )
        prepared = await in_slices(self.ledger.build_steps(new))
        # Not abandoned on cancel: a batch is written whole before anything else happens.
        await trio.to_thread.run_sync(self.ledger.write_batch, prepared)
        self.ledger.advance(prepared)
        self.verdicts.look(heads.view(self.ledger, self.rules))

    def drop_caches(self) -> None:
        """Forget what could be wrong in memory: values read before, verdicts known before."""
        self.ledger.drop_cache()
        self.verdicts.drop()

    def widen_commit(self, commit: Commit) -> None:
        """Take a commit for the head with more signers than the ledger's: the next block carries it."""
        self._wider = commit

    def last_commit(self) -> Commit | None:
        """The commit for the head, which the next block carries; None at height 0."""
        if self._wider is not None and self._wider.block_id == self.ledger.meta.block_id:
            return self._wider
        return self.ledger.commit(self.ledger.height) if self.ledger.height else None

    def parent_id(self) -> bytes:
        """The block id that the next block names as its parent: the genesis hash at height 1."""
        return self.ledger.meta.block_id

    def parent_time_ms(self) -> int:
        """The time of the head, or the genesis time."""
        return heads.head(heads.view(self.ledger, self.rules)).time_ms


def is_new_set(header: Header) -> bool:
    """Whether the set that a header announces has not been stored by a block before."""
    return header.height == 1 or header.next_validators_hash != header.validators_hash


def tasks_of(receipt: Receipt) -> tuple[bytes, ...]:
    """The tasks that a receipt's events name, each once."""
    found: dict[bytes, None] = {}
    for event in receipt.events:
        kind = EventKind.registry[event.code]
        if kind.name.startswith("task_") and kind.facts[0][0] == "task":
            task = event.facts[0]
            assert isinstance(task, bytes), "a task is named by its txid"
            found[task] = None
    return tuple(found)


def named_rows(outcome: Outcome) -> Generator[None, None, IndexRows]:
    """Stepwise: the rows that state records need: transactions that live records name by wtxid."""
    wtxids: list[tuple[bytes, int]] = []
    for position, candidate in enumerate(outcome.included):
        if outcome.receipts[position].events:
            wtxids.append((candidate.wtxid, position))
        if position % SLICE_ROWS == SLICE_ROWS - 1:
            yield
    return IndexRows(wtxids=tuple(wtxids))


def index_rows(outcome: Outcome) -> Generator[None, None, IndexRows]:
    """Stepwise: all rows: by txid, by account, by task."""
    accounts: list[tuple[bytes, int]] = []
    tasks: list[tuple[bytes, int]] = []
    for position, (touched, receipt) in enumerate(zip(outcome.touched, outcome.receipts, strict=True)):
        accounts += [(address, position) for address in touched]
        if receipt.events:
            tasks += [(task, position) for task in tasks_of(receipt)]
        if position % SLICE_ROWS == SLICE_ROWS - 1:
            yield
    named = yield from named_rows(outcome)
    txids = tuple(candidate.txid for candidate in outcome.included)
    yield
    return IndexRows(txids, named.wtxids, tuple(accounts), tuple(tasks))
