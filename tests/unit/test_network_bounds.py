"""What strangers can make a node hold: each kind of thing has a bound, and a flood displaces no other's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from consensus.types.codec import encode
from consensus.types.vote import PREVOTE
from eubchain.mempool import Mempool
from eubchain.node.gossip import ASKED_PER_PEER_MAX, GIVEN_BYTES_MAX, Gossip
from eubchain.node.hearing import AHEAD_BYTES_MAX, Heard
from eubchain.node.pricing import mempool_pricing
from eubchain.node.proposed import GATHERING_MAX, ProposedBlocks
from p2p.faults import PeerFault
from p2p.frames import BODY_BYTES_MAX, PART_BYTES_MAX, Kind
from p2p.messages import BlockPart, Wtxids
from tests.unit.test_hearing import HEIGHT, Listener, vote
from tests.world import World

WORLD = World()
LIMIT = 2**26


class QuietNet:
    """Counts what is wanted."""

    def __init__(self) -> None:
        self.wanted = self.given_bytes = 0

    def send(self, peer: str, kind: Kind, body: bytes) -> bool:
        self.wanted += kind is Kind.WANT
        self.given_bytes += len(body) if kind is Kind.TRANSACTIONS else 0
        return True


def _gossip() -> Gossip:
    params = WORLD.params
    net: Any = QuietNet()
    pool = Mempool(mempool_pricing(WORLD.rules), params.fees.min_price, params.chain.max_ttl_blocks)
    take: Any = None
    return Gossip(net, pool, take)


def test_a_flood_of_the_next_height_does_not_push_out_what_others_say_of_it() -> None:
    """Nothing of the next height is verified yet: anybody could fill a queue that all share."""
    listener = Listener()
    listener.hear("honest", vote(1, height=HEIGHT + 1))
    forged = vote(2, PREVOTE, HEIGHT + 1, forged=True)
    for number in range(2 * AHEAD_BYTES_MAX // 100):
        body = encode(forged)[:-4] + number.to_bytes(4, "big")
        listener.hearing._route(Heard("flooder", Kind.VOTE, body, forged, 0))
    held = listener.hearing._ahead
    assert sum(len(one.body) for one in held["flooder"].take_all()) <= AHEAD_BYTES_MAX
    assert [one.message for one in held["honest"].take_all()] == [vote(1, height=HEIGHT + 1)]


def test_parts_of_proposed_blocks_fit_the_largest_block_of_the_network() -> None:
    """Of 256 parts each, what is gathered came to nearly a gigabyte."""
    nothing: Any = None
    sources: Any = SimpleNamespace(release=lambda: None)
    blocks = ProposedBlocks(nothing, bytes(32), sources, nothing, WORLD.params.chain)
    blocks.at_height(1)
    names_bytes = 34 * WORLD.params.chain.block_transactions_max
    assert blocks._parts_max * PART_BYTES_MAX >= names_bytes
    assert GATHERING_MAX * blocks._parts_max * BODY_BYTES_MAX[Kind.BLOCK_PART] <= LIMIT
    blocks.take_part("peer", BlockPart(1, bytes(32), 0, blocks._parts_max, b"part"))
    with pytest.raises(PeerFault):
        blocks.take_part("peer", BlockPart(1, bytes(32), 0, blocks._parts_max + 1, b"part"))


def test_reconnecting_again_and_again_makes_no_set_of_holders_grow() -> None:
    """A bit for every connection ever made, in each of a hundred thousand numbers, while one peer stays."""
    gossip = _gossip()
    gossip.peer_up("stays")
    for number in range(1000):
        gossip.peer_up(f"comes {number}")
        gossip.peer_down(f"comes {number}")
    gossip.peer_up("other")
    assert sorted(gossip._slots.values()) == [1, 2]


@pytest.mark.trio
async def test_a_peer_that_announces_without_end_is_asked_for_a_bounded_number() -> None:
    gossip = _gossip()
    for peer in ("endless", "other"):
        gossip.peer_up(peer)
    for number in range(2 * ASKED_PER_PEER_MAX // 1000):
        names = tuple((number * 1000 + i).to_bytes(32, "big") for i in range(1000))
        gossip.take("endless", Kind.ANNOUNCE, encode(Wtxids(names)))
    assert len(gossip._asked) == ASKED_PER_PEER_MAX
    gossip.take("other", Kind.ANNOUNCE, encode(Wtxids((b"\xff" * 32,))))
    assert len(gossip._asked) == ASKED_PER_PEER_MAX + 1


@pytest.mark.parametrize("names", ["one again and again", "many"])
def test_a_want_of_a_few_bytes_does_not_make_a_node_send_a_hundred_megabytes(names: str) -> None:
    gossip = _gossip()
    pool: Any = SimpleNamespace(by_wtxid=lambda wtxid: SimpleNamespace(raw=bytes(60_000)))
    gossip._mempool = pool
    gossip._slots["greedy"] = 1
    wanted = [(0 if "again" in names else i).to_bytes(32, "big") for i in range(1_900)]
    gossip.take("greedy", Kind.WANT, encode(Wtxids(tuple(wanted))))
    net: Any = gossip._net
    assert 60_000 <= net.given_bytes <= GIVEN_BYTES_MAX + 70_000
