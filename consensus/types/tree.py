"""The state tree: a 16-ary hash tree whose shape is a function of the entries it commits to.

Here: hashing of keys and values, `StateTree` (inner hashes in memory over a reader of buckets), the
root of (base, writes) without changing the base, building a tree from its buckets.
Not here: proofs (types/tree_proof.py), values and the buckets' storage (eubchain/ledger).
Keeps: an entry is (kh, vh), the tagged hashes of its key and value; a bucket is the sorted list of
entries under a prefix of kh in nibbles. More than 16 entries split into 16 children; 16 siblings with
at most 16 entries together are one bucket. So equal contents have equal trees, whatever the history.
A position is named by one integer: a leading 1, then the prefix's nibbles. The root is 1.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple, Protocol, TypeVar

from consensus.types.hashing import HASH_BYTES, ZERO_HASH, Tag, tagged_hash

BUCKET_ENTRIES_MAX = 16
ENTRY_BYTES = 2 * HASH_BYTES
BUCKET_BYTES_MAX = BUCKET_ENTRIES_MAX * ENTRY_BYTES
CHILDREN = 16
NODE_BYTES = CHILDREN * HASH_BYTES
DEPTH_MAX = 2 * HASH_BYTES
"""Nibbles of a key hash; two different keys part at the last one at the latest."""
ROOT = 1
SLICE_WRITES = 128
"""Writes, or inner nodes, between two yields of a stepwise update: below 1 ms of work."""

HashedWrite = tuple[bytes, bytes | None]
"""(kh, vh); None deletes."""
T = TypeVar("T")


class BucketReader(Protocol):
    """Where the base's buckets are; a dict is one."""

    def get(self, position: int, /) -> bytes | None:
        """The bucket's sorted entries, 64 bytes each; None when nothing is there."""
        ...


class TreeUpdate(NamedTuple):
    """What a block's writes do to a tree; None removes a node or bucket."""

    base_root: bytes
    root: bytes
    nodes: dict[int, bytes | None]
    buckets: dict[int, bytes | None]


def key_hash(key: bytes) -> bytes:
    """The place of a state key in the tree; `key` includes its namespace byte."""
    return tagged_hash(Tag.STATE_KEY, key)


def value_hash(value: bytes) -> bytes:
    """What the tree holds for a value."""
    return tagged_hash(Tag.STATE_VALUE, value)


_new_leaf = blake2b(digest_size=HASH_BYTES, person=Tag.STATE_LEAF.value).copy
_new_node = blake2b(digest_size=HASH_BYTES, person=Tag.STATE_NODE.value).copy


def leaf_hash(bucket: bytes) -> bytes:
    """The hash of a bucket's entries; of none, 32 zero bytes."""
    if not bucket:
        return ZERO_HASH
    hasher = _new_leaf()  # a copied state costs less than a new one, and this is the hot path
    hasher.update(bucket)
    return hasher.digest()


def node_hash(children: bytes | bytearray) -> bytes:
    """The hash of a node from its 16 child hashes, 512 bytes."""
    hasher = _new_node()
    hasher.update(children)
    return hasher.digest()


class StateTree:
    """A tree at one height. Only `apply` changes it, after the update is durable."""

    __slots__ = ("buckets", "nodes", "root")

    def __init__(self, nodes: dict[int, bytes], buckets: BucketReader, root: bytes) -> None:
        self.nodes, self.buckets, self.root = nodes, buckets, root

    def apply(self, update: TreeUpdate) -> None:
        """Advance; buckets in a dict advance too, those in a store are advanced there."""
        assert update.base_root == self.root, "an update fits the tree it was computed from"
        _merge(self.nodes, update.nodes)
        if isinstance(self.buckets, dict):
            _merge(self.buckets, update.buckets)
        self.root = update.root

    def updated(self, update: TreeUpdate) -> StateTree:
        """The tree after `update`, as a view that leaves this one as it is."""
        assert update.base_root == self.root, "an update fits the tree it was computed from"
        nodes = dict(self.nodes)
        _merge(nodes, update.nodes)
        return StateTree(nodes, _Overlaid(self.buckets, update.buckets), update.root)


