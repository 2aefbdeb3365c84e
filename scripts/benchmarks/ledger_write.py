"""One block of 5,000 transfers into the ledger, against a bare LevelDB batch of the same rows.

Here: `run`: building the batch, writing it with its sync, and cold reads.
Not here: executing the block, computing its root (state_root.py).
The reference for building and writing is plyvel alone with the same keys and values, synced too.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import plyvel

from consensus.types.block import Block, Header, block_id
from consensus.types.codec import encode
from consensus.types.genesis import Genesis
from consensus.types.hashing import ZERO_HASH
from consensus.types.params import DEV
from consensus.types.receipt import Receipt
from consensus.types.tree import finish, hash_writes, update_steps
from eubchain.ledger.layout import IndexRows
from eubchain.ledger.ledger import Ledger, NewBlock
from eubchain.ledger.store import Column, Source

ACCOUNTS = 100_000
TRANSFERS = 5_000
TRANSFER_BYTES = 168
BLOCKS = 6


def run() -> list[dict[str, str | float]]:
    """Rows with name, value, unit, reference, ratio; microseconds per transfer, the best block."""
    genesis = Genesis(1, "bench", "deub", 0, DEV, (), (), (), ())
    start = {_account(number): encode([0, 10**12]) for number in range(ACCOUNTS)}
    with tempfile.TemporaryDirectory() as directory:
        ledger = Ledger.create(Path(directory) / "ledger", genesis, start)
        built, written, bare = [], [], []
        bare_database = plyvel.DB(directory + "/bare", create_if_missing=True, write_buffer_size=16 * 2**20)
        for number in range(BLOCKS):
            new = _block(ledger, number)
            began = time.perf_counter()
            prepared = ledger.build_batch(new)
            middle = time.perf_counter()
            ledger.write_batch(prepared)
            built.append(middle - began)
            written.append(time.perf_counter() - middle)
            before = ledger.source
            ledger.advance(prepared)
            if number >= BLOCKS - 2:  # finding the rows takes far longer than writing them
                bare.append(_bare(bare_database, before, ledger.source))
        bare_database.close()
        ledger.close()
        reads = _cold_reads(Path(directory) / "ledger")
    return [
        _row("ledger_build", min(built), min(cost for cost, _ in bare)),
        _row("ledger_write", min(written), min(cost for _, cost in bare)),
        reads,
    ]


def _account(number: int) -> bytes:
    return b"\x04" + number.to_bytes(20, "big")


def _block(ledger: Ledger, number: int) -> NewBlock:
    accounts = [_account((number * 7919 + i * 13) % ACCOUNTS) for i in range(2 * TRANSFERS)]
    writes = {account: encode([number + 1, 10**12 + i]) for i, account in enumerate(accounts)}
    update = finish(update_steps(ledger.tree, finish(hash_writes(writes, ledger.hash_of_key))))
    receipts = [Receipt(0, 800, 800, (), ())] * (TRANSFERS + 1)
    raws = tuple(os.urandom(TRANSFER_BYTES) for _ in range(TRANSFERS))
    header = Header(
        1,
        ledger.height + 1,
        0,
        number,
        ledger.meta.block_id,
        bytes(20),
        ZERO_HASH,
        ZERO_HASH,
        update.root,
        *[ZERO_HASH] * 4,
    )
    rows = IndexRows(
        txids=tuple(raw[:32] for raw in raws),
        accounts=tuple((account[1:], i // 2) for i, account in enumerate(accounts)),
    )
    block = Block(header, raws, None)
    return NewBlock(block, block_id(ledger.meta.genesis, header), None, receipts, writes, update, rows)


def _bare(database: plyvel.DB, before: Source, after: Source) -> tuple[float, float]:
    """Seconds to put the rows that the block wrote into a batch, and to write it."""
    rows = [
        (column + key, value)
        for column in Column
        for key, value in after.iterate(column)
        if before.get(column, key) != value
    ]
    began = time.perf_counter()
    batch = database.write_batch(sync=True)
    for key, value in rows:
        batch.put(key, value)
    middle = time.perf_counter()
    batch.write()
    return middle - began, time.perf_counter() - middle


def _cold_reads(path: Path) -> dict[str, str | float]:
    """Account reads that miss the cache, against the same reads by plyvel alone."""
    keys = [_account(number * 7) for number in range(TRANSFERS)]
    ledger = Ledger.open(path, None)
    began = time.perf_counter()
    for key in keys:
        ledger.get(key)
    value = time.perf_counter() - began
    ledger.close()
    database = plyvel.DB(str(path), bloom_filter_bits=10)
    began = time.perf_counter()
    for key in keys:
        database.get(b"s" + key)
    reference = time.perf_counter() - began
    database.close()
    return _row("ledger_cold_read", value, reference)


def _row(name: str, value: float, reference: float) -> dict[str, str | float]:
    each = 1e6 / TRANSFERS
    return {
        "name": name,
        "value": value * each,
        "unit": "us",
        "reference": reference * each,
        "ratio": value / reference,
    }


if __name__ == "__main__":
    for row in run():
        print(row)
