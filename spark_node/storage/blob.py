"""The blob store's client: sealed objects over HTTP, resumed after every interruption.

Here: `BlobStore`, its patience, how it reads a refusal.
Not here: the server (blob_server.py), tokens (tokens.py), the interface (store.py).
Keeps: what a server says is a stranger's word: sizes are bounded as bytes arrive, digests are compared
here, redirects and proxies are not followed, and a refusal is shown with words of ours.
Errors: 3460 place_unreachable, 3461 place_refuses, and those the server names.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import httpx
import trio

from consensus.types.errors import Fault, Reason
from consensus.types.keys import SecretKey
from spark_node.storage.blob_answers import FAULT_HEADER, told_fault
from spark_node.storage.objects import ObjectName
from spark_node.storage.seal_requests import DISK_REFUSES
from spark_node.storage.shelf import UPLOAD_OUT_OF_PLACE
from spark_node.storage.store import (
    OBJECT_BYTES_MAX,
    OBJECT_DIFFERS,
    OBJECT_MISSING,
    OBJECT_TOO_LARGE,
    Progress,
    Stored,
    file_pieces,
    file_size,
    finish_file,
    measure_file,
    partial_path,
    write_all,
)
from spark_node.storage.tokens import sign_access

ATTEMPTS_MAX = 6
"""Failures in a row without a byte of progress until a place counts as unreachable: about 6 s."""
DELAY_S_FIRST = 0.2
SILENCE_S_MAX = 30.0
REFUSAL_BYTES_MAX = 4096

PLACE_UNREACHABLE = Reason(
    3460,
    "place_unreachable",
    "place:text why:text",
    "The store at {place} cannot be reached: {why}.",
    "Repeat later: what was transferred is kept. If it stays so, its owner must bring it back.",
)
PLACE_REFUSES = Reason(
    3461,
    "place_refuses",
    "place:text status:count",
    "The store at {place} refuses without a reason we know (HTTP status {status}).",
    "Compare the versions on both sides, and whether the address is a blob store's.",
)

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})", re.ASCII)
_ETAG = re.compile(r'"([0-9a-f]{64})"', re.ASCII)


@dataclass(frozen=True, slots=True)
class AccessSigner:
    """Who asks: an account's key, on which network, by which clock (seconds since 1970)."""

    key: SecretKey
    genesis: bytes
    now_s: Callable[[], int]

    def headers(self, method: str, name: ObjectName) -> dict[str, str]:
        """The authorisation of one request."""
        token = sign_access(self.key, self.genesis, method, name, self.now_s())
        return {"authorization": f"Bearer {token}"}


class _Unsteady(Exception):
    """The connection or the server failed in a way that may pass."""


class _Patience:
    """Waits longer after each failure, and starts anew when bytes have moved."""

    def __init__(self, place: str) -> None:
        self._place, self._failures, self._reached = place, 0, -1

    async def wait(self, reached: int, why: str) -> None:
        """Wait before the next attempt; raise `Fault` 3460 when there have been enough."""
        if reached > self._reached:
            self._reached, self._failures = reached, 0
        self._failures += 1
        if self._failures >= ATTEMPTS_MAX:
            raise Fault(PLACE_UNREACHABLE, place=self._place, why=why[:200])
        await trio.sleep(DELAY_S_FIRST * 2 ** (self._failures - 1))


