"""The state tree equals a naive recomputation from its entries, whatever its history and prefixes."""

from __future__ import annotations

from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.types.codec import encode
from consensus.types.errors import Rejected
from consensus.types.tree import (
    HashedWrite,
    StateTree,
    empty_tree,
    finish,
    hash_nodes,
    hash_writes,
    key_hash,
    lay_out,
    leaf_hash,
    update_steps,
    update_tree,
)
from consensus.types.tree_proof import (
    STATE_PROOF,
    StateProof,
    StateRange,
    make_range,
    prove,
    range_positions,
    verify_hashed_proof,
    verify_proof,
    verify_range,
)


def naive_root(entries: dict[bytes, bytes], depth: int = 0) -> bytes:
    """The definition, written without any of the production code: hash, then recurse."""
    if not entries:
        return bytes(32)
    if len(entries) <= 16:
        data = b"".join(kh + entries[kh] for kh in sorted(entries))
        return blake2b(data, digest_size=32, person=b"EUB-leaf").digest()
    children = b""
    for nibble in "0123456789abcdef":
        part = {kh: vh for kh, vh in entries.items() if kh.hex()[depth] == nibble}
        children += naive_root(part, depth + 1)
    return blake2b(children, digest_size=32, person=b"EUB-node").digest()


def crowded_hashes() -> st.SearchStrategy[bytes]:
    """Key hashes that share long prefixes, as an adversary would grind them."""
    stem = st.sampled_from([b"", b"\x00", b"\xff", b"\x12\x34", b"\x12\x30", b"\xab" * 31, b"\xff" * 31])
    tail = st.integers(0, 40)
    return st.builds(lambda s, t: s + bytes(31 - len(s)) + bytes([t]), stem, tail) | st.builds(
        lambda s, t: (s + bytes([t]) * 32)[:32], stem, tail
    )


def batches() -> st.SearchStrategy[list[dict[bytes, bytes | None]]]:
    """Batches of writes and deletions by key hash."""
    value = st.none() | st.binary(min_size=32, max_size=32)
    return st.lists(st.dictionaries(crowded_hashes(), value, max_size=60), max_size=6)


def sorted_writes(batch: dict[bytes, bytes | None]) -> list[HashedWrite]:
    return sorted(batch.items(), key=lambda write: write[0])


def take(entries: dict[bytes, bytes], batch: dict[bytes, bytes | None]) -> None:
    for kh, vh in batch.items():
        if vh is None:
            entries.pop(kh, None)
        else:
            entries[kh] = vh


@given(batches())
@settings(max_examples=150, deadline=None)
def test_any_history_gives_the_naive_root_and_the_shape_of_its_contents(
    history: list[dict[bytes, bytes | None]],
) -> None:
    tree = empty_tree()
    entries: dict[bytes, bytes] = {}
    for batch in history:
        before = (dict(tree.nodes), dict(tree.buckets), tree.root)  # type: ignore[call-overload]  # a dict here
        update = finish(update_steps(tree, sorted_writes(batch)))
        assert before == (tree.nodes, tree.buckets, tree.root), "computing a root changed the base"
        ahead = tree.updated(update)
        tree.apply(update)
        take(entries, batch)
        fresh = lay_out(entries.items())
        assert naive_root(entries) == tree.root == fresh.root == ahead.root
        assert (fresh.nodes, fresh.buckets) == (tree.nodes, tree.buckets)
        assert ahead.nodes == tree.nodes
        leaves = ((position, leaf_hash(bucket)) for position, bucket in tree.buckets.items())  # type: ignore[attr-defined]  # a dict here
        assert (tree.nodes, tree.root) == hash_nodes(leaves)


@given(batches(), crowded_hashes(), st.binary(min_size=32, max_size=32))
@settings(max_examples=100, deadline=None)
def test_a_proof_shows_what_is_there_and_nothing_else(
    history: list[dict[bytes, bytes | None]], asked: bytes, other: bytes
) -> None:
    entries: dict[bytes, bytes] = {}
    for batch in history:
        take(entries, batch)
    tree = lay_out(entries.items())
    for kh in [asked, *list(entries)[:5]]:
        proof = STATE_PROOF.decode(encode(prove(tree, kh)))
        truth = entries.get(kh)
        assert verify_hashed_proof(tree.root, kh, truth, proof)
        assert not verify_hashed_proof(tree.root, kh, other if other != truth else None, proof)
        if truth is not None:
            assert not verify_hashed_proof(tree.root, kh, None, proof)
        assert other == tree.root or not verify_hashed_proof(other, kh, truth, proof)


def _worded_state(count: int) -> tuple[dict[bytes, bytes], StateTree]:
    state = {b"k%d" % number: b"v%d" % number for number in range(count)}
    tree = empty_tree()
    tree.apply(update_tree(tree, state))
    return state, tree


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_changed_byte_anywhere_breaks_a_proof(data: st.DataObject) -> None:
    state, tree = _worded_state(400)
    key = data.draw(st.sampled_from(sorted(state)))
    proof = prove(tree, key_hash(key))
    assert verify_proof(tree.root, key, state[key], proof)
    parts = [proof.bucket, *proof.path]
    which = data.draw(st.integers(0, len(parts) - 1))
    at = data.draw(st.integers(0, len(parts[which]) - 1))
    changed = bytearray(parts[which])
    changed[at] ^= data.draw(st.integers(1, 255))
    parts[which] = bytes(changed)
    assert not verify_proof(tree.root, key, state[key], StateProof(parts[0], tuple(parts[1:])))


