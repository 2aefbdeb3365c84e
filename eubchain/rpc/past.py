"""What an account's history tells of its tasks: the marks it got, what it promised, what it posted.

Here: `past_tasks`, read from the ledger's account index. Not here: what enters state, which keeps only
the four memories (vm/standing.py).
Keeps: reads a bounded number of transactions, the latest first; explains, decides nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import trio

from consensus.resource.reputation import (
    NO_STANDING,
    SILENCE,
    add_posted,
    faded,
    rating_quality,
    timeliness_quality,
    validation_quality,
)
from consensus.types.receipt import Event, EventKind
from eubchain.ledger.reading import LedgerReader
from vm import head as heads
from vm.registry import TRANSACTION
from vm.resource import Prove
from vm.stake import Bond, Unbond
from vm.task.events import CLOSED, DELIVERED, OFFERED, POSTED, STARTED
from vm.task.payloads import Accept
from vm.task.records import Blame, Ending

TRANSACTIONS_MAX = 500
"""How far back a history is read: as many blocks are decoded."""
PAGE = 100


class Decided(NamedTuple):
    """A task of the account's that was judged; qualities in parts per billion."""

    height: int
    price: int
    """Grains."""
    validation: int
    rating: int
    timeliness: int


class Past(NamedTuple):
    """What could be found."""

    decided: tuple[Decided, ...]
    posted: tuple[tuple[int, int], ...]
    """(height, price) of each settled task that the account posted."""
    failed: tuple[tuple[int, int], ...]
    """(height, price) of each task that ended by the account's fault as a spark."""
    proofs: tuple[tuple[int, int], ...]
    """(window, shares) of each proof that the account sent; a window is named by the height it opened at."""
    bonds: tuple[tuple[int, int], ...]
    """(height, grains) of what the account bonded, negative where it took back."""
    read: int
    """Transactions looked at."""


class _Found(NamedTuple):
    height: int
    sender: bytes
    """Empty for what a block did by itself."""
    payload: Any
    events: tuple[Event, ...]
    is_done: bool
    """Whether the chain carried the transaction out."""


def facts_of(event: Event) -> dict[str, Any]:
    """An event's facts by name."""
    kind = EventKind.registry[event.code]
    return {name: value for (name, _), value in zip(kind.facts, event.facts, strict=True)}


async def past_tasks(ledger: LedgerReader, account: bytes) -> Past:
    """The tasks that the account ran or posted, from its history, oldest first."""
    promised: dict[bytes, int] = {}
    started: dict[tuple[bytes, int], int] = {}
    delivered: dict[tuple[bytes, int], int] = {}
    own: set[bytes] = set()
    decided: list[Decided] = []
    posted: list[tuple[int, int]] = []
    failed: list[tuple[int, int]] = []
    found = await _history(ledger, account)
    for height, _, payload, events, _ in reversed(found):
        for event in events:
            facts = facts_of(event)
            task, seat = facts.get("task", b""), (facts.get("task", b""), facts.get("seat", 0))
            if event.code == POSTED.code and facts["requester"] == account:
                own.add(task)
            elif event.code == OFFERED.code and facts["spark"] == account:
                promised[task] = facts["promise"]
            elif event.code == STARTED.code and facts["spark"] == account:
                started[seat] = height
            elif event.code == DELIVERED.code and facts["spark"] == account:
                delivered[seat] = height
            elif event.code == CLOSED.code and not _is_decided(facts["ending"]):
                if facts["spark"] == account and facts["blame"] == Blame.SPARK:
                    failed.append((height, _price(facts)))
            elif event.code == CLOSED.code:
                price = _price(facts)
                if task in own:
                    posted.append((height, price))
                if facts["spark"] == account:
                    taken = max(1, delivered.get(seat, height) - started.get(seat, height))
                    timeliness = timeliness_quality(promised.get(task, taken), taken)
                    validation, rating = _marks(payload, task)
                    decided.append(Decided(height, price, validation, rating, timeliness))
    proofs, bonds = _own_steps(found, account)
    return Past(tuple(decided), tuple(posted), tuple(failed), proofs, bonds, len(found))


Pairs = tuple[tuple[int, int], ...]


def _own_steps(found: list[_Found], account: bytes) -> tuple[Pairs, Pairs]:
    """Proofs and bonds, oldest first; what the chain refused left no trace but its fee."""
    proofs: list[tuple[int, int]] = []
    bonds: list[tuple[int, int]] = []
    for step in reversed(found):
        if step.sender != account or not step.is_done:
            continue
        if isinstance(step.payload, Bond):
            bonds.append((step.height, step.payload.amount))
        elif isinstance(step.payload, Unbond):
            bonds.append((step.height, -step.payload.amount))
        elif isinstance(step.payload, Prove):
            proofs.append((step.payload.proof.window, step.payload.proof.count))
    return tuple(proofs), tuple(bonds)


def _price(facts: dict[str, Any]) -> int:
    """Of a closed seat; grains."""
    return int(facts["paid"] + facts["fee"] + facts["refunded"] + facts["burned"])


def _is_decided(ending: int) -> bool:
    return ending in (Ending.ACCEPTED, Ending.ACCEPTED_BY_SILENCE)


def _marks(payload: Any, task: bytes) -> tuple[int, int]:
    """Validation and rating: the requester's, or what silence says."""
    if isinstance(payload, Accept) and payload.task == task:
        return validation_quality(payload.score), rating_quality(payload.stars)
    return SILENCE, SILENCE


async def _history(ledger: LedgerReader, account: bytes) -> list[_Found]:
    found: list[_Found] = []
    cursor = None
    while len(found) < TRANSACTIONS_MAX:
        page = ledger.history(account, cursor, PAGE)
        for place in page.places:
            await trio.lowlevel.checkpoint()  # each may be in a full block of its own
            block, receipts = ledger.block(place.height), ledger.receipts(place.height)
            if block is None or receipts is None:
                continue
            sender, payload, receipt = b"", None, receipts[place.position]
            if place.position < len(block.transactions):
                body = TRANSACTION.decode(block.transactions[place.position]).body
                sender, payload = body.sender, body.payload
            found.append(_Found(place.height, sender, payload, receipt.events, receipt.code == 0))
        cursor = page.cursor
        if cursor is None:
            break
    return found


def posted_words(past: Past, epoch_blocks: int, epoch: int, shift: int) -> int:
    """How much of an account's good words, faded to `epoch`, came from posting; grains."""
    standing = NO_STANDING
    for height, price in past.posted:
        standing = add_posted(standing, heads.epoch_of(height, epoch_blocks), shift, price)
    return faded(standing, epoch, shift).word_good