def empty_tree() -> StateTree:
    """A tree without entries, in memory."""
    return StateTree({}, {}, ZERO_HASH)


def _merge(base: dict[int, bytes], changes: Mapping[int, bytes | None]) -> None:
    for position, content in changes.items():
        if content is None:
            base.pop(position, None)
        else:
            base[position] = content


class _Overlaid:
    """Buckets of a base under an update's."""

    def __init__(self, base: BucketReader, changes: Mapping[int, bytes | None]) -> None:
        self._base, self._changes = base, changes

    def get(self, position: int, /) -> bytes | None:
        if position in self._changes:
            return self._changes[position]
        return self._base.get(position)


def finish(steps: Generator[None, None, T]) -> T:
    """Run a stepwise computation to its end in one go."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result


def hash_writes(
    writes: Mapping[bytes, bytes | None], hash_of_key: Callable[[bytes], bytes] = key_hash
) -> Generator[None, None, list[HashedWrite]]:
    """Stepwise: the writes as the tree takes them, in its order.

    `hash_of_key` may be a cache over `key_hash`: most keys of a block were written before.
    """
    hashed: list[HashedWrite] = []
    for count, (key, value) in enumerate(writes.items(), 1):
        hashed.append((hash_of_key(key), None if value is None else value_hash(value)))
        if not count % SLICE_WRITES:
            yield
    hashed.sort(key=_first)
    return hashed


def _first(write: HashedWrite) -> bytes:
    return write[0]


def update_tree(tree: StateTree, writes: Mapping[bytes, bytes | None]) -> TreeUpdate:
    """The update that `writes` (None deletes) make to `tree`, in one go."""
    return finish(update_steps(tree, finish(hash_writes(writes))))


def update_steps(tree: StateTree, writes: Sequence[HashedWrite]) -> Generator[None, None, TreeUpdate]:
    """Stepwise: the update that `writes` make to `tree`, which stays as it is.

    `writes` are strictly ascending by kh, as `hash_writes` gives them. The generator yields about
    once a millisecond, so that an event loop can go on in between; its value is the update.
    """
    base_root = tree.root  # taken first: an update over a base that moved on will not apply
    work = _Work(tree)
    yield from _write_buckets(work, writes)
    yield from _hash_upwards(work)
    root = work.levels[0].get(ROOT, base_root)
    return TreeUpdate(base_root, root, work.nodes, work.buckets)


class _Work:
    """An update under construction."""

    __slots__ = ("buckets", "levels", "nodes", "shrunk", "tree")

    def __init__(self, tree: StateTree) -> None:
        self.tree = tree
        self.nodes: dict[int, bytes | None] = {}
        self.buckets: dict[int, bytes | None] = {}
        self.levels: list[dict[int, bytes]] = [{} for _ in range(DEPTH_MAX + 1)]
        """By depth: the new hashes of positions whose parents do not know them yet."""
        self.shrunk: set[int] = set()
        """Parents of positions that hold fewer entries now; asked by membership only."""


def _write_buckets(work: _Work, writes: Sequence[HashedWrite]) -> Generator[None, None, None]:
    """Take every bucket that a write falls into and give it all of its writes at once."""
    nodes, read = work.tree.nodes, work.tree.buckets.get
    begin, depth, pause, total = 0, 0, SLICE_WRITES, len(writes)
    following = _number(writes[0][0]) if writes else 0
    while begin < total:
        # The depth of the last bucket is the best guess for the next one.
        number = following
        shift = 4 * (DEPTH_MAX - depth)
        position = number >> shift
        while position in nodes:
            shift -= 4
            position = number >> shift
        while position > ROOT and position >> 4 not in nodes:
            shift += 4
            position >>= 4
        depth = DEPTH_MAX - shift // 4
        end = begin + 1
        while end < total:
            following = _number(writes[end][0])
            if following >> shift != position:
                break
            end += 1
        old = read(position) or b""
        new = _written(old, writes[begin:end] if end - begin > 1 else (writes[begin],))
        if len(new) == len(old):
            if new != old:
                work.buckets[position] = new
                work.levels[depth][position] = leaf_hash(new)
        else:
            work.levels[depth][position] = _place(work, position, depth, old, new)
        if end >= pause:
            pause = end + SLICE_WRITES
            yield
        begin = end


_TOP = 1 << 4 * DEPTH_MAX  # named, because the compiler folds no constant as large as this


def _number(kh: bytes) -> int:
    """The position that all of a key hash would be."""
    return int.from_bytes(kh, "big") | _TOP


def _written(bucket: bytes, writes: Sequence[HashedWrite]) -> bytes:
    """The bucket after `writes`; it may be too large."""
    if len(writes) > BUCKET_ENTRIES_MAX:  # a young tree: one by one would cost their square
        merged: dict[bytes, bytes | None] = {**dict(entries_of(bucket)), **dict(writes)}
        return b"".join([kh + vh for kh, vh in sorted(merged.items(), key=_first) if vh is not None])
    for kh, vh in writes:
        assert len(kh) == HASH_BYTES, "a write names its key by hash"
        at = bucket.find(kh)
        while at % ENTRY_BYTES and at >= 0:  # found across entries, which no honest hash ever is
            at = bucket.find(kh, at + 1)
        if at < 0:
            if vh is None:
                continue
            hashes = [bucket[place : place + HASH_BYTES] for place in range(0, len(bucket), ENTRY_BYTES)]
            at = bisect_left(hashes, kh) * ENTRY_BYTES
            bucket = b"".join((bucket[:at], kh, vh, bucket[at:]))
        elif vh is None:
            bucket = bucket[:at] + bucket[at + ENTRY_BYTES :]
        else:
            bucket = b"".join((bucket[: at + HASH_BYTES], vh, bucket[at + ENTRY_BYTES :]))
    return bucket


def _place(work: _Work, position: int, depth: int, old: bytes, new: bytes) -> bytes:
    """Put a changed bucket's entries at its position, splitting it when too large; return the hash."""
    if len(new) > BUCKET_BYTES_MAX:
        if old:
            work.buckets[position] = None
        return _split(work.nodes, work.buckets, position, depth, new)
    work.buckets[position] = new or None
    if len(new) < len(old):
        work.shrunk.add(position >> 4)
    return leaf_hash(new)