def test_a_bucket_from_elsewhere_or_a_shorter_path_proves_no_absence() -> None:
    """Every other bucket and every cut path is refused as evidence that a present key is absent."""
    state, tree = _worded_state(400)
    key = b"k7"
    honest = prove(tree, key_hash(key))
    for other in state:
        stranger = prove(tree, key_hash(other))
        if stranger.bucket != honest.bucket:
            assert not verify_proof(tree.root, key, None, stranger)
    for length in range(len(honest.path)):
        assert not verify_proof(tree.root, key, None, StateProof(b"", honest.path[:length]))
    assert not verify_proof(tree.root, key, None, StateProof(b"", honest.path))
    assert not verify_proof(tree.root, key, None, StateProof(honest.bucket, (*honest.path[:-1], b"")))
    assert verify_proof(tree.root, b"absent", None, prove(tree, key_hash(b"absent")))


def test_an_empty_tree_proves_every_absence() -> None:
    assert verify_proof(bytes(32), b"anything", None, prove(empty_tree(), key_hash(b"anything")))


def test_seventeen_keys_that_part_at_their_last_nibble_split_to_the_bottom_and_merge_back() -> None:
    """The deepest shape there can be: 16 keys share 63 nibbles, one more shares 62."""
    deep = [bytes(31) + bytes([n]) for n in range(17)]
    tree = empty_tree()
    tree.apply(finish(update_steps(tree, [(kh, kh) for kh in deep])))
    assert naive_root({kh: kh for kh in deep}) == tree.root
    assert len(tree.nodes) == 63
    tree.apply(finish(update_steps(tree, [(deep[16], None)])))
    assert (tree.nodes, tree.root) == ({}, naive_root({kh: kh for kh in deep[:16]}))
    tree.apply(finish(update_steps(tree, [(kh, None) for kh in deep])))
    assert tree.root == bytes(32)
    assert not tree.nodes
    assert not tree.buckets


def test_a_key_hash_that_stands_across_two_entries_is_not_taken_for_an_entry() -> None:
    """Bytes of a value hash and the next key hash may spell a key hash; it is still not in the bucket."""
    first, second = bytes([1]) * 32, bytes([2]) * 32
    across = (first + second)[16:48]
    tree = lay_out([(bytes(32), first), (second, bytes(32))])
    assert across in (tree.buckets.get(1) or b"")
    tree.apply(finish(update_steps(tree, [(across, first)])))
    assert naive_root({bytes(32): first, second: bytes(32), across: first}) == tree.root


def test_a_large_update_pauses_often_and_ends_as_the_same_in_one_go() -> None:
    state, tree = _worded_state(3000)
    writes = dict.fromkeys(state, b"new")
    hashed = finish(hash_writes(writes))
    steps = update_steps(tree, hashed)
    pauses = 0
    while True:
        try:
            next(steps)
            pauses += 1
        except StopIteration as stop:
            update = stop.value
            break
    assert pauses >= 10
    assert update == update_tree(tree, writes)


@pytest.mark.parametrize("count", [0, 1, 16, 17, 900])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_prefix_ranges_cover_a_state_and_verify_one_by_one(count: int, depth: int) -> None:
    state, tree = _worded_state(count)
    collected: dict[bytes, bytes] = {}
    positions = []
    for position in range_positions(tree.nodes, depth):
        nibbles = f"{position:x}"[1:]
        inside = {key: state[key] for key in state if key_hash(key).hex().startswith(nibbles)}
        part = make_range(tree, position, inside)
        positions.append(verify_range(tree.root, part))
        collected.update(part.entries)
    assert collected == state
    assert len(set(positions)) == len(positions)


def test_a_range_with_an_entry_missing_added_or_moved_is_refused() -> None:
    state, tree = _worded_state(900)
    position = next(range_positions(tree.nodes, 1))
    nibble = f"{position:x}"[1:]
    inside = {key: state[key] for key in state if key_hash(key).hex().startswith(nibble)}
    part = make_range(tree, position, inside)
    missing = StateRange(part.prefix, part.entries[1:], part.path)
    outside = make_range(tree, position, {**inside, next(k for k in state if k not in inside): b""})
    unordered = StateRange(part.prefix, part.entries[::-1], part.path)
    elsewhere = StateRange(b"\x0f", part.entries, part.path)
    headless = StateRange(part.prefix, part.entries, ())
    no_nibble = StateRange(b"\x10", part.entries, part.path)
    for wrong in (missing, outside, unordered, elsewhere, headless, no_nibble):
        with pytest.raises(Rejected, match="range_malformed"):
            verify_range(tree.root, wrong)
