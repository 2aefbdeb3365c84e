"""`inspect` names every kind of damage; `replay` stops at the first block that gives something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from consensus.types.codec import encode
from consensus.types.errors import Fault
from consensus.types.genesis import genesis_hash
from consensus.types.keys import SecretKey
from consensus.types.reader import StateReader
from consensus.validators import TOTAL_POWER, Validator, validators_hash
from eubchain.ledger.inspect import Audit, audit, commit_problem
from eubchain.ledger.layout import height_key
from eubchain.ledger.ledger import Ledger
from eubchain.ledger.prune import prune
from eubchain.ledger.replay import replay
from eubchain.ledger.store import Batch, Column
from tests.ledger_world import (
    GENESIS,
    SECRET,
    START,
    VALIDATORS_HASH,
    execute,
    grow,
    new_ledger,
    next_block,
    sign_commit,
)

SET = (Validator(bytes(20), SECRET.public, TOTAL_POWER),)
BLOCKS = 8


def adds_up(reader: StateReader) -> str | None:
    return None


def look(ledger: Ledger) -> Audit:
    return audit(ledger.view(), lambda height: SET, adds_up)


@pytest.fixture
def ledger(tmp_path: Path):  # type: ignore[no-untyped-def]  # a generator fixture
    made = new_ledger(tmp_path / "ledger")
    grow(made, BLOCKS)
    yield made
    made.close()


def test_a_sound_ledger_is_audited_to_the_last_row(ledger: Ledger) -> None:
    assert validators_hash(SET) == VALIDATORS_HASH
    stages: dict[str, int] = {}
    found = audit(
        ledger, lambda height: SET, adds_up, lambda stage, done, total: stages.update({stage: done})
    )
    assert found.findings == ()
    assert (found.blocks, found.commits) == (BLOCKS, BLOCKS)
    assert found.entries == len(list(ledger.scan(b"", b"\xff")))
    assert stages == {"blocks": BLOCKS - 1, "undo": BLOCKS - 1}


def test_sets_that_are_no_longer_known_are_counted_not_passed_over(ledger: Ledger) -> None:
    found = audit(ledger, lambda height: SET if height > 5 else None, adds_up)
    assert (found.findings, found.commits, found.commits_unchecked) == ((), 3, 5)


def test_a_pruned_ledger_is_audited_from_its_lowest_block(ledger: Ledger) -> None:
    ledger.undo_blocks = 2
    prune(ledger, 3, set(), lambda height: False)
    found = look(ledger)
    assert (found.findings, found.blocks) == ((), 3)


def test_a_commit_that_only_the_next_block_carries_is_checked_too(ledger: Ledger) -> None:
    batch = ledger.store.batch()
    batch.delete(Column.COMMIT + height_key(4))
    ledger.store.write(batch)
    ledger.close()
    again = Ledger.open(Path(ledger.store.path), None)
    found = look(again)
    assert (found.findings, found.commits) == ((), BLOCKS)
    again.close()


def test_money_that_does_not_add_up_is_a_finding(ledger: Ledger) -> None:
    found = audit(ledger, lambda height: SET, lambda reader: "3 grains too many")
    assert [(f.name, f.detail) for f in found.findings] == [("supply_wrong", "3 grains too many")]


Damage = Callable[[Ledger, Batch], None]


def put(column: Column, height: int, change: Callable[[Ledger], bytes]) -> Damage:
    return lambda ledger, batch: batch.put(column + height_key(height), change(ledger))


def drop(column: Column, height: int) -> Damage:
    return lambda ledger, batch: batch.delete(column + height_key(height))


def changed_block(ledger: Ledger, height: int, **fields: object) -> bytes:
    return encode(msgspec.structs.replace(ledger.kept_block(height), **fields))


def changed_header(ledger: Ledger, height: int, **fields: object) -> bytes:
    header = msgspec.structs.replace(ledger.kept_block(height).header, **fields)
    return changed_block(ledger, height, header=header)


def forged_commit(ledger: Ledger) -> bytes:
    header = ledger.header(4)
    assert header is not None
    return encode(sign_commit(ledger.meta.genesis, header, SecretKey(bytes(31) + b"\x08")))


def spoil_bucket(ledger: Ledger, batch: Batch) -> None:
    key, bucket = next(ledger.source.iterate(Column.BUCKET))
    batch.put(Column.BUCKET + key, bucket[64:])


def lose_bucket(ledger: Ledger, batch: Batch) -> None:
    key, _ = next(ledger.source.iterate(Column.BUCKET))
    batch.delete(Column.BUCKET + key)


DAMAGES: dict[str, tuple[Damage, set[str]]] = {
    "a lost block": (drop(Column.BLOCK, 4), {"block_unreadable"}),
    "a torn block": (put(Column.BLOCK, 4, lambda _: b"\x93"), {"block_unreadable"}),
    "a swapped block": (
        put(Column.BLOCK, 4, lambda ledger: encode(ledger.kept_block(5))),
        {"height_differs", "parent_differs", "block_unindexed", "header_differs", "receipts_differ"}
        | {"commit_differs", "commit_invalid", "time_not_later"},
    ),
    "a dropped transaction": (
        put(Column.BLOCK, 4, lambda ledger: changed_block(ledger, 4, transactions=())),
        {"transactions_differ"},
    ),
    "a dropped last commit": (
        put(Column.BLOCK, 4, lambda ledger: changed_block(ledger, 4, last_commit=None)),
        {"last_commit_differs", "last_commit_missing"},
    ),
    "an earlier time": (
        put(Column.BLOCK, 4, lambda ledger: changed_header(ledger, 4, time_ms=1)),
        {"time_not_later", "parent_differs", "block_unindexed", "header_differs", "commit_differs"},
    ),
    "another head": (
        put(Column.BLOCK, BLOCKS, lambda ledger: changed_header(ledger, BLOCKS, state_root=bytes(32))),
        {"head_differs", "block_unindexed", "header_differs", "commit_differs"},
    ),
    "lost receipts": (drop(Column.RECEIPTS, 4), {"receipts_differ"}),
    "torn receipts": (put(Column.RECEIPTS, 4, lambda _: b"\x91"), {"row_unreadable"}),
    "a torn commit": (put(Column.COMMIT, 4, lambda _: b""), {"row_unreadable"}),
    "a forged commit": (put(Column.COMMIT, 4, forged_commit), {"commit_invalid"}),
    "a lost value": (
        lambda _, batch: batch.delete(Column.VALUE + b"\x01001"),
        {"state_root_differs", "bucket_differs"},
    ),
    "a changed value": (
        lambda _, batch: batch.put(Column.VALUE + b"\x01001", b"rich"),
        {"state_root_differs", "bucket_differs"},
    ),
    "a spoilt bucket": (spoil_bucket, {"bucket_differs"}),
    "a lost bucket": (lose_bucket, {"bucket_missing"}),
    "a wrong undo record": (
        put(Column.UNDO, 6, lambda ledger: encode([[[b"\x01001", b"never"]]])),
        {"undo_differs"},
    ),
    "a torn undo record": (put(Column.UNDO, 6, lambda _: b"\x91"), {"row_unreadable"}),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_every_damage_has_its_name(ledger: Ledger, name: str) -> None:
    damage, expected = DAMAGES[name]
    batch = ledger.store.batch()
    damage(ledger, batch)
    ledger.store.write(batch)
    ledger.close()
    again = Ledger.open(Path(ledger.store.path), None, verify=False)
    found = {finding.name for finding in look(again).findings}
    again.close()
    assert found == expected


def test_a_file_that_rotted_on_the_disk_is_a_finding(ledger: Ledger) -> None:
    """LevelDB's checksums are read too: a flipped byte in a table does not pass as another value."""
    ledger.store.compact()
    header = ledger.header(BLOCKS)
    assert header is not None
    row = encode(header)
    ledger.close()
    rotted = 0
    for table in Path(ledger.store.path).glob("*.ldb"):
        # A header's own row, which opening does not read; the block, which holds it too, comes later.
        whole = table.read_bytes()
        table.write_bytes(whole.replace(row, row[:-1] + bytes([row[-1] ^ 1]), 1))
        rotted += table.read_bytes() != whole
    assert rotted == 1
    again = Ledger.open(Path(ledger.store.path), None, verify=False)
    assert "block checksum mismatch" in "".join(finding.detail for finding in look(again).findings)
    again.close()


