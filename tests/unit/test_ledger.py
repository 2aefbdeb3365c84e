"""The ledger: one batch per block, readers that stay at their height, the way back, and pruning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from consensus.types.errors import Fault
from consensus.types.genesis import genesis_hash
from consensus.types.transaction import wtxid_of
from consensus.types.tree import finish
from consensus.types.tree_proof import verify_proof
from eubchain.ledger.buckets import StoredBuckets
from eubchain.ledger.layout import IndexRows, Place
from eubchain.ledger.ledger import Ledger
from eubchain.ledger.prune import prune
from eubchain.ledger.rollback import kept_block, lowest_rollback, roll_back
from eubchain.ledger.store import Column
from tests.ledger_world import GENESIS, START, grow, new_ledger, next_block

IDENTITY = genesis_hash(GENESIS)


def contents(ledger: Ledger) -> dict[bytes, bytes]:
    return dict(ledger.scan(b"", b"\xff"))


def everything(ledger: Ledger) -> list[list[tuple[bytes, bytes]]]:
    """Every row of every column except undo records, which grow as blocks do."""
    return [list(ledger.store.latest.iterate(column)) for column in Column if column is not Column.UNDO]


def test_a_new_ledger_holds_the_genesis_state_and_reopens_with_it(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger")
    root = ledger.state_root
    assert (ledger.height, ledger.meta.block_id, contents(ledger)) == (0, IDENTITY, START)
    ledger.close()
    again = Ledger.open(tmp_path / "ledger", IDENTITY)
    assert (again.height, again.state_root, again.tree.root) == (0, root, root)
    assert again.genesis() == GENESIS
    assert again.block(0) is None
    again.close()


def test_appended_blocks_are_all_there_after_reopening(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger")
    grow(ledger, 30)
    state, meta, tree = contents(ledger), ledger.meta, (ledger.tree.nodes, ledger.tree.root)
    ledger.close()
    again = Ledger.open(tmp_path / "ledger", IDENTITY)
    assert (again.meta, contents(again), (again.tree.nodes, again.tree.root)) == (meta, state, tree)
    for height in range(1, 31):
        block, receipts, commit = again.block(height), again.receipts(height), again.commit(height)
        assert block is not None
        assert receipts is not None
        assert commit is not None
        assert block.header == again.header(height)
        assert len(receipts) == len(block.transactions) + 1
        assert again.height_of(commit.block_id) == height
    assert again.block(31) is None
    with pytest.raises(Fault, match="not_kept"):
        again.kept_block(31)
    again.close()


def test_a_commit_that_was_not_stored_is_found_in_the_next_block(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger")
    first = next_block(ledger, {b"k": b"v"})
    ledger.append(first)
    second = next_block(ledger, {b"k": b"w"})
    ledger.append(second._replace(commit=None))
    assert ledger.commit(2) is None
    assert ledger.commit(1) == first.commit
    ledger.store.write(_deleting(ledger, Column.COMMIT + (1).to_bytes(8, "big")))
    assert ledger.view().commit(1) is not None
    ledger.close()


def _deleting(ledger: Ledger, key: bytes):  # type: ignore[no-untyped-def]  # the batch of the binding
    batch = ledger.store.batch()
    batch.delete(key)
    return batch


def test_a_reader_stays_at_its_height_while_the_ledger_goes_on(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger")
    grow(ledger, 5)
    view, before = ledger.view(), contents(ledger)
    running = view.scan(b"", b"\xff")
    first = next(running)
    grow(ledger, 5)
    assert dict([first, *running]) == before == dict(view.scan(b"", b"\xff"))
    assert (view.height, view.block(6), ledger.height) == (5, None, 10)
    assert all(view.get(key) == value for key, value in before.items())
    ledger.close()


def test_a_batch_that_is_written_but_not_advanced_is_not_seen(tmp_path: Path) -> None:
    """Between the write in its thread and the advance on the loop everything still shows the old head."""
    ledger = new_ledger(tmp_path / "ledger")
    prepared = ledger.build_batch(next_block(ledger, {b"fresh": b"1", b"\x01000": None}))
    ledger.write_batch(prepared)
    assert (ledger.get(b"fresh"), ledger.get(b"\x01000"), ledger.height) == (None, b"start", 0)
    ledger.advance(prepared)
    assert (ledger.get(b"fresh"), ledger.get(b"\x01000"), ledger.height) == (b"1", None, 1)
    ledger.close()


def test_building_a_batch_pauses_and_writes_nothing_when_dropped(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger")
    before = everything(ledger)
    large = next_block(ledger, {b"\x03%05d" % number: b"x" for number in range(3000)})
    assert sum(1 for _ in ledger.build_steps(large)) >= 5
    assert everything(ledger) == before
    ledger.append(large)
    assert len(contents(ledger)) == len(START) + 3000
    ledger.close()


def test_proofs_hold_against_the_headers_of_the_head_and_of_recent_heights(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger", undo_blocks=8)
    history = {}
    for _ in range(20):
        grow(ledger, 1)
        history[ledger.height] = contents(ledger)
    for height in range(12, 21):
        for key in (b"\x01001", b"\x02%d" % height, b"never"):
            proved = ledger.proof(key, height)
            header = ledger.header(height)
            assert proved is not None
            assert header is not None
            assert (proved.height, proved.value) == (height, history[height].get(key))
            assert proved.state_root == header.state_root
            assert verify_proof(header.state_root, key, proved.value, proved.proof)
    assert ledger.proof(b"k", 11) is None
    assert ledger.proof(b"k", 21) is None
    ledger.close()


def test_unchanged_values_are_not_written_and_need_no_undo(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger")
    ledger.append(next_block(ledger, {b"\x01000": b"start", b"gone": None, b"\x01001": b"new"}))
    undo = ledger.undo(1)
    assert undo is not None
    assert undo.entries == ((b"\x01001", b"start"),)
    ledger.close()


def test_rolling_back_and_replaying_the_kept_blocks_gives_the_same_rows(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger")
    states = {0: contents(ledger)}
    for _ in range(12):
        grow(ledger, 1)
        states[ledger.height] = contents(ledger)
    rows = everything(ledger)
    roll_back(ledger, 7)
    assert (ledger.height, contents(ledger)) == (7, states[7])
    assert ledger.block(8) is None
    assert ledger.height_of(kept_id(rows, 8)) is None
    kept = kept_block(ledger, 8)
    assert kept is not None
    ledger.close()
    ledger = Ledger.open(tmp_path / "ledger", IDENTITY)
    assert contents(ledger) == states[7]
    while (kept := kept_block(ledger, ledger.height + 1)) is not None:
        grow(ledger, 1)
        assert ledger.block(ledger.height) == kept
    assert ledger.height == 12
    assert everything(ledger) == rows
    roll_back(ledger, 0)
    assert (contents(ledger), ledger.meta.block_id) == (START, IDENTITY)
    ledger.close()


def kept_id(rows: list[list[tuple[bytes, bytes]]], height: int) -> bytes:
    heights = rows[[c for c in Column if c is not Column.UNDO].index(Column.HEIGHT_OF_BLOCK)]
    return next(identity for identity, value in heights if value == height.to_bytes(8, "big"))


def test_a_kept_height_takes_no_other_block_unless_its_own_is_forgotten(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger")
    grow(ledger, 5)
    roll_back(ledger, 3)
    with pytest.raises(Fault, match="kept_block_differs"):
        ledger.append(next_block(ledger, {b"other": b"history"}))
    roll_back(ledger, 3, forget=True)
    assert kept_block(ledger, 4) is None
    ledger.append(next_block(ledger, {b"other": b"history"}))
    assert (ledger.height, ledger.meta.stored, ledger.get(b"other")) == (4, 4, b"history")
    ledger.close()


def test_forgetting_leaves_no_row_of_the_forgotten_blocks(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger")
    grow(ledger, 3)
    rows = everything(ledger)
    index = IndexRows((b"t" * 32,), ((b"w" * 32, 0),), ((b"a" * 20, 0), (b"b" * 20, 1)), ((b"k" * 32, 0),))
    ledger.append(next_block(ledger, {b"\x01000": b"indexed"}, rows=index))
    assert ledger.transaction(b"t" * 32) == Place(4, 0)
    roll_back(ledger, 3, forget=True)
    assert everything(ledger) == rows
    ledger.close()


def test_going_back_further_than_the_undo_records_is_refused_with_the_lowest_height(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger", undo_blocks=4)
    grow(ledger, 10)
    assert lowest_rollback(ledger) == 6
    with pytest.raises(Fault) as refused:
        roll_back(ledger, 5)
    assert refused.value.facts == {"height": 5, "lowest": 6, "head": 10}
    with pytest.raises(Fault, match="rollback_too_far"):
        roll_back(ledger, 11)
    roll_back(ledger, 6)
    assert ledger.height == 6
    ledger.close()
    again = Ledger.open(tmp_path / "ledger", IDENTITY, undo_blocks=2)
    grow(again, 3)
    again.close()
    fewer = Ledger.open(tmp_path / "ledger", IDENTITY, undo_blocks=1)
    assert lowest_rollback(fewer) == 8
    fewer.close()


def test_histories_page_from_the_newest_and_end_at_the_readers_height(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger")
    account, longer, task = b"a" * 20, b"a" * 21, b"k" * 32
    for height in range(1, 8):
        touched = ((account, 0), (account, 1), (longer, 0))
        rows = IndexRows((b"%032d" % height,), (), touched, ((task, 1),))
        ledger.append(next_block(ledger, {b"k": b"%d" % height}, rows=rows))
    view = ledger.view()
    ledger.append(next_block(ledger, {b"k": b"8"}, rows=IndexRows(accounts=((account, 0),))))
    pages, cursor = [], None
    while True:
        page = view.history(account, cursor, limit=4)
        pages.append(page.places)
        cursor = page.cursor
        if cursor is None:
            break
    assert [len(places) for places in pages] == [4, 4, 4, 2]
    assert [place for places in pages for place in places] == [
        Place(h, i) for h in range(7, 0, -1) for i in (1, 0)
    ]
    assert ledger.history(account, limit=1).places == [Place(8, 0)]
    assert len(view.task_history(task).places) == 7
    assert view.transaction(b"%032d" % 3) == Place(3, 0)
    assert view.history(b"z" * 20).places == []
    roll_back(ledger, 2)
    assert ledger.transaction(b"%032d" % 3) is None
    assert [place.height for place in ledger.history(longer).places] == [2, 1]
    ledger.close()


def test_pruning_keeps_epoch_ends_named_transactions_and_what_rollback_needs(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger", undo_blocks=4)
    named: set[bytes] = set()
    for height in range(1, 31):
        new = next_block(ledger, {b"\x01000": b"%d" % height})
        wtxid = wtxid_of(new.block.transactions[0])
        if height in (3, 4):
            named.add(wtxid)
        ledger.append(new._replace(rows=IndexRows((wtxid,), ((wtxid, 0),), ((b"a" * 20, 0),))))
    state = contents(ledger)
    assert prune(ledger, 0, named, lambda height: height % 5 == 0, step_blocks=10) == 10
    assert prune(ledger, 0, named, lambda height: height % 5 == 0, step_blocks=100) == 15
    assert prune(ledger, 0, named, lambda height: height % 5 == 0) == 0
    assert ledger.meta.lowest == 26
    assert [h for h in range(1, 31) if ledger.header(h)] == [5, 10, 15, 20, 25, 26, 27, 28, 29, 30]
    assert [h for h in range(1, 31) if ledger.block(h)] == [26, 27, 28, 29, 30]
    assert [h for h in range(1, 31) if ledger.commit(h)] == [5, 10, 15, 20, 25, 26, 27, 28, 29, 30]
    assert all(wtxid_of(ledger.named_transaction(wtxid) or b"") == wtxid for wtxid in named)
    assert len(ledger.history(b"a" * 20).places) == 5
    assert contents(ledger) == state
    roll_back(ledger, 26)
    assert (ledger.height, ledger.get(b"\x01000")) == (26, b"26")
    ledger.close()


def test_a_rollback_does_not_pass_a_pruned_header(tmp_path: Path) -> None:
    """The root to reach must be known, also when more undo records are kept than when it was pruned."""
    ledger = new_ledger(tmp_path / "ledger", undo_blocks=8)
    grow(ledger, 10)
    ledger.undo_blocks = 2
    prune(ledger, 0, set(), lambda height: False)
    assert lowest_rollback(ledger) == 8
    ledger.close()


def test_kept_transactions_go_when_no_record_names_them(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger", undo_blocks=1)
    new = next_block(ledger, {b"\x01000": b"1"})
    wtxid = wtxid_of(new.block.transactions[0])
    ledger.append(new)
    grow(ledger, 3)
    prune(ledger, 1, {wtxid}, lambda height: False)
    assert ledger.named_transaction(wtxid) == new.block.transactions[0]
    grow(ledger, 1)
    prune(ledger, 1, set(), lambda height: False)
    assert ledger.named_transaction(wtxid) is None
    ledger.close()


def test_a_named_transaction_is_found_in_its_block(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger")
    new = next_block(ledger, {b"a": b"1"}, {b"b": b"2"})
    wtxid = wtxid_of(new.block.transactions[1])
    ledger.append(new._replace(rows=IndexRows(wtxids=((wtxid, 1),))))
    assert ledger.named_transaction(wtxid) == new.block.transactions[1]
    assert ledger.named_transaction(b"unknown") is None
    ledger.close()


def test_a_large_state_reads_its_buckets_from_disk_and_has_the_same_roots(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger")
    ledger.close()
    small = Ledger.open(tmp_path / "ledger", IDENTITY, memory_bytes_max=1024)
    assert isinstance(small.tree.buckets, StoredBuckets)
    grow(small, 20)
    roll_back(small, 15)
    grow(small, 5)
    meta = small.meta
    small.close()
    again = Ledger.open(tmp_path / "ledger", IDENTITY)
    assert (again.meta, again.tree.root) == (meta, meta.state_root)
    again.close()


def test_a_small_cache_answers_as_the_disk_does(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger")
    ledger._cache._entries_max = 5
    for _ in range(10):
        grow(ledger, 1)
        assert all(ledger.get(key) == ledger.view().get(key) for key in [*START, b"absent", b"\x029"])
    ledger.append(next_block(ledger, {b"\x01000": b"x" * 5000}))
    assert ledger.get(b"\x01000") == b"x" * 5000
    ledger.append(next_block(ledger, {b"\x01000": b"small again"}))
    assert ledger.get(b"\x01000") == b"small again"
    ledger.close()


# ------------------------------------------------------------------ opening


def refused(path: Path, genesis: bytes | None = IDENTITY) -> str:
    with pytest.raises(Fault) as caught:
        Ledger.open(path, genesis)
    return caught.value.reason.name


def test_what_is_no_ledger_is_refused_by_name_and_left_alone(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere") == "ledger_missing"
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    (tmp_path / "file").write_bytes(b"")
    assert refused(tmp_path / "photos") == "foreign_directory"
    assert refused(tmp_path / "file") == "foreign_directory"
    with pytest.raises(Fault, match="foreign_directory"):
        new_ledger(tmp_path / "photos")
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


def test_another_networks_ledger_is_refused_naming_both(tmp_path: Path) -> None:
    new_ledger(tmp_path / "ledger").close()
    with pytest.raises(Fault) as caught:
        Ledger.open(tmp_path / "ledger", bytes(32))
    assert (caught.value.facts["theirs"], caught.value.facts["ours"]) == (IDENTITY, bytes(32))
    Ledger.open(tmp_path / "ledger", IDENTITY).close()


def test_a_second_creation_is_refused_naming_the_height(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger")
    grow(ledger, 2)
    ledger.close()
    with pytest.raises(Fault) as caught:
        new_ledger(tmp_path / "ledger")
    assert (caught.value.reason.name, caught.value.facts["height"]) == ("ledger_exists", 2)


def test_a_second_opener_is_told_which_process_holds_the_ledger(tmp_path: Path) -> None:
    """Also from within one process, and again from another one: the first attempt breaks no lock."""
    import os

    ledger = new_ledger(tmp_path / "ledger")
    assert refused(tmp_path / "ledger") == "ledger_locked"
    script = (
        "import sys; from pathlib import Path\n"
        "from consensus.types.errors import Fault; from eubchain.ledger.ledger import Ledger\n"
        "try: Ledger.open(Path(sys.argv[1]), None)\n"
        "except Fault as fault: print(fault)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "ledger")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    ).stdout
    assert "2101 ledger_locked" in told
    assert f"process {os.getpid()}" in told
    ledger.close()
    Ledger.open(tmp_path / "ledger", IDENTITY).close()


def test_an_interrupted_creation_is_named_and_can_be_repeated(tmp_path: Path) -> None:
    from eubchain.ledger.store import Store

    Store(tmp_path / "ledger", create=True).close()
    assert refused(tmp_path / "ledger") == "ledger_unfinished"
    new_ledger(tmp_path / "ledger").close()
    Ledger.open(tmp_path / "ledger", IDENTITY).close()


def test_another_format_is_refused_with_both_numbers(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger")
    batch = ledger.store.batch()
    batch.put(Column.META.value, msgspec.msgpack.encode(msgspec.structs.replace(ledger.meta, format=9)))
    ledger.store.write(batch)
    ledger.close()
    assert refused(tmp_path / "ledger") == "other_format"


def test_entries_that_do_not_make_the_root_stop_the_start(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger")
    (key, bucket), *_ = ledger.store.latest.iterate(Column.BUCKET)
    batch = ledger.store.batch()
    batch.put(Column.BUCKET + key, bucket[:-1] + bytes([bucket[-1] ^ 1]))
    ledger.store.write(batch)
    ledger.close()
    assert refused(tmp_path / "ledger") == "root_mismatch"
    Ledger.open(tmp_path / "ledger", IDENTITY, verify=False).close()


def test_a_torn_database_is_reported_as_damage(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger")
    grow(ledger, 3)
    ledger.close()
    (tmp_path / "ledger" / "CURRENT").write_text("MANIFEST-999999\n")
    assert refused(tmp_path / "ledger") == "ledger_damaged"


def test_a_stale_batch_is_our_mistake_and_never_advances(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger")
    first = ledger.build_batch(next_block(ledger, {b"a": b"1"}))
    second = ledger.build_batch(next_block(ledger, {b"a": b"2"}))
    ledger.write_batch(first)
    ledger.advance(first)
    with pytest.raises(AssertionError, match="one batch at a time"):
        ledger.advance(second)
    stale = next_block(ledger, {b"a": b"3"})
    grow(ledger, 1)
    with pytest.raises(AssertionError):
        finish(ledger.build_steps(stale))
    ledger.close()
