"""A small world for ledger tests: a genesis, blocks of synthetic writes, a rule to execute them.

A "transaction" here is the encoding of [[key, value | nil]…]; executing one writes what it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from consensus.types.block import Block, Commit, Header, block_id, commit_hash, txs_root
from consensus.types.codec import encode
from consensus.types.genesis import Genesis
from consensus.types.hashing import ZERO_HASH
from consensus.types.keys import SecretKey
from consensus.types.params import DEV
from consensus.types.reader import StateReader
from consensus.types.receipt import Receipt, receipts_root
from consensus.types.transaction import wtxid_of
from consensus.types.tree import update_tree
from consensus.types.vote import PRECOMMIT, vote_hash
from consensus.validators import Validator, validators_hash
from eubchain.ledger.layout import NO_ROWS, IndexRows
from eubchain.ledger.ledger import Ledger, NewBlock

EMPTY_HEADER = Header(0, 0, 0, 0, ZERO_HASH, bytes(20), *[ZERO_HASH] * 7)
GENESIS = Genesis(1, "ledger-test", "deub", 1_000, DEV, (), (), (), ())
START = {b"\x01%03d" % number: b"start" for number in range(60)}
SECRET = SecretKey(bytes(31) + b"\x07")
VALIDATORS = (Validator(bytes(20), SECRET.public, 10**9),)
VALIDATORS_HASH = validators_hash(VALIDATORS)


def new_ledger(path: Path, undo_blocks: int = 128) -> Ledger:
    """A ledger at height 0 of the test network."""
    return Ledger.create(path, GENESIS, START, undo_blocks=undo_blocks)


def transaction(writes: Mapping[bytes, bytes | None]) -> bytes:
    """A transaction that writes this."""
    return encode(list(writes.items()))


def execute(reader: StateReader, block: Block) -> tuple[dict[bytes, bytes | None], list[Receipt]]:
    """What a block of the test network does."""
    writes: dict[bytes, bytes | None] = {}
    for raw in block.transactions:
        writes.update(msgspec.msgpack.decode(raw, type=list[tuple[bytes, bytes | None]]))
    receipts = [Receipt(0, len(raw), 1, (), ()) for raw in block.transactions]
    return writes, [*receipts, Receipt(0, 0, 0, (block.header.height,), ())]


def sign_commit(genesis: bytes, header: Header, secret: SecretKey = SECRET) -> Commit:
    """The commit of the one validator."""
    identity = block_id(genesis, header)
    message = vote_hash(genesis, PRECOMMIT, header.height, 0, identity)
    return Commit(0, identity, b"\x01", (secret.sign(message),))


def next_block(ledger: Ledger, *batches: Mapping[bytes, bytes | None], rows: IndexRows = NO_ROWS) -> NewBlock:
    """The next block, with one transaction per batch of writes."""
    height = ledger.height + 1
    raws = tuple(transaction(batch) for batch in batches)
    last_commit = ledger.commit(ledger.height)
    draft = Block(EMPTY_HEADER, raws, last_commit)
    header = msgspec.structs.replace(EMPTY_HEADER, version=1, height=height, parent=ledger.meta.block_id)
    writes, receipts = execute(ledger, Block(header, raws, last_commit))
    update = update_tree(ledger.tree, writes)
    header = msgspec.structs.replace(
        header,
        time_ms=1_000 + 500 * height,
        last_commit_hash=commit_hash(last_commit),
        txs_root=txs_root([wtxid_of(raw) for raw in draft.transactions]),
        state_root=update.root,
        receipts_root=receipts_root(receipts),
        validators_hash=VALIDATORS_HASH,
        next_validators_hash=VALIDATORS_HASH,
    )
    genesis = ledger.meta.genesis
    commit = sign_commit(genesis, header)
    block = Block(header, raws, last_commit)
    next_set = VALIDATORS if height == 1 else ()
    return NewBlock(block, block_id(genesis, header), commit, receipts, writes, update, rows, next_set)


def grow(ledger: Ledger, blocks: int) -> None:
    """Append blocks that overwrite, add and delete."""
    for _ in range(blocks):
        height = ledger.height + 1
        ledger.append(
            next_block(
                ledger,
                {b"\x01%03d" % (height % 60): b"block %d" % height, b"\x02%d" % height: b"new"},
                {b"\x02%d" % (height - 3): None, b"\x01%03d" % ((height * 7) % 60): b"seven %d" % height},
            )
        )