def _split(
    nodes: dict[int, bytes | None],
    buckets: dict[int, bytes | None],
    position: int,
    depth: int,
    entries: bytes,
) -> bytes:
    """Lay out sorted entries under `position`; return the hash there. At most 64 calls deep."""
    if len(entries) <= BUCKET_BYTES_MAX:
        if entries:
            buckets[position] = entries
        return leaf_hash(entries)
    assert depth < DEPTH_MAX, "more than 16 entries share a key hash"
    parts: list[list[bytes]] = [[] for _ in range(CHILDREN)]
    byte, high = depth >> 1, not depth & 1
    for at in range(0, len(entries), ENTRY_BYTES):
        value = entries[at + byte]
        parts[value >> 4 if high else value & 15].append(entries[at : at + ENTRY_BYTES])
    children = [
        _split(nodes, buckets, position << 4 | nibble, depth + 1, b"".join(part))
        for nibble, part in enumerate(parts)
    ]
    nodes[position] = b"".join(children)
    return node_hash(nodes[position] or b"")


def _hash_upwards(work: _Work) -> Generator[None, None, None]:
    """Carry new hashes to the root, level by level, merging what has become small."""
    base, nodes, shrunk = work.tree.nodes, work.nodes, work.shrunk
    for depth in range(DEPTH_MAX, 0, -1):
        level = work.levels[depth]
        if not level:
            continue
        blocks: dict[int, bytearray] = {}
        for count, (position, digest) in enumerate(level.items(), 1):
            parent = position >> 4
            at = (position & 15) * HASH_BYTES
            if parent not in blocks:
                blocks[parent] = bytearray(base[parent])
            blocks[parent][at : at + HASH_BYTES] = digest
            if not count % (4 * SLICE_WRITES):
                yield
        above = work.levels[depth - 1]
        for count, (parent, block) in enumerate(blocks.items(), 1):
            merged = _merged(work, parent) if parent in shrunk else None
            if merged is None:
                nodes[parent] = children = bytes(block)
                above[parent] = node_hash(children)
            else:
                nodes[parent] = None
                work.buckets[parent] = merged or None
                shrunk.add(parent >> 4)
                above[parent] = leaf_hash(merged)
            if not count % SLICE_WRITES:
                yield


