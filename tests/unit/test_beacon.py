"""Reveal chains, the beacon and draws."""

from __future__ import annotations

import pytest

from consensus import beacon as be
from consensus.types.draws import draw_point, index_at
from consensus.types.errors import Fault
from consensus.types.hashing import Tag, tagged_hash

SECRET = bytes(range(32))


def plain_chain(length: int, generation: int = 0) -> list[bytes]:
    """x₀ … x_N, one after the other."""
    values = [tagged_hash(Tag.REVEAL, SECRET, generation.to_bytes(8, "big"))]
    for _ in range(length):
        values.append(tagged_hash(Tag.CHAIN, values[-1]))
    return values


@pytest.mark.parametrize("length", [1, 2, 3, 10, 99, 100, 101, 1000])
def test_a_chain_reveals_every_preimage_in_turn(length: int):
    """From x_N down to x₀, each commitment found by walking; then it says that it is used up."""
    chain, values = be.RevealChain(SECRET, 0, length), plain_chain(length)
    commitment = chain.commitment
    assert commitment == values[-1]
    for left in range(length, 0, -1):
        assert chain.position(commitment) == left
        reveal = chain.reveal(commitment)
        assert be.is_reveal_of(reveal, commitment)
        commitment = reveal
    assert commitment == values[0]
    with pytest.raises(Fault) as caught:
        chain.reveal(commitment)
    assert caught.value.reason is be.REVEALS_USED_UP


@pytest.mark.parametrize("length", [1, 7, 100, 103])
def test_a_restored_chain_finds_its_place_from_the_commitment_alone(length: int):
    """A fresh object knows every position without having been there."""
    for position, value in enumerate(plain_chain(length)):
        assert be.RevealChain(SECRET, 0, length).position(value) == position


def test_checkpoints_can_be_kept_and_handed_back():
    """About √N of them stand for the whole chain."""
    chain = be.RevealChain(SECRET, 4, 1000)
    assert len(chain.checkpoints) == 1000 // 31 + 1
    again = be.RevealChain(SECRET, 4, 1000, chain.checkpoints)
    assert again.commitment == chain.commitment == plain_chain(1000, 4)[-1]


@pytest.mark.parametrize(("generation", "length"), [(5, 1000), (4, 900)])
def test_checkpoints_of_another_chain_are_refused(generation: int, length: int):
    """Another generation's, or another length's."""
    kept = be.RevealChain(SECRET, 4, 1000).checkpoints
    with pytest.raises(Fault) as caught:
        be.RevealChain(SECRET, generation, length, kept)
    assert caught.value.reason is be.CHECKPOINTS_OF_ANOTHER_CHAIN


def test_a_commitment_of_another_generation_or_beyond_the_end_is_not_found():
    """Wrong words must be named as such, not answered with a wrong reveal."""
    chain, longer = be.RevealChain(SECRET, 0, 100), plain_chain(101)
    for foreign in (plain_chain(50, 1)[20], longer[101], bytes(32)):
        with pytest.raises(Fault) as caught:
            chain.reveal(foreign)
        assert caught.value.reason is be.COMMITMENT_OF_ANOTHER_CHAIN


def test_a_chain_shows_no_secret():
    """Its repr is its length."""
    assert repr(be.RevealChain(SECRET, 0, 5)) == "RevealChain(length=5)"


def test_only_the_preimage_is_a_reveal():
    """Of the right length and hash."""
    values = plain_chain(2)
    assert be.is_reveal_of(values[1], values[2])
    assert not be.is_reveal_of(values[0], values[2])
    assert not be.is_reveal_of(values[1] + b"\x00", values[2])


def test_the_beacon_depends_on_genesis_and_every_reveal():
    """beacon(0) from the genesis hash, then folded."""
    start = be.genesis_beacon(bytes(32))
    assert start == tagged_hash(Tag.BEACON, bytes(32))
    assert be.next_beacon(start, SECRET) == tagged_hash(Tag.BEACON, start, SECRET)


def test_a_draw_point_reads_the_first_128_bits():
    """The whole range is reached, and only it."""
    assert draw_point(bytes(32), 10) == 0
    assert draw_point(b"\xff" * 16 + bytes(16), 10) == 9
    assert draw_point(b"\x80" + bytes(31), 10) == 5
    assert draw_point(b"\x7f" + b"\xff" * 15 + b"\xff" * 16, 10) == 4


def test_a_point_falls_on_the_weight_that_holds_it():
    """The first index whose cumulative weight exceeds it; weightless ones never."""
    assert [index_at(point, [2, 0, 1]) for point in (0, 1, 2)] == [0, 0, 2]


def test_drawn_indices_differ_and_have_weight():
    """Without replacement; fewer come back if fewer have weight."""
    drawn = be.draw_weighted(SECRET, b"task and seat", [5, 0, 1, 3], 10)
    assert sorted(drawn) == [0, 2, 3]
    assert be.draw_weighted(SECRET, b"task and seat", [5, 0, 1, 3], 2) == drawn[:2]
    assert be.draw_weighted(SECRET, b"task and seat", [0, 0], 2) == []


def test_draws_are_proportional_to_weight():
    """Of 4,000 draws from 1 : 3, three quarters fall on the second (χ² on one degree < 10.8)."""
    hits = [0, 0]
    for i in range(4000):
        hits[be.draw_weighted(SECRET, b"number" + i.to_bytes(4, "big"), [1, 3], 1)[0]] += 1
    assert (hits[0] - 1000) ** 2 * 3000 + (hits[1] - 3000) ** 2 * 1000 < 108 * 3000 * 1000 // 10
