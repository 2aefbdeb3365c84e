"""A node in memory for tests of clients: the real RPC methods over a `World` that makes real blocks.

Here: `WorldNode`, the backend; `patched`, which lets every `Connection` reach it without a socket.
Not here: the rules' own tests (world.py), the real node (tests/functional).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest

import eubchain.rpc.methods  # noqa: F401  # declares every method
from consensus.types.block import Block, Commit, Header
from consensus.types.codec import encode
from consensus.types.errors import Fault, Rejected
from consensus.types.genesis import Genesis
from consensus.types.hashing import ZERO_HASH
from consensus.types.receipt import Receipt
from consensus.types.transaction import (
    BAD_SIGNATURE,
    Candidate,
    signature_checks,
    txid_of,
    wtxid_of,
)
from consensus.validators import ValidatorSet
from eubchain.client.connection import NODE_UNREACHABLE, Connection
from eubchain.ledger.layout import Place
from eubchain.ledger.reading import Page
from eubchain.mempool import Mempool, Sender
from eubchain.node.pricing import mempool_pricing
from eubchain.rpc.backend import Included, Submitted
from eubchain.rpc.server import answer
from eubchain.rpc.subscriptions import Hub
from tests.world import World, verify_all
from vm import funds
from vm import head as heads
from vm.fees import Room
from vm.inclusion import include, is_due
from vm.registry import TRANSACTION, check_stateless, decode_candidate
from vm.rules import Rules
from vm.slices import to_the_end
from vm.state import State


class Meta(NamedTuple):
    """What the methods read of a ledger's meta."""

    block_id: bytes


class WorldLedger:
    """A world's blocks as a `LedgerReader` shows them."""

    def __init__(self, world: World, commits: dict[int, Commit | None], *, indexed: bool) -> None:
        self._world, self._commits, self._indexed = world, commits, indexed
        self.height = world.height
        self.meta = Meta(world.last_id if world.headers else ZERO_HASH)

    def header(self, height: int) -> Header | None:
        return self._world.headers[height - 1] if 0 < height <= self.height else None

    def validator_set(self, digest: bytes) -> ValidatorSet | None:
        for header in self._world.headers:
            if header.validators_hash == digest:
                return heads.validators_at(self._world.view, header.height)
        return None

    def block(self, height: int) -> Block | None:
        header = self.header(height)
        if header is None:
            return None
        return Block(header, tuple(c.raw for c in self._world.outcomes[height - 1].included), None)

    def receipts(self, height: int) -> tuple[Receipt, ...] | None:
        return self._world.outcomes[height - 1].receipts if 0 < height <= self.height else None

    def commit(self, height: int) -> Commit | None:
        return self._commits.get(height)

    def transaction(self, txid: bytes) -> Place | None:
        if not self._indexed or txid not in self._world.heights:
            return None
        height = self._world.heights[txid]
        included = self._world.outcomes[height - 1].included
        return Place(height, next(i for i, c in enumerate(included) if c.txid == txid))

    def named_transaction(self, wtxid: bytes) -> bytes | None:
        included = (c for outcome in self._world.outcomes for c in outcome.included)
        return next((c.raw for c in included if c.wtxid == wtxid), None)

    def history(self, address: bytes, cursor: bytes | None = None, limit: int = 100) -> Page:
        places = [
            Place(height, position)
            for height in range(self.height, 0, -1)
            for position, touched in enumerate(self._world.outcomes[height - 1].touched)
            if self._indexed and address in touched
        ]
        return Page(places[:limit], None)


