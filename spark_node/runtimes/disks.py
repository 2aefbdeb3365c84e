"""A directory of limited size for the result of a container.

Here: a file system in a file (a hard limit; needs root on Linux), and the plain directory that stands
in for it where that cannot be had and is watched instead.
Not here: who watches (docker.py), the wasi runtime's own count (wasi_files.py).
Keeps: whatever a crash leaves here is found by its place alone, so `reap_disks` needs no memory of it.
All functions block. Errors: 3325 disk_unavailable.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from consensus.types.errors import Fault, Reason

DISK_UNAVAILABLE = Reason(
    3325,
    "disk_unavailable",
    "why:text",
    "The disk for the task's result could not be set up: {why}.",
    "Check free space and the rights of the spark's state directory.",
)

DISK_BYTES_MIN = 4 * 2**20
"""Below this ext4 has no room for itself."""
OWN_SHARE = 32
"""ext4 keeps inode tables: one byte in about 64; twice that is added, so the task gets what it paid for."""
TOOL_SECONDS = 60
MOUNT_OPTIONS = "loop,nosuid,nodev,noexec"


class Disk(NamedTuple):
    """A writable directory and how hard its limit is."""

    path: Path
    is_hard: bool
    """Whether the kernel refuses the first byte too many; if not, somebody must watch."""


def can_mount() -> bool:
    """Whether this process can make file systems of its own."""
    return (
        os.geteuid() == 0
        and Path("/dev/loop-control").exists()
        and shutil.which("mkfs.ext4") is not None
        and shutil.which("mount") is not None
    )


def make_disk(folder: Path, name: str, size: int, hard: bool) -> Disk:
    """Make the disk `name` with room for `size` bytes; raises `Fault(DISK_UNAVAILABLE)`.

    The directory is writable for everyone, because the engine may map users; the folder around it is
    for this process's user alone.
    """
    path = folder / f"{name}.disk"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = free_bytes(folder)
        if free < size:
            raise Fault(DISK_UNAVAILABLE, why=f"{size} bytes are needed, {free} are free")
        path.mkdir(mode=0o700)
        if hard:
            _make_file_system(folder / f"{name}.img", path, size)
        path.chmod(0o777)
    except OSError as error:
        raise Fault(DISK_UNAVAILABLE, why=str(error)[:300]) from None
    return Disk(path, hard)


def _make_file_system(image: Path, path: Path, size: int) -> None:
    with image.open("xb") as file:
        # A sparse file: what the task does not write takes no space.
        file.truncate(max(DISK_BYTES_MIN, size + size // OWN_SHARE + DISK_BYTES_MIN // 4))
    _tool("mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(image))
    _tool("mount", "-o", MOUNT_OPTIONS, str(image), str(path))
    (path / "lost+found").rmdir()


def free_bytes(folder: Path) -> int:
    """Free space where `folder` is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def is_full(disk: Disk) -> bool:
    """Whether next to nothing more can be written: blocks or file names are used up."""
    about = os.statvfs(disk.path)
    return disk.is_hard and (about.f_bavail * about.f_frsize < 64 * 1024 or about.f_favail == 0)


def drop_disk(folder: Path, name: str) -> None:
    """Unmount and delete; may be repeated."""
    path = folder / f"{name}.disk"
    if path.is_mount():
        try:
            _tool("umount", str(path))
        except Fault:
            # Somebody still holds it; the name goes now, the space when they let go.
            _tool("umount", "-l", str(path))
    if path.exists():
        open_up(path)
        # Not shutil.rmtree: it gives up on directories nested by the thousand.
        _tool("rm", "-rf", "--one-file-system", "--", str(path))
    (folder / f"{name}.img").unlink(missing_ok=True)


def open_up(path: Path) -> None:
    """Let this process read and remove what a program has forbidden; links are not followed."""
    _tool("chmod", "-R", "u+rwX", "--", str(path))


def reap_disks(folder: Path) -> int:
    """Remove every disk below `folder`; returns how many."""
    if not folder.is_dir():
        return 0
    names = {path.stem for path in folder.iterdir() if path.suffix in (".disk", ".img")}
    for name in sorted(names):
        drop_disk(folder, name)
    return len(names)


def _tool(*arguments: str) -> None:
    try:
        done = subprocess.run(
            arguments,
            capture_output=True,
            text=True,
            timeout=TOOL_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Fault(DISK_UNAVAILABLE, why=f"{arguments[0]}: {error}"[:300]) from None
    if done.returncode != 0:
        why = " ".join(done.stderr.split())[:200]
        raise Fault(DISK_UNAVAILABLE, why=f"{arguments[0]}: {why}")
