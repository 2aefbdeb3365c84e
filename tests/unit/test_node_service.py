"""What a node takes from strangers and what it keeps: evidence, queued transactions, its turn to propose.

The real service, production and ledger over a network in memory; signatures are checked in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from consensus.beacon import REVEALS_USED_UP
from consensus.types import hashing, receipt
from consensus.types.codec import encode
from consensus.types.errors import Fault, Rejected
from consensus.types.hashing import Tag, tagged_hashes
from consensus.types.params import DEV, Params
from consensus.types.transaction import Body, EvidenceAuth, SignatureCheck, Transaction
from consensus.types.vote import PREVOTE, vote_hash
from eubchain.ledger.ledger import Ledger
from eubchain.ledger.snapshot_folder import SnapshotFolder
from eubchain.mempool import Mempool
from eubchain.node import service
from eubchain.node.engine import Engine
from eubchain.node.execution import Execution
from eubchain.node.metrics import Metrics
from eubchain.node.pricing import mempool_pricing
from eubchain.node.production import Identity, Production
from eubchain.node.service import Service
from eubchain.node.verify_worker import VERDICT_BYTES, transaction_verdict
from eubchain.node.workers import Verdict, VerifyPool
from tests.world import CHAIN_ID, GENESIS_TIME_MS, Operator, World, verify_all
from vm import funds
from vm.account import Transfer
from vm.evidence import EVIDENCE_UNSIGNED, OFFENDER_UNKNOWN, Said, SubmitEvidence
from vm.funds import ACCOUNTS, Account
from vm.genesis import genesis_writes
from vm.validity import BLOCK_TOO_LARGE, BlockInvalid

A, B = bytes([1]) * 32, bytes([2]) * 32


class PoolHere:
    """Checks signatures where it is asked."""

    def __init__(self, genesis: bytes) -> None:
        self._genesis = genesis

    async def transactions(self, raws: Sequence[bytes]) -> list[Verdict]:
        answers = [transaction_verdict(raw, self._genesis) for raw in raws]
        return [Verdict(a[0] == 1, a[1:33], a[33:VERDICT_BYTES]) for a in answers]

    async def signatures(self, checks: Sequence[SignatureCheck]) -> list[bool]:
        return [verify_all([check]) for check in checks]


class OneNode:
    """A node without network or agreement: one validator that decides alone."""

    def __init__(self, place: Path, params: Params = DEV) -> None:
        self.world = World(params)
        self.now_ms = GENESIS_TIME_MS
        writes = genesis_writes(self.world.genesis)
        self.ledger = Ledger.create(
            place / "ledger", self.world.genesis, {k: v for k, v in writes.items() if v is not None}
        )
        rules = self.world.rules
        self.pool = cast(VerifyPool, PoolHere(rules.genesis))
        self.mempool = Mempool(mempool_pricing(rules), params.fees.min_price, params.chain.max_ttl_blocks)
        self.service = Service(
            self.ledger, self.world.genesis, rules, self.mempool, self.pool, Metrics(),
            lambda: self.now_ms, SnapshotFolder(place / "snapshots"),
        )  # fmt: skip
        operator = self.world.operators[0]
        self.production = Production(
            Execution(self.ledger, rules, with_index=True), self.mempool, self.pool,
            lambda: self.now_ms, 60_000, Identity(operator.address, operator.chain),
        )  # fmt: skip

    async def block(self) -> int:
        """Decide a block of what waits; returns how many transactions it holds."""
        self.now_ms += self.world.params.chain.block_interval_ms
        executed = await self.production.build(0)
        commit = self.world.commit_for(executed.block)
        await self.production.execution.commit(executed, commit)
        await self.service.finished(executed, commit)
        return len(executed.block.transactions)

    async def blocks(self, count: int) -> None:
        for _ in range(count):
            await self.block()

    def evidence(self, height: int, *, forged: bool = False, key: bytes = b"") -> bytes:
        """Two prevotes of the validator at a height, as a transaction."""
        operator = self.world.operators[0]
        assert isinstance(operator, Operator)
        genesis = self.world.rules.genesis

        def signed(identity: bytes) -> bytes:
            return operator.consensus.sign(vote_hash(genesis, PREVOTE, height, 0, identity))

        first = bytes(64) if forged else signed(A)
        public = key or operator.consensus.public
        payload = SubmitEvidence(PREVOTE, height, 0, public, Said(A, None), first, Said(B, None), signed(B))
        body = Body(1, CHAIN_ID, bytes(20), 0, 0, 0, 0, payload)
        return encode(Transaction(body, EvidenceAuth()))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[OneNode]:
    made = OneNode(tmp_path)
    yield made
    made.ledger.close()


def run(story: Callable[[], Any]) -> None:
    """Run an async story under a clock that jumps over waiting."""
    trio.run(story, clock=trio.testing.MockClock(autojump_threshold=0))


def test_evidence_older_than_any_set_kept_is_refused_and_stops_no_node(node: OneNode) -> None:
    """At the last height of an epoch the oldest set is gone already, while the next block looks ahead."""

    async def story() -> None:
        chain, voters = node.world.params.chain, node.world.params.validators
        epochs = voters.evidence_epochs + 1
        await node.blocks(epochs * chain.epoch_blocks)
        for height in (1, chain.epoch_blocks):
            with pytest.raises(Rejected):
                node.service.take_evidence(node.evidence(height, forged=True))
        assert await node.block() == 0

    run(story)


def test_forged_evidence_keeps_no_true_evidence_out(node: OneNode) -> None:
    """Nobody signs evidence as its sender, so it is judged before it may wait."""

    async def story() -> None:
        await node.block()
        outcome = (await node.service.submit([node.evidence(1, forged=True)]))[0]
        assert outcome.fault is not None
        assert outcome.fault.reason is EVIDENCE_UNSIGNED
        strange = [node.evidence(1, key=bytes([i]) * 32) for i in range(1, 100)]
        reasons = {o.fault.reason for o in await node.service.submit(strange) if o.fault is not None}
        assert reasons == {OFFENDER_UNKNOWN}
        assert (await node.service.submit([node.evidence(1)]))[0].is_new
        assert await node.block() == 1

    run(story)


def test_evidence_that_waits_goes_when_its_offender_is_punished(node: OneNode) -> None:
    """A second proof of the same guilt would otherwise wait for ever."""

    async def story() -> None:
        await node.block()
        assert node.service.take_evidence(node.evidence(1))
        assert not node.service.take_evidence(node.evidence(2)), "one for each offender"
        assert await node.block() == 1
        with pytest.raises(Rejected):
            node.service.take_evidence(node.evidence(2))
        assert await node.block() == 0

    run(story)


def test_transactions_behind_one_that_found_no_room_stay_in_the_queue(tmp_path: Path) -> None:
    """A block that is full in the middle of a sender's run loses nothing of the rest."""
    chain = replace(DEV.chain, block_transactions_max=3)
    node = OneNode(tmp_path, replace(DEV, chain=chain))

    async def story() -> None:
        payload = Transfer(node.world["bob"].address, 1)
        raws = [node.world.sign("alice", payload, nonce=nonce) for nonce in range(8)]
        assert all(outcome.is_new for outcome in await node.service.submit(raws))
        assert [await node.block() for _ in range(4)] == [3, 3, 2, 0]

    run(story)
    node.ledger.close()


