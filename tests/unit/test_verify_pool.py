"""The signature workers: real processes, right answers, no answer lost when one dies."""

from __future__ import annotations

import os
import signal
import sys

import pytest
import trio

from consensus.types.codec import encode
from consensus.types.errors import Fault
from consensus.types.transaction import signature_checks, txid_of, wtxid_of
from eubchain.node import workers
from eubchain.node.workers import AT_ONCE_MAX, BATCH_MAX, VerifyPool
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
    assert await pool.signatures([*checks * AT_ONCE_MAX, wrong]) == [True] * AT_ONCE_MAX + [False]
    assert await pool.signatures([]) == []


async def test_a_few_signatures_wait_for_no_worker():
    """Votes must not wait behind transactions; a pool that does not run shows that none is asked."""
    world = World()
    checks = signature_checks(
        decode_candidate(_signed(world, 1)[0], world.rules).transaction, world.rules.genesis
    )
    wrong = checks[0]._replace(message=bytes(32))
    assert await VerifyPool(world.rules.genesis, 1).signatures([*checks, wrong]) == [True, False]


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


@pytest.mark.parametrize("broken", ["/bin/false", "/bin/echo", "/nowhere"])
async def test_signatures_are_asked_for_until_a_worker_lives_and_are_never_false_for_lack_of_one(
    nursery, monkeypatch, broken
):
    """A good proposal must not be voted against because processes die, talk nonsense or cannot be started."""
    monkeypatch.setattr(workers, "AGAIN_S", 0.01)
    world = World()
    checks = signature_checks(
        decode_candidate(_signed(world, 1)[0], world.rules).transaction, world.rules.genesis
    )
    pool = VerifyPool(world.rules.genesis, 2)
    await nursery.start(pool.run)
    executable = sys.executable
    monkeypatch.setattr(workers.sys, "executable", broken)
    for pid in list(pool.pids):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(Fault, match="workers_failing"):
        await pool.transactions(_signed(world, 1))
    verdicts: list[list[bool]] = []
    given_up = trio.Event()
    monkeypatch.setattr(workers.log, "error", lambda words, why: given_up.set())

    async def ask() -> None:
        wrong = checks[0]._replace(message=bytes(32))
        verdicts.append(await pool.signatures([*checks * AT_ONCE_MAX, wrong]))

    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        await given_up.wait()
        assert not verdicts
        monkeypatch.setattr(workers.sys, "executable", executable)
    assert verdicts == [[True] * AT_ONCE_MAX + [False]]


async def test_a_worker_that_hangs_is_replaced(nursery, monkeypatch):
    """Stopped, it would keep its batch, and a vote with it, for ever."""
    world = World()
    pool = VerifyPool(world.rules.genesis, 1)
    await nursery.start(pool.run)
    await pool.transactions(_signed(world, 1))
    monkeypatch.setattr(workers, "ANSWER_S", 1.0)
    (hanging,) = pool.pids
    os.kill(hanging, signal.SIGSTOP)
    assert (await pool.transactions(_signed(world, 1)))[0].is_signed
    assert hanging not in pool.pids
