"""The blob store over real sockets: who may, how much, and what an interrupted transfer loses (nothing).

Rules of this file: 127.0.0.1 and port 0 only; every wait is for a condition, under a limit.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from consensus.types.address import key_address
from consensus.types.errors import Fault
from consensus.types.keys import SecretKey
from spark_node.storage import blob
from spark_node.storage.blob import PLACE_REFUSES, PLACE_UNREACHABLE, AccessSigner, BlobStore
from spark_node.storage.blob_answers import ACCESS_DENIED
from spark_node.storage.blob_server import blob_application
from spark_node.storage.objects import ObjectName
from spark_node.storage.shelf import STORE_FULL, UPLOAD_OUT_OF_PLACE, UPLOAD_TAKEN_OVER, Shelf, ShelfLimits
from spark_node.storage.store import OBJECT_DIFFERS, OBJECT_FIXED, OBJECT_MISSING, OBJECT_TOO_LARGE

GENESIS, NOW = b"\7" * 32, 1_800_000_000
PARTY, STRANGER = SecretKey(b"\1" * 32), SecretKey(b"\2" * 32)
NAME = ObjectName(b"\5" * 32, 0, "in", 0)
LIMIT_S = 60


@dataclass
class World:
    """A shelf behind a real server, and how to reach it."""

    url: str
    shelf: Shelf
    asked: list[tuple[bytes, bytes, int, str, str]] = field(default_factory=list)

    def store(self, key: SecretKey = PARTY, url: str | None = None) -> BlobStore:
        """A client that signs with `key`."""
        return BlobStore(url or self.url, AccessSigner(key, GENESIS, lambda: NOW))


@asynccontextmanager
async def world(root: Path, limits: ShelfLimits | None = None) -> AsyncIterator[World]:
    """Serve a shelf; PARTY is the only party of any task."""
    limits = limits or ShelfLimits(free_bytes_min=0)
    asked: list[tuple[bytes, bytes, int, str, str]] = []

    async def may_access(account: bytes, task: bytes, seat: int, kind: str, method: str) -> bool:
        asked.append((account, task, seat, kind, method))
        return account == key_address(PARTY.public)

    shelf = Shelf(root, limits)
    application = blob_application(shelf, may_access, genesis=GENESIS, now_s=lambda: NOW)
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.graceful_timeout = 0.1
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        with trio.fail_after(LIMIT_S):
            binds = await nursery.start(
                lambda task_status: serve(
                    application, config, shutdown_trigger=stop.wait, task_status=task_status
                )
            )
            yield World(binds[0], shelf, asked)
        stop.set()


@dataclass
class Cutter:
    """A TCP proxy that breaks each connection after so many bytes in one direction."""

    target: str
    up_bytes: int | None = None
    down_bytes: int | None = None
    cuts: int = 0

    async def run(self, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Accept until cancelled; report the URL."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        task_status.started(f"http://127.0.0.1:{port}")
        await trio.serve_listeners(self._forward, listeners)

    async def _forward(self, client: trio.SocketStream) -> None:
        host, port = self.target.removeprefix("http://").split(":")
        server = await trio.open_tcp_stream(host, int(port))
        async with client, server, trio.open_nursery() as nursery:
            scope = nursery.cancel_scope
            nursery.start_soon(self._copy, client, server, self.up_bytes, scope)
            nursery.start_soon(self._copy, server, client, self.down_bytes, scope)

    async def _copy(
        self, source: trio.SocketStream, sink: trio.SocketStream, limit: int | None, scope: trio.CancelScope
    ) -> None:
        moved = 0
        try:
            async for data in source:
                if limit is not None and moved + len(data) > limit:
                    await sink.send_all(data[: limit - moved])
                    self.cuts += 1
                    break
                await sink.send_all(data)
                moved += len(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()


def file_of(at: Path, size: int) -> Path:
    """A file of random bytes."""
    at.write_bytes(os.urandom(size))
    return at


def leftovers(directory: Path) -> list[Path]:
    """Unfinished transfers anywhere below."""
    return [p for p in directory.rglob("*") if p.name.endswith((".partial", ".digest"))]


@pytest.mark.trio
@pytest.mark.parametrize("size", [0, 1, 300_000])
async def test_an_object_comes_back_as_it_was(tmp_path: Path, size: int) -> None:
    """Put, size, get, put again, delete."""
    source = file_of(tmp_path / "source", size)
    async with world(tmp_path / "shelf") as here, here.store() as store:
        assert await store.size(NAME) is None
        seen: list[tuple[int, int]] = []
        stored = await store.put(NAME, source, progress=lambda done, of: seen.append((done, of)))
        assert stored == (hashlib.sha256(source.read_bytes()).digest(), size)
        assert await store.put(NAME, source) == stored
        assert await store.size(NAME) == size
        assert await store.get(NAME, tmp_path / "a", digest=stored.digest) == stored
        assert await store.get(NAME, tmp_path / "b", digest=None) == stored
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == source.read_bytes()
        assert size == 0 or seen[-1] == (size, size)
        assert here.asked[0] == (key_address(PARTY.public), NAME.task, 0, "in", "HEAD")
        await store.delete(NAME)
        await store.delete(NAME)
        assert await store.size(NAME) is None
        assert here.shelf.used_bytes() == 0
        assert not leftovers(tmp_path)


@pytest.mark.trio
async def test_an_interrupted_upload_goes_on_where_it_broke(tmp_path: Path) -> None:
    """Every connection dies after 150 KB; the object arrives whole, and no byte is sent many times."""
    source = file_of(tmp_path / "source", 700_000)
    async with world(tmp_path / "shelf") as here, trio.open_nursery() as nursery:
        cutter = Cutter(here.url, up_bytes=150_000)
        url = await nursery.start(cutter.run)
        async with here.store(url=url) as store:
            stored = await store.put(NAME, source)
        held = here.shelf.find(NAME)
        assert held is not None
        assert held.path.read_bytes() == source.read_bytes()
        assert held.digest == stored.digest
        assert 4 <= cutter.cuts <= 12
        assert here.shelf.used_bytes() == 700_000
        assert not leftovers(tmp_path)
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_an_interrupted_download_goes_on_where_it_broke(tmp_path: Path) -> None:
    """The same the other way."""
    source = file_of(tmp_path / "source", 700_000)
    async with world(tmp_path / "shelf") as here, trio.open_nursery() as nursery:
        async with here.store() as store:
            stored = await store.put(NAME, source)
        cutter = Cutter(here.url, down_bytes=150_000)
        url = await nursery.start(cutter.run)
        async with here.store(url=url) as store:
            assert await store.get(NAME, tmp_path / "target", digest=stored.digest) == stored
        assert (tmp_path / "target").read_bytes() == source.read_bytes()
        assert 4 <= cutter.cuts <= 12
        assert not leftovers(tmp_path)
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_transfer_goes_on_in_another_process(tmp_path: Path) -> None:
    """What a first attempt left on either side is used by the next, even after a restart of the server."""
    source = file_of(tmp_path / "source", 500_000)
    data = source.read_bytes()
    digest = hashlib.sha256(data).digest()
    shelf = Shelf(tmp_path / "shelf", ShelfLimits(free_bytes_min=0))

    async def half() -> AsyncIterator[bytes]:
        yield data[:200_000]

    assert await shelf.append(NAME, digest, len(data), 0, half()) == (200_000, False)
    async with world(tmp_path / "shelf") as here, here.store() as store:
        assert here.shelf.used_bytes() == 200_000
        seen: list[int] = []
        await store.put(NAME, source, progress=lambda done, of: seen.append(done))
        assert seen[0] > 200_000
        assert here.shelf.used_bytes() == 500_000
        partial = blob.partial_path(tmp_path / "target", digest)
        partial.write_bytes(data[:300_000])
        seen.clear()
        await store.get(NAME, tmp_path / "target", digest=digest, progress=lambda done, of: seen.append(done))
        assert seen[0] > 299_999
        assert (tmp_path / "target").read_bytes() == data


@pytest.mark.trio
async def test_a_damaged_partial_download_is_not_delivered(tmp_path: Path) -> None:
    """The digest is compared over the whole file; the damaged part is forgotten, the next try succeeds."""
    source = file_of(tmp_path / "source", 10_000)
    async with world(tmp_path / "shelf") as here, here.store() as store:
        stored = await store.put(NAME, source)
        blob.partial_path(tmp_path / "target", stored.digest).write_bytes(bytes(5_000))
        with pytest.raises(Fault) as caught:
            await store.get(NAME, tmp_path / "target", digest=stored.digest)
        assert caught.value.reason is OBJECT_DIFFERS
        assert not (tmp_path / "target").exists()
        assert await store.get(NAME, tmp_path / "target", digest=stored.digest) == stored


@pytest.mark.trio
async def test_an_object_damaged_on_the_servers_disk_is_not_delivered(tmp_path: Path) -> None:
    """Also when the server still claims the right digest."""
    source = file_of(tmp_path / "source", 10_000)
    async with world(tmp_path / "shelf") as here, here.store() as store:
        stored = await store.put(NAME, source)
        with (tmp_path / "shelf" / NAME.text).open("r+b") as file:
            file.write(b"damage")
        for digest in (stored.digest, None, bytes(32)):
            with pytest.raises(Fault) as caught:
                await store.get(NAME, tmp_path / "target", digest=digest)
            assert caught.value.reason is OBJECT_DIFFERS
        assert not (tmp_path / "target").exists()


@pytest.mark.trio
async def test_a_stranger_gets_nothing_and_is_told_why(tmp_path: Path) -> None:
    """For every method, with the server's reason; nothing is stored."""
    source = file_of(tmp_path / "source", 10)
    async with world(tmp_path / "shelf") as here, here.store(STRANGER) as store:
        for attempt in (
            lambda: store.put(NAME, source),
            lambda: store.get(NAME, tmp_path / "target", digest=bytes(32)),
            lambda: store.size(NAME),
            lambda: store.delete(NAME),
        ):
            with pytest.raises(Fault) as caught:
                await attempt()
            assert caught.value.reason is ACCESS_DENIED
            assert caught.value.facts["account"] == key_address(STRANGER.public)
        assert not list((tmp_path / "shelf").iterdir())
        assert not (tmp_path / "target").exists()


