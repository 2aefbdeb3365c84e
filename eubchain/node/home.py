"""A node's home directory: where its files lie, and the lock that lets one process use it.

Here: paths, creation, the lock. Not here: what the files hold (config.py, wallet keystore, ledger).
Keeps: key files and their directories are the owner's alone; one process per home.
Errors: 2510 home_missing, 2511 home_in_use, 2512 home_exists.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from consensus.types.errors import Fault, Reason

log = structlog.get_logger("node")

HOME_MISSING = Reason(
    2510,
    "home_missing",
    "home:text what:text",
    "{home} is not a node's home: {what} is missing.",
    "Make one with `eubchain init --home {home}`, or name another with --home.",
)
HOME_IN_USE = Reason(
    2511,
    "home_in_use",
    "home:text pid:count command:text",
    "{home} is in use by process {pid} ({command}).",
    "Stop that process first; two nodes on one home would sign twice.",
)
HOME_EXISTS = Reason(
    2512,
    "home_exists",
    "home:text",
    "{home} holds a node already.",
    "Choose another --home; nothing was changed.",
)


class Home:
    """Paths of one home."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "config" / "config.toml"
        self.genesis = root / "config" / "genesis.json"
        self.validator_key = root / "config" / "validator_key.json"
        self.node_key = root / "config" / "node_key.json"
        self.data = root / "data"
        self.ledger = root / "data" / "ledger"
        self.wal = root / "data" / "wal"
        self.guard = root / "data" / "signer_guard"
        self.blobs = root / "data" / "blobs"
        self.snapshots = root / "data" / "snapshots"
        self.lock = root / "data" / "lock"
        self.wallet = root / "wallet"

    def create(self) -> None:
        """Make the directories; refuse when a node lives here already."""
        if self.genesis.exists():
            raise Fault(HOME_EXISTS, home=str(self.root))
        for directory in (self.root, self.config.parent, self.data):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def check(self) -> None:
        """Refuse a directory that is not a home."""
        for path in (self.config, self.genesis):
            if not path.exists():
                raise Fault(HOME_MISSING, home=str(self.root), what=str(path.relative_to(self.root)))
        self.data.mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the home; raise `Fault(HOME_IN_USE)` naming the process that has it."""
        with open(self.lock, "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                pid = int(file.read().strip() or "0")
                raise Fault(HOME_IN_USE, home=str(self.root), pid=pid, command=_command(pid)) from None
            file.truncate(0)
            with suppress(OSError):  # on a full disk the lock holds as well without saying whose it is
                os.write(file.fileno(), str(os.getpid()).encode())
            yield

    def leave_address(self, name: str, address: str) -> None:
        """Say in a file of `data` where the node answers; a full disk costs commands that, not the node."""
        try:
            (self.data / name).write_text(address)
        except OSError as error:
            why = error.strerror or str(error)
            log.error("an address cannot be written", file=name, address=address, why=why)


def _command(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode("utf-8", "replace")
            .strip()[:80]
        )
    except OSError:
        return "unknown"