def test_a_validator_whose_reveals_are_used_up_lets_its_turn_pass() -> None:
    """It cannot propose until the chain is renewed, but it goes on voting."""

    class NothingToReveal:
        async def build(self, round_: int) -> None:
            raise Fault(REVEALS_USED_UP, length=1)

    engine = Engine.__new__(Engine)
    engine._production = cast(Production, NothingToReveal())
    trio.run(engine._build, 7, 0)


def test_a_value_gone_wrong_in_memory_does_not_part_a_node_from_its_network(node: OneNode) -> None:
    """What a quorum found valid is executed once more from the disk before the node believes itself."""

    async def story() -> None:
        await node.service.submit([node.world.sign("alice", Transfer(node.world["bob"].address, 7))])
        block = (await node.production.build(0)).block
        assert len(block.transactions) == 1
        key = ACCOUNTS.prefix + node.world["alice"].address

        def corrupt() -> None:
            node.ledger._cache.write({key: encode(Account(0, 10**15))})

        corrupt()
        assert await node.production.judge(block) is None
        assert await node.production.judge_afresh(block) is not None
        corrupt()
        executed = await node.production.execute(block, is_decided=True)
        await node.production.execution.commit(executed, node.world.commit_for(block))
        assert node.ledger.height == 1

    run(story)


def test_a_block_of_too_many_transactions_is_refused_before_any_is_looked_at(tmp_path: Path) -> None:
    """Their number alone refuses it: decoding and checking them would be the proposer's weapon."""
    chain = replace(DEV.chain, block_transactions_max=3)
    node = OneNode(tmp_path, replace(DEV, chain=chain))

    async def story() -> None:
        block = (await node.production.build(0)).block
        with pytest.raises(BlockInvalid) as caught:
            await node.production.execute(replace(block, transactions=(b"no transaction",) * 4))
        assert caught.value.reason is BLOCK_TOO_LARGE

    run(story)
    node.ledger.close()


def test_reading_for_strangers_does_not_fill_memory_while_no_block_comes(
    node: OneNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that waits for the network still answers, at any rate and for any time."""
    monkeypatch.setattr(service, "VIEW_RECORDS_MAX", 10)
    for number in range(1_000):
        assert funds.account(node.service.view(), number.to_bytes(20, "big")).balance == 0
        assert node.service.view().records_held <= 12


def test_no_list_of_a_full_block_is_hashed_in_one_go(node: OneNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Votes wait for whatever holds the loop: roots of a full block took thirty milliseconds."""
    hashed: list[int] = []

    def counted(tag: Tag, items: Iterable[bytes]) -> list[bytes]:
        digests = tagged_hashes(tag, items)
        hashed.append(len(digests))
        return digests

    async def story() -> None:
        payload = Transfer(node.world["bob"].address, 1)
        for who in ("alice", "bob", "carol"):
            raws = [node.world.sign(who, payload, nonce=nonce) for nonce in range(60)]
            await node.service.submit(raws)
        monkeypatch.setattr(hashing, "tagged_hashes", counted)
        monkeypatch.setattr(hashing, "SLICE_NODES", 16)
        monkeypatch.setattr(receipt, "SLICE_NODES", 16)
        block = (await node.production.build(0)).block
        assert len(block.transactions) == 180
        assert await node.production.judge(block) is not None

    run(story)
    assert max(hashed) <= 16
