"""Making and judging blocks for the engine: what a proposer builds, whether a block is valid.

Here: filling a block from the mempool at the right moment, full validity of a received block.
Not here: when to do either (consensus/agreement), the rules (vm), durability (engine.py).
Keeps: the answer to "is it valid" is a function of the block and the parent state; a bug of ours met
on the way makes a proposal invalid and a decided block a reason to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import structlog
import trio

from consensus.beacon import RevealChain
from consensus.types.block import Block, Header
from consensus.types.errors import Fault, Rejected
from consensus.types.hashing import ZERO_HASH, list_root_steps
from consensus.types.transaction import (
    BAD_SIGNATURE,
    Candidate,
    SignatureCheck,
    signature_checks,
)
from eubchain.mempool import Mempool
from eubchain.node.execution import Executed, Execution
from eubchain.node.reveal_file import Reveals
from eubchain.node.stepwise import in_slices
from eubchain.node.workers import VerifyPool
from vm import head as heads
from vm import validity
from vm.evidence import ALREADY_TOMBSTONED, EVIDENCE_TOO_OLD
from vm.inclusion import EXPIRED, FEE_NOT_COVERED, PRICE_TOO_LOW, Broken, is_due
from vm.registry import decode_candidate
from vm.rules import Rules
from vm.slices import SLICE_TRANSACTIONS
from vm.state import State
from vm.validator import VALIDATORS
from vm.validity import BlockInvalid

log = structlog.get_logger("production")

BUSY_TRANSACTIONS = 1_000
"""With so many waiting, building starts at once instead of just before the block's time."""

ALONE_FACTOR = 3
"""A validator alone in its set builds this much longer: nobody has to execute its block after it."""
HOPELESS = (EXPIRED, FEE_NOT_COVERED, ALREADY_TOMBSTONED, EVIDENCE_TOO_OLD)
"""Refusals that another block would not change soon: the transaction leaves the mempool. A wrong nonce is
none: it only says that the one before, of the same sender, found no room in this block."""


class Identity(NamedTuple):
    """The validator that this node runs."""

    address: bytes
    reveals: RevealChain | Reveals


