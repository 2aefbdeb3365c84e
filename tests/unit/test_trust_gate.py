"""Long-range forks: an old head believes no peer without a word from a person, and that word is kept."""

from __future__ import annotations

import msgspec
import pytest

from consensus.light import Trust, trusting_ms
from consensus.types.errors import Fault
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
