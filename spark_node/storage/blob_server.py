"""The blob store's server: sealed objects over HTTP for whoever the chain says is a party.

Here: `blob_application`, an ASGI application to mount in a node or an agent, and its answers.
Not here: the objects on disk and their limits (shelf.py), the client (blob.py), who is a party (the
injected question to the chain), TLS and binding (whoever serves it).

    PUT  NAME  Upload-Digest, Upload-Length                 where does this upload go on?
    PUT  NAME  Upload-Digest, Upload-Length, Upload-Offset  append the body from there
    GET  NAME  Range (one range)                            200 or 206, ETag is the SHA-256
    HEAD NAME, DELETE NAME

A PUT answers {"offset": bytes, "whole": bool}; a refusal {"code", "message", "data": {"name", "facts",
"hint"}}, which HEAD, having no body, carries in the header EUB-Fault.
Keeps: no byte of a body is stored before token and limits are checked; a body is counted as it comes.
Errors: those of blob_answers.py, shelf.py, store.py, tokens.py, objects.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import trio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from consensus.types.errors import Fault
from spark_node.storage.blob_answers import (
    ACCESS_DENIED,
    FAULT_HEADER,
    RANGE_NOT_THERE,
    REQUEST_MALFORMED,
    UPLOAD_STALLED,
    fault_object,
)
from spark_node.storage.objects import OBJECT_NAME_MALFORMED, ObjectName, parse_object_name
from spark_node.storage.seal_requests import DISK_REFUSES
from spark_node.storage.shelf import (
    STORE_FULL,
    UPLOAD_OUT_OF_PLACE,
    UPLOAD_TAKEN_OVER,
    UPLOAD_TOO_LONG,
    Admission,
    Held,
    Shelf,
)
from spark_node.storage.store import (
    OBJECT_DIFFERS,
    OBJECT_FIXED,
    OBJECT_MISSING,
    OBJECT_TOO_LARGE,
    PIECE_BYTES,
)
from spark_node.storage.tokens import (
    METHODS,
    TOKEN_EXPIRED,
    TOKEN_FOR_SOMETHING_ELSE,
    TOKEN_FORGED,
    TOKEN_MALFORMED,
    TOKEN_TOO_FAR_AHEAD,
    verify_access,
)

SILENCE_S_MAX = 60.0
"""How long an upload may send nothing before its connection is given up; it can be continued."""

MayAccess = Callable[[bytes, bytes, int, str, str], Awaitable[bool]]
"""(address, task, seat, kind, method): whether the chain makes this account a party that may do this."""

_STATUS = {
    OBJECT_NAME_MALFORMED: 404,
    OBJECT_MISSING: 404,
    OBJECT_DIFFERS: 422,
    OBJECT_FIXED: 409,
    OBJECT_TOO_LARGE: 413,
    STORE_FULL: 507,
    DISK_REFUSES: 507,
    UPLOAD_OUT_OF_PLACE: 409,
    UPLOAD_TAKEN_OVER: 409,
    UPLOAD_TOO_LONG: 413,
    UPLOAD_STALLED: 408,
    ACCESS_DENIED: 403,
    REQUEST_MALFORMED: 400,
    RANGE_NOT_THERE: 416,
    TOKEN_MALFORMED: 401,
    TOKEN_FORGED: 401,
    TOKEN_EXPIRED: 401,
    TOKEN_TOO_FAR_AHEAD: 401,
    TOKEN_FOR_SOMETHING_ELSE: 401,
}
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_RANGE = re.compile(r"bytes=(0|[1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17})?", re.ASCII)


def blob_application(
    shelf: Shelf, may_access: MayAccess, *, genesis: bytes, now_s: Callable[[], int]
) -> Starlette:
    """Build the application. `now_s` is the wall clock in seconds since 1970; mount it where you like."""

    async def answer(request: Request) -> Response:
        try:
            name = parse_object_name(request.path_params["name"])
            await _authorise(request, name)
            return await _ANSWERS[request.method](shelf, request, name)
        except Fault as fault:
            return _refusal(fault, request.method == "HEAD")

    async def _authorise(request: Request, name: ObjectName) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer":
            raise Fault(TOKEN_MALFORMED, why="there is none")
        account = verify_access(token, genesis, request.method, name, now_s())
        if not await may_access(account, name.task, name.seat, name.kind, request.method):
            raise Fault(ACCESS_DENIED, account=account, method=request.method, name=name.text)

    return Starlette(routes=[Route("/{name:path}", answer, methods=list(METHODS))])


def _refusal(fault: Fault, is_head: bool) -> Response:
    told = fault_object(fault)
    # The connection is not kept: the rest of a refused body may still be on its way.
    headers = {"connection": "close"}
    if is_head:
        headers[FAULT_HEADER] = json.dumps(told)
    return JSONResponse(told, status_code=_STATUS[fault.reason], headers=headers)


# ------------------------------------------------------------------------------------------ uploads


async def _put(shelf: Shelf, request: Request, name: ObjectName) -> Response:
    digest = bytes.fromhex(_header(request, "upload-digest", _DIGEST))
    length = int(_header(request, "upload-length", _NUMBER))
    if "upload-offset" not in request.headers:
        return _admission(shelf.admit(name, digest, length))
    offset = int(_header(request, "upload-offset", _NUMBER))
    if "content-length" in request.headers:
        announced = int(_header(request, "content-length", _NUMBER))
        if announced > length - offset:
            raise Fault(UPLOAD_TOO_LONG, limit=length)
    try:
        return _admission(await shelf.append(name, digest, length, offset, _body(request)))
    except trio.TooSlowError:
        raise Fault(UPLOAD_STALLED, have=shelf.admit(name, digest, length).offset) from None


def _admission(admission: Admission) -> Response:
    status = 201 if admission.is_whole else 200
    return JSONResponse({"offset": admission.offset, "whole": admission.is_whole}, status_code=status)


async def _body(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes; a broken connection ends it early, a silent one raises TooSlowError."""
    stream = request.stream()
    while True:
        with trio.fail_after(SILENCE_S_MAX):
            try:
                piece = await anext(stream, None)
            except ClientDisconnect:
                return
        if piece is None:
            return
        if piece:
            yield piece


