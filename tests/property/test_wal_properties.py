"""The write-ahead log under every truncation, every flipped byte and any power cut."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.agreement.inputs import (
    BlockBuilt,
    BlockChecked,
    BlockReceived,
    CertificateReceived,
    ProposalReceived,
    RecordedInput,
    TimeoutFired,
    TimeoutKind,
    VoteReceived,
)
from consensus.agreement.messages import Certificate, Proposal, Vote
from consensus.types.errors import Fault
from eubchain.node.durable_files import FolderFiles
from eubchain.node.wal import (
    WAL_DAMAGED,
    WAL_NAME,
    WAL_OF_ANOTHER_FORMAT,
    WAL_OF_ANOTHER_NETWORK,
    Wal,
    read_wal,
)
from tests.sim.disk import MemoryDisk

GENESIS, OTHER = b"g" * 32, b"o" * 32
MARKER = b"\x01marker\xff"
ID = b"b" * 32
EVENTS: list[RecordedInput] = [
    ProposalReceived(Proposal(7, 0, ID, None, b"s" * 64), 0, True),
    BlockReceived(ID),
    BlockChecked(ID, True),
    BlockBuilt(0, ID),
    VoteReceived(Vote(1, 7, 0, ID, 3, b"s" * 64)),
    CertificateReceived(Certificate(1, 7, 0, ID, b"\x07", (b"s" * 64,) * 3)),
    TimeoutFired(TimeoutKind.PREVOTE, 2),
]


def filled(disk: MemoryDisk) -> list[int]:
    """A log with one of everything; the sizes at which a frame ends, the header's first."""
    wal = Wal.create(disk, GENESIS, 7, MARKER)
    ends = [len(disk.read(WAL_NAME) or b"")]
    wal.append_block(ID, b"block bytes")
    wal.sync()
    ends.append(len(disk.read(WAL_NAME) or b""))
    for event in EVENTS:
        wal.append_input(event, is_own=isinstance(event, VoteReceived))
        wal.sync()
        ends.append(len(disk.read(WAL_NAME) or b""))
    return ends


def with_content(data: bytes) -> MemoryDisk:
    disk = MemoryDisk()
    disk.create(WAL_NAME).write_at(0, data)
    return disk


def test_what_was_written_is_read_back():
    """Inputs in order, blocks by id, own messages marked."""
    disk = MemoryDisk()
    filled(disk)
    contents = read_wal(disk, GENESIS)
    assert contents is not None
    assert (contents.height, contents.cut) == (7, 0)
    assert contents.inputs() == EVENTS
    assert contents.blocks() == {ID: b"block bytes"}
    assert [e.input for e in contents.entries[1:] if e[1] is True] == [EVENTS[4]]


def test_every_truncation_loses_only_the_frames_it_cuts():
    """A torn end is cut, and the log goes on behind the last whole frame."""
    disk = MemoryDisk()
    ends = filled(disk)
    data = disk.read(WAL_NAME) or b""
    for size in range(len(data)):
        torn = with_content(data[:size])
        if size < ends[0]:
            with pytest.raises(Fault) as caught:
                read_wal(torn, GENESIS)
            assert caught.value.reason is WAL_DAMAGED
            continue
        contents = read_wal(torn, GENESIS)
        assert contents is not None
        whole = sum(1 for end in ends[1:] if end <= size)
        assert len(contents.entries) == whole
        assert contents.size == ends[whole]
        wal = Wal.resume(torn, contents)
        wal.append_input(EVENTS[-1])
        wal.sync()
        again = read_wal(torn, GENESIS)
        assert again is not None
        assert again.entries[:-1] == contents.entries
        assert again.inputs()[-1] == EVENTS[-1]


def test_every_flipped_byte_is_refused_or_cuts_the_last_frame_alone():
    """Damage before a whole frame is never read over and never cut away."""
    disk = MemoryDisk()
    ends = filled(disk)
    data = disk.read(WAL_NAME) or b""
    original = read_wal(disk, GENESIS)
    assert original is not None
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 0x40
        if position >= ends[-2]:
            contents = read_wal(with_content(bytes(flipped)), GENESIS)
            assert contents is not None
            assert contents.entries == original.entries[:-1]
            continue
        with pytest.raises(Fault) as caught:
            read_wal(with_content(bytes(flipped)), GENESIS)
        assert caught.value.reason is WAL_DAMAGED


