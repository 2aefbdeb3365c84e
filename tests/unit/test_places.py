"""Places: one spelling each, nothing that could lead elsewhere, and directories only where allowed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from consensus.types.errors import Fault
from consensus.types.keys import SecretKey
from spark_node.storage.blob import AccessSigner, BlobStore
from spark_node.storage.directory import DirectoryStore
from spark_node.storage.objects import ObjectName
from spark_node.storage.places import (
    PLACE_MALFORMED,
    PLACE_NOT_ALLOWED,
    Place,
    format_place,
    open_store,
    parse_place,
)
from spark_node.storage.seal_requests import DISK_REFUSES
from spark_node.storage.store import (
    OBJECT_DIFFERS,
    OBJECT_FIXED,
    OBJECT_MISSING,
    OBJECT_TOO_LARGE,
    partial_path,
)

SIGNER = AccessSigner(SecretKey(b"\1" * 32), bytes(32), lambda: 0)
NAME = ObjectName(b"\5" * 32, 0, "out", 0)


@pytest.mark.parametrize(
    "text",
    [
        "blob:http://127.0.0.1:8080",
        "blob:http://127.0.0.1:8080/blob/v1",
        "blob:https://spark-7.example.org/blob",
        "blob:http://[::1]:80/x",
        "file:///srv/objects",
        "file:///srv/%E7%BB%93%E6%9E%9C",
        "file:///",
    ],
)
def test_a_place_is_read_and_spelled_the_same(text: str) -> None:
    """Its text is the only one it has."""
    assert format_place(parse_place(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://127.0.0.1/",
        "blob:",
        "blob:ftp://host/",
        "blob:http://host/",
        "blob:http://user:secret@host/x",
        "blob:http://host/x?y=1",
        "blob:http://host/x#y",
        "blob:http://host/../x",
        "blob:http://host:0/x",
        "blob:http://host:99999/x",
        "blob:http://HOST/x",
        "blob:http://host/x y",
        "blob:http://host/" + "x" * 250,
        "file://host/x",
        "file:/x",
        "file:///x/../y",
        "file:///x/",
        "file:////x",
        "file:///%2e%2e/x",
        "file:///x%00y",
        "file:///%ff",
        "file:///a b",
    ],
)
def test_what_is_no_place_is_refused(text: str) -> None:
    """Users, queries, dots, other spellings, too long."""
    with pytest.raises(Fault) as caught:
        parse_place(text)
    assert caught.value.reason is PLACE_MALFORMED


def test_a_place_that_is_none_is_not_spelled() -> None:
    """What we announce must be readable by others."""
    for place in (Place("blob", "http://host/"), Place("file", "relative"), Place("s3", "x")):
        with pytest.raises(Fault):
            format_place(place)


def test_a_strangers_directory_is_opened_only_where_allowed(tmp_path: Path) -> None:
    """A place comes from a transaction; a link below the allowed directory leads nowhere else."""
    allowed = tmp_path / "allowed"
    (allowed / "inner").mkdir(parents=True)
    (allowed / "link").symlink_to("/etc")
    inner = format_place(Place("file", str(allowed / "inner")))
    assert isinstance(open_store(inner, SIGNER, directory_allowed=allowed), DirectoryStore)
    for place, root in (
        (inner, None),
        ("file:///etc", allowed),
        (format_place(Place("file", str(allowed / "link"))), allowed),
        (format_place(Place("file", str(tmp_path / "allowed-too"))), allowed),
    ):
        with pytest.raises(Fault) as caught:
            open_store(place, SIGNER, directory_allowed=root)
        assert caught.value.reason is PLACE_NOT_ALLOWED
    assert isinstance(open_store("blob:http://127.0.0.1:1", SIGNER), BlobStore)


@pytest.mark.trio
async def test_a_directory_stores_and_gives_back(tmp_path: Path) -> None:
    """Put, resume, size, get, refuse, delete."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(600_000))
    seen: list[int] = []
    async with DirectoryStore(tmp_path / "store") as store:
        stored = await store.put(NAME, source)
        assert stored == await store.put(NAME, source)
        assert await store.size(NAME) == 600_000
        partial_path(tmp_path / "target", stored.digest).write_bytes(source.read_bytes()[:300_000])
        got = await store.get(
            NAME, tmp_path / "target", digest=stored.digest, progress=lambda done, of: seen.append(done)
        )
        assert got == stored
        assert seen[0] > 300_000
        assert (tmp_path / "target").read_bytes() == source.read_bytes()
        source.write_bytes(b"other")
        for attempt, reason in (
            (store.put(NAME, source), OBJECT_FIXED),
            (store.put(NAME, tmp_path / "absent"), DISK_REFUSES),
            (store.get(NAME, tmp_path / "x", digest=bytes(32)), OBJECT_DIFFERS),
            (store.get(NAME, tmp_path / "x", digest=stored.digest, bytes_max=5), OBJECT_TOO_LARGE),
            (store.get(NAME._replace(n=1), tmp_path / "x", digest=None), OBJECT_MISSING),
        ):
            with pytest.raises(Fault) as caught:
                await attempt
            assert caught.value.reason is reason
        await store.delete(NAME)
        await store.delete(NAME)
        assert await store.size(NAME) is None
        assert not (tmp_path / "x").exists()
