"""The signer guard: once signed is signed, through damage, crashes and a killed process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from consensus.types.errors import Fault
from consensus.types.keys import SecretKey, verify
from consensus.types.vote import PRECOMMIT, PREVOTE, PROPOSAL, proposal_hash, vote_hash
from eubchain.node.durable_files import FolderFiles
from eubchain.node.guard import (
    GUARD_DAMAGED,
    GUARD_MISSING,
    GUARD_NAME,
    GUARD_NOT_WRITTEN,
    GUARD_OF_ANOTHER_KEY,
    GUARD_RESET_TOO_LOW,
    SLOT_BYTES,
    SLOT_OFFSETS,
    Place,
    Refusal,
    SignerGuard,
    SignStep,
    place_of,
    reset_guard,
)
from tests.sim.disk import Crash, MemoryDisk

GENESIS = b"g" * 32
KEY = SecretKey(b"k" * 32)
HERE, THERE = Place(b"m" * 16, b"p" * 16), Place(b"m" * 16, b"q" * 16)
X, Y = b"x" * 32, b"y" * 32


def new_disk(above: int = 0) -> MemoryDisk:
    disk = MemoryDisk()
    reset_guard(disk, KEY.public, GENESIS, HERE, above)
    return disk


def opened(disk: MemoryDisk, place: Place = HERE) -> SignerGuard:
    return SignerGuard(disk, KEY, GENESIS, place)


def test_signatures_verify_and_steps_grow():
    """Proposal, prevote, precommit, next round, next height."""
    guard = opened(new_disk())
    signature = guard.sign_proposal(5, 0, X, None)
    assert isinstance(signature, bytes)
    assert verify(KEY.public, proposal_hash(GENESIS, 5, 0, X, None), signature)
    for step in [(5, 0, PREVOTE), (5, 0, PRECOMMIT), (5, 1, PREVOTE), (6, 0, PREVOTE)]:
        height, round_, kind = step
        signature = guard.sign_vote(kind, height, round_, X)
        assert isinstance(signature, bytes)
        assert verify(KEY.public, vote_hash(GENESIS, kind, height, round_, X), signature)
        assert guard.last == step


def test_the_same_again_gives_the_same_and_anything_else_is_silence():
    """Also after a restart."""
    disk = new_disk()
    first = opened(disk).sign_vote(PREVOTE, 5, 1, X)
    for guard in (opened(disk), opened(disk)):
        assert guard.sign_vote(PREVOTE, 5, 1, X) == first
        for refused in (
            guard.sign_vote(PREVOTE, 5, 1, Y),
            guard.sign_vote(PREVOTE, 5, 1, None),
            guard.sign_vote(PRECOMMIT, 5, 0, X),
            guard.sign_proposal(5, 1, X, None),
            guard.sign_vote(PRECOMMIT, 4, 9, X),
        ):
            assert isinstance(refused, Refusal)
            assert refused.last == (5, 1, PREVOTE)


def test_a_key_without_a_guard_counts_as_used():
    """The hint says what to type."""
    with pytest.raises(Fault) as caught:
        opened(MemoryDisk())
    assert caught.value.reason is GUARD_MISSING
    assert "signer reset --above HEIGHT" in GUARD_MISSING.hint


def test_a_reset_refuses_the_height_and_all_below():
    """`--above 10`: 11 is the first that is signed."""
    guard = opened(new_disk(10))
    assert isinstance(guard.sign_vote(PRECOMMIT, 10, 2**32 - 1, X), Refusal)
    assert isinstance(guard.sign_proposal(11, 0, X, None), bytes)


def test_a_reset_below_what_was_signed_is_refused():
    """A readable guard knows better."""
    disk = new_disk()
    opened(disk).sign_vote(PREVOTE, 20, 0, X)
    with pytest.raises(Fault) as caught:
        reset_guard(disk, KEY.public, GENESIS, HERE, 19)
    assert caught.value.reason is GUARD_RESET_TOO_LOW
    reset_guard(disk, KEY.public, GENESIS, HERE, 20)
    assert isinstance(opened(disk).sign_vote(PRECOMMIT, 20, 0, X), Refusal)


@pytest.mark.parametrize(("key", "genesis"), [(SecretKey(b"o" * 32), GENESIS), (KEY, b"o" * 32)])
def test_a_guard_of_another_key_or_network_is_refused_by_name(key: SecretKey, genesis: bytes):
    """It says nothing about what this key signed."""
    with pytest.raises(Fault) as caught:
        SignerGuard(new_disk(), key, genesis, HERE)
    assert caught.value.reason is GUARD_OF_ANOTHER_KEY
    assert caught.value.facts["theirs"] == KEY.public


def test_no_flipped_byte_takes_the_guard_back():
    """Damage to one copy changes nothing, for the other says the same."""
    disk = new_disk()
    guard = opened(disk)
    guard.sign_vote(PREVOTE, 5, 0, X)
    guard.sign_vote(PRECOMMIT, 5, 0, X)
    data = disk.read(GUARD_NAME) or b""
    for offset in SLOT_OFFSETS:
        for position in range(offset, offset + SLOT_BYTES):
            damaged = bytearray(data)
            damaged[position] ^= 0x10
            other = MemoryDisk()
            other.create(GUARD_NAME).write_at(0, bytes(damaged))
            assert opened(other).last == SignStep(5, 0, PRECOMMIT)


def test_damage_to_both_copies_is_refused_and_a_reset_mends_it():
    """Then only the operator knows what was signed."""
    disk = new_disk()
    file = disk.open(GUARD_NAME)
    for offset in SLOT_OFFSETS:
        file.write_at(offset + 20, b"\xff")
    with pytest.raises(Fault) as caught:
        opened(disk)
    assert caught.value.reason is GUARD_DAMAGED
    reset_guard(disk, KEY.public, GENESIS, HERE, 9)
    assert opened(disk).last.height == 9


@pytest.mark.parametrize("size", [0, 1, SLOT_BYTES - 1])
def test_a_guard_cut_short_is_damaged(size: int):
    """An empty file is not a new key."""
    disk = MemoryDisk()
    disk.create(GUARD_NAME).write_at(0, bytes(size))
    with pytest.raises(Fault) as caught:
        opened(disk)
    assert caught.value.reason is GUARD_DAMAGED


def test_a_moved_home_signs_nothing_until_somebody_has_watched():
    """Another copy of it may be alive."""
    disk = new_disk()
    opened(disk).sign_vote(PREVOTE, 5, 0, X)
    guard = opened(disk, THERE)
    assert guard.is_moved
    assert isinstance(guard.sign_vote(PREVOTE, 6, 0, X), Refusal)
    assert isinstance(guard.sign_vote(PREVOTE, 5, 0, X), Refusal)
    guard.adopt_place()
    assert not guard.is_moved
    assert isinstance(guard.sign_vote(PREVOTE, 6, 0, X), bytes)
    assert not opened(disk, THERE).is_moved
    assert opened(disk, HERE).is_moved


def test_a_place_is_the_machine_and_the_path(tmp_path: Path):
    """A copy beside it, or the same path elsewhere, is another place."""
    machine, other = tmp_path / "machine", tmp_path / "other"
    machine.write_text("0123\n")
    other.write_text("4567\n")
    home = tmp_path / "home"
    here = place_of(home, machine)
    assert here == place_of(tmp_path / "x" / ".." / "home", machine)
    assert here.path != place_of(tmp_path / "copy", machine).path
    assert here.machine != place_of(home, other).machine
    assert place_of(home, tmp_path / "missing").machine != here.machine


def test_a_power_cut_at_any_operation_never_lets_two_texts_leave():
    """Sign, crash somewhere, start, be asked for something else at the same step: one text at most leaves."""
    for seed in range(60):
        random = Random(seed)
        disk, left = new_disk(), {}
        for height in range(1, 12):
            block_id = random.choice([X, Y, None])
            disk.crash_at = random.choice([None, *range(1, 8)])
            try:
                signature = opened(disk).sign_vote(PREVOTE, height, 0, block_id)
                if isinstance(signature, bytes):
                    left[height] = block_id
            except Crash:
                disk.cut_power(random)
            disk.crash_at = None
            guard = opened(disk)
            for other in (X, Y, None):
                answer = guard.sign_vote(PREVOTE, height, 0, other)
                if isinstance(answer, bytes):
                    assert left.setdefault(height, other) == other
            assert isinstance(guard.sign_vote(PREVOTE, height - 1, 0, X), Refusal) or height == 1


def test_nothing_leaves_when_the_disk_refuses():
    """The fault says so, and asking again once there is room is safe."""
    disk = new_disk()
    guard = opened(disk)

    def full(offset: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    file = guard._file
    write_at, file.write_at = file.write_at, full  # type: ignore[method-assign]
    with pytest.raises(Fault, match="No space left") as caught:
        guard.sign_vote(PREVOTE, 5, 0, X)
    assert caught.value.reason is GUARD_NOT_WRITTEN
    file.write_at = write_at  # type: ignore[method-assign]
    assert isinstance(guard.sign_vote(PREVOTE, 5, 0, X), bytes)


def test_a_guard_opens_on_a_disk_that_refuses_and_signs_once_it_does_not(monkeypatch):
    """The node follows meanwhile. Even what was signed before is not repeated: it may stand in one copy."""
    disk = new_disk()
    before = opened(disk)
    signature = before.sign_vote(PREVOTE, 5, 0, X)
    before.close()

    def refused(name: str) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(disk, "open", refused)
        guard = opened(disk)
        assert guard.last == SignStep(5, 0, PREVOTE)
        for block in (X, None):
            with pytest.raises(Fault, match="No space left") as caught:
                guard.sign_vote(PREVOTE, 5, 0, block)
            assert caught.value.reason is GUARD_NOT_WRITTEN
        guard.close()
    assert guard.sign_vote(PREVOTE, 5, 0, X) == signature
    assert isinstance(guard.sign_vote(PREVOTE, 5, 0, None), Refusal)
    assert isinstance(guard.sign_vote(PREVOTE, 6, 0, X), bytes)


def test_a_guard_shows_no_secret():
    """Neither its repr nor its file has the key."""
    disk = new_disk()
    guard = opened(disk)
    guard.sign_vote(PREVOTE, 5, 0, X)
    assert KEY.secret().hex() not in repr(guard)
    assert KEY.secret() not in (disk.read(GUARD_NAME) or b"")


SIGNING_CHILD = """
import sys
from pathlib import Path
from consensus.types.keys import SecretKey
from eubchain.node.durable_files import FolderFiles
from eubchain.node.guard import SignerGuard, place_of
folder = Path(sys.argv[1])
guard = SignerGuard(FolderFiles(folder), SecretKey(b"k" * 32), b"g" * 32, place_of(folder))
height = guard.last.height + 1
while True:
    signature = guard.sign_vote(1, height, 0, height.to_bytes(32, "big"))
    print(height, signature.hex(), flush=True)
    height += 1
