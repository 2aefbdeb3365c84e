"""What an account's factors were when the running epoch began, and what happened to them since.

Here: `since_epoch`, the present state walked back over the epoch's history. Not here: the history itself
(past.py), what the changes are worth (consensus/resource/explain.py).
Keeps: proved compute is an estimate within a rounding: its average is undone window by window; slashes and
what others did are not told apart, so they remain in the rest.
"""

from __future__ import annotations

from typing import NamedTuple

from consensus.resource.difficulty import credited_tiles, difficulty_before, speed_before
from consensus.resource.explain import Earlier, Qualities
from consensus.types.amounts import PPB
from eubchain.ledger.reading import LedgerReader
from eubchain.rpc.past import Decided, Past, facts_of
from vm import head as heads
from vm.measuring import CLOSED, MISSED
from vm.spark import SPARKS, proving_capacity
from vm.stake import stake
from vm.state import State

POSTED_PART = 4
"""A settled post adds this part of its price to the requester's good words."""


class Since(NamedTuple):
    """The epoch's course for one account."""

    began: int
    """The epoch's first height."""
    earlier: Earlier
    decided: int
    posted: int
    failed: int
    """Tasks of each kind; failed are those blamed on the account as a spark."""
    windows: int
    shares: int
    """Windows that closed with its proof and counted, and the shares in them."""
    missed: int
    """Proved compute lost by sending no proof, 2⁻¹⁶ tiles."""
    bonded: int
    """Grains, negative when more was taken back."""


def since_epoch(state: State, ledger: LedgerReader, account: bytes, past: Past) -> Since:
    """The epoch that the next block belongs to, so far."""
    blocks = state.block.params.chain.epoch_blocks
    began = heads.first_height(heads.epoch_of(heads.head(state).height + 1, blocks), blocks)
    decided = [task for task in past.decided if task.height >= began]
    posted = [price for height, price in past.posted if height >= began]
    bonded = sum(grains for height, grains in past.bonds if height >= began)
    proofs = _counted(state, ledger, began, past)
    missed = state.get(MISSED, account)
    lost = 0 if missed is None else missed.capacity
    earlier = Earlier(
        speed=_speed_then(state, account, proofs, lost),
        bond=max(0, stake(state, account).bonded - bonded),
        completed=sum(task.price for task in decided),
        posted=sum(price // POSTED_PART for price in posted),
        qualities=average_marks([task for task in past.decided if task.height < began]),
    )
    failed = sum(height >= began for height, _ in past.failed)
    shares = sum(proofs)
    return Since(began, earlier, len(decided), len(posted), failed, len(proofs), shares, lost, bonded)


def average_marks(decided: list[Decided]) -> Qualities:
    """The average marks of decided tasks by price; those of a newcomer are the middle."""
    total = sum(task.price for task in decided)
    if not total:
        return Qualities(PPB // 2, PPB // 2, PPB // 2)
    return Qualities(
        sum(task.validation * task.price for task in decided) // total,
        sum(task.rating * task.price for task in decided) // total,
        sum(task.timeliness * task.price for task in decided) // total,
    )


def _counted(state: State, ledger: LedgerReader, began: int, past: Past) -> list[int]:
    """Shares of the account's proofs in windows that closed in this epoch and were not void, oldest first."""
    resource = state.block.params.resource
    lasts = resource.window_blocks + resource.grace_blocks + resource.verify_blocks
    found: list[int] = []
    for window, shares in past.proofs:
        closed = window + lasts
        receipts = ledger.receipts(closed) if closed >= began else None
        for event in receipts[-1].events if receipts else ():
            if event.code == CLOSED.code and facts_of(event)["window"] == window:
                found.append(shares)
    return found


def _speed_then(state: State, account: bytes, proofs: list[int], lost: int) -> int:
    """S that counted when the epoch began, by undoing its closes from the latest back."""
    record = state.get(SPARKS, account)
    if record is None or not proving_capacity(record, state.block.epoch):
        return 0
    speed, difficulty = record.capacity + lost, record.difficulty
    for shares in reversed(proofs):
        difficulty = difficulty_before(difficulty, shares)
        speed = speed_before(speed, credited_tiles(shares, difficulty))
    return speed