@pytest.mark.trio
async def test_a_request_without_a_good_token_never_reaches_the_chain(tmp_path: Path) -> None:
    """No token, another scheme, garbage; and paths that lead elsewhere are no objects."""
    async with world(tmp_path / "shelf") as here, httpx.AsyncClient(trust_env=False) as client:
        for headers in ({}, {"authorization": "Basic x"}, {"authorization": "Bearer x"}):
            answer = await client.get(f"{here.url}/{NAME.text}", headers=headers)
            assert answer.status_code == 401
            assert answer.json()["code"] == 3420
            assert answer.json()["data"]["name"] == "token_malformed"
            assert answer.json()["data"]["hint"]
        for path in ("..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "", NAME.text + "/..", "a%00b"):
            answer = await client.get(f"{here.url}/{path}")
            assert answer.status_code == 404
            assert answer.json()["code"] == 3400
        assert (await client.post(f"{here.url}/{NAME.text}")).status_code == 405
        assert not here.asked


@pytest.mark.trio
async def test_an_object_never_changes_once_it_is_whole(tmp_path: Path) -> None:
    """A judge must find what the requester found."""
    async with world(tmp_path / "shelf") as here, here.store() as store:
        stored = await store.put(NAME, file_of(tmp_path / "one", 10))
        with pytest.raises(Fault) as caught:
            await store.put(NAME, file_of(tmp_path / "two", 10))
        assert caught.value.reason is OBJECT_FIXED
        held = here.shelf.find(NAME)
        assert held is not None
        assert held.digest == stored.digest


@pytest.mark.trio
@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (ShelfLimits(object_bytes_max=999, free_bytes_min=0), OBJECT_TOO_LARGE),
        (ShelfLimits(task_bytes_max=1_999, free_bytes_min=0), STORE_FULL),
        (ShelfLimits(quota_bytes=1_999, free_bytes_min=0), STORE_FULL),
        (ShelfLimits(task_objects_max=1, free_bytes_min=0), STORE_FULL),
        (ShelfLimits(free_bytes_min=2**60), STORE_FULL),
    ],
)
async def test_a_limit_is_told_before_the_upload(tmp_path: Path, limits: ShelfLimits, reason: object) -> None:
    """Two objects of 1,000 bytes: at the latest the second is refused, and only the first takes room."""
    async with world(tmp_path / "shelf", limits) as here, here.store() as store:

        async def put_two() -> None:
            for n in range(2):
                await store.put(NAME._replace(n=n), file_of(tmp_path / "source", 1_000))

        with pytest.raises(Fault) as caught:
            await put_two()
        assert caught.value.reason is reason
        assert here.shelf.used_bytes() in (0, 1_000)
        assert not leftovers(tmp_path)


