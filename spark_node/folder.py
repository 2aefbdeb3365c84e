"""The agent's directory: where its files lie, the lock, and the wishes that other commands leave there.

Here: paths, durable small files, the lock that lets one agent use it, the owner's standing wishes.
Not here: what stands in the files (journal.py, market_notes.py, policy.py).
Layout: policy.toml · lock · status.json · wishes/ · journal/ · sealed/ ciphertext kept until settlement ·
rooms/ plaintext of what runs now · shelf/ results that this agent serves itself ·
proving/ the search in the running window.
Keeps: everything is the owner's alone; `rooms` holds nothing that outlives the agent; a wish stays until
it is taken back, through restarts of the agent and of the machine.
Errors: 3220 agent_running, 3221 spark_folder_refuses, 3222 spark_not_set_up.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consensus.types.errors import Fault, Reason

AGENT_RUNNING = Reason(
    3220,
    "agent_running",
    "folder:text pid:count",
    "A spark agent uses {folder} already: process {pid}.",
    "Stop that one first; two agents on one account would quarrel about every task.",
)
FOLDER_REFUSES = Reason(
    3221,
    "spark_folder_refuses",
    "path:text why:text",
    "'{path}' cannot be read or written: {why}.",
    "Free space or correct the permissions; tasks go on as soon as it works.",
)
NOT_SET_UP = Reason(
    3222,
    "spark_not_set_up",
    "folder:text",
    "There is no spark in {folder}.",
    "Set one up with `eubchain spark init`, or name another home with --home.",
)

PAUSED, RETIRE = "paused", "retire"


class Folder:
    """Paths below one directory, `<home>/spark`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.policy = root / "policy.toml"
        self.status = root / "status.json"
        self.market = root / "market.json"
        self.journal = root / "journal"
        self.money = root / "journal" / "money.jsonl"
        self.sealed = root / "sealed"
        self.rooms = root / "rooms"
        self.shelf = root / "shelf"
        self.containers = root / "containers"
        self.proving = root / "proving"
        self.wishes = root / "wishes"

    def create(self) -> None:
        """Make the directories."""
        for directory in (self.root, self.journal, self.sealed, self.rooms, self.containers, self.wishes):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def check(self) -> None:
        """Refuse with `Fault` 3222 when `spark init` was not run here."""
        if not self.policy.exists():
            raise Fault(NOT_SET_UP, folder=str(self.root))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory; raise `Fault` 3220 naming the agent that has it."""
        with open(self.root / "lock", "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                text = file.read().strip()
                pid = int(text) if text.isdigit() else 0
                raise Fault(AGENT_RUNNING, folder=str(self.root), pid=pid) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def is_running(self) -> bool:
        """Whether an agent holds the directory now."""
        try:
            with self.locked():
                return False
        except Fault:
            return True

    # ------------------------------------------------------------------------------------- wishes

    def wish(self, name: str) -> None:
        """Leave a wish for the agent, running or not."""
        self.wishes.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.wishes / name).touch()

    def take_back(self, name: str) -> bool:
        """Remove a wish; returns whether it was there."""
        try:
            (self.wishes / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def has_wish(self, name: str) -> bool:
        """Whether the owner wants this."""
        return (self.wishes / name).exists()


def release_wish(task: bytes, seat: int) -> str:
    """The name of the wish that a seat be given up."""
    return f"release-{task.hex()}-{seat}"


def seat_name(task: bytes, seat: int) -> str:
    """How a seat is called on this machine: of [a-z0-9-]."""
    return f"{task.hex()}-{seat}"


def write_durably(path: Path, content: bytes) -> None:
    """Replace a small file, mode 0600; after a crash there is the old one or the new one. Blocks.

    Raises `Fault` 3221.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise folder_refuses(path, error) from None


def append_durably(path: Path, line: bytes) -> None:
    """Add a line to a file, mode 0600, and wait for the disk. Blocks; raises `Fault` 3221.

    A line that a crash cut short is ended first, so that it takes no other one with it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with open(descriptor, "ab", buffering=0) as file:
            size = os.fstat(descriptor).st_size
            is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            file.write(b"\n" * is_torn + line + b"\n")
            os.fsync(descriptor)
    except OSError as error:
        raise folder_refuses(path, error) from None


def remove_tree(path: Path) -> None:
    """Remove a directory with everything in it, if it is there. Blocks."""
    shutil.rmtree(path, ignore_errors=True)


def folder_refuses(path: Path, error: OSError) -> Fault:
    """The fault for a disk that refuses; the caller raises it."""
    return Fault(FOLDER_REFUSES, path=str(path)[-120:], why=os.strerror(error.errno or 0).lower())
