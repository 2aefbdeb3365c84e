"""Bugs that the simulation found, each by the shortest way to it. They stay found.

Here: a test a bug, with the seed that met it first.
"""

from __future__ import annotations

import contextlib
from random import Random

from consensus.types.keys import SecretKey
from eubchain.node.guard import Place, SignerGuard, reset_guard
from eubchain.node.wal import Wal, read_wal
from tests.sim.disk import Crash, MemoryDisk
from tests.sim.node_seeds import FIRST_LIARS, run_seed

GENESIS = bytes(32)
HERE = Place(bytes(16), bytes(16))
KEY = SecretKey(bytes(31) + b"\x01")


def loses_every_unsynced_name() -> Random:
    """Randomness under which a power cut takes back whatever name was not synced."""
    random = Random(0)
    random.random = lambda: 0.0  # type: ignore[method-assign]
    return random


def test_a_log_resumed_after_a_kill_keeps_its_name_through_a_power_cut():
    """Killed between the renaming and the folder's sync; resumed; then the power fails: seed 78.

    The log of the height before came back, and with it the node had forgotten its lock.
    """
    disk = MemoryDisk()
    Wal.create(disk, GENESIS, 3)
    disk.crash_on = ("sync folder", 1)
    with contextlib.suppress(Crash):
        Wal.create(disk, GENESIS, 4)
    contents = read_wal(disk, GENESIS)
    assert contents is not None
    assert contents.height == 4
    Wal.resume(disk, contents)
    disk.cut_power(loses_every_unsynced_name())
    after = read_wal(disk, GENESIS)
    assert after is not None
    assert after.height == 4


def test_a_guard_opened_after_a_kill_keeps_its_name_through_a_power_cut():
    """The same for a reset of the signer's memory: the older one that came back would know less."""
    disk = MemoryDisk()
    reset_guard(disk, KEY.public, GENESIS, HERE, above=3)
    disk.crash_on = ("sync folder", 1)
    with contextlib.suppress(Crash):
        reset_guard(disk, KEY.public, GENESIS, HERE, above=9)
    assert SignerGuard(disk, KEY, GENESIS, HERE).last.height == 9
    disk.cut_power(loses_every_unsynced_name())
    assert SignerGuard(disk, KEY, GENESIS, HERE).last.height == 9


def test_seed_78_heals():
    """A silent validator, a kill during the folder's sync, a power cut: all must speak again."""
    outcome = run_seed(78, FIRST_LIARS)
    assert outcome.ok, outcome.violation


def test_seed_1057_heals():
    """A node restarted with a lock had its block in the log only, and never proposed it again.

    Its peers asked for it in vain, and with a babbler beside them the height was never decided.
    """
    outcome = run_seed(1057, FIRST_LIARS)
    assert outcome.ok, outcome.violation
