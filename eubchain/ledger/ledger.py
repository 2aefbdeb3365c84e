"""The ledger: state, blocks and indexes of one network, moved on by one synced batch per block.

Here: `Ledger` (create, open, append in three stages, proofs) and the errors of opening.
Not here: reading (ledger/reading.py), rollback (ledger/rollback.py), pruning (ledger/prune.py),
executing blocks (eubchain/node/execution.py).
Keeps: a block is there wholly or not at all; whoever reads sees one height; the tree in memory, the
cache and the readers advance only after the batch is durable.
Errors: 2111 other_network, 2112 other_format, 2113 ledger_unfinished, 2114 root_mismatch,
2115 kept_block_differs, 2116 ledger_exists.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from consensus.types.block import HEADER, Block, Commit, Header, block_id
from consensus.types.codec import encode
from consensus.types.errors import Fault, Reason
from consensus.types.genesis import Genesis, genesis_hash
from consensus.types.hashing import ZERO_HASH
from consensus.types.receipt import Receipt
from consensus.types.tree import StateTree, TreeUpdate, empty_tree, finish, key_hash, update_tree
from consensus.types.tree_proof import StateProof, prove
from consensus.validators import ValidatorSet
from eubchain.ledger.buckets import MEMORY_BYTES_MAX, StoredBuckets, load_tree, put_buckets
from eubchain.ledger.cache import ValueCache
from eubchain.ledger.index import put_rows
from eubchain.ledger.layout import (
    FORMAT,
    META,
    META_KEY,
    NO_ROWS,
    SLICE_ROWS,
    UNDO,
    IndexRows,
    Meta,
    Undo,
    height_key,
)
from eubchain.ledger.reading import LedgerReader
from eubchain.ledger.store import LEDGER_DAMAGED, Batch, Column, Store

UNDO_BLOCKS = 128
"""Blocks that can be taken back, and for whose states proofs can be made."""
KEY_HASHES_MAX = 2**17

OTHER_NETWORK = Reason(
    2111,
    "other_network",
    "path:text theirs:hash ours:hash",
    "The ledger in {path} belongs to the network {theirs}; this is {ours}.",
    "Name the home of this network, or the genesis file of that one.",
)
OTHER_FORMAT = Reason(
    2112,
    "other_format",
    "path:text found:count supported:count",
    "The ledger in {path} has format {found}; this program reads {supported}.",
    "Use the release that wrote it, or sync a new home.",
)
LEDGER_UNFINISHED = Reason(
    2113,
    "ledger_unfinished",
    "path:text",
    "The ledger in {path} was never finished: its creation was interrupted.",
    "Run `eubchain init` again.",
)
ROOT_MISMATCH = Reason(
    2114,
    "root_mismatch",
    "height:height stored:hash rebuilt:hash",
    "At height {height} the ledger says state root {stored}, but its entries make {rebuilt}.",
    "Run `eubchain inspect` to see what differs; do not sign with this ledger.",
)
KEPT_BLOCK_DIFFERS = Reason(
    2115,
    "kept_block_differs",
    "height:height kept:hash other:hash",
    "Height {height} already has the block {kept}; {other} is another one.",
    "If the kept blocks are to be dropped, run `eubchain rollback --forget`.",
)
LEDGER_EXISTS = Reason(
    2116,
    "ledger_exists",
    "path:text height:height",
    "There is a ledger in {path} already, at height {height}.",
    "Start it as it is, or name another home.",
)


class NewBlock(NamedTuple):
    """A decided block with its outcome, as `append` takes it."""

    block: Block
    block_id: bytes
    commit: Commit | None
    """The commit for this block; None when only the next block will bring it."""
    receipts: Sequence[Receipt]
    writes: Mapping[bytes, bytes | None]
    update: TreeUpdate
    rows: IndexRows = NO_ROWS
    next_set: ValidatorSet = ()
    """V(height + 1), kept for light clients; empty when it is V(height)."""


class PreparedBatch(NamedTuple):
    """A batch ready to be written, and what the ledger becomes with it."""

    batch: Batch
    before: Meta
    after: Meta
    writes: Mapping[bytes, bytes | None]
    update: TreeUpdate


class Proved(NamedTuple):
    """A state entry, or its absence, with the proof and the height whose header it answers to."""

    height: int
    state_root: bytes
    value: bytes | None
    proof: StateProof


class Ledger(LedgerReader):
    """An open ledger. Reads show the head; `view` gives a reader that stays at it."""

    def __init__(self, store: Store, meta: Meta, tree: StateTree, undo_blocks: int) -> None:
        super().__init__(store.snapshot(), meta)
        self.store, self.tree, self.undo_blocks = store, tree, undo_blocks
        self._cache = ValueCache(super().get)
        self.hash_of_key = lru_cache(maxsize=KEY_HASHES_MAX)(key_hash)
        """`key_hash` with the recent ones remembered: most keys of a block were written before."""

    @classmethod
    def create(
        cls,
        path: Path,
        genesis: Genesis,
        writes: Mapping[bytes, bytes],
        *,
        undo_blocks: int = UNDO_BLOCKS,
    ) -> Ledger:
        """Make a ledger at height 0 whose state is `writes`; raise `Fault` 2101, 2103, 2105, 2116."""
        store = Store(path, create=True)
        try:
            present = store.latest.get(Column.META, META_KEY)
            if present is not None:
                raise Fault(LEDGER_EXISTS, path=str(path), height=META.decode(present).height)
            store.clear()
            identity = genesis_hash(genesis)
            update = update_tree(empty_tree(), writes)
            meta = Meta(FORMAT, identity, update.root, 0, identity, update.root, 1, 0)
            batch = store.batch()
            batch.put(Column.META + META_KEY, encode(meta))
            batch.put(Column.GENESIS.value, encode(genesis))
            for key, value in writes.items():
                batch.put(Column.VALUE + key, value)
            finish(put_buckets(batch, update))
            store.write(batch)
            return cls(store, meta, load_tree(store.latest), undo_blocks)
        except BaseException:
            store.close()
            raise

    @classmethod
    def open(
        cls,
        path: Path,
        genesis: bytes | None,
        *,
        undo_blocks: int = UNDO_BLOCKS,
        memory_bytes_max: int = MEMORY_BYTES_MAX,
        verify: bool = True,
    ) -> Ledger:
        """Open the ledger of the network `genesis` (its hash; None takes any) and rebuild its tree.

        Raise `Fault` 2101–2104 and 2111–2114. `verify=False` opens one whose root does not fit its
        entries, for `inspect`.
        """
        store = Store(path, create=False)
        try:
            raw = store.latest.get(Column.META, META_KEY)
            if raw is None:
                raise Fault(LEDGER_UNFINISHED, path=str(path))
            try:
                meta = META.decode(raw)
            except Fault as error:
                raise Fault(LEDGER_DAMAGED, path=str(path), why=f"meta: {error}") from error
            if meta.format != FORMAT:
                raise Fault(OTHER_FORMAT, path=str(path), found=meta.format, supported=FORMAT)
            if genesis not in (None, meta.genesis):
                raise Fault(OTHER_NETWORK, path=str(path), theirs=meta.genesis, ours=genesis or b"")
            tree = load_tree(store.snapshot(), memory_bytes_max)
            if verify and tree.root != meta.state_root:
                raise Fault(ROOT_MISMATCH, height=meta.height, stored=meta.state_root, rebuilt=tree.root)
            drop_undo(store, meta.height - undo_blocks)
            return cls(store, meta, tree, undo_blocks)
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Release the directory; readers end with it."""
        self.store.close()

    def view(self) -> LedgerReader:
        """A reader that stays at the present head while the ledger goes on."""
        return LedgerReader(self._source, self._meta)

    def get(self, key: bytes) -> bytes | None:
        """The value of a state key at the head, or None; recent ones come from memory."""
        return self._cache.get(key)

    def drop_cache(self) -> None:
        """Read every value from the disk again."""
        self._cache = ValueCache(super().get)

    # -------------------------------------------------------------- appending

    def append(self, new: NewBlock) -> None:
        """Take a block: build, write and advance in one go. Raise `Fault` 2105, 2115."""
        prepared = finish(self.build_steps(new))
        self.write_batch(prepared)
        self.advance(prepared)

    def build_batch(self, new: NewBlock) -> PreparedBatch:
        """`build_steps` in one go."""
        return finish(self.build_steps(new))

    def build_steps(self, new: NewBlock) -> Generator[None, None, PreparedBatch]:
        """First stage, stepwise: everything the block changes, in one batch. Nothing is written yet."""
        header, meta = new.block.header, self._meta
        assert header.height == meta.height + 1, "blocks are appended in order"
        assert header.parent == meta.block_id, "a block stands on the head"
        assert header.state_root == new.update.root, "roots are compared before a block is appended"
        assert new.update.base_root == self.tree.root, "the update was computed on this head"
        self._check_kept(header, new.block_id)
        batch = self.store.batch()
        key = height_key(header.height)
        after = Meta(
            FORMAT,
            meta.genesis,
            meta.genesis_root,
            header.height,
            new.block_id,
            header.state_root,
            meta.lowest,
            max(meta.stored, header.height),
        )
        batch.put(Column.META + META_KEY, encode(after))
        batch.put(Column.BLOCK + key, encode(new.block))
        batch.put(Column.HEADER + key, encode(header))
        yield
        batch.put(Column.RECEIPTS + key, encode(new.receipts))
        yield
        batch.put(Column.HEIGHT_OF_BLOCK + new.block_id, key)
        if new.commit is not None:
            batch.put(Column.COMMIT + key, encode(new.commit))
        if new.next_set:
            batch.put(Column.VALIDATOR_SET + header.next_validators_hash, encode(new.next_set))
        if header.height > self.undo_blocks:
            batch.delete(Column.UNDO + height_key(header.height - self.undo_blocks))
        yield
        yield from self._put_values(batch, new.writes, key)
        yield from put_buckets(batch, new.update)
        yield from put_rows(batch, new.rows, header.height)
        return PreparedBatch(batch, meta, after, new.writes, new.update)

    def _check_kept(self, header: Header, identity: bytes) -> None:
        """After a rollback a height that was final keeps its block: another one is refused."""
        if header.height <= self._meta.stored:
            raw = self._source.get(Column.HEADER, height_key(header.height))
            kept = ZERO_HASH if raw is None else block_id(self._meta.genesis, HEADER.decode(raw))
            if kept != identity:
                raise Fault(KEPT_BLOCK_DIFFERS, height=header.height, kept=kept, other=identity)

    def _put_values(
        self, batch: Batch, writes: Mapping[bytes, bytes | None], undo_key: bytes
    ) -> Generator[None, None, None]:
        undone: list[tuple[bytes, bytes | None]] = []
        for count, (key, value) in enumerate(writes.items(), 1):
            old = self.get(key)
            if old == value:
                continue
            undone.append((key, old))
            if value is None:
                batch.delete(Column.VALUE + key)
            else:
                batch.put(Column.VALUE + key, value)
            if not count % SLICE_ROWS:
                yield
        yield
        if self.undo_blocks:
            batch.put(Column.UNDO + undo_key, encode(Undo(tuple(undone))))

    def write_batch(self, prepared: PreparedBatch) -> None:
        """Second stage, callable in a thread: on return the block survives a power cut.

        Raise `Fault(LEDGER_WRITE_FAILED)`: do not advance; close, and open again once there is room.
        """
        self.store.write(prepared.batch)

    def advance(self, prepared: PreparedBatch) -> None:
        """Third stage: let tree, cache and readers follow the batch that is now durable."""
        assert prepared.before == self._meta, "one batch at a time"
        self.tree.apply(prepared.update)
        self._source, self._meta = self.store.snapshot(), prepared.after
        if isinstance(self.tree.buckets, StoredBuckets):
            self.tree.buckets.source = self._source
        self._cache.write(prepared.writes)

    # -------------------------------------------------------------- earlier states

    def undo(self, height: int) -> Undo | None:
        """How to take the block at `height` back; None beyond the last `undo_blocks`."""
        raw = self._row(Column.UNDO, height)
        return None if raw is None else UNDO.decode(raw)

    def writes_back_to(self, height: int, writes_max: int | None = None) -> dict[bytes, bytes | None] | None:
        """The writes that turn the head's state into that after `height`; None when out of reach."""
        writes: dict[bytes, bytes | None] = {}
        for undone in range(self.height, height, -1):
            undo = self.undo(undone)
            if undo is None:
                return None
            writes.update(undo.entries)
            if writes_max is not None and len(writes) > writes_max:
                return None
        return writes

    def proof(self, key: bytes, height: int | None = None, writes_max: int | None = None) -> Proved | None:
        """A state entry at the head, or after one of the last `undo_blocks` heights, with its proof.

        None when that height is out of reach, or more than `writes_max` entries differ from it: the
        work grows with them. A light client checks it with `verify_proof` against the header.
        """
        if height is None or height == self.height:
            proof = prove(self.tree, self.hash_of_key(key))
            return Proved(self.height, self.state_root, self.get(key), proof)
        writes = self.writes_back_to(height, writes_max) if 0 <= height < self.height else None
        if writes is None:
            return None
        earlier = self.tree.updated(update_tree(self.tree, writes))
        value = writes[key] if key in writes else self.get(key)
        return Proved(height, earlier.root, value, prove(earlier, self.hash_of_key(key)))


def drop_undo(store: Store, height: int) -> None:
    """Drop the undo records up to `height`: there are some when fewer are wanted than before."""
    batch = store.batch(sync=False)
    for key, _ in store.latest.iterate(Column.UNDO, stop=height_key(max(height, 0) + 1)):
        batch.delete(Column.UNDO + key)
    store.write(batch)
