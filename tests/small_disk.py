"""Disks that are small or slow, for tests as root.

Here: a memory file system mounted over a folder, filling it to the last page; a limit on a process's writes.
Not here: what a node does about it (tests/functional).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BLKIO = Path("/sys/fs/cgroup/blkio")


def may_mount() -> bool:
    """Whether this process may mount a file system."""
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


def device_of(folder: Path) -> str | None:
    """The whole disk under a folder, as MAJOR:MINOR; None where writes cannot be slowed."""
    number = os.stat(folder).st_dev
    name = f"{os.major(number)}:{os.minor(number)}"
    if not Path(f"/sys/dev/block/{name}").exists() or os.geteuid() != 0:
        return None
    is_there = (BLKIO / "blkio.throttle.write_iops_device").exists()
    return name if is_there and os.access(BLKIO, os.W_OK) else None


@contextmanager
def slow_disk(folder: Path, process_group: int, writes_per_second: int) -> Iterator[None]:
    """The processes of a group write to a folder's disk no faster than that."""
    device = device_of(folder)
    assert device is not None, "asked before"
    group = BLKIO / f"eub-slow-{process_group}"
    group.mkdir()
    try:
        (group / "blkio.throttle.write_iops_device").write_text(f"{device} {writes_per_second}")
        for member in _members(process_group):
            (group / "cgroup.procs").write_text(str(member))
        yield
    finally:
        (group / "blkio.throttle.write_iops_device").write_text(f"{device} 0")
        for left in (group / "cgroup.procs").read_text().split():
            (BLKIO / "cgroup.procs").write_text(left)
        group.rmdir()


def _members(process_group: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == process_group:
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    return found
