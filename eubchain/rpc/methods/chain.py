"""`chain_*`: status, blocks, validators, parameters, proofs.

Errors: 2320 no_such_block.
"""

from __future__ import annotations

from typing import Any

import trio

from consensus.types.address import parse_address
from consensus.types.codec import INTEGER_MAX, encode
from consensus.types.errors import Fault, Reason
from consensus.types.naming import to_named
from eubchain.rpc.backend import Backend
from eubchain.rpc.method import LONG_READ, AddressText, Hex, View, method
from eubchain.rpc.views import (
    BlockView,
    EventView,
    HeaderView,
    TransactionView,
    event_view,
    header_view,
    transaction_view,
)
from vm import head as heads
from vm.registry import TRANSACTION
from vm.state import SUPPLY

SLICE_TRANSACTIONS = 32
"""Transactions shown between two pauses: a few milliseconds."""

NO_SUCH_BLOCK = Reason(
    2320,
    "no_such_block",
    "height:height head:height",
    "There is no block {height} here; the head is {head}.",
    "Ask for a height up to {head}; a pruned node has only the latest blocks.",
)


class Status(View):
    """Where the node and its chain stand."""

    chain_id: str
    genesis_hash: Hex
    prefix: str
    version: str
    height: int
    block_id: Hex
    time_ms: int
    base_price: int
    epoch: int
    validators: int
    mempool: int
    node: dict[str, Any]


@method("chain_status", example={})
async def status(backend: Backend) -> Status:
    """The network, the head, and how this node is doing."""
    ledger, state = backend.ledger(), backend.view()
    head = heads.head(state)
    validators = heads.validators_at(state, head.height + 1) or ()
    return Status(
        chain_id=backend.rules.chain_id,
        genesis_hash="0x" + backend.rules.genesis.hex(),
        prefix=backend.prefix,
        version=backend.version,
        height=head.height,
        block_id="0x" + ledger.meta.block_id.hex(),
        time_ms=head.time_ms,
        base_price=head.base_price,
        epoch=heads.epoch_of(head.height + 1, backend.rules.params.chain.epoch_blocks),
        validators=len(validators),
        mempool=len(backend.mempool),
        node=backend.status(),
    )


def _height(backend: Backend, height: int | None) -> int:
    head = backend.ledger().height
    chosen = head if height is None else height
    if not 1 <= chosen <= head:
        raise Fault(NO_SUCH_BLOCK, height=chosen, head=head)
    return chosen


@method("chain_getBlock", example={"height": 1})
async def get_block(backend: Backend, height: int | None = None) -> BlockView:
    """A block with its transactions' identities and outcomes; the head's without a height."""
    chosen = _height(backend, height)
    ledger = backend.ledger()
    block, receipts = ledger.block(chosen), ledger.receipts(chosen)
    if block is None or receipts is None:
        raise Fault(NO_SUCH_BLOCK, height=chosen, head=ledger.height)
    shown: list[TransactionView] = []
    async with LONG_READ:
        for index, raw in enumerate(block.transactions):
            if index % SLICE_TRANSACTIONS == SLICE_TRANSACTIONS - 1:
                await trio.lowlevel.checkpoint()
            decoded = TRANSACTION.decode(raw)
            shown.append(transaction_view(decoded, raw, backend.rules, chosen, index, receipts[index]))
    return BlockView(
        header=header_view(block.header, backend.rules),
        transactions=shown,
        events=[event_view(event, backend.prefix) for event in receipts[-1].events],
    )


@method("chain_getHeader", example={"height": 1})
async def get_header(backend: Backend, height: int | None = None) -> HeaderView:
    """A block's header; the head's without a height."""
    chosen = _height(backend, height)
    header = backend.ledger().header(chosen)
    if header is None:
        raise Fault(NO_SUCH_BLOCK, height=chosen, head=backend.ledger().height)
    return header_view(header, backend.rules)


class CommitView(View):
    """The precommits that made a block final."""

    height: int
    round: int
    block_id: Hex
    bitmap: Hex
    signatures: list[Hex]


@method("chain_getCommit", example={"height": 1})
async def get_commit(backend: Backend, height: int | None = None) -> CommitView:
    """The commit for a block; the head's without a height."""
    chosen = _height(backend, height)
    commit = backend.ledger().commit(chosen)
    if commit is None:
        raise Fault(NO_SUCH_BLOCK, height=chosen, head=backend.ledger().height)
    return CommitView(
        height=chosen,
        round=commit.round,
        block_id="0x" + commit.block_id.hex(),
        bitmap="0x" + commit.bitmap.hex(),
        signatures=["0x" + s.hex() for s in commit.signatures],
    )


@method("chain_getValidators", example={})
async def get_validators(backend: Backend, height: int | None = None) -> list[dict[str, Any]]:
    """The validator set of a height, with powers of 10^9; the next height's without one."""
    state = backend.view()
    chosen = heads.head(state).height + 1 if height is None else height
    validators = heads.validators_at(state, chosen) if 0 < chosen <= INTEGER_MAX else None
    if validators is None:
        raise Fault(NO_SUCH_BLOCK, height=chosen, head=backend.ledger().height)
    named: list[dict[str, Any]] = to_named(validators, backend.prefix)
    return named


@method("chain_getParams", example={})
async def get_params(backend: Backend) -> dict[str, Any]:
    """The network's parameters; docs/reference/parameters.md explains each."""
    named: dict[str, Any] = to_named(backend.rules.params, backend.prefix)
    return named


class GenesisView(View):
    """The genesis record."""

    genesis_hash: Hex
    record: Hex
    """Its canonical encoding, whose hash is the genesis hash."""


@method("chain_getGenesis", example={})
async def get_genesis(backend: Backend) -> GenesisView:
    """The genesis record, from which a wallet learns the network it signs for."""
    return GenesisView(
        genesis_hash="0x" + backend.rules.genesis.hex(), record="0x" + encode(backend.genesis).hex()
    )


@method("chain_getSupply", example={})
async def get_supply(backend: Backend) -> dict[str, str]:
    """Where every grain is: decimal strings whose parts add up to `issued`."""
    supply = backend.view().get(SUPPLY, b"")
    assert supply is not None, "the genesis writes the supply"
    return {name: str(getattr(supply, name)) for name in supply.__struct_fields__}


EVENT_BLOCKS_MAX = 1_000
"""Blocks that one chain_getEvents looks through."""


class BlockEvent(View):
    """Something that a block did by itself, when a queue entry fired or an epoch ended."""

    height: int
    event: EventView


@method("chain_getEvents", example={"first": 1})
async def get_events(
    backend: Backend, first: int, last: int | None = None, account: AddressText | None = None
) -> list[BlockEvent]:
    """What blocks did by themselves, heights `first` to `last` (at most 1,000), for one account or all."""
    ledger = backend.ledger()
    wanted = None if account is None else parse_address(account, backend.prefix)
    head = heads.head(backend.view()).height
    end = min(head if last is None else last, head, first + EVENT_BLOCKS_MAX - 1)
    found: list[BlockEvent] = []
    async with LONG_READ:
        for height in range(max(1, first), end + 1):
            await trio.lowlevel.checkpoint()
            receipts = ledger.receipts(height)
            for event in receipts[-1].events if receipts else ():
                if wanted is None or wanted in event.facts:
                    found.append(BlockEvent(height=height, event=event_view(event, backend.prefix)))
    return found
