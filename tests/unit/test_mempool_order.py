"""What a block takes first and what a full pool gives up, under floods and while proposals live."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from consensus.types.errors import Rejected
from consensus.types.transaction import Body, Candidate, KeyAuth, Transaction
from eubchain.mempool import Limits, Mempool, Sender
from eubchain.mempool_order import DUE_CHECKS_MAX, SLICE_DUE_CHECKS, SLICE_HEADS
from eubchain.node.pricing import mempool_pricing
from tests.world import World
from vm.account import Transfer
from vm.slices import to_the_end
from vm.validator import Unjail

RICH = Sender(0, 10**15)
WORLD = World()
NOW = 1


def pool_of(**limits: int) -> Mempool:
    params = WORLD.params
    return Mempool(
        mempool_pricing(WORLD.rules), params.fees.min_price, params.chain.max_ttl_blocks, Limits(**limits)
    )


def made(sender: int, *, nonce: int = 0, price: int = 10, tip: int = 0, lane: bool = False) -> Candidate[Any]:
    """A transaction as the pool sees one: nobody here checks its signature."""
    address = sender.to_bytes(20, "big")
    payload = Unjail() if lane else Transfer(WORLD["bob"].address, 1)
    body: Any = Body(1, WORLD.rules.chain_id, address, nonce, price, tip, 50, payload)
    name = sender.to_bytes(8, "big") + nonce.to_bytes(8, "big") + price.to_bytes(8, "big")
    return Candidate(
        Transaction(body, KeyAuth(bytes(32), bytes(64))), name * 8, name + b"txid", name + b"wtxid"
    )


def filled(pool: Mempool, candidates: Iterable[Candidate[Any]]) -> Mempool:
    for candidate in candidates:
        assert pool.add(candidate, RICH, NOW)
    return pool


def taken(pool: Mempool, base_price: int, due: Iterable[Candidate[Any]] = ()) -> list[Candidate[Any]]:
    known = {id(candidate) for candidate in due}
    return list(to_the_end(pool.for_block(base_price, lambda candidate: id(candidate) in known)))


def after(pool: Mempool, included: Iterable[Candidate[Any]] = ()) -> None:
    to_the_end(pool.after_block(included, NOW, lambda sender: 0))


# ------------------------------------------------------------ live proposals


def test_transactions_of_a_live_proposal_are_not_evicted_while_it_lives() -> None:
    """Evicted, they would have to be fetched and checked again while everybody waits for a vote."""
    cheap, other = made(1, price=10), made(2, price=20)
    pool = filled(pool_of(count_max=2), (cheap, other))
    pool.hold(b"block", [cheap.wtxid, b"a transaction that is not here"])
    assert pool.add(made(3, price=30), RICH, NOW)
    assert pool.by_wtxid(cheap.wtxid) is cheap
    assert pool.by_wtxid(other.wtxid) is None
    pool.release()
    after(pool)
    assert pool.add(made(4, price=30), RICH, NOW)
    assert pool.by_wtxid(cheap.wtxid) is None


def test_a_pool_full_of_live_transactions_takes_no_more() -> None:
    pool = filled(pool_of(count_max=2), (made(1), made(2)))
    pool.hold(b"block", [made(1).wtxid, made(2).wtxid])
    with pytest.raises(Rejected, match="mempool_full"):
        pool.add(made(3, price=99), RICH, NOW)
    assert len(pool) == 2


def test_a_replaced_transaction_of_a_live_proposal_is_found_until_the_height_is_over() -> None:
    """Its sender may pay more; whoever gathers the block still finds the bytes that it names."""
    old, new = made(1, price=100, tip=10), made(1, price=200, tip=20)
    pool = filled(pool_of(), [old])
    pool.hold(b"block", [old.wtxid])
    assert pool.add(new, RICH, NOW)
    assert pool.by_wtxid(old.wtxid) is old
    assert taken(pool, 1) == [new]
    pool.release()
    assert pool.by_wtxid(old.wtxid) is None


def test_proposals_that_one_makes_without_end_hold_little() -> None:
    """Of more than a few the oldest is let go."""
    candidates = [made(number) for number in range(5)]
    pool = filled(pool_of(count_max=5), candidates)
    for candidate in candidates:
        pool.hold(candidate.wtxid, [candidate.wtxid])
    for number in (7, 8):
        assert pool.add(made(number, price=99), RICH, NOW)
    assert [pool.by_wtxid(c.wtxid) is c for c in candidates] == [False, False, True, True, True]


# ------------------------------------------------------------ due or not


def test_what_could_be_due_and_is_not_stands_among_the_ordinary_ones() -> None:
    """It pays the base price as they do: when it cannot, it takes no time of a block that it cannot be in."""
    flood = [made(number, price=10, lane=True) for number in range(50)]
    paying = made(60, price=90, tip=3, lane=True)
    plain = made(70, price=90, tip=5)
    pool = filled(pool_of(), [*flood, paying, plain])
    assert taken(pool, 50) == [plain, paying]
    assert taken(pool, 50, due=[flood[7]]) == [flood[7], plain, paying]
    assert taken(pool, 50) == [flood[7], plain, paying], "it stays due until a block refuses it"
    pool.not_due(flood[7])
    assert taken(pool, 50) == [plain, paying]


def test_what_was_due_when_it_came_is_first_whatever_waits() -> None:
    flood = [made(number, price=10, lane=True) for number in range(3 * DUE_CHECKS_MAX)]
    pool = filled(pool_of(), flood)
    wanted = made(9_999, price=10, lane=True)
    assert pool.add(wanted, RICH, NOW, is_due=True)
    assert taken(pool, 50) == [wanted]


def test_a_bounded_number_is_asked_whether_it_is_due_and_all_have_their_turn() -> None:
    """Asking costs more than ordering; a flood must not make it long, nor keep others from being asked."""
    flood = [made(number, price=10, lane=True) for number in range(3 * DUE_CHECKS_MAX)]
    pool = filled(pool_of(), flood)
    asked: list[Candidate[Any]] = []

    def note(candidate: Candidate[Any]) -> bool:
        asked.append(candidate)
        return False

    for block in range(1, 4):
        to_the_end(pool.for_block(50, note))
        assert len(asked) == block * DUE_CHECKS_MAX
    assert asked == flood


# ------------------------------------------------------------ slices


def test_the_order_of_many_senders_is_made_in_slices_and_holds_while_others_come_and_go() -> None:
    """Between two pauses about a thousand are ranked, however many wait."""
    count = 5 * SLICE_HEADS
    candidates = [made(number, price=99_999, tip=number) for number in range(count)]
    pool = filled(pool_of(), candidates)
    steps = pool.for_block(1, lambda candidate: False)
    for _ in range(3):
        next(steps)
    pool.drop(candidates[-1].txid)
    pool.add(made(count, price=99_999, tip=99_998), RICH, NOW)
    pauses = 3
    while True:
        try:
            next(steps)
        except StopIteration as end:
            order = list(end.value)
            break
        pauses += 1
    assert pauses == 5
    assert order == candidates[-2::-1]


def test_leaving_after_a_block_is_done_in_slices() -> None:
    candidates = [made(number) for number in range(1_000)]
    pool = filled(pool_of(), candidates)
    assert sum(1 for _ in pool.after_block(candidates, NOW, lambda sender: 1)) >= 2 * (1_000 // 128)
    assert len(pool) == 0
    assert taken(pool, 1) == []


def test_asking_is_done_in_slices_too() -> None:
    pool = filled(pool_of(), [made(number, lane=True) for number in range(DUE_CHECKS_MAX)])
    pauses = sum(1 for _ in pool.for_block(50, lambda candidate: False))
    assert pauses == DUE_CHECKS_MAX // SLICE_DUE_CHECKS
