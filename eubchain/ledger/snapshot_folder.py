"""The folder in which a node keeps its snapshots: `data/snapshots/HEIGHT`, a manifest and chunks each.

Here: finding, reading and dropping them, what of them is offered to others, the name of one being cut.
Not here: cutting and restoring (ledger/snapshot.py, ledger/restore.py), when (eubchain/node/upkeep.py).
Keeps: only whole snapshots are listed; names from outside never become paths before they are checked.
Errors: 2150 snapshot_unknown.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from consensus.types.errors import Fault, Reason, Rejected
from eubchain.ledger.snapshot import (
    CHUNK_BYTES_MAX,
    CHUNK_NAME,
    EPOCHS,
    MANIFEST,
    MANIFEST_FILE,
    NAMED,
    PART,
    Manifest,
    chunk_file,
    layout_of,
)

SECTIONS = (MANIFEST_FILE, PART, NAMED, EPOCHS)
"""What a snapshot's pieces belong to; their order is that of the requests between nodes."""
CUTTING_SUFFIX = ".cutting"

SNAPSHOT_UNKNOWN = Reason(
    2150,
    "snapshot_unknown",
    "what:text",
    "There is no snapshot here with {what}.",
    "`eubchain snapshot list` shows those there are; snapshots.every_epochs in config.toml makes them.",
)


class Listed(NamedTuple):
    """One whole snapshot."""

    height: int
    block_id: bytes
    chunks: int
    size: int
    """Bytes on disk."""


class Offered(NamedTuple):
    """What is told of a snapshot to whoever may want it."""

    height: int
    block_id: bytes
    layout: bytes
    manifest_bytes: int
    chunks: int
    size: int
    """Bytes of all chunks together."""


class SnapshotFolder:
    """Snapshots below one directory, which need not exist."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._offered: dict[tuple[int, int], Offered] = {}
        """By height and by when its manifest was written: a manifest may be megabytes."""

    def place(self, height: int) -> Path:
        """Where the snapshot of a height is, or would be."""
        return self.root / str(height)

    def heights(self) -> list[int]:
        """Of whole snapshots, the newest last."""
        if not self.root.is_dir():
            return []
        names = [p.name for p in self.root.iterdir() if p.name.isdigit() and (p / MANIFEST_FILE).exists()]
        return sorted(int(name) for name in names)

    def listed(self) -> list[Listed]:
        """All whole snapshots with their sizes, the newest last."""
        found = []
        for height in self.heights():
            try:
                manifest = self.manifest(height)
                size = sum(path.stat().st_size for path in self.place(height).iterdir())
            except (Fault, OSError):
                continue  # dropped meanwhile
            found.append(Listed(height, manifest.commit.block_id, len(manifest.chunks()), size))
        return found

    def offered(self, count: int) -> list[Offered]:
        """The newest snapshots, the newest first."""
        found: dict[tuple[int, int], Offered] = {}
        for height in reversed(self.heights()):
            if len(found) == count:
                break
            try:
                key = height, (self.place(height) / MANIFEST_FILE).stat().st_mtime_ns
                found[key] = self._offered.get(key) or self._offer(height)
            except (Fault, OSError):
                continue  # dropped meanwhile
        self._offered = found
        return list(found.values())

    def _offer(self, height: int) -> Offered:
        raw = self.manifest_bytes(height)
        manifest = self.manifest(height)
        sizes = [path.stat().st_size for path in self.place(height).iterdir() if path.name != MANIFEST_FILE]
        identity, layout = manifest.commit.block_id, layout_of(manifest)
        return Offered(height, identity, layout, len(raw), len(manifest.chunks()), sum(sizes))

    def piece(self, height: int, section: int, number: int) -> bytes | None:
        """A chunk by its section and number, or a piece of the manifest; None when it is not here."""
        try:
            if SECTIONS[section] != MANIFEST_FILE:
                return self.chunk(height, chunk_file(SECTIONS[section], number))
            start = number * CHUNK_BYTES_MAX
            return self.manifest_bytes(height)[start : start + CHUNK_BYTES_MAX] or None
        except Fault:
            return None

    def manifest_bytes(self, height: int) -> bytes:
        """A manifest's encoding; raise `Fault` 2150."""
        try:
            return (self.place(height) / MANIFEST_FILE).read_bytes()
        except OSError:
            raise Fault(SNAPSHOT_UNKNOWN, what=f"height {height}") from None

    def manifest(self, height: int) -> Manifest:
        """A manifest; raise `Fault` 2150."""
        try:
            return MANIFEST.decode(self.manifest_bytes(height))
        except Rejected:
            raise Fault(SNAPSHOT_UNKNOWN, what=f"height {height} that can be read") from None

    def chunk(self, height: int, name: str) -> bytes:
        """A chunk's bytes; raise `Fault` 2150."""
        if not CHUNK_NAME.fullmatch(name):
            raise Fault(SNAPSHOT_UNKNOWN, what=f"a chunk {name[:40]}")
        try:
            return (self.place(height) / name).read_bytes()
        except OSError:
            raise Fault(SNAPSHOT_UNKNOWN, what=f"height {height} and a chunk {name}") from None

    def begin(self, height: int) -> Path:
        """An empty directory to cut into; what an interrupted cut left goes."""
        for left in self.root.glob(f"*{CUTTING_SUFFIX}"):
            shutil.rmtree(left)
        made = self.root / f"{height}{CUTTING_SUFFIX}"
        made.mkdir(parents=True)
        return made

    def finish(self, height: int, keep: int) -> None:
        """Give a cut snapshot its name and drop all but the newest `keep`."""
        place = self.place(height)
        if place.exists():
            shutil.rmtree(place)
        (self.root / f"{height}{CUTTING_SUFFIX}").rename(place)
        for old in self.heights()[: -max(1, keep)]:
            shutil.rmtree(self.place(old))
