"""`snapshot_*`: what a new node needs to begin from this one's state.

Here: the list, a manifest, a chunk. Not here: cutting (eubchain/node/upkeep.py), checking what is received
(eubchain/ledger/restore.py).
"""

from __future__ import annotations

import base64

import trio

from eubchain.rpc.backend import Backend
from eubchain.rpc.method import Base64, Hex, View, method


class SnapshotView(View):
    """A snapshot that this node keeps."""

    height: int
    block_id: Hex
    chunks: int
    bytes: int


class ManifestView(View):
    """What a snapshot consists of."""

    height: int
    manifest: Base64
    """Canonical encoding, as docs/protocol.md describes it."""
    chunks: list[str]
    """Names to ask for."""


class ChunkView(View):
    """A part of a snapshot, at most 512 KiB, which verifies by itself."""

    height: int
    name: str
    chunk: Base64


@method("snapshot_list", example={})
async def list_snapshots(backend: Backend) -> list[SnapshotView]:
    """The snapshots that this node keeps, the newest last; compare block ids with a source you trust."""
    found = await trio.to_thread.run_sync(backend.snapshots().listed)
    return [
        SnapshotView(height=one.height, block_id="0x" + one.block_id.hex(), chunks=one.chunks, bytes=one.size)
        for one in found
    ]


@method("snapshot_getManifest", example={"height": 20})
async def get_manifest(backend: Backend, height: int) -> ManifestView:
    """A snapshot's manifest: the header it is of and the names of its chunks."""
    folder = backend.snapshots()
    raw = await trio.to_thread.run_sync(folder.manifest_bytes, height)
    names = folder.manifest(height).chunks()
    return ManifestView(height=height, manifest=base64.b64encode(raw).decode(), chunks=names)


@method("snapshot_getChunk", example={"height": 20, "name": "part-000000"})
async def get_chunk(backend: Backend, height: int, name: str) -> ChunkView:
    """A chunk of a snapshot by its name."""
    raw = await trio.to_thread.run_sync(backend.snapshots().chunk, height, name)
    return ChunkView(height=height, name=name, chunk=base64.b64encode(raw).decode())
