"""A disk that fills up under a validator: what it says, what it goes on doing, how it comes back.

Rules: the disks are small memory file systems, mounted for one test; that needs root, and without it these
tests are skipped by name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.node_world import NodeProcess, command, found, running


def _may_mount() -> bool:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    probe = Path("/tmp") / f"eub-mount-{os.getpid()}"
    probe.mkdir()
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(probe)], capture_output=True, check=False)
        if done.returncode == 0:
            subprocess.run(["umount", str(probe)], check=True)
        return done.returncode == 0
    finally:
        probe.rmdir()


pytestmark = pytest.mark.skipif(not _may_mount(), reason="needs root to mount a small disk")


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own at `place`, with what stood there before."""
    place.mkdir(exist_ok=True)
    before = place.with_name(place.name + ".before")
    shutil.copytree(place, before)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)], check=True)
    try:
        shutil.copytree(before, place, dirs_exist_ok=True)
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Leave no page free; returns the file to delete."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (2**20, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def metric(node: NodeProcess, name: str) -> float:
    """A gauge as Prometheus reads it."""
    text = httpx.get(f"{node.urls['metrics']}/metrics", timeout=10, trust_env=False).text
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")))


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
