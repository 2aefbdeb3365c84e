"""How blocks, transactions and receipts look in JSON; shared by methods, subscriptions and pages.

Here: the views and how they are made from records.
Not here: what the methods answer beyond them (methods/*.py).
"""

from __future__ import annotations

from typing import Any

from consensus.types.address import format_address
from consensus.types.block import Header, block_id
from consensus.types.codec import encode
from consensus.types.naming import to_named
from consensus.types.receipt import OK, Event, EventKind, Receipt
from consensus.types.transaction import Transaction, txid_of, wtxid_of
from consensus.types.wording import Wording, shown_fact, word_receipt
from eubchain.rpc.method import Decimal, Hex, View
from vm.registry import OPERATION_OF
from vm.rules import Rules


class HeaderView(View):
    """A header."""

    height: int
    block_id: Hex
    version: int
    round: int
    time_ms: int
    parent: Hex
    proposer: str
    last_commit_hash: Hex
    txs_root: Hex
    state_root: Hex
    receipts_root: Hex
    validators_hash: Hex
    next_validators_hash: Hex
    reveal: Hex


class EventView(View):
    """Something that happened: its kind, its facts by name, a sentence."""

    name: str
    facts: dict[str, str | int]
    sentence: str


class ReceiptView(View):
    """What a transaction did; `error` is None when it did what it said."""

    code: int
    units: int
    fee: Decimal
    error: dict[str, Any] | None
    events: list[EventView]


class TransactionView(View):
    """A transaction with its place and outcome; height 0 while it waits."""

    txid: Hex
    wtxid: Hex
    height: int
    index: int
    type: str
    sender: str
    nonce: int
    max_price: int
    tip: int
    valid_until: int
    payload: dict[str, Any]
    receipt: ReceiptView | None


class BlockView(View):
    """A block; `events` are the block's own: what the due queue and the epoch's end did."""

    header: HeaderView
    transactions: list[TransactionView]
    events: list[EventView]


def header_view(header: Header, rules: Rules) -> HeaderView:
    """A header as JSON."""
    hashes = {
        name: "0x" + getattr(header, name).hex()
        for name in (
            "parent",
            "last_commit_hash",
            "txs_root",
            "state_root",
            "receipts_root",
            "validators_hash",
            "next_validators_hash",
            "reveal",
        )
    }
    return HeaderView(
        height=header.height,
        block_id="0x" + block_id(rules.genesis, header).hex(),
        version=header.version,
        round=header.round,
        time_ms=header.time_ms,
        proposer=format_address(header.proposer, rules.prefix),
        **hashes,
    )


def event_view(event: Event, prefix: str) -> EventView:
    """An event with its words."""
    kind = EventKind.registry[event.code]
    values = {name: event.facts[i] for i, (name, _) in enumerate(kind.facts)}
    shown = {name: shown_fact(fact_kind, values[name], prefix) for name, fact_kind in kind.facts}
    facts: dict[str, str | int] = {
        name: value if isinstance(value, int) else shown[name] for name, value in values.items()
    }
    return EventView(name=kind.name, facts=facts, sentence=kind.sentence.format(**shown))


def error_view(words: Wording) -> dict[str, Any]:
    """A refusal as JSON: the same object wherever one is shown."""
    return {
        "code": words.code,
        "name": words.name,
        "sentence": words.sentence,
        "hint": words.hint,
        "facts": words.facts,
    }


def receipt_view(receipt: Receipt, prefix: str) -> ReceiptView:
    """A receipt with its words."""
    error = None
    if receipt.code != OK:
        error = error_view(word_receipt(receipt.code, receipt.facts, prefix))
    return ReceiptView(
        code=receipt.code,
        units=receipt.units,
        fee=str(receipt.fee),
        error=error,
        events=[event_view(event, prefix) for event in receipt.events],
    )


def transaction_view(
    transaction: Transaction[Any], raw: bytes, rules: Rules, height: int, index: int, receipt: Receipt | None
) -> TransactionView:
    """A transaction with its place; height 0 and no receipt while it waits."""
    body = transaction.body
    return TransactionView(
        txid="0x" + txid_of(rules.genesis, encode(body)).hex(),
        wtxid="0x" + wtxid_of(raw).hex(),
        height=height,
        index=index,
        type=OPERATION_OF[type(body.payload)].name,
        sender=format_address(body.sender, rules.prefix),
        nonce=body.nonce,
        max_price=body.max_price,
        tip=body.tip,
        valid_until=body.valid_until,
        payload=to_named(body.payload, rules.prefix),
        receipt=None if receipt is None else receipt_view(receipt, rules.prefix),
    )
