"""Bytes that claim to be a transaction: whatever is wrong with them is a refusal, never a crash."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.types.codec import encode
from consensus.types.errors import Rejected
from consensus.types.transaction import signature_checks
from tests.world import World, verify_all
from vm import stake
from vm.account import MultiTransfer, Output, Transfer
from vm.evidence import Said, SubmitEvidence
from vm.registry import OPERATIONS, TRANSACTION, decode_candidate
from vm.spark import Hardware, RegisterSpark, RetireSpark, UpdateSpark
from vm.task import payloads as market
from vm.validator import NewKey, RegisterValidator, Unjail, UpdateValidator

WORLD = World()
ADDRESS, HASH, SIGNATURE = bytes(range(20)), bytes(range(32)), bytes(64)
RECIPIENT = "age1" + "q" * 58
HARDWARE = Hardware("cpu", 0, 0, 4, 2**33, 2**36)
ROLE = market.Role("main", 1, True, 10**9, market.Resources(0, 0, 1, 2**30, 2**30))
PAYLOADS: tuple[Any, ...] = (
    Transfer(ADDRESS, 7),
    MultiTransfer((Output(ADDRESS, 1), Output(ADDRESS, 2**40))),
    stake.Bond(10**8),
    stake.Unbond(10**8),
    RegisterValidator("name", HASH, SIGNATURE, HASH),
    UpdateValidator("name", NewKey(HASH, SIGNATURE), HASH),
    Unjail(),
    RegisterSpark(RECIPIENT, HARDWARE, 2, True, 1),
    UpdateSpark(RECIPIENT, HARDWARE, 2, False),
    RetireSpark(),
    market.Post(0, 0, (ROLE,), 0, (), (), market.Windows(2, 2, 2, 4, 2), 0, False, None, b"spec"),
    market.Deliver(HASH, 0, HASH, 1, ("blob:x",), HASH, RECIPIENT, b"sealed"),
    market.Accept(HASH, 0, 80, 4),
)


def test_every_type_has_its_own_number() -> None:
    tags = [operation.payload.__struct_config__.tag for operation in OPERATIONS]
    assert len(set(tags)) == len(tags)
    assert all(isinstance(tag, int) for tag in tags)


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda p: type(p).__name__)
def test_a_signed_transaction_survives_the_round_trip(payload: Any) -> None:
    raw = WORLD.sign("alice", payload)
    candidate = decode_candidate(raw, WORLD.rules)
    assert candidate.transaction.body.payload == payload
    assert encode(candidate.transaction) == raw
    assert verify_all(signature_checks(candidate.transaction, WORLD.rules.genesis))


def speaks(raw: bytes) -> bool:
    """Whether bytes are a transaction with valid signatures; anything but a refusal is a failure."""
    try:
        candidate = decode_candidate(raw, WORLD.rules)
    except Rejected:
        return False
    return verify_all(signature_checks(candidate.transaction, WORLD.rules.genesis))


@given(
    payload=st.sampled_from(PAYLOADS),
    place=st.integers(0, 10_000),
    flip=st.integers(1, 255),
)
@settings(max_examples=300, deadline=None)
def test_no_changed_byte_passes(payload: Any, place: int, flip: int) -> None:
    raw = bytearray(WORLD.sign("alice", payload))
    raw[place % len(raw)] ^= flip
    assert not speaks(bytes(raw))


@given(payload=st.sampled_from(PAYLOADS), keep=st.integers(0, 400), tail=st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_no_cut_or_longer_encoding_passes(payload: Any, keep: int, tail: bytes) -> None:
    raw = WORLD.sign("alice", payload)
    changed = raw[:keep] + tail
    assert changed == raw or not speaks(changed)


@given(noise=st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    assert not speaks(noise)


def test_evidence_needs_no_signature_of_its_own() -> None:
    payload = SubmitEvidence(2, 1, 0, HASH, Said(None, None), SIGNATURE, Said(HASH, None), SIGNATURE)
    world = World()
    txid = world.submit_evidence(payload)
    assert txid == world.pending[0].txid
    assert TRANSACTION.decode(world.pending[0].raw).body.payload == payload