def _merged(work: _Work, parent: int) -> bytes | None:
    """The one bucket that `parent`'s children now fit into; None when they do not."""
    found: list[tuple[int, bytes]] = []
    size = 0
    for child in range(parent << 4, (parent << 4) + CHILDREN):
        if (work.nodes[child] if child in work.nodes else work.tree.nodes.get(child)) is not None:
            return None
        bucket = work.buckets[child] if child in work.buckets else work.tree.buckets.get(child)
        if bucket:
            size += len(bucket)
            if size > BUCKET_BYTES_MAX:
                return None
            found.append((child, bucket))
    for child, _ in found:
        work.buckets[child] = None
    return b"".join(bucket for _, bucket in found)


def lay_out(entries: Iterable[tuple[bytes, bytes]], position: int = ROOT) -> StateTree:
    """A tree in memory of all of `entries` (kh, vh) in any order, below `position`.

    Every kh must begin with the position's nibbles; `root` is then the hash at that position.
    """
    nodes: dict[int, bytes | None] = {}
    buckets: dict[int, bytes | None] = {}
    joined = b"".join(kh + vh for kh, vh in sorted(entries))
    root = _split(nodes, buckets, position, depth_of(position), joined)
    tree = StateTree({}, {}, ZERO_HASH)
    tree.apply(TreeUpdate(ZERO_HASH, root, nodes, buckets))
    return tree


def hash_nodes(leaves: Iterable[tuple[int, bytes]]) -> tuple[dict[int, bytes], bytes]:
    """The inner nodes and the root over the hashes of all buckets, as at a node's start."""
    levels: list[dict[int, bytes]] = [{} for _ in range(DEPTH_MAX + 1)]
    for position, digest in leaves:
        levels[depth_of(position)][position] = digest
    nodes: dict[int, bytes] = {}
    for depth in range(DEPTH_MAX, 0, -1):
        blocks: dict[int, bytearray] = {}
        for position, digest in levels[depth].items():
            at = (position & 15) * HASH_BYTES
            parent = position >> 4
            if parent not in blocks:
                blocks[parent] = bytearray(NODE_BYTES)
            blocks[parent][at : at + HASH_BYTES] = digest
        for parent, block in blocks.items():
            nodes[parent] = bytes(block)
            levels[depth - 1][parent] = node_hash(block)
    return nodes, levels[0].get(ROOT, ZERO_HASH)


def depth_of(position: int) -> int:
    """How many nibbles a position has."""
    return (position.bit_length() - 1) // 4


def position_of(kh: bytes, depth: int) -> int:
    """The position that is `depth` nibbles of `kh`."""
    return _number(kh) >> 4 * (DEPTH_MAX - depth)


def entries_of(bucket: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The (kh, vh) of a bucket."""
    for at in range(0, len(bucket), ENTRY_BYTES):
        yield bucket[at : at + HASH_BYTES], bucket[at + HASH_BYTES : at + ENTRY_BYTES]
