"""Long-range forks: an old head believes no peer without a word from a person, and that word is kept."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio

from consensus.agreement.inputs import RecordedInput, StartHeight, VoteReceived
from consensus.agreement.messages import Vote
from consensus.light import Trust, trusting_ms
from consensus.types.errors import Fault
from consensus.types.vote import PRECOMMIT
from eubchain.node.peers import Peers
from eubchain.node.trust_gate import TrustGate
from tests.world import World

NOW_MS = 2_000_000_000_000
GENESIS = msgspec.structs.replace(World().genesis, prefix="eub")
LIMIT_MS = trusting_ms(GENESIS.params)


def _gate(trust: Trust | None = None, genesis=GENESIS) -> TrustGate:
    return TrustGate(genesis, trust, lambda: NOW_MS)


def test_a_recent_head_follows_its_peers_without_asking():
    _gate().check_head(5, NOW_MS - LIMIT_MS)


def test_an_old_head_takes_nothing_until_a_person_names_a_later_block():
    with pytest.raises(Fault) as refused:
        _gate().check_head(5, NOW_MS - LIMIT_MS - 1)
    assert refused.value.reason.name == "trust_needed"
    with pytest.raises(Fault):
        _gate(Trust(5, bytes(32))).check_head(5, NOW_MS - LIMIT_MS - 1)
    _gate(Trust(6, bytes(32))).check_head(5, NOW_MS - LIMIT_MS - 1)


def test_a_chain_without_the_trusted_block_is_refused_at_its_height():
    gate = _gate(Trust(6, b"\x01" * 32))
    gate.check_block(5, bytes(32))
    gate.check_block(6, b"\x01" * 32)
    with pytest.raises(Fault) as refused:
        gate.check_block(6, bytes(32))
    assert refused.value.reason.name == "trust_contradicted"


def test_a_development_network_guards_nothing_and_asks_nothing():
    _gate(genesis=World().genesis).check_head(0, 0)


VOTE = VoteReceived(Vote(PRECOMMIT, 6, 0, bytes(32), 0, bytes(64)))


def _heard(gate: TrustGate, age_ms: int, me: int | None = None) -> list[RecordedInput]:
    """What reaches agreement on height 6, upon a head of that age, of a vote that peers tell."""
    heard: list[RecordedInput] = []

    class Engine:
        async def deliver(self, height: int, event: RecordedInput) -> None:
            heard.append(event)

    nothing: Any = None
    engine: Any = Engine()
    peers = Peers(nothing, World().rules, nothing, nothing, nothing, nothing, me is not None, gate)
    peers.bind(engine, lambda: 0, lambda raw: False)
    interval_ms = GENESIS.params.chain.block_interval_ms
    peers._start = StartHeight(6, World().validators, me, bytes(32), NOW_MS - age_ms + interval_ms)
    trio.run(peers._deliver, 6, VOTE)
    return heard


def test_an_old_head_is_not_led_on_by_agreement_either():
    """Keys that signed long ago could otherwise decide height after height with a node that only listens."""
    assert _heard(_gate(), LIMIT_MS) == [VOTE]
    with pytest.raises(Fault) as refused:
        _heard(_gate(), LIMIT_MS + 1)
    assert refused.value.reason.name == "trust_needed"


def test_up_to_the_trusted_block_only_syncing_brings_blocks():
    """It alone compares them with what a person trusts."""
    assert _heard(_gate(Trust(6, bytes(32))), LIMIT_MS + 1) == []
    assert _heard(_gate(Trust(5, bytes(32))), 0) == [VOTE]


def test_members_of_a_network_that_stood_still_agree_without_asking():
    assert _heard(_gate(), LIMIT_MS + 1, me=0) == [VOTE]
