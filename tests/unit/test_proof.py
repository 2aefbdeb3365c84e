"""The bytes of a proof, what is malformed, and which shares are checked."""

from __future__ import annotations

import pytest

from consensus.resource.proof import (
    PROOF_COUNT_WRONG,
    PROOF_VERSION_UNKNOWN,
    SHARE_OUT_OF_RANGE,
    SHARES_OUT_OF_ORDER,
    Proof,
    check_proof,
    make_proof,
    parse_shares,
    sample_size,
    sampled,
    share_bytes,
)
from consensus.types.codec import Codec, encode
from consensus.types.errors import Reason, Rejected

BEACON = bytes(range(32))


def test_a_proof_is_sorted_and_reads_back():
    """make_proof orders ids by p, then q; eight little-endian bytes each."""
    proof = make_proof(1000, [(2, 1), (0, 7), (2, 0)])
    assert parse_shares(proof.shares) == [(0, 7), (2, 0), (2, 1)]
    assert proof.shares[:8] == b"\x00\x00\x00\x00\x07\x00\x00\x00"
    assert Codec(Proof).decode(encode(proof)) == proof


def test_an_empty_proof_and_a_full_one_are_valid():
    """n = 0 shows that the spark is there; 56 is the most."""
    check_proof(make_proof(1, []))
    check_proof(make_proof(1, [(2**24 - 1, q) for q in range(56)]))


@pytest.mark.parametrize(
    ("proof", "reason"),
    [
        (Proof(2, 5, 0, b""), PROOF_VERSION_UNKNOWN),
        (Proof(0, 5, 0, b""), PROOF_VERSION_UNKNOWN),
        (Proof(1, 5, 1, b""), PROOF_COUNT_WRONG),
        (Proof(1, 5, 1, bytes(7)), PROOF_COUNT_WRONG),
        (Proof(1, 5, 0, bytes(8)), PROOF_COUNT_WRONG),
        (Proof(1, 5, 57, share_bytes([(0, q) for q in range(57)])), PROOF_COUNT_WRONG),
        (Proof(1, 5, 1, share_bytes([(2**24, 0)])), SHARE_OUT_OF_RANGE),
        (Proof(1, 5, 1, share_bytes([(0, 2**24)])), SHARE_OUT_OF_RANGE),
        (Proof(1, 5, 2, share_bytes([(1, 1), (1, 1)])), SHARES_OUT_OF_ORDER),
        (Proof(1, 5, 2, share_bytes([(1, 1), (1, 0)])), SHARES_OUT_OF_ORDER),
        (Proof(1, 5, 2, share_bytes([(1, 0), (0, 1)])), SHARES_OUT_OF_ORDER),
    ],
)
def test_a_malformed_proof_is_refused_with_its_reason(proof: Proof, reason: Reason):
    """Form, range and order; each has its own reason, and its facts are integers."""
    with pytest.raises(Rejected) as caught:
        check_proof(proof)
    assert caught.value.reason is reason
    assert all(isinstance(value, int) for value in caught.value.values())


def test_everything_is_checked_while_the_budget_allows():
    """Up to verify_budget shares nothing is sampled."""
    assert sample_size(40, 512, 20, 512) == 40


def test_a_full_window_is_sampled_down_to_eight():
    """v = min(n, max(8, budget // proofs))."""
    assert sample_size(40, 513, 20, 512) == 25
    assert sample_size(20, 513, 20, 512) == 20
    assert sample_size(40, 5000, 512, 512) == 8
    assert sample_size(5, 5000, 512, 512) == 5


def test_a_sample_is_ascending_and_differs_by_account_and_beacon():
    """Nobody knows while claiming which claims will be looked at."""
    first = sampled(BEACON, bytes(20), 56, 8)
    assert list(first) == sorted(set(first))
    assert len(first) == 8
    assert first != sampled(BEACON, bytes(19) + b"\x01", 56, 8)
    assert first != sampled(bytes(32), bytes(20), 56, 8)


def test_a_larger_sample_contains_the_smaller_one():
    """Ranks do not depend on v."""
    assert set(sampled(BEACON, bytes(20), 56, 8)) < set(sampled(BEACON, bytes(20), 56, 20))
    assert sampled(BEACON, bytes(20), 9, 9) == tuple(range(9))