class BlobStore:
    """Objects behind `url` (http or https, with the prefix under which the server is mounted)."""

    def __init__(self, url: str, signer: AccessSigner) -> None:
        self.url, self._signer = url.rstrip("/"), signer
        self._client = httpx.AsyncClient(
            trust_env=False, follow_redirects=False, timeout=httpx.Timeout(SILENCE_S_MAX, connect=10.0)
        )

    async def __aenter__(self) -> BlobStore:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.CancelScope(shield=True):
            await self._client.aclose()

    # ------------------------------------------------------------------------------------- uploads

    async def put(self, name: ObjectName, source: Path, *, progress: Progress | None = None) -> Stored:
        """Upload a file, from where the server has it; raise `Fault` 3460, 3461 or the server's."""
        stored = await trio.to_thread.run_sync(measure_file, source, abandon_on_cancel=True)
        patience, reached = _Patience(self.url), -1
        while True:
            try:
                reached, is_whole = await self._put_once(name, stored, b"", None)
                if not is_whole:
                    pieces = file_pieces(source, reached, stored.size, progress)
                    reached, is_whole = await self._put_once(name, stored, pieces, reached)
            except _Unsteady as unsteady:
                await patience.wait(reached, str(unsteady))
                continue
            if is_whole:
                return stored
            await patience.wait(reached, "the upload ended early")

    async def _put_once(
        self, name: ObjectName, stored: Stored, body: bytes | AsyncIterator[bytes], offset: int | None
    ) -> tuple[int, bool]:
        headers = {"upload-digest": stored.digest.hex(), "upload-length": str(stored.size)}
        if offset is not None:
            headers["upload-offset"] = str(offset)
            headers["content-length"] = str(stored.size - offset)
        request = self._request("PUT", name, headers, body)
        try:
            response = await self._client.send(request, stream=True)
            try:
                answer = await self._answer(response)
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            raise _Unsteady(_reason(error)) from None
        except Fault as fault:
            if fault.reason is UPLOAD_OUT_OF_PLACE:  # an earlier connection's last bytes came late
                raise _Unsteady("the upload went on elsewhere") from None
            raise
        reached, is_whole = answer.get("offset"), answer.get("whole")
        if not isinstance(reached, int) or not isinstance(is_whole, bool) or not 0 <= reached <= stored.size:
            raise Fault(PLACE_REFUSES, place=self.url, status=response.status_code)
        return reached, is_whole

    # ----------------------------------------------------------------------------------- downloads

    async def get(
        self,
        name: ObjectName,
        target: Path,
        *,
        digest: bytes | None,
        bytes_max: int = OBJECT_BYTES_MAX,
        progress: Progress | None = None,
    ) -> Stored:
        """Download to `target`, from where an earlier attempt ended; raise `Fault` 3430, 3431, 3433, 346x."""
        patience = _Patience(self.url)
        while True:
            try:
                if digest is None:
                    digest = await self._announced_digest(name)
                partial = partial_path(target, digest)
                await self._get_once(name, partial, digest, bytes_max, progress)
            except (_Unsteady, httpx.TransportError) as error:
                reached = file_size(partial_path(target, digest)) if digest is not None else -1
                await patience.wait(reached, _reason(error))
                continue
            return await trio.to_thread.run_sync(finish_file, partial, target, name, digest)

    async def _get_once(
        self, name: ObjectName, partial: Path, digest: bytes, bytes_max: int, progress: Progress | None
    ) -> None:
        have = file_size(partial)
        # One byte is asked again, so that a range is never empty, whatever is left.
        start = max(0, have - 1)
        headers = {"range": f"bytes={start}-"} if start else {}
        response = await self._client.send(self._request("GET", name, headers), stream=True)
        try:
            if response.status_code not in (200, 206):
                await self._answer(response)
                raise Fault(PLACE_REFUSES, place=self.url, status=response.status_code)
            first, size = self._span(response)
            if size > bytes_max:
                raise Fault(OBJECT_TOO_LARGE, name=name.text, size=size, limit=bytes_max)
            if first not in (0, start):
                raise Fault(PLACE_REFUSES, place=self.url, status=response.status_code)
            found = _etag(response)
            if found is not None and found != digest:
                raise Fault(OBJECT_DIFFERS, name=name.text, expected=digest, found=found)
            await _write_response(response, partial, first, size, progress)
        finally:
            with trio.CancelScope(shield=True):
                await response.aclose()

    def _span(self, response: httpx.Response) -> tuple[int, int]:
        """First byte and whole size, as the server claims them."""
        if response.status_code == 206:
            match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
            if match is not None:
                return int(match[1]), int(match[2])
        length = response.headers.get("content-length", "")
        if response.status_code != 200 or not length.isdigit():
            raise Fault(PLACE_REFUSES, place=self.url, status=response.status_code)
        return 0, int(length)

    async def size(self, name: ObjectName) -> int | None:
        """Bytes of a whole object, None if there is none; raise `Fault` 3460, 3461 or the server's."""
        response = await self._ask("HEAD", name)
        return None if response is None else self._span(response)[1]

    async def delete(self, name: ObjectName) -> None:
        """Remove an object; raise `Fault` 3460, 3461 or the server's."""
        await self._ask("DELETE", name)

    async def _announced_digest(self, name: ObjectName) -> bytes:
        response = await self._ask("HEAD", name)
        digest = _etag(response) if response is not None else None
        if digest is None:
            raise Fault(OBJECT_MISSING, name=name.text)
        return digest

    async def _ask(self, method: str, name: ObjectName) -> httpx.Response | None:
        """One short request, repeated while the place is unsteady; None if there is no such object."""
        patience = _Patience(self.url)
        while True:
            try:
                response = await self._client.send(self._request(method, name, {}), stream=True)
                try:
                    if response.status_code == 404:
                        return None
                    if response.status_code not in (200, 204):
                        await self._answer(response)
                        raise Fault(PLACE_REFUSES, place=self.url, status=response.status_code)
                    return response
                finally:
                    await response.aclose()
            except (_Unsteady, httpx.TransportError) as error:
                await patience.wait(-1, _reason(error))

    # ------------------------------------------------------------------------------------- answers

    def _request(
        self, method: str, name: ObjectName, headers: dict[str, str], body: bytes | AsyncIterator[bytes] = b""
    ) -> httpx.Request:
        # What arrives is written as it is: a compressed answer could grow without end.
        signed = {**headers, **self._signer.headers(method, name), "accept-encoding": "identity"}
        return self._client.build_request(method, f"{self.url}/{name.text}", headers=signed, content=body)

    async def _answer(self, response: httpx.Response) -> dict[str, object]:
        """The JSON of a good answer; raise the server's `Fault`, or `_Unsteady` for what may pass."""
        text = b""
        async for piece in response.aiter_raw():
            text += piece
            if len(text) > REFUSAL_BYTES_MAX:
                break
        try:
            answer = json.loads(text or response.headers.get(FAULT_HEADER, ""))
        except ValueError:
            answer = None
        if isinstance(answer, dict):
            if response.status_code < 300:
                return answer
            fault = told_fault(answer)
            if fault is not None:
                raise fault
        if response.status_code in (408, 429) or 500 <= response.status_code != 507:
            raise _Unsteady(f"HTTP status {response.status_code}")
        raise Fault(PLACE_REFUSES, place=self.url, status=response.status_code)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _etag(response: httpx.Response) -> bytes | None:
    match = _ETAG.fullmatch(response.headers.get("etag", ""))
    return bytes.fromhex(match[1]) if match is not None else None


async def _write_response(
    response: httpx.Response, partial: Path, first: int, size: int, progress: Progress | None
) -> None:
    """Write the body at `first`, no further than `size`, and no byte that has not arrived."""
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, first)
        os.lseek(descriptor, first, os.SEEK_SET)
        done = first
        # As it comes: collecting larger pieces would lose the last one when the connection breaks.
        async for piece in response.aiter_raw():
            done += len(piece)
            if done > size:
                raise _Unsteady("more bytes came than were announced")
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(write_all, descriptor, piece)
            if progress is not None:
                progress(done, size)
    except OSError as error:
        raise Fault(DISK_REFUSES, path=partial.name, why=os.strerror(error.errno or 0).lower()) from None
    finally:
        os.close(descriptor)
    if done < size:
        raise _Unsteady("the download ended early")
