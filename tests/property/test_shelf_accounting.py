"""Whatever happens to a shelf, what it counts is what lies on its disk."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.types.errors import Fault
from spark_node.storage.objects import ObjectName
from spark_node.storage.shelf import Shelf, ShelfLimits

LIMITS = ShelfLimits(
    object_bytes_max=60, task_bytes_max=150, task_objects_max=4, quota_bytes=250, free_bytes_min=0
)
EXPECTED = {
    "object_differs",
    "object_fixed",
    "object_too_large",
    "store_full",
    "upload_out_of_place",
    "upload_too_long",
}
names = st.builds(
    ObjectName, st.sampled_from([b"\1" * 32, b"\2" * 32]), st.just(0), st.just("in"), st.integers(0, 3)
)
uploads = st.tuples(
    st.just("upload"), names, st.integers(0, 70), st.integers(0, 80), st.integers(0, 2), st.booleans()
)
others = st.tuples(st.sampled_from(["remove", "purge", "restart"]), names)


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    """Seven bytes at a time."""
    for start in range(0, len(data), 7):
        yield data[start : start + 7]


async def upload(shelf: Shelf, name: ObjectName, length: int, sent: int, kind: int, is_honest: bool) -> None:
    """Continue an upload with up to `sent` bytes, which may be too many; a liar's digest is wrong."""
    data = bytes([kind]) * length
    digest = hashlib.sha256(data).digest() if is_honest else bytes([kind]) * 32
    offset, is_whole = shelf.admit(name, digest, length)
    if not is_whole:
        more = (data + bytes(20))[offset : offset + sent]
        await shelf.append(name, digest, length, offset, pieces(more))


def disk_bytes(root: Path) -> int:
    """What objects and uploads take, apart from the digests beside them."""
    files = [p for p in root.rglob("*") if p.is_file() and p.suffix != ".sha256"]
    return sum(p.stat().st_size for p in files)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(uploads, others), max_size=25))
def test_what_is_counted_is_what_is_there(steps: list[tuple[object, ...]]) -> None:
    """After every step: count and disk agree, limits hold, and every whole object has its digest."""

    async def play(root: Path) -> None:
        shelf, refused = Shelf(root, LIMITS), set[str]()
        for what, name, *rest in steps:
            assert isinstance(name, ObjectName)
            try:
                if what == "upload":
                    await upload(shelf, name, *rest)  # type: ignore[arg-type]
                elif what == "remove":
                    await shelf.remove(name)
                elif what == "purge":
                    await shelf.purge(name.task)
                else:
                    shelf = Shelf(root, LIMITS)
            except Fault as fault:
                refused.add(fault.reason.name)
            assert shelf.used_bytes() == disk_bytes(root) <= LIMITS.quota_bytes
            held = shelf.find(name)
            assert held is None or hashlib.sha256(held.path.read_bytes()).digest() == held.digest
        assert refused <= EXPECTED

    with tempfile.TemporaryDirectory() as directory:
        trio.run(play, Path(directory))
