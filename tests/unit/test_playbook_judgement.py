"""The playbooks' judge sees a double signing where there is one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from consensus.agreement.inputs import VoteReceived
from consensus.agreement.messages import Vote
from consensus.types.vote import PREVOTE
from eubchain.node.durable_files import FolderFiles
from eubchain.node.wal import Wal
from tests.playbook_world import said_in_log

GENESIS = bytes(32)
KEYS = [bytes([number]) * 32 for number in range(4)]


def test_two_votes_of_one_key_for_one_step_are_both_read_from_a_log(tmp_path: Path) -> None:
    """A vote for a block and one for nil stand under the same step; the head's set names the key."""
    files = FolderFiles(tmp_path)
    wal = Wal.create(files, GENESIS, 8)
    for block in (bytes(32), None):
        wal.append_input(VoteReceived(Vote(PREVOTE, 8, 0, block, 2, bytes(64))))
    wal.sync()
    wal.close()
    reader: Any = SimpleNamespace(
        height=7,
        header=lambda height: SimpleNamespace(next_validators_hash=b"set"),
        validator_set=lambda digest: [SimpleNamespace(key=key) for key in KEYS],
    )
    step = (KEYS[2], 8, 0, PREVOTE)
    assert list(said_in_log(files, GENESIS, reader)) == [(step, bytes(32)), (step, None)]
    reader.height = 8
    assert list(said_in_log(files, GENESIS, reader)) == []