def _header(request: Request, name: str, form: re.Pattern[str]) -> str:
    text = request.headers.get(name, "")
    if form.fullmatch(text) is None:
        raise Fault(REQUEST_MALFORMED, what=f"header {name.title()}")
    return text


# ---------------------------------------------------------------------------------------- downloads


async def _get(shelf: Shelf, request: Request, name: ObjectName) -> Response:
    held = _held(shelf, name)
    wanted = request.headers.get("range")
    if wanted is None:
        return StreamingResponse(_pieces(held, 0, held.size), headers=_headers(held, held.size))
    match = _RANGE.fullmatch(wanted)
    if match is None:
        raise Fault(REQUEST_MALFORMED, what="header Range")
    start, end = int(match[1]), min(int(match[2] or held.size), held.size - 1)
    if start > end:
        raise Fault(RANGE_NOT_THERE, size=held.size)
    headers = _headers(held, end + 1 - start)
    headers["content-range"] = f"bytes {start}-{end}/{held.size}"
    return StreamingResponse(_pieces(held, start, end + 1), status_code=206, headers=headers)


async def _head(shelf: Shelf, request: Request, name: ObjectName) -> Response:
    held = _held(shelf, name)
    return Response(headers=_headers(held, held.size))


async def _delete(shelf: Shelf, request: Request, name: ObjectName) -> Response:
    await shelf.remove(name)
    return Response(status_code=204)


def _held(shelf: Shelf, name: ObjectName) -> Held:
    held = shelf.find(name)
    if held is None:
        raise Fault(OBJECT_MISSING, name=name.text)
    return held


def _headers(held: Held, length: int) -> dict[str, str]:
    return {
        "content-length": str(length),
        "content-type": "application/octet-stream",
        "accept-ranges": "bytes",
        "etag": f'"{held.digest.hex()}"',
        "cache-control": "no-store",
    }


async def _pieces(held: Held, start: int, end: int) -> AsyncIterator[bytes]:
    async with await trio.open_file(held.path, "rb") as file:
        await file.seek(start)
        while start < end:
            piece = await file.read(min(PIECE_BYTES, end - start))
            if not piece:  # purged while it is read: the connection breaks off, short of its length
                return
            start += len(piece)
            yield piece


_ANSWERS = {"PUT": _put, "GET": _get, "HEAD": _head, "DELETE": _delete}
