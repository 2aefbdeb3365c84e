"""The signature workers: real processes, right answers, no answer lost when one dies."""

from __future__ import annotations

import os
import signal

import trio

from consensus.types.codec import encode
from consensus.types.transaction import signature_checks, txid_of, wtxid_of
from eubchain.node.workers import BATCH_MAX, VerifyPool
from tests.world import World
from vm.account import Transfer
from vm.registry import decode_candidate


def _signed(world: World, count: int) -> list[bytes]:
    return [world.sign("alice", Transfer(world["bob"].address, 1), nonce=n) for n in range(count)]


async def test_verdicts_come_in_order_for_good_bad_and_senseless_transactions(nursery):
    world = World()
    good = _signed(world, BATCH_MAX + 3)
    bad = good[0][:-1] + bytes([good[0][-1] ^ 1])
    pool = VerifyPool(world.rules.genesis, 2)
    await nursery.start(pool.run)
    verdicts = await pool.transactions([*good, bad, b"", b"\xc1", b"\x92\x90\x90"])
    assert [v.is_signed for v in verdicts] == [True] * len(good) + [False] * 4
    body = encode(decode_candidate(good[5], world.rules).transaction.body)
    assert verdicts[5].txid == txid_of(world.rules.genesis, body)
    assert verdicts[5].wtxid == wtxid_of(good[5])


async def test_a_signature_of_another_network_is_none_here(nursery):
    world, other = World(), World(balance=1)
    pool = VerifyPool(other.rules.genesis, 1)
    await nursery.start(pool.run)
    assert not (await pool.transactions(_signed(world, 1)))[0].is_signed


async def test_bare_signatures_are_checked_too(nursery):
    world = World()
    checks = signature_checks(
        decode_candidate(_signed(world, 1)[0], world.rules).transaction, world.rules.genesis
    )
    wrong = checks[0]._replace(message=bytes(32))
    pool = VerifyPool(world.rules.genesis, 1)
    await nursery.start(pool.run)
    assert await pool.signatures([*checks, wrong]) == [True, False]
    assert await pool.signatures([]) == []


async def test_a_worker_that_is_killed_is_replaced_and_its_batch_answered(nursery):
    world = World()
    pool = VerifyPool(world.rules.genesis, 1)
    await nursery.start(pool.run)
    for pid in list(pool.pids):
        os.kill(pid, signal.SIGKILL)
    assert all(v.is_signed for v in await pool.transactions(_signed(world, 4)))


async def test_a_cancelled_caller_leaves_the_pool_usable(nursery):
    world = World()
    raws = _signed(world, 40)
    pool = VerifyPool(world.rules.genesis, 1)
    await nursery.start(pool.run)
    for _ in range(5):
        with trio.move_on_after(0.001):
            await pool.transactions(raws)
    assert [v.is_signed for v in await pool.transactions(raws)] == [True] * 40
