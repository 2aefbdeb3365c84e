"""A node whose snapshots have many small parts: `python -m tests.snapshot_process start --home DIR`.

Here: the real node with a smaller measure for parts, so that a young network's state has some. SNAPSHOT_ROLE
makes it a `liar`, whose parts are not the state's; SNAPSHOT_PAUSE_MS has it take its time for each piece.
Not here: what becomes of whoever asks it (tests/functional/test_snapshot_sync.py).
"""

from __future__ import annotations

import os
import threading

import msgspec

from consensus.types.codec import encode
from consensus.types.tree_proof import STATE_RANGE
from eubchain.cli.main import main
from eubchain.ledger import snapshot
from eubchain.ledger.snapshot_folder import SECTIONS, SnapshotFolder
from eubchain.node import node

PART_ENTRIES = 16
ROLE = os.environ.get("SNAPSHOT_ROLE", "")
PAUSE_S = int(os.environ.get("SNAPSHOT_PAUSE_MS", "0")) / 1000


class SlowFolder(SnapshotFolder):
    """Serves every piece after a pause."""

    def piece(self, height: int, section: int, number: int) -> bytes | None:
        threading.Event().wait(PAUSE_S)  # in a thread of the node's: a disk that takes its time
        return super().piece(height, section, number)


class FalseFolder(SlowFolder):
    """Makes whoever has an account rich, in every part it gives."""

    def piece(self, height: int, section: int, number: int) -> bytes | None:
        raw = super().piece(height, section, number)
        if raw is None or SECTIONS[section] != snapshot.PART:
            return raw
        part = STATE_RANGE.decode(raw)
        richer = tuple((key, value[:-1] + b"\x01") for key, value in part.entries)
        return encode(msgspec.structs.replace(part, entries=richer))


if __name__ == "__main__":
    vars(snapshot)["PART_ENTRIES"] = PART_ENTRIES
    vars(node)["SnapshotFolder"] = FalseFolder if ROLE == "liar" else SlowFolder
    main()
