"""A disk that fills up under a validator: what it says, what it goes on doing, how it comes back.

Rules: the disks are small memory file systems, mounted for one test; that needs root, and without it these
tests are skipped by name.
"""

from __future__ import annotations

import pytest

from tests.node_world import command, found, running
from tests.playbook_world import metric
from tests.small_disk import fill, may_mount, small_disk

pytestmark = pytest.mark.skipif(not may_mount(), reason="needs root to mount a small disk")


def test_a_full_disk_silences_a_validator_and_room_lets_it_sign_again(tmp_path):
    """The log cannot be written: nothing is signed, the node answers and says why; then the chain goes on."""
    home = found(tmp_path / "net").validators[0]
    with small_disk(home / "data", 24) as disk, small_disk(disk / "ledger", 256), running(home) as node:
        node.wait_height(3)
        filler = fill(disk)

        def why() -> str:
            return str(node.call("chain_status")["node"].get("why_not_validating", ""))

        node.until(lambda: "takes no writes" in why())
        assert "16777216 bytes" in why()
        assert "No space left on device" in why()
        assert metric(node, "eub_disk_refuses") == 1
        stands = node.height
        filler.unlink()
        node.until(lambda: not why())
        node.wait_height(stands + 3)
        assert metric(node, "eub_disk_refuses") == 0
        assert node.stop() == 0
        audit = command(home, "inspect", "--json")
        assert audit.returncode == 0, audit.stdout + audit.stderr


def test_a_ledger_that_cannot_be_written_stops_the_node_with_the_cause_and_nothing_is_lost(tmp_path):
    home = found(tmp_path / "net").validators[0]
    with small_disk(home / "data" / "ledger", 24) as disk:
        with running(home) as node:
            node.wait_height(3)
            stands = node.height
            filler = fill(disk)
            assert node.process.wait(timeout=60) == 1
            said = node.log.read_text(errors="replace")
            assert "2105" in said
            assert "Make room on the disk" in said
            assert "Traceback" not in said
        filler.unlink()
        with running(home) as node:
            node.wait_height(stands + 3)
            assert node.stop() == 0
        audit = command(home, "inspect", "--json")
        assert audit.returncode == 0, audit.stdout + audit.stderr


def test_a_validator_starts_on_a_full_disk_and_follows_until_there_is_room(tmp_path):
    """A restart must not keep it away: it signs nothing, answers, and comes back by itself."""
    home = found(tmp_path / "net").validators[0]
    with small_disk(home / "data", 24) as disk, small_disk(disk / "ledger", 256):
        with running(home) as node:
            node.wait_height(3)
            assert node.stop() == 0
        filler = fill(disk)
        with running(home) as node:

            def why() -> str:
                return str(node.call("chain_status")["node"].get("why_not_validating", ""))

            node.until(lambda: "takes no writes" in why())
            assert "16777216 bytes" in why()
            assert metric(node, "eub_disk_refuses") == 1
            stands = node.height
            filler.unlink()
            node.wait_height(stands + 3)
            assert metric(node, "eub_disk_refuses") == 0
            assert node.stop() == 0
        audit = command(home, "inspect", "--json")
        assert audit.returncode == 0, audit.stdout + audit.stderr


def test_a_node_whose_ledger_finds_no_room_at_its_start_says_so_and_goes_on_when_there_is(tmp_path):
    """Nothing can be followed without a ledger: an error with its cause, no trace of the program's inside."""
    home = found(tmp_path / "net").validators[0]
    with small_disk(home / "data", 24) as disk:
        with running(home) as node:
            node.wait_height(3)
            stands = node.height
            assert node.stop() == 0
        filler = fill(disk)
        done = command(home, "start")
        assert done.returncode == 1, done.stdout + done.stderr
        assert "2105" in done.stderr
        assert "No space left" in done.stderr
        assert "Traceback" not in done.stderr
        filler.unlink()
        with running(home) as node:
            node.wait_height(stands + 3)
            assert node.stop() == 0