@settings(max_examples=60, deadline=None)
@given(
    operations=st.lists(st.sampled_from(["input", "block", "sync"]), max_size=20),
    seed=st.integers(0, 10**6),
    crash_at=st.one_of(st.none(), st.integers(1, 30)),
)
def test_what_was_synced_survives_any_power_cut(operations: list[str], seed: int, crash_at: int | None):
    """And of what was not, only a prefix can remain."""
    from tests.sim.disk import Crash

    disk, random = MemoryDisk(), Random(seed)
    appended: list[RecordedInput] = []
    synced = 0
    wal = Wal.create(disk, GENESIS, 7, MARKER)
    disk.crash_at = crash_at
    try:
        for number, operation in enumerate(operations):
            if operation == "input":
                event = TimeoutFired(TimeoutKind.PROPOSE, number)
                wal.append_input(event)
                appended.append(event)
            elif operation == "block":
                wal.append_block(bytes([number]) * 32, random.randbytes(random.randint(0, 2_000)))
            else:
                wal.sync()
                synced = len(appended)
    except Crash:
        pass
    disk.crash_at = None
    disk.cut_power(random)
    contents = read_wal(disk, GENESIS)
    assert contents is not None
    found = contents.inputs()
    assert found == appended[: len(found)]
    assert len(found) >= synced


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), crash_at=st.integers(1, 12))
def test_a_crash_while_the_log_is_replaced_leaves_the_old_or_the_new(seed: int, crash_at: int):
    """F6: never none, never half of one."""
    from tests.sim.disk import Crash

    disk = MemoryDisk()
    filled(disk)
    disk.crash_at = crash_at
    try:
        Wal.create(disk, GENESIS, 8)
        is_done = True
    except Crash:
        is_done = False
    disk.crash_at = None
    disk.cut_power(Random(seed))
    contents = read_wal(disk, GENESIS)
    assert contents is not None
    if is_done:
        assert contents.height == 8
    if contents.height == 7:
        assert contents.inputs() == EVENTS
    else:
        assert (contents.height, contents.entries) == (8, ())


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400), keep=st.integers(0, 400))
def test_garbage_never_passes_for_a_log(data: bytes, keep: int):
    """Whatever stands in the file, reading ends in contents or in a fault that says what is wrong."""
    disk = MemoryDisk()
    filled(disk)
    whole = disk.read(WAL_NAME) or b""
    found = with_content(whole[:keep] + data)
    try:
        contents = read_wal(found, GENESIS)
    except Fault as fault:
        reason = fault.reason
    else:
        assert contents is not None
        assert contents.size <= keep or whole[:keep] + data == whole[: keep + len(data)]
        reason = WAL_DAMAGED
    assert reason is WAL_DAMAGED


def test_a_block_that_looks_like_a_log_confuses_nobody():
    """A proposer may put frames of another log into a block: this log's marker is not in them."""
    inner = MemoryDisk()
    Wal.create(inner, GENESIS, 7, b"anothers").append_input(EVENTS[-1])
    filled(inner)
    disk = MemoryDisk()
    wal = Wal.create(disk, GENESIS, 7)
    wal.append_block(ID, inner.read(WAL_NAME) or b"")
    wal.sync()
    data = disk.read(WAL_NAME) or b""
    contents = read_wal(with_content(data[:-5]), GENESIS)
    assert contents is not None
    assert contents.entries == ()


def test_a_log_of_another_network_is_refused_by_both_names():
    """The operator sees which is which."""
    disk = MemoryDisk()
    filled(disk)
    with pytest.raises(Fault) as caught:
        read_wal(disk, OTHER)
    assert caught.value.reason is WAL_OF_ANOTHER_NETWORK
    assert (caught.value.facts["theirs"], caught.value.facts["ours"]) == (GENESIS, OTHER)


def test_a_log_of_another_format_is_refused(monkeypatch: pytest.MonkeyPatch):
    """An older release names what it found."""
    disk = MemoryDisk()
    with monkeypatch.context() as patch:
        patch.setattr("eubchain.node.wal.WAL_FORMAT", 2)
        Wal.create(disk, GENESIS, 7)
    with pytest.raises(Fault) as caught:
        read_wal(disk, GENESIS)
    assert caught.value.reason is WAL_OF_ANOTHER_FORMAT


def test_a_real_folder_holds_a_log(tmp_path: Path):
    """The same on the file system: create, append, resume, replace; readable by the owner only."""
    files = FolderFiles(tmp_path)
    assert read_wal(files, GENESIS) is None
    wal = Wal.create(files, GENESIS, 7)
    wal.append_block(ID, bytes(2**20 + 1))
    for event in EVENTS:
        wal.append_input(event)
    wal.sync()
    wal.close()
    contents = read_wal(files, GENESIS)
    assert contents is not None
    assert contents.inputs() == EVENTS
    wal = Wal.resume(files, contents)
    wal.append_block(ID, bytes(2**20 + 1))
    wal.append_input(EVENTS[-1])
    wal.sync()
    wal.close()
    contents = read_wal(files, GENESIS)
    assert contents is not None
    assert contents.inputs() == [*EVENTS, EVENTS[-1]]
    assert (tmp_path / WAL_NAME).stat().st_size < 2**20 + 4_000, "a block is stored once"
    assert (tmp_path / WAL_NAME).stat().st_mode & 0o777 == 0o600
    Wal.create(files, GENESIS, 8).close()
    assert [path.name for path in tmp_path.iterdir()] == [WAL_NAME]


def test_a_log_that_failed_once_accepts_nothing_more():
    """A full disk ends signing at this height; the next height's log is a new start."""

    class FullFile:
        def write_at(self, offset: int, data: bytes) -> None:
            raise OSError(28, "No space left on device")

        def truncate(self, size: int) -> None:
            raise AssertionError

        def sync(self) -> None:
            raise AssertionError

        def close(self) -> None:
            pass

    wal = Wal(FullFile(), "wal", 7, MARKER, 0)
    wal.append_input(EVENTS[-1])
    for act in (wal.sync, wal.sync, lambda: wal.append_input(EVENTS[-1])):
        with pytest.raises(Fault, match="No space left"):
            act()
