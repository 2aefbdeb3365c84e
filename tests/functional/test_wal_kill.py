"""A real process writes the log and is killed: everything it called durable is there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

from consensus.agreement.inputs import BlockReceived, TimeoutFired
from eubchain.node.durable_files import FolderFiles
from eubchain.node.wal import Wal, read_wal

GENESIS = b"g" * 32

WRITING_CHILD = """
import sys
from pathlib import Path
from consensus.agreement.inputs import BlockReceived, TimeoutFired, TimeoutKind
from eubchain.node.durable_files import FolderFiles
from eubchain.node.wal import Wal, read_wal
files = FolderFiles(Path(sys.argv[1]))
wal = Wal.resume(files, read_wal(files, b"g" * 32))
number = int(sys.argv[2])
while True:
    for _ in range(5):
        wal.append_input(TimeoutFired(TimeoutKind.PROPOSE, number))
        number += 1
    block_id = number.to_bytes(32, "big")
    wal.append_block(block_id, bytes(50_000))
    wal.append_input(BlockReceived(block_id))
    wal.sync()
    print(number, flush=True)
"""


def test_a_process_killed_while_writing_loses_nothing_it_called_durable(tmp_path: Path):
    """kill -9, six times: inputs are a gapless sequence, at least as long as was said, blocks first."""
    files = FolderFiles(tmp_path)
    Wal.create(files, GENESIS, 1).close()
    random, count = Random(6), 0
    for _ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITING_CHILD, str(tmp_path), str(count)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(random.randint(1, 30))]
        os.kill(child.pid, signal.SIGKILL)
        said += child.stdout.read().splitlines(keepends=True)
        child.wait()
        durable = max(int(line) for line in said if line.endswith("\n"))
        contents = read_wal(files, GENESIS)
        assert contents is not None
        rounds = [event.round for event in contents.inputs() if isinstance(event, TimeoutFired)]
        assert rounds == list(range(len(rounds)))
        assert len(rounds) >= durable
        received = [event.block_id for event in contents.inputs() if isinstance(event, BlockReceived)]
        assert set(received) <= set(contents.blocks())
        count = len(rounds)
