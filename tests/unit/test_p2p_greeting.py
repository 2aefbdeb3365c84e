"""Greetings: versions, and two running nodes with one identity."""

from __future__ import annotations

import pytest

from consensus.types.codec import encode
from p2p.faults import MESSAGE_MALFORMED, OTHER_CHAIN, OTHER_PROTOCOL, PeerFault, Unsuited
from p2p.greeting import SHARED_S, Identities, read_hello
from p2p.messages import PROTOCOL_VERSION, Hello

GENESIS = bytes(range(32))
A, B, C = (bytes([number]) * 16 for number in range(3))


def test_a_hello_of_this_version_and_network_is_read():
    hello = Hello(PROTOCOL_VERSION, "chain", GENESIS, 5, "name", "", None, None, A)
    assert read_hello(encode(hello), GENESIS, "chain") == hello


@pytest.mark.parametrize("body", [(1,), (99, "fields", {"of": b"another"}, "time"), (2**32 - 1, None)])
def test_another_version_is_no_offence_whatever_else_its_hello_holds(body: tuple[object, ...]):
    with pytest.raises(Unsuited) as refused:
        read_hello(encode(body), GENESIS, "chain")
    assert refused.value.reason is OTHER_PROTOCOL
    assert refused.value.facts == {"theirs": body[0], "ours": PROTOCOL_VERSION}


def test_another_network_is_no_offence():
    with pytest.raises(Unsuited) as refused:
        read_hello(encode(Hello(PROTOCOL_VERSION, "other", bytes(32), 5, "", "", None, None)), GENESIS, "c")
    assert refused.value.reason is OTHER_CHAIN


@pytest.mark.parametrize(
    "body",
    [b"", b"\x90", b"\xc0", b"\x91\xc3", b"\x91\xff", b"\x91\xcf" + b"\xff" * 8, b"\x91" * 1000,
     encode((PROTOCOL_VERSION, "chain")), b"\x92\x02\xa2\xff\xfe"],
)  # fmt: skip
def test_what_does_not_begin_with_a_version_is_an_offence(body: bytes):
    with pytest.raises(PeerFault) as refused:
        read_hello(body, GENESIS, "chain")
    assert refused.value.reason is MESSAGE_MALFORMED


def test_a_node_that_starts_again_and_again_shares_its_identity_with_nobody():
    known = Identities()
    assert not any(known.greeted("peer", instance, 1.0) for instance in (A, A, B, B, C))
    assert not known.is_shared("peer", 1.0)


def test_a_process_that_comes_back_after_another_shows_that_two_run_and_is_told_of_once():
    known = Identities()
    said = [known.greeted("peer", instance, 1.0) for instance in (A, B, A, B, A)]
    assert said == [False, False, True, False, False]
    assert known.is_shared("peer", 2.0)
    assert not known.is_shared("another", 2.0)
    assert not known.is_shared("peer", 1.0 + SHARED_S)
