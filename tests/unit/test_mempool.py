"""The mempool: who enters, in what order a block takes them, who leaves."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.types.errors import Rejected
from eubchain.mempool import Limits, Mempool, Sender
from eubchain.node.pricing import mempool_pricing
from tests.world import World
from vm.account import MultiTransfer, Output, Transfer
from vm.registry import decode_candidate
from vm.slices import to_the_end

RICH = Sender(0, 10**15)


@pytest.fixture(scope="module")
def world():
    return World(people=("alice", "bob", "carol"))


def _pool(world: World, **limits: int) -> Mempool:
    return Mempool(
        mempool_pricing(world.rules),
        world.params.fees.min_price,
        world.params.chain.max_ttl_blocks,
        Limits(**limits),
    )


def _made(world: World, who: str = "alice", amount: int = 5, **envelope: int):
    raw = world.sign(who, Transfer(world["bob"].address, amount), **envelope)
    return decode_candidate(raw, world.rules)


def order(pool: Mempool, base_price: int, due: Collection[Any] = ()) -> list[Any]:
    """What a block takes, in its order."""
    return list(to_the_end(pool.for_block(base_price, lambda candidate: candidate in due)))


def _refusal(pool: Mempool, candidate, sender: Sender = RICH, height: int = 1) -> str:
    with pytest.raises(Rejected) as caught:
        pool.add(candidate, sender, height)
    return caught.value.reason.name


def test_a_waiting_transaction_is_found_by_its_bytes_until_it_leaves(world):
    pool, candidate = _pool(world), _made(world)
    assert pool.by_raw(candidate.raw) is None
    pool.add(candidate, RICH, 1)
    assert pool.by_raw(bytes(bytearray(candidate.raw))) is candidate
    to_the_end(pool.after_block([candidate], 1, lambda sender: 1))
    assert pool.by_raw(candidate.raw) is None


def test_the_same_transaction_twice_is_no_error_and_waits_once(world):
    pool, candidate = _pool(world), _made(world)
    assert pool.add(candidate, RICH, 1) is True
    assert pool.add(candidate, RICH, 1) is False
    assert len(pool) == 1


def test_nonces_behind_and_far_ahead_are_refused(world):
    pool = _pool(world)
    assert _refusal(pool, _made(world, nonce=0), Sender(1, 10**15)) == "nonce_used"
    assert _refusal(pool, _made(world, nonce=64)) == "nonce_too_far"
    assert pool.add(_made(world, nonce=63), RICH, 1)


def test_lifetimes_and_prices_that_no_block_would_take_are_refused(world):
    pool, most = _pool(world), world.params.chain.max_ttl_blocks
    assert _refusal(pool, _made(world, valid_until=4), height=5) == "expired"
    assert _refusal(pool, _made(world, valid_until=2 + most), height=1) == "lifetime_too_long"
    assert _refusal(pool, _made(world, max_price=0)) == "price_too_low"


def test_all_that_an_account_has_waiting_must_be_covered(world):
    pool = _pool(world)
    first, second = _made(world, nonce=0, max_price=1), _made(world, nonce=1, max_price=1)
    cost = mempool_pricing(world.rules).cost_max(first)
    assert pool.add(first, Sender(0, cost), 1)
    assert _refusal(pool, second, Sender(0, 2 * cost - 1)) == "pending_exceeds_balance"
    assert pool.add(second, Sender(0, 2 * cost), 1)


def test_a_replacement_pays_a_tenth_more_and_takes_the_place(world):
    pool = _pool(world)
    old = _made(world, max_price=100, tip=10)
    pool.add(old, RICH, 1)
    assert _refusal(pool, _made(world, amount=6, max_price=109, tip=11)) == "replacement_too_cheap"
    assert _refusal(pool, _made(world, amount=6, max_price=110, tip=10)) == "replacement_too_cheap"
    new = _made(world, amount=6, max_price=110, tip=11)
    assert pool.add(new, RICH, 1)
    assert pool.get(old.txid) is None
    assert len(pool) == 1
    assert pool.bytes == len(new.raw)


def test_a_full_pool_evicts_the_cheapest_for_one_that_pays_more(world):
    pool = _pool(world, count_max=2)
    cheap = _made(world, "alice", max_price=10)
    pool.add(cheap, RICH, 1)
    pool.add(_made(world, "bob", max_price=20), RICH, 1)
    assert _refusal(pool, _made(world, "carol", max_price=10)) == "mempool_full"
    assert pool.add(_made(world, "carol", max_price=11), RICH, 1)
    assert pool.get(cheap.txid) is None
    assert len(pool) == 2


def test_one_account_cannot_fill_the_pool(world):
    pool = _pool(world, per_sender_max=3)
    for nonce in range(3):
        pool.add(_made(world, nonce=nonce), RICH, 1)
    assert _refusal(pool, _made(world, nonce=3)) == "sender_full"


def test_a_block_takes_the_best_tips_first_and_each_sender_in_order(world):
    pool = _pool(world)
    poor, rich = _made(world, "alice", nonce=0, tip=1), _made(world, "alice", nonce=1, tip=500)
    other = _made(world, "bob", nonce=0, tip=50)
    gap = _made(world, "carol", nonce=1, tip=900)
    for candidate in (rich, gap, other, poor):
        pool.add(candidate, RICH, 1)
    assert order(pool, 1) == [other, poor, rich]


def test_what_cannot_pay_the_base_price_waits_for_a_cheaper_block(world):
    pool, candidate = _pool(world), _made(world, max_price=10, tip=0)
    pool.add(candidate, RICH, 1)
    assert order(pool, 11) == []
    assert order(pool, 10) == [candidate]


def test_after_a_block_the_included_the_overtaken_and_the_expired_leave(world):
    pool = _pool(world)
    included, overtaken = _made(world, "alice", nonce=0), _made(world, "bob", nonce=0)
    expiring, staying = _made(world, "carol", nonce=0, valid_until=7), _made(world, "carol", nonce=1)
    for candidate in (included, overtaken, expiring, staying):
        pool.add(candidate, RICH, 1)
    elsewhere = _made(world, "bob", amount=77, nonce=0)
    expired = to_the_end(
        pool.after_block([included, elsewhere], 7, lambda who: 0 if who == world["carol"].address else 1)
    )
    assert expired == [expiring]
    assert pool.of_sender(world["carol"].address) == [staying]
    assert len(pool) == 1
    assert pool.knows(included.wtxid)


STEP = st.tuples(
    st.sampled_from(["alice", "bob", "carol"]), st.integers(0, 5), st.integers(1, 40), st.integers(0, 9)
)


@given(steps=st.lists(STEP, max_size=30), base=st.integers(1, 30), heights=st.integers(1, 9))
def test_counts_and_bytes_are_those_of_what_waits_whatever_happened(world, steps, base, heights):
    """Any history: the books balance, bounds hold, a block never gets a gap or two of one nonce."""
    pool = _pool(world, count_max=6, per_sender_max=4)
    for who, nonce, price, life in steps:
        candidate = _made(world, who, nonce=nonce, max_price=price, tip=price // 2, valid_until=1 + life)
        try:
            pool.add(candidate, RICH, 1)
        except Rejected:
            continue
    to_the_end(pool.after_block([], heights, lambda _: 0))
    held = list(itertools.chain(*(pool.of_sender(p.address) for p in world.people.values())))
    assert len(held) == len(pool) <= 6
    assert pool.bytes == sum(len(c.raw) for c in held)
    taken: dict[bytes, int] = {}
    for candidate in order(pool, base):
        body = candidate.transaction.body
        assert body.nonce == taken.get(body.sender, 0)
        assert body.max_price >= base
        taken[body.sender] = body.nonce + 1


def test_a_replacement_that_finds_no_room_leaves_what_it_would_replace(world):
    """Whoever asks for more than the pool can hold does not lose the place it has."""
    first, other = _made(world, max_price=1_000), _made(world, "carol", max_price=5_000)
    pool = _pool(world, bytes_max=len(first.raw) + len(other.raw))
    assert pool.add(first, RICH, 1)
    assert pool.add(other, RICH, 1)
    outputs = tuple(Output(world["bob"].address, 1) for _ in range(9))
    larger = decode_candidate(world.sign("alice", MultiTransfer(outputs), max_price=2_000), world.rules)
    assert _refusal(pool, larger) == "mempool_full"
    assert pool.get(first.txid) is first
    assert pool.bytes == len(first.raw) + len(other.raw)