class WorldNode:
    """The backend. `makes_blocks` lets a wait make the next block; `is_down` refuses every call."""

    def __init__(self, world: World | None = None, *, indexed: bool = True) -> None:
        self.world = world or World()
        self._commits: dict[int, Commit | None] = {}
        self._keep_commits()
        self.makes_blocks = True
        self.is_down = False
        self.drop_after: str | None = None
        """A method after whose call the connection breaks, before its answer arrives."""
        self.calls: list[str] = []
        self._indexed = indexed
        self._hub = Hub()
        rules = self.world.rules
        self._mempool = Mempool(
            mempool_pricing(rules), rules.params.fees.min_price, rules.params.chain.max_ttl_blocks
        )

    def _keep_commits(self) -> None:
        """A world keeps its last commit only."""
        make = self.world.block

        def block(**how: Any) -> Any:
            outcome = make(**how)
            self._commits[self.world.height] = self.world.last_commit
            return outcome

        self.world.block = block  # type: ignore[method-assign]  # of this one world

    version = "test"

    @property
    def prefix(self) -> str:
        return self.rules.prefix

    @property
    def rules(self) -> Rules:
        return self.world.rules

    @property
    def genesis(self) -> Genesis:
        return self.world.genesis

    @property
    def hub(self) -> Hub:
        return self._hub

    @property
    def mempool(self) -> Mempool:
        return self._mempool

    def ledger(self) -> Any:
        return WorldLedger(self.world, self._commits, indexed=self._indexed)

    def view(self) -> State:
        return self.world.view

    def health(self) -> dict[str, Any]:
        return {"live": True, "ready": True}

    def status(self) -> dict[str, Any]:
        return {"phase": "validating", "peers": 0}

    def network(self) -> dict[str, Any]:
        return {}

    def peers(self) -> list[dict[str, Any]]:
        return []

    def stop(self) -> None:
        raise AssertionError("nobody stops a node in memory")

    async def submit(self, raws: list[bytes]) -> list[Submitted]:
        return [self._submit(raw) for raw in raws]

    def _submit(self, raw: bytes) -> Submitted:
        txid = None
        try:
            candidate = decode_candidate(raw, self.rules)
            txid = candidate.txid
            if not verify_all(signature_checks(candidate.transaction, self.rules.genesis)):
                raise Rejected(BAD_SIGNATURE, sender=candidate.transaction.body.sender)
            if txid in self.world.heights:
                return Submitted(txid, False, None)
            account = candidate.transaction.body.sender
            sender = Sender(self.world.nonce(account), funds.spendable(self.view(), account))
            return Submitted(txid, self._mempool.add(candidate, sender, self.world.height + 1), None)
        except Rejected as refusal:
            return Submitted(txid, False, refusal)

    def make_block(self) -> None:
        """The next block, from what waits."""
        head = heads.head(self.view())
        taken = to_the_end(self._mempool.for_block(head.base_price, partial(is_due, self.view())))
        self.world.pending = list(taken)
        outcome = self.world.block()
        to_the_end(self._mempool.after_block(outcome.included, self.world.height, self.world.nonce))

    async def wait_for(self, txid: bytes, timeout_s: float) -> Included | None:
        if self.makes_blocks:
            self.make_block()
        place = self.ledger().transaction(txid)
        if place is None:
            return None
        return Included(place.height, place.position, b"")

    def simulate(self, raw: bytes) -> tuple[Receipt, int]:
        transaction = TRANSACTION.decode(raw)
        check_stateless(transaction, self.rules)
        txid = txid_of(self.rules.genesis, encode(transaction.body))
        candidate: Candidate[Any] = Candidate(transaction, raw, txid, wtxid_of(raw))
        view = self.view()
        block = view.block._replace(height=self.world.height + 1)
        receipt, _ = include(State(self.world.state, block), Room(self.rules.params), candidate)
        return receipt, 0


@contextmanager
def patched(node: WorldNode, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorldNode]:
    """Let every connection of this process reach `node`."""

    async def post(self: Connection, request: Any) -> Any:
        if node.is_down:
            raise Fault(NODE_UNREACHABLE, url=self.url, why="connection refused")
        node.calls.append(request["method"])
        answered = await answer(node, json.dumps(request).encode())
        if node.drop_after == request["method"]:
            node.drop_after = None
            raise Fault(NODE_UNREACHABLE, url=self.url, why="connection reset")
        assert answered is not None
        return json.loads(answered)

    monkeypatch.setattr(Connection, "_post", post)
    yield node