class Production:
    """Builds and judges blocks on one ledger."""

    def __init__(
        self,
        execution: Execution,
        mempool: Mempool,
        pool: VerifyPool,
        clock_ms: Callable[[], int],
        build_ms: int,
        identity: Identity | None,
    ) -> None:
        self.execution = execution
        self._mempool = mempool
        self._pool = pool
        self._clock_ms = clock_ms
        self._build_ms = build_ms
        self._identity = identity
        self._turn = trio.Lock()
        """One block at a time on the loop: two would only slow each other."""

    @property
    def rules(self) -> Rules:
        """Of the network."""
        return self.execution.rules

    async def build(self, round_: int) -> Executed:
        """Build this node's block for a round of the next height."""
        assert self._identity is not None, "only a validator proposes"
        identity = self._identity
        parent_ms = self.execution.parent_time_ms()
        earliest = parent_ms + self.rules.params.chain.block_interval_ms
        # Late enough to hold what arrived meanwhile, early enough to be ready in time.
        budget_ms = self._build_budget_ms()
        spare = earliest - self._build_ms - self._clock_ms()
        if spare > 0 and len(self._mempool) < BUSY_TRANSACTIONS:
            await trio.sleep(spare / 1000)
        async with self._turn:
            state = heads.view(self.execution.ledger, self.rules)
            head = heads.head(state)
            height = head.height + 1
            registered = state.get(VALIDATORS, identity.address)
            assert registered is not None, "whoever proposes has a record"
            reveal = identity.reveals.reveal(registered.reveal)
            header = Header(
                self.rules.version_at(height),
                height,
                round_,
                max(earliest, self._clock_ms()),
                self.execution.parent_id(),
                identity.address,
                *(ZERO_HASH,) * 6,
                reveal,
            )
            deadline = trio.current_time() + budget_ms / 1000
            seen = heads.next_view(self.execution.ledger, self.rules, header.time_ms)
            waiting = await in_slices(self._mempool.for_block(head.base_price, partial(_is_due, seen)))
            executed = await self.execution.build(
                header, self.execution.last_commit(), waiting, lambda: trio.current_time() >= deadline
            )
        for count, skipped in enumerate(executed.outcome.skipped, 1):
            if isinstance(skipped.cause, Broken) or skipped.cause.reason in HOPELESS:
                self._mempool.drop(skipped.candidate.txid)
            elif skipped.cause.reason is PRICE_TOO_LOW:
                self._mempool.not_due(skipped.candidate)
            if not count % SLICE_TRANSACTIONS:
                await trio.lowlevel.checkpoint()
        return executed

    def _build_budget_ms(self) -> int:
        """How long transactions are added."""
        view = heads.view(self.execution.ledger, self.rules)
        validators = heads.validators_at(view, heads.head(view).height + 1) or ()
        return self._build_ms * (ALONE_FACTOR if len(validators) == 1 else 1)

    async def judge(self, block: Block) -> Executed | None:
        """Execute a proposed block; None when it is invalid, whatever the reason (logged)."""
        try:
            return await self.execute(block)
        except Fault as fault:
            log.warning("a block is invalid", height=block.header.height, why=str(fault))
        except Broken as broken:
            log.error("a proposed block met a bug; it is voted against", cause=str(broken), exc_info=True)
        return None

    async def judge_afresh(self, block: Block) -> Executed | None:
        """`judge` with every cache dropped: for a block that a quorum found valid and this node did not."""
        self.execution.drop_caches()
        try:
            return await self._execute(block, is_decided=False, is_afresh=True)
        except Fault as fault:
            log.error("a block is invalid also without caches", height=block.header.height, why=str(fault))
        except Broken as broken:
            log.error("a proposed block met a bug again", cause=str(broken), exc_info=True)
        return None

    async def execute(self, block: Block, *, is_decided: bool = False) -> Executed:
        """All of a block's validity: header, commit, signatures, execution. Raises `Fault`, `Broken`.

        Of a decided block, proofs of resource are first taken as the network judged them; if it is invalid
        here, it is executed once more with every cache dropped before that is believed.
        """
        try:
            return await self._execute(block, is_decided=is_decided)
        except Fault as fault:
            if not is_decided:
                raise
            height = block.header.height
            log.error(
                "a decided block is invalid; executing it without caches", height=height, why=str(fault)
            )
        self.execution.drop_caches()
        return await self._execute(block, is_decided=True, is_afresh=True)

    async def _execute(self, block: Block, *, is_decided: bool, is_afresh: bool = False) -> Executed:
        validity.check_sizes(self.rules, block.transactions)  # before anything is done with each of them
        async with self._turn:
            candidates = await self._candidates(block.transactions, is_afresh)
            checks: list[SignatureCheck] = []

            def collect(more: Sequence[SignatureCheck]) -> bool:
                checks.extend(more)
                return True

            view = heads.view(self.execution.ledger, self.rules)
            parent = self.execution.parent_id()
            root = await in_slices(list_root_steps([c.wtxid for c in candidates]))
            validity.check_block(view, self.rules, block, candidates, parent, collect, txs_root_found=root)
            if not all(await self._pool.signatures(checks)):
                raise BlockInvalid(validity.COMMIT_UNSIGNED, height=block.header.height - 1)
            return await self.execution.execute(block, candidates, is_decided=is_decided)

    async def _candidates(self, raws: Sequence[bytes], is_afresh: bool) -> list[Candidate[Any]]:
        """A block's transactions: from the mempool, where they were verified, or verified now."""
        found: list[Candidate[Any]] = []
        checks: list[SignatureCheck] = []
        for index, raw in enumerate(raws):
            if index % SLICE_TRANSACTIONS == SLICE_TRANSACTIONS - 1:
                await trio.lowlevel.checkpoint()
            known = None if is_afresh else self._mempool.by_raw(raw)
            if known is None:
                known = decode_candidate(raw, self.rules)
                checks += signature_checks(known.transaction, self.rules.genesis)
            found.append(known)
        if not all(await self._pool.signatures(checks)):
            sender = found[0].transaction.body.sender
            raise Rejected(BAD_SIGNATURE, sender=sender)
        return found


def _is_due(state: State, candidate: Candidate[Any]) -> bool:
    try:
        return is_due(state, candidate)
    except Broken as broken:  # said again, and the transaction dropped, when it is tried
        log.error("whether a transaction is due met a bug", cause=str(broken), exc_info=True)
        return True
