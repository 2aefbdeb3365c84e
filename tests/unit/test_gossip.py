"""Gossip of transactions on a node of its own: what is kept of a bundle, and who is told of what."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from consensus.types.codec import encode
from consensus.types.errors import Fault
from consensus.types.transaction import wtxid_of
from eubchain.mempool import Mempool
from eubchain.node import gossip as rules
from eubchain.node.gossip import Gossip
from eubchain.node.pricing import mempool_pricing
from eubchain.node.workers import WORKERS_FAILING
from eubchain.rpc.backend import Submitted
from p2p.frames import Kind
from p2p.messages import Transactions
from tests.world import World
from vm.account import Transfer

WORLD = World()


class Quiet:
    """A network that hears nothing."""

    def send(self, peer: str, kind: Kind, body: bytes) -> bool:
        return True

    def penalise(self, peer: str, why: str, points: int) -> None:
        raise AssertionError(why)


def _gossip(take: Any) -> Gossip:
    params = WORLD.params
    net: Any = Quiet()
    pool = Mempool(mempool_pricing(WORLD.rules), params.fees.min_price, params.chain.max_ttl_blocks)
    return Gossip(net, pool, take)


def _bundle(count: int) -> list[bytes]:
    return [WORLD.sign("alice", Transfer(WORLD["bob"].address, 1), nonce=n) for n in range(count)]


@pytest.mark.parametrize("fails", [True, False])
async def test_a_bundle_leaves_nothing_behind_once_it_was_checked_or_could_not_be(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, fails: bool
) -> None:
    """What nobody could check is unknown again: it may come once more."""

    async def take(raws: list[bytes]) -> list[Submitted]:
        if fails:
            raise Fault(WORKERS_FAILING, attempts=3)
        return [Submitted(bytes(32), True, None) for _ in raws]

    gossip, raws = _gossip(take), _bundle(3)
    nursery.start_soon(gossip.run)
    gossip.peer_up("peer")
    gossip.take("peer", Kind.TRANSACTIONS, encode(Transactions(tuple(raws))))
    assert set(gossip.arriving) == {wtxid_of(raw) for raw in raws}
    await trio.testing.wait_all_tasks_blocked()
    assert not gossip.arriving


def test_who_has_what_is_remembered_for_a_generation_and_then_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two generations bound it without looking at everything that is held."""
    monkeypatch.setattr(rules, "HOLDERS_MAX", 10)
    gossip = _gossip(None)
    names = [number.to_bytes(32, "big") for number in range(60)]
    for start in range(0, 60, 20):
        gossip._note(names[start : start + 20], 1 << start // 20)
    assert not gossip._has(names[0], 1)
    assert gossip._has(names[59], 4)
    assert not gossip._has(names[59], 1)