def signed(method: str, name: ObjectName = NAME) -> dict[str, str]:
    """The authorisation of a request made by hand."""
    return AccessSigner(PARTY, GENESIS, lambda: NOW).headers(method, name)


def upload(
    data: bytes, digest: bytes | None = None, length: int | None = None, offset: int = 0
) -> dict[str, str]:
    """The headers of an upload made by hand, possibly lying."""
    return {
        **signed("PUT"),
        "upload-digest": (digest or hashlib.sha256(data).digest()).hex(),
        "upload-length": str(len(data) if length is None else length),
        "upload-offset": str(offset),
    }


@pytest.mark.trio
async def test_a_lying_upload_is_cut_off_and_forgotten(tmp_path: Path) -> None:
    """Longer than announced, with and without a length; of another digest; at another place; malformed."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(1_000)

    async with world(tmp_path / "shelf") as here, httpx.AsyncClient(trust_env=False) as client:
        at = f"{here.url}/{NAME.text}"
        answer = await client.put(at, headers=upload(bytes(10), length=9), content=bytes(10))
        assert (answer.status_code, answer.json()["code"]) == (413, 3443)
        answer = await client.put(at, headers=upload(bytes(10), length=9), content=pieces())
        assert (answer.status_code, answer.json()["code"]) == (413, 3443)
        answer = await client.put(at, headers=upload(b"text", digest=bytes(32)), content=b"text")
        assert (answer.status_code, answer.json()["code"]) == (422, 3431)
        answer = await client.put(at, headers=upload(b"text", offset=1), content=b"ext")
        assert (answer.status_code, answer.json()["code"]) == (409, UPLOAD_OUT_OF_PLACE.code)
        for name, value in (("upload-digest", "AB"), ("upload-length", "-1"), ("upload-offset", "01")):
            answer = await client.put(at, headers={**upload(b"text"), name: value}, content=b"text")
            assert (answer.status_code, answer.json()["code"]) == (400, 3451)
        assert here.shelf.used_bytes() <= 9
        assert here.shelf.find(NAME) is None
        await here.shelf.purge(NAME.task)
        assert here.shelf.used_bytes() == 0
        assert not list((tmp_path / "shelf").iterdir())


@pytest.mark.trio
async def test_ranges_are_served_one_at_a_time(tmp_path: Path) -> None:
    """Inside, open-ended, beyond the end, several, and backwards."""
    source = file_of(tmp_path / "source", 1_000)
    data = source.read_bytes()
    async with world(tmp_path / "shelf") as here, httpx.AsyncClient(trust_env=False) as client:
        async with here.store() as store:
            await store.put(NAME, source)
        for asked, status, expected in (
            ("bytes=10-19", 206, data[10:20]),
            ("bytes=990-", 206, data[990:]),
            ("bytes=990-5000", 206, data[990:]),
            ("bytes=1000-", 416, None),
            ("bytes=5-4", 416, None),
            ("bytes=0-1,3-4", 400, None),
            ("bytes=-5", 400, None),
        ):
            answer = await client.get(f"{here.url}/{NAME.text}", headers={**signed("GET"), "range": asked})
            assert answer.status_code == status
            assert expected is None or answer.content == expected


@pytest.mark.trio
async def test_the_newer_of_two_connections_continues_an_upload(tmp_path: Path) -> None:
    """The older one most likely died unnoticed; it is ended, and the count of bytes stays right."""
    data = os.urandom(3_000)
    digest = hashlib.sha256(data).digest()
    shelf = Shelf(tmp_path / "shelf", ShelfLimits(free_bytes_min=0))
    arrived = trio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield data[:1_000]
        arrived.set()
        await trio.sleep_forever()

    async def rest() -> AsyncIterator[bytes]:
        yield data[1_000:]

    async def first() -> None:
        with pytest.raises(Fault) as caught:
            await shelf.append(NAME, digest, 3_000, 0, stuck())
        assert caught.value.reason is UPLOAD_TAKEN_OVER

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            await arrived.wait()
            assert shelf.used_bytes() == 3_000  # promised
            assert await shelf.append(NAME, digest, 3_000, 1_000, rest()) == (3_000, True)
    assert shelf.used_bytes() == 3_000


@pytest.mark.trio
async def test_an_agent_serves_its_own_files_without_sending_them_to_itself(tmp_path: Path) -> None:
    """What it puts on its shelf is fetched by others like anything else; a second time changes nothing."""
    source = file_of(tmp_path / "source", 600_000)
    async with world(tmp_path / "shelf") as here, here.store() as store:
        stored = await here.shelf.take(NAME, source)
        assert await here.shelf.take(NAME, source) == stored
        assert await store.get(NAME, tmp_path / "target", digest=stored.digest) == stored
        with pytest.raises(Fault) as caught:
            await here.shelf.take(NAME, file_of(tmp_path / "other", 5))
        assert caught.value.reason is OBJECT_FIXED


@pytest.mark.trio
async def test_a_settled_task_leaves_nothing(tmp_path: Path) -> None:
    """Objects, uploads in progress and their count go; other tasks stay; a restart counts the same."""
    shelf = Shelf(tmp_path / "shelf", ShelfLimits(free_bytes_min=0))
    other = NAME._replace(task=b"\6" * 32)
    arrived = trio.Event()

    async def whole() -> AsyncIterator[bytes]:
        yield b"text"

    async def stuck() -> AsyncIterator[bytes]:
        yield b"te"
        arrived.set()
        await trio.sleep_forever()

    async def uploading() -> None:
        with pytest.raises(Fault):
            await shelf.append(NAME._replace(n=1), digest, 4, 0, stuck())

    digest = hashlib.sha256(b"text").digest()
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            for name in (NAME, other):
                await shelf.append(name, digest, 4, 0, whole())
            nursery.start_soon(uploading)
            await arrived.wait()
            await shelf.purge(NAME.task)
    assert [p.name for p in (tmp_path / "shelf").iterdir()] == [other.task.hex()]
    assert shelf.used_bytes() == 4 == Shelf(tmp_path / "shelf", ShelfLimits()).used_bytes()
    await shelf.purge(NAME.task)


@pytest.mark.trio
async def test_a_crash_between_object_and_digest_leaves_no_half_object(tmp_path: Path) -> None:
    """A file without its digest is not an object; the next start removes it."""
    (tmp_path / NAME.text).parent.mkdir(parents=True)
    (tmp_path / NAME.text).write_bytes(b"text")
    (tmp_path / ".purged-x" / "y").mkdir(parents=True)
    shelf = Shelf(tmp_path, ShelfLimits())
    assert shelf.used_bytes() == 0
    assert shelf.find(NAME) is None
    assert not (tmp_path / NAME.text).exists()
    assert not (tmp_path / ".purged-x").exists()


@pytest.mark.trio
async def test_a_place_that_is_down_is_a_fault_after_some_patience(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Nobody listens there."""
    with trio.socket.socket() as closed:
        await closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with BlobStore(url, AccessSigner(PARTY, GENESIS, lambda: NOW)) as store:
            for attempt in (
                lambda: store.put(NAME, file_of(tmp_path / "source", 10)),
                lambda: store.get(NAME, tmp_path / "target", digest=bytes(32)),
                lambda: store.size(NAME),
            ):
                with pytest.raises(Fault) as caught:
                    await attempt()
                assert caught.value.reason is PLACE_UNREACHABLE


