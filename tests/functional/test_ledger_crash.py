"""A process that writes the ledger is killed again and again; what it reported as durable is there.

SIGKILL shows that a block is there wholly or not at all. That a batch also survives a power cut rests
on the sync of its write, which no test on a running kernel can take away.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from consensus.validators import TOTAL_POWER, Validator
from eubchain.ledger.inspect import audit
from eubchain.ledger.ledger import Ledger
from tests.ledger_world import SECRET, grow, new_ledger
from tests.ledger_writer import UNDO_BLOCKS

ROOT = Path(__file__).parents[2]
KILLS = 25
LINES_MAX = 120
SEED = 20
FULL_BYTES = 200_000
"""A file's limit in place of a full disk; a block of the test network takes some 2,000."""
SET = (Validator(bytes(20), SECRET.public, TOTAL_POWER),)


def kill_after(path: Path, lines: int) -> int:
    """Let a writer say so many lines, kill it, and return the height that must still be there."""
    command = [sys.executable, "-m", "tests.ledger_writer", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(lines)]
        assert all(said), "the writer ended by itself"
        writer.send_signal(signal.SIGKILL)
        # What it managed to say between the last line read and the kill counts as well.
        said += [line for line in writer.stdout.readlines() if line.endswith("\n")]
        assert writer.wait() == -signal.SIGKILL
    return int(said[-1].split()[1])


@pytest.mark.slow
def test_a_killed_writer_leaves_a_sound_ledger_with_everything_it_reported(tmp_path: Path) -> None:
    """Kill it 25 times at moments of its own choosing; audit everything after each."""
    path = tmp_path / "ledger"
    new_ledger(path, UNDO_BLOCKS).close()
    draw = random.Random(SEED)
    lowest = 0
    for _ in range(KILLS):
        reported = kill_after(path, draw.randint(1, LINES_MAX))
        ledger = Ledger.open(path, None, undo_blocks=UNDO_BLOCKS)
        assert ledger.height >= reported, "a block that was reported as durable is gone"
        header = ledger.header(ledger.height)
        assert header is not None
        assert header.state_root == ledger.state_root == ledger.tree.root
        found = audit(ledger, lambda height: SET, lambda reader: None)
        assert found.findings == ()
        assert found.blocks == ledger.height + 1 - ledger.meta.lowest
        lowest = max(lowest, ledger.meta.lowest)
        grow(ledger, 2)
        ledger.close()
    assert lowest > 1, "pruning took part"


def test_a_full_disk_stops_the_writer_by_name_and_loses_nothing(tmp_path: Path) -> None:
    """Let no file grow: the writer ends with the ledger's own error; all it reported is there, and sound."""
    path = tmp_path / "ledger"
    new_ledger(path, UNDO_BLOCKS).close()
    command = [sys.executable, "-m", "tests.ledger_writer", str(path), str(FULL_BYTES)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    *said, last = ended.stdout.splitlines()
    assert "ledger_write_failed" in last
    assert "File too large" in last
    ledger = Ledger.open(path, None, undo_blocks=UNDO_BLOCKS)
    assert ledger.height >= int(said[-1].split()[1])
    assert audit(ledger, lambda height: SET, lambda reader: None).findings == ()
    grow(ledger, 3)
    ledger.close()