def test_a_commit_needs_a_quorum_of_valid_signatures(ledger: Ledger) -> None:
    commit, header = ledger.commit(3), ledger.header(3)
    assert commit is not None
    assert header is not None
    genesis = ledger.meta.genesis
    assert commit_problem(genesis, 3, commit, SET) is None
    weak = (Validator(bytes(20), SECRET.public, 2 * TOTAL_POWER // 3), *SET)
    wide = msgspec.structs.replace(commit, bitmap=b"\x03")
    assert "two thirds" in (commit_problem(genesis, 3, commit, weak) or "")
    assert "commit_malformed" in (commit_problem(genesis, 3, wide, SET) or "")
    assert "not valid" in (commit_problem(genesis, 4, commit, SET) or "")
    assert "not valid" in (commit_problem(bytes(32), 3, commit, SET) or "")


# ------------------------------------------------------------------ replay


def test_a_replay_in_memory_reaches_the_head(ledger: Ledger) -> None:
    assert list(replay(ledger.view(), START, execute)) == list(range(1, BLOCKS + 1))


def test_a_replay_into_a_second_ledger_makes_the_same_ledger(ledger: Ledger, tmp_path: Path) -> None:
    second = new_ledger(tmp_path / "second")
    assert list(replay(ledger.view(), START, execute, second))[-1] == BLOCKS
    assert second.meta == ledger.meta
    for column in Column:
        assert list(second.source.iterate(column)) == list(ledger.source.iterate(column)), column
    second.close()


def test_a_replay_stops_at_the_first_other_outcome(ledger: Ledger) -> None:
    def drifting(reader, block):  # type: ignore[no-untyped-def]  # as execute
        writes, receipts = execute(reader, block)
        return (writes | {b"extra": b"1"} if block.header.height == 5 else writes), receipts

    done: list[int] = []
    with pytest.raises(Fault) as stopped:
        done.extend(replay(ledger.view(), START, drifting))
    assert (stopped.value.facts["height"], stopped.value.facts["what"]) == (5, "state root")

    def silent(reader, block):  # type: ignore[no-untyped-def]  # as execute
        return execute(reader, block)[0], []

    with pytest.raises(Fault, match="receipts root"):
        list(replay(ledger.view(), START, silent))
    with pytest.raises(Fault) as other:
        list(replay(ledger.view(), {b"k": b"v"}, execute))
    assert other.value.facts["height"] == 0


def test_a_pruned_ledger_cannot_be_replayed_and_says_from_where(ledger: Ledger) -> None:
    ledger.undo_blocks = 1
    prune(ledger, 2, set(), lambda height: False)
    with pytest.raises(Fault) as refused:
        list(replay(ledger.view(), START, execute))
    assert refused.value.facts == {"lowest": BLOCKS - 1}


def test_the_test_network_has_one_identity(ledger: Ledger) -> None:
    assert ledger.meta.genesis == genesis_hash(GENESIS)
    assert next_block(ledger).block.header.parent == ledger.meta.block_id
