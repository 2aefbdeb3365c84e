"""The due queue keeps up: a block leaves no more work to it than a block does of it, whatever it holds."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from consensus.types.params import DEV, MAIN, TEST, Params
from tests.market import post_of
from tests.world import World
from vm import fees, transition
from vm.due import DUE, DueKind, Handler
from vm.inclusion import units_max
from vm.registry import DUE_HANDLERS, decode_candidate
from vm.stake import Bond, Unbond
from vm.task.payloads import Windows

SMALL_UNITS = 600_000
SMALL_DUE = 150
WINDOW = 3


def small() -> Params:
    """Blocks that a few posts fill, a queue that is slow to match."""
    chain = replace(DEV.chain, block_units_max=SMALL_UNITS, max_due_per_block=SMALL_DUE)
    return replace(DEV, chain=chain, market=replace(DEV.market, task_retain_blocks=5))


@pytest.mark.parametrize("params", [DEV, TEST, MAIN, small()])
def test_the_units_of_a_block_pay_for_no_more_than_the_queue_does_in_one(params: Params) -> None:
    ordinary, price = fees.ordinary_units(params), fees.due_units(params)
    assert ordinary // price <= params.chain.max_due_per_block
    assert ordinary // price > params.chain.max_due_per_block * 9 // 10, "and for little less"


def test_full_blocks_of_posts_that_expire_together_are_worked_off_as_fast_as_they_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thirty full blocks, everything due as early as it can be: nothing is late by more than a block."""
    world = World(small(), people=[f"p{number}" for number in range(40)], balance=10**15)
    windows = Windows(WINDOW, 5, 6, 20, 8)
    left: list[int] = []
    done = counted(monkeypatch)
    for _ in range(30):
        for number in range(40):
            world.submit(f"p{number}", post_of(windows=windows), max_price=10**6)
        world.block()
        posted = sum(1 for receipt in world.outcomes[-1].receipts[:-1] if receipt.code == 0)
        assert posted < 40, "the block was full"
        left.append(posted * 7)
        world.pending = []
        late = world.view.scan(DUE, stop=world.height.to_bytes(8, "big"))
        assert not late, "an entry of an earlier height still waits"
    assert sum(left[: -WINDOW - 6]) <= sum(done), "all of it was done"
    world.check()


def test_a_refused_post_pays_for_no_work_and_a_bond_leaves_none() -> None:
    world = World()
    post = decode_candidate(world.sign("alice", post_of(maximum=10**17)), world.rules)
    world.submit_raw(post.raw)
    world.block()
    receipt = world.receipts[post.txid]
    assert receipt.code != 0
    assert receipt.units == len(post.raw) + DEV.fees.task
    assert units_max(post, DEV) >= receipt.units + 20 * fees.due_units(DEV)
    bond, unbond = world.submit("alice", Bond(10**9)), world.submit("alice", Unbond(10**8))
    world.block()
    entries = DEV.fees.new_entry
    assert world.receipts[bond].units < DEV.fees.other + 500 + 3 * entries
    assert world.receipts[unbond].units > 3 * fees.due_units(DEV)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Work that the queue does, entry by entry."""
    done: list[int] = []

    def noting(handler: Handler) -> Handler:
        def fire(state: Any, entry: bytes, due_height: int) -> None:
            before = state.records_touched
            handler(state, entry, due_height)
            done.append(1 + state.records_touched - before)

        return fire

    handlers: dict[DueKind, Handler] = {kind: noting(handler) for kind, handler in DUE_HANDLERS.items()}
    monkeypatch.setattr(transition, "DUE_HANDLERS", handlers)
    return done
