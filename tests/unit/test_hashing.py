"""Hashes of different kinds never meet, and a list has one root."""

from __future__ import annotations

from collections.abc import Generator
from hashlib import blake2b

import pytest

from consensus.types.hashing import (
    HASH_BYTES,
    SLICE_NODES,
    ZERO_HASH,
    Tag,
    list_root,
    list_root_steps,
    tagged_hash,
)


def h(tag: bytes, data: bytes) -> bytes:
    return blake2b(data, digest_size=32, person=tag).digest()


def root_by_definition(items: list[bytes]) -> bytes:
    """RFC 6962 §2.1, as it is written there: split at the largest power of two below n."""

    def top(part: list[bytes]) -> bytes:
        if len(part) == 1:
            return h(b"EUB-mleaf", part[0])
        half = 1
        while half * 2 < len(part):
            half *= 2
        return h(b"EUB-mnode", top(part[:half]) + top(part[half:]))

    return h(b"EUB-mroot", (top(items) if items else bytes(32)) + len(items).to_bytes(8, "big"))


def test_a_tagged_hash_is_blake2b_with_the_tag_as_personalisation():
    assert tagged_hash(Tag.BLOCK, b"ab", b"c") == h(b"EUB-block", b"abc")
    assert len(tagged_hash(Tag.BLOCK)) == HASH_BYTES


def test_every_tag_fits_is_ours_and_is_used_for_one_thing():
    assert len({tag.value for tag in Tag}) == len(Tag.__members__)
    for tag in Tag:
        assert tag.value.startswith(b"EUB-")
        assert len(tag.value) <= 16


def test_no_two_tags_give_one_hash():
    assert len({tagged_hash(tag, b"same") for tag in Tag}) == len(Tag)


@pytest.mark.parametrize("count", range(20))
def test_the_root_of_a_list_is_the_one_of_rfc_6962(count):
    items = [bytes([i]) * i for i in range(count)]
    assert list_root(items) == root_by_definition(items)


def test_the_root_of_nothing_is_of_32_zero_bytes():
    assert list_root([]) == tagged_hash(Tag.LIST_ROOT, ZERO_HASH, bytes(8))


def test_order_length_and_repetition_change_the_root():
    """A tree that pairs an odd last node with itself would give [a, b, c] and [a, b, c, c] one root."""
    a, b, c = b"a", b"b", b"c"
    lists = [[a], [b], [a, b], [b, a], [a, b, c], [a, b, c, c], [a, a], [b"ab"], [b"", b"ab"], [a, b"", b]]
    assert len({list_root(items) for items in lists}) == len(lists)


def test_an_inner_node_cannot_pass_for_an_item():
    left, right = tagged_hash(Tag.LIST_LEAF, b"a"), tagged_hash(Tag.LIST_LEAF, b"b")
    assert list_root([left + right]) != list_root([b"a", b"b"])


@pytest.mark.parametrize("count", [0, 1, 2, SLICE_NODES, 2 * SLICE_NODES + 1, 5 * SLICE_NODES + 3])
def test_a_lists_root_in_slices_is_the_root_by_the_definition(count: int) -> None:
    """Pausing changes nothing, and a long list is not hashed in one go."""
    items = [number.to_bytes(4, "big") for number in range(count)]
    found: list[bytes] = []

    def noted() -> Generator[None, None, None]:
        found.append((yield from list_root_steps(items)))

    assert sum(1 for _ in noted()) >= count // SLICE_NODES
    assert found == [list_root(items)] == [root_by_definition(items)]