"""


def test_a_process_killed_while_signing_remembers_everything_that_left_it(tmp_path: Path):
    """kill -9, eight times: every signature that was seen is at or below what the guard remembers."""
    files = FolderFiles(tmp_path)
    place = place_of(tmp_path)
    reset_guard(files, KEY.public, GENESIS, place)
    random = Random(8)
    highest = 0
    for _ in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", SIGNING_CHILD, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert child.stdout is not None
        for _ in range(random.randint(1, 60)):
            child.stdout.readline()
        os.kill(child.pid, signal.SIGKILL)
        rest = child.stdout.read()
        child.wait()
        seen = [int(line.split()[0]) for line in rest.splitlines() if len(line.split()) == 2]
        guard = SignerGuard(files, KEY, GENESIS, place)
        assert guard.last.height >= max([highest, *seen])
        assert guard.last.height > highest
        highest = guard.last.height
        assert guard.last.kind == PREVOTE
        again = guard.sign_vote(PREVOTE, highest, 0, highest.to_bytes(32, "big"))
        assert isinstance(again, bytes)
        assert isinstance(guard.sign_vote(PREVOTE, highest, 0, X), Refusal)
        guard.close()


def test_kinds_are_ordered_as_they_are_signed():
    """The guard's order rests on it."""
    assert PROPOSAL < PREVOTE < PRECOMMIT