@asynccontextmanager
async def liar(answer: Callable[[], bytes]) -> AsyncIterator[str]:
    """A server that answers every request with the same bytes."""

    async def reply(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            with suppress(trio.BrokenResourceError):
                await stream.send_all(answer())

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, reply, listeners)
        with trio.fail_after(LIMIT_S):
            yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@pytest.mark.trio
@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1000001\r\n\r\n" + bytes(99), OBJECT_TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", PLACE_REFUSES),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", PLACE_REFUSES),
        (b"HTTP/1.1 206 OK\r\ncontent-range: bytes 7-9/9\r\ncontent-length: 2\r\n\r\nxx", PLACE_REFUSES),
        (b'HTTP/1.1 404 No\r\ncontent-length: 15\r\n\r\n{"code": 99999}', PLACE_REFUSES),
        (b"HTTP/1.1 403 No\r\ncontent-length: 900000000\r\n\r\n" + bytes(5000), PLACE_REFUSES),
        (b'HTTP/1.1 200 OK\r\ncontent-length: 1\r\netag: "' + b"0" * 64 + b'"\r\n\r\nx', OBJECT_DIFFERS),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", OBJECT_DIFFERS),
    ],
)
async def test_a_lying_server_costs_nothing_but_a_fault(tmp_path: Path, head: bytes, reason: object) -> None:
    """Too much, too vague, elsewhere, out of place, unknown words, endless words, another object."""
    signer = AccessSigner(PARTY, GENESIS, lambda: NOW)
    async with liar(lambda: head) as url, BlobStore(url, signer) as store:
        with pytest.raises(Fault) as caught:
            await store.get(NAME, tmp_path / "target", digest=b"\1" * 32, bytes_max=1_000_000)
    assert caught.value.reason is reason
    assert not (tmp_path / "target").exists()


@pytest.mark.trio
async def test_a_missing_object_is_told_apart_from_a_missing_place(tmp_path: Path) -> None:
    """The requester waits for the first and looks elsewhere at the second."""
    async with world(tmp_path / "shelf") as here, here.store() as store:
        for digest in (bytes(32), None):
            with pytest.raises(Fault) as caught:
                await store.get(NAME, tmp_path / "target", digest=digest)
            assert caught.value.reason is OBJECT_MISSING
