"""Snapshots: cut beside a running ledger, verified part by part, restored into the same state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from consensus.types.codec import encode
from consensus.types.errors import Fault
from consensus.types.genesis import genesis_hash
from consensus.types.transaction import wtxid_of
from consensus.types.tree import finish
from consensus.types.tree_proof import STATE_RANGE
from eubchain.ledger import snapshot
from eubchain.ledger.inspect import audit
from eubchain.ledger.layout import IndexRows
from eubchain.ledger.ledger import Ledger
from eubchain.ledger.restore import restore
from eubchain.ledger.snapshot import CHUNK_NAME, MANIFEST, MANIFEST_FILE, Manifest, chunk_file, cut
from tests.ledger_world import GENESIS, grow, new_ledger, next_block

IDENTITY = genesis_hash(GENESIS)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]  # a generator fixture
    monkeypatch.setattr(snapshot, "PART_ENTRIES", 64)
    monkeypatch.setattr(snapshot, "SPOOL_BYTES_MAX", 2000)
    made = new_ledger(tmp_path / "ledger")
    new = next_block(made, {b"\x03%05d" % number: b"x%d" % number for number in range(1000)})
    made.append(new._replace(rows=IndexRows(wtxids=((named_of(new.block.transactions), 0),))))
    grow(made, 5)
    yield made
    made.close()


def named_of(transactions: tuple[bytes, ...]) -> bytes:
    return wtxid_of(transactions[0])


def take(ledger: Ledger, directory: Path) -> Manifest:
    named = named_of(ledger.kept_block(1).transactions)
    manifest = finish(cut(ledger, directory, [named, b"unknown"]))
    assert MANIFEST.decode((directory / MANIFEST_FILE).read_bytes()) == manifest
    return manifest


def load(target: Path, directory: Path, manifest: Manifest, trusted: bytes, ledger: Ledger) -> None:
    def chunk(name: str) -> bytes:
        assert CHUNK_NAME.fullmatch(name)
        return (directory / name).read_bytes()

    finish(restore(target, GENESIS, ledger.meta.genesis_root, manifest, trusted, chunk))


def test_a_restored_ledger_has_the_same_state_and_goes_on(ledger: Ledger, tmp_path: Path) -> None:
    manifest = take(ledger, tmp_path / "cut")
    assert len(manifest.prefixes) >= 16
    assert not list((tmp_path / "cut").glob("*.spool"))
    load(tmp_path / "restored", tmp_path / "cut", manifest, ledger.meta.block_id, ledger)
    restored = Ledger.open(tmp_path / "restored", IDENTITY)
    assert list(restored.scan(b"", b"\xff")) == list(ledger.scan(b"", b"\xff"))
    assert (restored.tree.nodes, restored.tree.buckets) == (ledger.tree.nodes, ledger.tree.buckets)
    assert (restored.meta.block_id, restored.commit(6)) == (ledger.meta.block_id, ledger.commit(6))
    named = named_of(ledger.kept_block(1).transactions)
    assert restored.named_transaction(named) == ledger.kept_block(1).transactions[0]
    assert audit(restored, lambda height: None, lambda reader: None).findings == ()
    grow(ledger, 3)
    grow(restored, 3)
    assert restored.meta.block_id == ledger.meta.block_id
    assert audit(restored, lambda height: None, lambda reader: None).findings == ()
    restored.close()


def test_blocks_appended_while_a_snapshot_is_cut_do_not_enter_it(ledger: Ledger, tmp_path: Path) -> None:
    trusted, before = ledger.meta.block_id, list(ledger.scan(b"", b"\xff"))
    steps = cut(ledger, tmp_path / "cut", [])
    for paused, _ in enumerate(steps):
        if paused < 6:
            grow(ledger, 1)
    manifest = MANIFEST.decode((tmp_path / "cut" / MANIFEST_FILE).read_bytes())
    assert ledger.height == 12
    load(tmp_path / "restored", tmp_path / "cut", manifest, trusted, ledger)
    restored = Ledger.open(tmp_path / "restored", IDENTITY)
    assert (restored.height, list(restored.scan(b"", b"\xff"))) == (6, before)
    restored.close()


def test_a_spoilt_part_is_refused_on_arrival_and_the_restore_can_be_repeated(
    ledger: Ledger, tmp_path: Path
) -> None:
    manifest = take(ledger, tmp_path / "cut")
    path = tmp_path / "cut" / chunk_file("part", 3)
    honest = path.read_bytes()
    part = STATE_RANGE.decode(honest)
    path.write_bytes(encode(msgspec.structs.replace(part, entries=part.entries[1:])))
    with pytest.raises(Fault, match=r"snapshot_chunk_refused.*range_malformed"):
        load(tmp_path / "restored", tmp_path / "cut", manifest, ledger.meta.block_id, ledger)
    with pytest.raises(Fault, match="ledger_unfinished"):
        Ledger.open(tmp_path / "restored", IDENTITY)
    path.write_bytes((tmp_path / "cut" / chunk_file("part", 4)).read_bytes())
    with pytest.raises(Fault, match="another one than was asked for"):
        load(tmp_path / "restored", tmp_path / "cut", manifest, ledger.meta.block_id, ledger)
    path.write_bytes(honest)
    load(tmp_path / "restored", tmp_path / "cut", manifest, ledger.meta.block_id, ledger)
    with pytest.raises(Fault, match="already"):
        load(tmp_path / "restored", tmp_path / "cut", manifest, ledger.meta.block_id, ledger)


def test_a_creation_after_an_interrupted_restore_starts_from_nothing(ledger: Ledger, tmp_path: Path) -> None:
    manifest = take(ledger, tmp_path / "cut")
    (tmp_path / "cut" / chunk_file("part", 9)).write_bytes(b"")
    with pytest.raises(Fault, match="snapshot_chunk_refused"):
        load(tmp_path / "restored", tmp_path / "cut", manifest, ledger.meta.block_id, ledger)
    fresh = new_ledger(tmp_path / "restored")
    assert audit(fresh, lambda height: None, lambda reader: None).findings == ()
    fresh.close()


WRONG: dict[str, tuple[Callable[[Manifest], Manifest], str]] = {
    "another network": (lambda m: msgspec.structs.replace(m, genesis=bytes(32)), "another network"),
    "another header": (
        lambda m: msgspec.structs.replace(m, header=msgspec.structs.replace(m.header, time_ms=1)),
        "snapshot_of_other_block",
    ),
    "another commit": (
        lambda m: msgspec.structs.replace(m, commit=msgspec.structs.replace(m.commit, block_id=bytes(32))),
        "snapshot_of_other_block",
    ),
    "a gap": (lambda m: msgspec.structs.replace(m, prefixes=m.prefixes[:3] + m.prefixes[4:]), "gap"),
    "an overlap": (lambda m: msgspec.structs.replace(m, prefixes=(b"", *m.prefixes)), "overlap"),
    "a missing end": (lambda m: msgspec.structs.replace(m, prefixes=m.prefixes[:-1]), "do not cover"),
    "no nibbles": (lambda m: msgspec.structs.replace(m, prefixes=(b"\x10",)), "nibbles"),
    "other validators": (lambda m: msgspec.structs.replace(m, next_validators=()), "validator sets"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_manifest_is_refused_before_anything_is_written(
    ledger: Ledger, tmp_path: Path, name: str
) -> None:
    change, words = WRONG[name]
    manifest = change(take(ledger, tmp_path / "cut"))
    with pytest.raises(Fault, match=words):
        load(tmp_path / "restored", tmp_path / "cut", manifest, ledger.meta.block_id, ledger)
    assert not (tmp_path / "restored").exists()


def test_a_small_state_is_one_part(tmp_path: Path) -> None:
    small = new_ledger(tmp_path / "small")
    grow(small, 1)
    manifest = finish(cut(small, tmp_path / "cut", []))
    assert manifest.prefixes == (b"",)
    load(tmp_path / "restored", tmp_path / "cut", manifest, small.meta.block_id, small)
    small.close()


def test_a_manifest_that_names_other_transactions_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    manifest = take(ledger, tmp_path / "cut")
    other = msgspec.structs.replace(manifest, named=(bytes(32),))
    with pytest.raises(Fault, match="not the one that the manifest names"):
        load(tmp_path / "restored", tmp_path / "cut", other, ledger.meta.block_id, ledger)
    more = msgspec.structs.replace(manifest, named=(*manifest.named, bytes(32)))
    with pytest.raises(Fault, match="are missing"):
        load(tmp_path / "restored", tmp_path / "cut", more, ledger.meta.block_id, ledger)


def test_the_ends_of_epochs_travel_with_a_snapshot(ledger: Ledger, tmp_path: Path) -> None:
    """A node restored from one serves light clients the headers of epochs that it never saw."""
    grow(ledger, 60)
    manifest = take(ledger, tmp_path / "cut")
    assert manifest.epoch_chunks == 1
    load(tmp_path / "restored", tmp_path / "cut", manifest, ledger.meta.block_id, ledger)
    restored = Ledger.open(tmp_path / "restored", IDENTITY)
    for height in (20, 40, 60, 66):
        assert restored.light_block(height) == ledger.light_block(height)
        assert restored.light_block(height) is not None
    assert restored.light_block(41) is None
    restored.close()
    chunk = tmp_path / "cut" / chunk_file("epochs", 0)
    chunk.write_bytes(chunk.read_bytes()[:-70] + bytes(70))
    with pytest.raises(Fault, match="snapshot_chunk_refused"):
        load(tmp_path / "again", tmp_path / "cut", manifest, ledger.meta.block_id, ledger)


def test_no_chunk_is_larger_than_it_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values a hundred times the usual size: parts are split until they fit."""
    monkeypatch.setattr(snapshot, "CHUNK_BYTES_MAX", 16 * 1024)
    large = new_ledger(tmp_path / "large")
    large.append(next_block(large, {b"\x03%05d" % number: bytes(700) for number in range(600)}))
    manifest = finish(cut(large, tmp_path / "cut", []))
    assert len(manifest.prefixes) > 16
    assert all((tmp_path / "cut" / name).stat().st_size <= 16 * 1024 for name in manifest.chunks())
    load(tmp_path / "restored", tmp_path / "cut", manifest, large.meta.block_id, large)
    large.close()
