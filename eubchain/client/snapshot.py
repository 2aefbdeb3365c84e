"""Fetching a snapshot from another node's RPC into a directory, so that an interrupted fetch goes on.

Here: `fetch_snapshot`. Not here: checking it against a trusted block (eubchain/ledger/restore.py), which
happens before anything of it becomes a ledger.
Keeps: a file is there whole or not at all; names come from the manifest's counts, never from the node.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from pathlib import Path

from consensus.types.errors import Fault, Rejected
from eubchain.client.connection import ANSWER_MALFORMED, Connection
from eubchain.ledger.snapshot import MANIFEST, MANIFEST_FILE, Manifest


async def fetch_snapshot(
    node: Connection, height: int, directory: Path, progress: Callable[[str, int, int], None]
) -> Manifest:
    """Fetch the snapshot of a height; chunks that are there already are not asked for again."""
    directory.mkdir(parents=True, exist_ok=True)
    answer = await node.call("snapshot_getManifest", height=height)
    raw = _decoded(node.url, answer, "manifest")
    try:
        manifest = MANIFEST.decode(raw)
    except Rejected as error:
        raise Fault(ANSWER_MALFORMED, url=node.url, why=f"its manifest: {error}") from None
    if _kept(directory) != raw:
        for left in directory.iterdir():
            left.unlink()  # of another snapshot of this height
    _store(directory / MANIFEST_FILE, raw)
    names = manifest.chunks()
    for number, name in enumerate(names, 1):
        if not (directory / name).exists():
            answer = await node.call("snapshot_getChunk", height=height, name=name)
            _store(directory / name, _decoded(node.url, answer, "chunk"))
        progress("fetched", number, len(names))
    return manifest


def _kept(directory: Path) -> bytes | None:
    path = directory / MANIFEST_FILE
    return path.read_bytes() if path.exists() else None


def _decoded(url: str, answer: object, name: str) -> bytes:
    try:
        text = answer[name]  # type: ignore[index]  # whatever it is, only an object with text passes
        return base64.b64decode(text, validate=True)
    except (KeyError, TypeError, IndexError, binascii.Error):
        raise Fault(ANSWER_MALFORMED, url=url, why=f"its answer lacks {name}") from None


def _store(path: Path, raw: bytes) -> None:
    new = path.with_name(path.name + ".new")
    new.write_bytes(raw)
    new.replace(path)
