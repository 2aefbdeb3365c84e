"""One validator's disk is full, then slow: the others do not wait for it, and it says what is wrong.

Full disks are small memory file systems, which only root may mount; slow ones are limits of a control
group. Elsewhere these stories are skipped by name.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.playbook_world import Play, metric, play
from tests.small_disk import device_of, fill, may_mount, slow_disk, small_disk

WRITES_PER_SECOND = 6
"""A vote needs five of them, a height some thirty: slower than the other three make blocks."""


@pytest.mark.slow
@pytest.mark.skipif(not may_mount(), reason="needs root to mount a small disk")
def test_a_validator_with_a_full_disk_follows_in_silence_and_signs_when_there_is_room(
    tmp_path: Path,
) -> None:
    """Logs of another program fill a validator's disk. It can remember nothing that it would sign, so it
    signs nothing, and says so; its ledger stands on another disk, so it follows. Three go on. Room is
    made, and it signs again by itself.
    """
    stage = Play(tmp_path / "net")
    data = stage.homes[1] / "data"
    with small_disk(data, 24) as disk, small_disk(disk / "ledger", 256):
        try:
            with stage.step("the network starts"):
                stage.start()
                stage.reach(3)
            with stage.step("the disk is full: silent, but not stopped, and it says what it needs"):
                filler = fill(disk)
                stage.until(1, lambda: "takes no writes" in stage.why(1))
                assert "16777216 bytes" in stage.why(1)
                assert metric(stage.nodes[1], "eub_disk_refuses") == 1
                stage.pay(through=1)
            with stage.step("three go on and it follows"):
                stage.blocks(6)
            with stage.step("room is made: it signs again"):
                filler.unlink()
                stage.until(1, lambda: not stage.why(1) and stage.is_validating(1))
                stage.blocks(3)
            stage.curtain()
        finally:
            stage.end()


@pytest.mark.slow
def test_a_validator_with_a_slow_disk_delays_nobody_and_catches_up(tmp_path: Path) -> None:
    """A disk that fails slowly: every write takes a sixth of a second. The validator signs nothing before
    it is written, so it is late; the others make blocks without it. The disk is replaced and it keeps up.
    """
    if device_of(tmp_path) is None:
        pytest.skip("needs root and control groups (version 1) to slow a disk")
    with play(tmp_path / "net") as stage:
        with stage.step("one disk is slow: three go on"):
            node = stage.nodes[2]
            with slow_disk(node.home, node.process.pid, WRITES_PER_SECOND):
                stage.pay(through=2)
                stage.blocks(12, (0, 1, 3))
                stage.until(2, lambda: metric(node, "eub_missed_commits_total") >= 3)
        with stage.step("it is fast again: the fourth is at their height and signs"):
            stage.blocks(2)
            stage.until(2, lambda: stage.is_validating(2))
        stage.curtain()
