"""Small rules of the network side of a node: timeliness, bundles, greetings, who is asked first."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.types.keys import SecretKey, verify
from eubchain.node.gossip import BUNDLE_BYTES_MAX, BUNDLE_COUNT_MAX, bundles
from eubchain.node.hearing import is_timely
from eubchain.node.peers import _vouching, greeting
from p2p.frames import BODY_BYTES_MAX, Kind
from tests.world import World

CHAIN = World().rules.params.chain
NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("offset_ms", "round_", "expected"),
    [
        (0, 0, True),
        (CHAIN.precision_ms, 0, True),
        (CHAIN.precision_ms + 1, 0, False),
        (-CHAIN.msg_delay_ms - CHAIN.precision_ms, 0, True),
        (-CHAIN.msg_delay_ms - CHAIN.precision_ms - 1, 0, False),
        (-CHAIN.msg_delay_ms * 11 // 10 - CHAIN.precision_ms, 1, True),
        (-CHAIN.msg_delay_ms * 11 // 10 - CHAIN.precision_ms - 1, 1, False),
    ],
)
def test_a_proposal_is_timely_within_precision_and_a_delay_that_grows_with_the_round(
    offset_ms, round_, expected
):
    assert is_timely(NOW + offset_ms, NOW, round_, CHAIN) is expected


def test_the_delay_stops_growing_at_round_forty():
    oldest = NOW - CHAIN.msg_delay_ms * 11**40 // 10**40 - CHAIN.precision_ms
    for round_ in (40, 41, 2**32 - 1):
        assert is_timely(oldest, NOW, round_, CHAIN)
        assert not is_timely(oldest - 1, NOW, round_, CHAIN)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 65_536), max_size=60))
def test_bundles_hold_everything_in_order_and_fit_their_frame(sizes):
    raws = [bytes(size) for size in sizes]
    made = bundles(raws)
    assert [raw for bundle in made for raw in bundle] == raws
    for bundle in made:
        assert 0 < len(bundle) <= BUNDLE_COUNT_MAX
        size = sum(len(raw) + 5 for raw in bundle)
        assert size <= BUNDLE_BYTES_MAX or len(bundle) == 1
        assert size + 8 <= BODY_BYTES_MAX[Kind.TRANSACTIONS]


def test_small_transactions_travel_by_the_hundred():
    assert len(bundles([bytes(150)] * 900)[0]) >= 300


def test_a_validator_vouches_for_its_peer_id_and_nobody_elses():
    rules, key = World().rules, SecretKey(bytes(range(1, 33)))
    hello = greeting(rules, "peer-one", 7, "x" * 100, "", key)
    assert hello.validator_key == key.public
    assert verify(key.public, _vouching(rules.genesis, "peer-one"), hello.signature)
    assert not verify(key.public, _vouching(rules.genesis, "peer-two"), hello.signature)
    assert len(hello.moniker) <= 64
    assert greeting(rules, "peer-one", 7, "m", "", None).signature is None
