"""The node as its interfaces see it: submitting, waiting, simulating, status.

Here: the `Backend` of the RPC over ledger, mempool, workers and engine; what happens after a block.
Not here: starting the parts and stopping them (node.py), agreement (engine.py).
Keeps: a transaction is verified once; a block's effects are told only after it is durable (F5).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import structlog
import trio

from consensus.agreement.evidence import DoubleSign
from consensus.types.address import NO_ADDRESS
from consensus.types.block import Commit
from consensus.types.codec import MALFORMED, OVERSIZED, encode
from consensus.types.errors import Fault, Rejected
from consensus.types.genesis import Genesis
from consensus.types.receipt import OK, Receipt
from consensus.types.transaction import (
    BAD_SIGNATURE,
    TRANSACTION_VERSION,
    Body,
    Candidate,
    EvidenceAuth,
    Transaction,
    txid_of,
    wtxid_of,
)
from eubchain.ledger.ledger import Ledger, Proved
from eubchain.ledger.reading import LedgerReader
from eubchain.ledger.snapshot_folder import SNAPSHOT_UNKNOWN, SnapshotFolder
from eubchain.mempool import NONCE_USED, Mempool, Sender
from eubchain.node.blobs import forgotten_tasks
from eubchain.node.execution import Executed, tasks_of
from eubchain.node.metrics import Metrics
from eubchain.node.stepwise import in_slices
from eubchain.node.workers import VerifyPool
from eubchain.rpc.backend import Included, Submitted
from eubchain.rpc.subscriptions import Hub
from eubchain.rpc.views import event_view, header_view, transaction_view
from vm import funds
from vm import head as heads
from vm.evidence import Said, SubmitEvidence
from vm.fees import Room
from vm.inclusion import Broken, include, is_due
from vm.registry import OPERATION_OF, TRANSACTION, check_signed, check_stateless
from vm.rules import Rules
from vm.state import State
from vm.task.events import CLOSED, MATCHED

log = structlog.get_logger("node")

VERSION = "0.1.0"
PROOF_WRITES_MAX = 1_000
"""Entries that a proof of an earlier height may take back: some 10 ms of work on the loop."""
VIEW_RECORDS_MAX = 100_000
"""Records that reading for others keeps in memory, should no block come for long."""
STALE_INTERVALS = 20
"""Without a block for so many intervals a node is not ready: it stands alone or the chain stands still."""


class Service:
    """One node's answers; `node.py` makes it and the engine calls `finished`."""

    def __init__(
        self,
        ledger: Ledger,
        genesis: Genesis,
        rules: Rules,
        mempool: Mempool,
        pool: VerifyPool,
        metrics: Metrics,
        clock_ms: Callable[[], int],
        snapshots: SnapshotFolder | None = None,
    ) -> None:
        self._ledger = ledger
        self._snapshots = snapshots
        self._genesis = genesis
        self._rules = rules
        self._mempool = mempool
        self._pool = pool
        self._metrics = metrics
        self._clock_ms = clock_ms
        self._view = heads.view(ledger, rules)
        self._seen: State | None = None
        """State as the next block sees it, for what asks whether it is due."""
        self._hub = Hub()
        self._waiters: dict[bytes, trio.Event] = {}
        self.stopping = trio.Event()
        self.describe: Callable[[], dict[str, Any]] = dict
        """Set by node.py: the phase, the validator, the peers."""
        self.forget_objects: Callable[[bytes], Awaitable[None]] | None = None
        """Set when this node serves the blob store: drops what belongs to a forgotten task."""
        self.spread: Callable[[list[bytes]], None] = lambda raws: None
        """Set by node.py: sends new transactions to peers."""
        self.spread_evidence: Callable[[bytes], None] = lambda raw: None
        self.peers: Callable[[], list[dict[str, Any]]] = list
        """Set by node.py: the connected peers."""
        self.network: Callable[[], dict[str, Any]] = dict
        """Set by node.py: this node on the network."""
        self._last_block_ms = heads.head(self._view).time_ms

    # ------------------------------------------------------------ Backend

    @property
    def version(self) -> str:
        """Of the program."""
        return VERSION

    @property
    def prefix(self) -> str:
        """Of addresses."""
        return self._rules.prefix

    @property
    def rules(self) -> Rules:
        """Of the network."""
        return self._rules

    @property
    def genesis(self) -> Genesis:
        """The genesis record."""
        return self._genesis

    @property
    def hub(self) -> Hub:
        """Subscriptions."""
        return self._hub

    @property
    def mempool(self) -> Mempool:
        """Waiting transactions."""
        return self._mempool

    def ledger(self) -> LedgerReader:
        """A reader at the present head."""
        return self._ledger.view()

    def view(self) -> State:
        """State at the present head."""
        if self._view.records_held > VIEW_RECORDS_MAX:
            self._view = heads.view(self._ledger, self._rules)
        return self._view

    def health(self) -> dict[str, Any]:
        """Live always; ready while blocks come."""
        interval = self._rules.params.chain.block_interval_ms
        age = self._clock_ms() - self._last_block_ms
        if self._ledger.height and age > STALE_INTERVALS * interval:
            return {"live": True, "ready": False, "why": f"no block for {age // 1000} s"}
        return {"live": True, "ready": True, "height": self._ledger.height}

    def status(self) -> dict[str, Any]:
        """What the node says of itself."""
        return self.describe()

    def proof(self, key: bytes, height: int | None) -> Proved | None:
        """A state entry with its proof; of an earlier height only while little has changed since."""
        return self._ledger.proof(key, height, PROOF_WRITES_MAX)

    def snapshots(self) -> SnapshotFolder:
        """The snapshots that this node keeps."""
        if self._snapshots is None:
            raise Fault(SNAPSHOT_UNKNOWN, what="any height")
        return self._snapshots

    def stop(self) -> None:
        """Begin a graceful stop."""
        self.stopping.set()

    async def submit(self, raws: list[bytes]) -> list[Submitted]:
        """Verify in the workers, queue, and tell peers what is new."""
        outcomes = await self.take(raws)
        self.spread([raw for raw, outcome in zip(raws, outcomes, strict=True) if outcome.is_new])
        return outcomes

    async def take(self, raws: list[bytes]) -> list[Submitted]:
        """Verify in the workers, then queue; for transactions from peers as well."""
        limit = self._rules.params.chain.transaction_bytes_max
        verdicts = await self._pool.transactions([raw if len(raw) <= limit else b"" for raw in raws])
        outcomes: list[Submitted] = []
        for index, (raw, verdict) in enumerate(zip(raws, verdicts, strict=True)):
            if index % 128 == 127:
                await trio.lowlevel.checkpoint()
            try:
                if len(raw) > limit:
                    raise Rejected(OVERSIZED, size=len(raw), limit=limit)
                transaction = TRANSACTION.decode(raw)
                if not verdict.is_signed:
                    check_stateless(transaction, self._rules)
                    raise Rejected(BAD_SIGNATURE, sender=transaction.body.sender)
                check_signed(transaction, self._rules)
                candidate = Candidate(transaction, raw, verdict.txid, verdict.wtxid)
                if isinstance(transaction.body.payload, SubmitEvidence):
                    # It has no signature of its own: unchecked, it would keep true evidence out.
                    is_new = self.take_evidence(raw)
                else:
                    is_new = self._admit(candidate)
            except Rejected as refusal:
                outcomes.append(Submitted(verdict.txid if any(verdict.txid) else None, False, refusal))
                continue
            outcomes.append(Submitted(candidate.txid, is_new, None))
        self._metrics.waiting.set(len(self._mempool))
        return outcomes

    def _admit(self, candidate: Candidate[Any]) -> bool:
        sender, view = candidate.transaction.body.sender, self.view()
        account = funds.account(view, sender)
        known = Sender(account.nonce, funds.unlocked(view, sender, account.balance))
        try:
            return self._mempool.add(
                candidate, known, self._ledger.height + 1, is_due=self._is_due(candidate)
            )
        except Rejected as refusal:
            # Only a used nonce can mean that this very transaction is in a block already.
            if refusal.reason is NONCE_USED and self._ledger.transaction(candidate.txid) is not None:
                return False
            raise

    def _is_due(self, candidate: Candidate[Any]) -> bool:
        if OPERATION_OF[type(candidate.transaction.body.payload)].is_due is None:
            return False
        if self._seen is None or self._seen.records_held > VIEW_RECORDS_MAX:
            self._seen = heads.next_view(self._ledger, self._rules, self._clock_ms())
        try:
            return is_due(self._seen, candidate)
        except Broken as broken:  # whoever finds a bug of ours must not stop a node with it
            log.error("whether a transaction is due met a bug", cause=str(broken), exc_info=True)
            return False

    async def wait_for(self, txid: bytes, timeout_s: float) -> Included | None:
        """Wait until the transaction stands in a durable block."""
        with trio.move_on_after(timeout_s):
            while (place := self._ledger.transaction(txid)) is None:
                await self._waiters.setdefault(txid, trio.Event()).wait()
            block = self._ledger.block(place.height)
            assert block is not None, "an indexed block is kept"
            return Included(place.height, place.position, block.transactions[place.position])
        waiter = self._waiters.get(txid)
        if waiter is not None and waiter.statistics().tasks_waiting == 0:
            del self._waiters[txid]
        return None

    def simulate(self, raw: bytes) -> tuple[Receipt, int]:
        """Run on a throw-away state at the head, as the next block would."""
        transaction: Transaction[Any] = TRANSACTION.decode(raw)
        check_stateless(transaction, self._rules)
        txid = txid_of(self._rules.genesis, encode(transaction.body))
        candidate = Candidate(transaction, raw, txid, wtxid_of(raw))
        state = heads.next_view(self._ledger, self._rules, self._clock_ms())
        receipt, _ = include(state, Room(self._rules.params), candidate)
        price = receipt.fee // receipt.units if receipt.units else 0
        return receipt, price

    # ------------------------------------------------------------ what agreement brings

    async def finished(self, executed: Executed, commit: Commit) -> None:
        """A block is durable: forget what it included, tell who asked."""
        header, outcome = executed.block.header, executed.outcome
        self._view, self._seen = heads.view(self._ledger, self._rules), None
        left = self._mempool.after_block(
            outcome.included, header.height, lambda sender: funds.account(self._view, sender).nonce
        )
        await in_slices(left)
        for candidate in outcome.included:
            waiter = self._waiters.pop(candidate.txid, None)
            if waiter is not None:
                waiter.set()
        if self.forget_objects is not None:
            for task in forgotten_tasks(outcome.receipts):
                await self.forget_objects(task)
        self._measure(executed, commit)
        self._publish(executed)
        self._last_block_ms = header.time_ms
        refused = sum(1 for receipt in outcome.receipts if receipt.code != OK)
        log.info(
            "block", height=header.height, transactions=len(outcome.included), refused=refused,
            round=commit.round, waiting=len(self._mempool),
        )  # fmt: skip

    def _measure(self, executed: Executed, commit: Commit) -> None:
        metrics, outcome, header = self._metrics, executed.outcome, executed.block.header
        metrics.height.set(header.height)
        metrics.round.set(commit.round)
        metrics.transactions.inc(len(outcome.included))
        metrics.refused.inc(sum(1 for receipt in outcome.receipts if receipt.code != OK))
        metrics.block_interval.observe(max(0, header.time_ms - self._last_block_ms) / 1000)
        metrics.waiting.set(len(self._mempool))
        metrics.waiting_bytes.set(self._mempool.bytes)
        metrics.base_price.set(heads.head(self._view).base_price)
        metrics.validators.set(len(outcome.next_set))
        codes = [event.code for receipt in outcome.receipts for event in receipt.events]
        metrics.tasks_matched.inc(codes.count(MATCHED.code))
        metrics.tasks_closed.inc(codes.count(CLOSED.code))

    def _publish(self, executed: Executed) -> None:
        header, outcome = executed.block.header, executed.outcome
        if self._hub.wants("newBlock"):
            self._hub.publish("newBlock", header_view(header, self._rules))
        if self._hub.wants("tx"):
            # Shown by whoever sends it on: a full block's views would keep the next height waiting.
            shown = {
                candidate.txid: partial(
                    transaction_view, candidate.transaction, candidate.raw, self._rules, header.height,
                    index, outcome.receipts[index],
                )
                for index, candidate in enumerate(outcome.included)
            }  # fmt: skip
            self._hub.publish_all("tx", shown)
        if self._hub.wants("task"):
            for receipt in outcome.receipts:
                for task in tasks_of(receipt) if receipt.events else ():
                    events = [event_view(e, self.prefix) for e in receipt.events if e.facts[:1] == (task,)]
                    told = {"task": "0x" + task.hex(), "height": header.height, "events": events}
                    self._hub.publish("task", told, task)

    def report(self, proof: DoubleSign) -> None:
        """Agreement saw a double signing: queue the evidence, tell who asked.

        An offender that is punished already goes on signing twice until the epoch ends; of that nobody
        is told, for no block can hold it.
        """
        raw = evidence_transaction(proof, self._rules)
        try:
            is_new = self.take_evidence(raw)
        except Rejected as refusal:
            log.debug("a double signing is of no use as evidence", why=str(refusal))
            return
        if is_new:
            self.spread_evidence(raw)

    def take_evidence(self, raw: bytes) -> bool:
        """Evidence from outside: whether it is new; raise `Rejected` for what no block could hold."""
        if self._mempool.knows(wtxid_of(raw)):
            return False
        transaction: Transaction[Any] = TRANSACTION.decode(raw)
        if not isinstance(transaction.body.payload, SubmitEvidence):
            raise Rejected(MALFORMED, what="this is no evidence")
        try:
            self.simulate(raw)
        except Broken as broken:  # whoever finds a bug of ours must not stop a node with it
            log.error("evidence met a bug and is not taken", cause=str(broken), exc_info=True)
            return False
        return self._queue_evidence(raw)

    def _queue_evidence(self, raw: bytes) -> bool:
        transaction: Transaction[SubmitEvidence] = TRANSACTION.decode(raw)
        txid = txid_of(self._rules.genesis, encode(transaction.body))
        candidate = Candidate(transaction, raw, txid, wtxid_of(raw))
        is_new = self._mempool.add(candidate, Sender(0, 0), self._ledger.height + 1)
        if is_new:
            proof = transaction.body.payload
            log.warning("a validator signed twice; the evidence is queued", key=proof.key.hex())
            self._hub.publish("evidence", {"key": "0x" + proof.key.hex(), "height": proof.height})
        return is_new


def evidence_transaction(proof: DoubleSign, rules: Rules) -> bytes:
    """The transaction that proves a double signing; needs no signature of its sender's."""
    payload = SubmitEvidence(
        proof.kind,
        proof.height,
        proof.round,
        proof.key,
        Said(proof.a.block_id, proof.a.valid_round),
        proof.signature_a,
        Said(proof.b.block_id, proof.b.valid_round),
        proof.signature_b,
    )
    body = Body(TRANSACTION_VERSION, rules.chain_id, NO_ADDRESS, 0, 0, 0, 0, payload)
    return encode(Transaction(body, EvidenceAuth()))
