"""JSON-RPC 2.0 over HTTP POST `/rpc` and WebSocket `/ws`, with `/health` beside them.

Here: transport, batches, limits, browser origins, errors in their JSON form.
Not here: the methods (methods/*.py), metrics (their own port: eubchain/node/metrics.py).
Keeps: a body is counted as it arrives and never kept beyond the limit; a bug met by one request
ends that request, never the node.
Errors: 2302–2307.
"""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from consensus.types.errors import Fault, Reason
from consensus.types.wording import word_fault
from eubchain.rpc.backend import Backend
from eubchain.rpc.method import INVALID_PARAMETERS, METHODS, UNKNOWN_METHOD, call, openrpc
from eubchain.rpc.subscriptions import Subscription

BODY_BYTES_MAX = 4 * 2**20
BODY_S_MAX = 30
"""Seconds that a request may take to arrive."""
BATCH_CALLS_MAX = 100
ANSWER_BYTES_MAX = 16 * 2**20
"""Of a batch's answers together; calls beyond it are refused, each by name."""
CALLS_IN_FLIGHT_MAX = 64
"""Requests that run at one time; the rest wait at the socket."""
WAITS_IN_FLIGHT_MAX = 256
"""Requests that wait for a block, apart: they take no work, and must not keep others out."""
WAITING = ("tx_wait", "tx_submitAndWait")
SUBSCRIPTIONS_PER_CONNECTION_MAX = 32
PARSE_ERROR, INVALID_REQUEST, NO_SUCH_METHOD, BAD_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603

log = structlog.get_logger("rpc")

BODY_TOO_LARGE = Reason(
    2302,
    "body_too_large",
    "limit:bytes",
    "The request is larger than {limit}.",
    "Send fewer transactions in one batch.",
)
NOT_JSON = Reason(
    2303,
    "not_json",
    "why:text",
    "The request is not JSON: {why}.",
    "Send one JSON-RPC 2.0 object, or an array of them.",
)
NOT_A_REQUEST = Reason(
    2304,
    "not_a_request",
    "why:text",
    "This is not a JSON-RPC 2.0 request: {why}.",
    'Send {{"jsonrpc": "2.0", "id": 1, "method": "chain_status"}}.',
)
ORIGIN_REFUSED = Reason(
    2305,
    "origin_refused",
    "origin:text",
    "Pages of {origin} may not use this node.",
    "Add the origin to rpc.origins in config.toml if the page is yours.",
)
BODY_TOO_SLOW = Reason(
    2306,
    "body_too_slow",
    "seconds:count",
    "The request did not arrive within {seconds} s.",
    "Send it again over a better line; nothing of it was done.",
)
ANSWER_TOO_LARGE = Reason(
    2307,
    "answer_too_large",
    "limit:bytes",
    "The answers of this batch are larger than {limit} together; this call was not made.",
    "Ask in several requests.",
)
STANDARD = {
    UNKNOWN_METHOD.code: NO_SUCH_METHOD,
    INVALID_PARAMETERS.code: BAD_PARAMS,
    NOT_JSON.code: PARSE_ERROR,
    NOT_A_REQUEST.code: INVALID_REQUEST,
    BODY_TOO_LARGE.code: INVALID_REQUEST,
    BODY_TOO_SLOW.code: INVALID_REQUEST,
}
"""Reasons for which JSON-RPC 2.0 has a code of its own; every other error carries its reason's."""


def error_object(fault: Fault, prefix: str) -> dict[str, Any]:
    """The `error` member of an answer."""
    words = word_fault(fault, prefix)
    return {
        "code": STANDARD.get(words.code, words.code),
        "message": words.sentence,
        "data": {"code": words.code, "name": words.name, "facts": words.facts, "hint": words.hint},
    }


async def answer_one(backend: Backend, request: Any) -> dict[str, Any] | None:
    """Answer one call; None for a notification."""
    identity = request.get("id") if isinstance(request, dict) else None
    try:
        if not isinstance(request, dict):
            raise Fault(NOT_A_REQUEST, why="it is not an object")
        if request.get("jsonrpc") != "2.0" or not isinstance(request.get("method"), str):
            raise Fault(NOT_A_REQUEST, why="it lacks jsonrpc 2.0 or a method")
        if isinstance(identity, dict | list | bool):
            raise Fault(NOT_A_REQUEST, why="its id is neither text nor a number")
        name, params = request["method"], request.get("params")
        if params is not None and not isinstance(params, dict | list):
            raise Fault(NOT_A_REQUEST, why="its params are neither an object nor an array")
        result = discover(backend) if name == "rpc.discover" else await call(backend, name, params)
    except Fault as fault:
        return {"jsonrpc": "2.0", "id": identity, "error": error_object(fault, backend.prefix)}
    except Exception:  # a client that finds a bug of ours must not stop a validator
        log.exception("a request met a bug; the request fails, the node goes on")
        failure = {"code": INTERNAL, "message": "The node met a bug; its log has the details."}
        return {"jsonrpc": "2.0", "id": identity, "error": failure}
    if "id" not in request:
        return None
    return {"jsonrpc": "2.0", "id": identity, "result": result}


def discover(backend: Backend) -> dict[str, Any]:
    """The OpenRPC document of what this server answers."""
    return openrpc("EUB Chain", backend.version, METHODS.values())


def parse(body: bytes) -> Any:
    """Decode JSON; raise `Fault(NOT_JSON)`."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Fault(NOT_JSON, why=str(error)) from None
    except RecursionError:
        raise Fault(NOT_JSON, why="it nests too deeply") from None


async def answer(backend: Backend, body: bytes) -> bytes | None:
    """Answer a request or a batch; None when it held only notifications."""
    try:
        request = parse(body)
    except Fault as fault:
        return _refused(fault, backend.prefix)
    return await answer_parsed(backend, request)


async def answer_parsed(backend: Backend, request: Any) -> bytes | None:
    """Answer a request or a batch that `parse` has read."""
    if isinstance(request, list):
        return await _answer_batch(backend, request)
    single = await answer_one(backend, request)
    return None if single is None else msgspec.json.encode(single)


async def _answer_batch(backend: Backend, requests: list[Any]) -> bytes | None:
    if not requests or len(requests) > BATCH_CALLS_MAX:
        why = f"a batch has 1 to {BATCH_CALLS_MAX} calls"
        return _refused(Fault(NOT_A_REQUEST, why=why), backend.prefix)
    answers: list[bytes] = []
    size = 0
    for one in requests:
        if size > ANSWER_BYTES_MAX:
            identity = one.get("id") if isinstance(one, dict) else None
            told: dict[str, Any] | None = _failure(
                Fault(ANSWER_TOO_LARGE, limit=ANSWER_BYTES_MAX), backend.prefix, identity
            )
        else:
            told = await answer_one(backend, one)
        if told is not None:
            # Kept as bytes: the objects of a hundred full blocks would not fit into memory.
            answers.append(msgspec.json.encode(told))
            size += len(answers[-1])
        await trio.lowlevel.checkpoint()
    return b"[" + b",".join(answers) + b"]" if answers else None


def _failure(fault: Fault, prefix: str, identity: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identity, "error": error_object(fault, prefix)}


def _refused(fault: Fault, prefix: str) -> bytes:
    return msgspec.json.encode(_failure(fault, prefix))


def is_waiting(request: Any) -> bool:
    """Whether a request, or a call of a batch, waits for a block."""
    calls = request if isinstance(request, list) else [request]
    return any(isinstance(one, dict) and one.get("method") in WAITING for one in calls)


class OriginGate:
    """Refuses browser pages of other origins, and names of other hosts (DNS rebinding)."""

    def __init__(self, inner: ASGIApp, origins: tuple[str, ...], hosts: tuple[str, ...], prefix: str) -> None:
        self._inner, self._origins, self._hosts, self._prefix = inner, origins, hosts, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
            offender = self._offender(headers)
            if offender is not None:
                await self._refuse(scope, receive, send, offender)
                return
        await self._inner(scope, receive, send)

    def _offender(self, headers: dict[str, str]) -> str | None:
        origin = headers.get("origin")
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if "*" not in self._hosts and host not in self._hosts:
            return f"the host name {host[:80]}"
        if origin is None or "*" in self._origins or origin in self._origins:
            return None
        # The node's own pages are of the origin they were served from.
        same = urlsplit(origin).netloc == headers.get("host")
        return None if same else origin[:80]

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, origin: str) -> None:
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).close(code=1008)
            return
        failure = error_object(Fault(ORIGIN_REFUSED, origin=origin), self._prefix)
        body = {"jsonrpc": "2.0", "id": None, "error": failure}
        await JSONResponse(body, status_code=403)(scope, receive, send)


class Server:
    """The ASGI application over a backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._calls = trio.CapacityLimiter(CALLS_IN_FLIGHT_MAX)
        self._waits = trio.CapacityLimiter(WAITS_IN_FLIGHT_MAX)

    async def _answer(self, body: bytes) -> bytes | None:
        try:
            request = parse(body)
        except Fault as fault:
            return _refused(fault, self._backend.prefix)
        async with self._waits if is_waiting(request) else self._calls:
            return await answer_parsed(self._backend, request)

    async def rpc(self, request: Request) -> Response:
        """POST /rpc."""
        body = bytearray()
        with trio.move_on_after(BODY_S_MAX) as patience:
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    return self._refusal(Fault(BODY_TOO_LARGE, limit=BODY_BYTES_MAX), 413)
        if patience.cancelled_caught:
            return self._refusal(Fault(BODY_TOO_SLOW, seconds=BODY_S_MAX), 408)
        answered = await self._answer(bytes(body))
        if answered is None:
            return Response(status_code=204)
        return Response(answered, media_type="application/json")

    def _refusal(self, fault: Fault, status: int) -> Response:
        failure = error_object(fault, self._backend.prefix)
        # The connection is not kept: the rest of the body may still be on its way.
        body = {"jsonrpc": "2.0", "id": None, "error": failure}
        return JSONResponse(body, status_code=status, headers={"connection": "close"})

    async def health(self, request: Request) -> Response:
        """GET /health: live as soon as it answers; ready when it follows the chain."""
        health = self._backend.health()
        return JSONResponse(health, status_code=200 if health["ready"] else 503)

    async def websocket(self, socket: WebSocket) -> None:
        """WebSocket /ws: the same methods, and eub_subscribe and eub_unsubscribe."""
        await socket.accept()
        subscriptions: dict[int, Subscription] = {}
        try:
            async with trio.open_nursery() as nursery:
                with contextlib.suppress(WebSocketDisconnect):
                    while True:
                        message = await socket.receive()
                        if message["type"] == "websocket.disconnect":
                            break
                        text = message.get("text")
                        body = text.encode() if text is not None else message.get("bytes") or b""
                        await self._serve(socket, nursery, subscriptions, body)
                nursery.cancel_scope.cancel()
        finally:
            for subscription in subscriptions.values():
                self._backend.hub.unsubscribe(subscription)

    async def _serve(
        self, socket: WebSocket, nursery: trio.Nursery, subscriptions: dict[int, Subscription], body: bytes
    ) -> None:
        try:
            request = parse(body)
        except Fault:
            request = None
        verb = request.get("method") if isinstance(request, dict) else None
        if verb not in ("eub_subscribe", "eub_unsubscribe"):
            answered = await self._answer(body)
            if answered is not None:
                await socket.send_text(answered.decode())
            return
        identity = request.get("id")
        try:
            result = self._subscribe(nursery, socket, subscriptions, verb, request.get("params") or [])
            reply: dict[str, Any] = {"jsonrpc": "2.0", "id": identity, "result": result}
        except Fault as fault:
            reply = {"jsonrpc": "2.0", "id": identity, "error": error_object(fault, self._backend.prefix)}
        await socket.send_text(msgspec.json.encode(reply).decode())

    def _subscribe(
        self,
        nursery: trio.Nursery,
        socket: WebSocket,
        subscriptions: dict[int, Subscription],
        verb: str,
        params: Any,
    ) -> int | bool:
        if not isinstance(params, list) or not params:
            raise Fault(INVALID_PARAMETERS, method=verb, why="give [topic] or [topic, 0x-hex id]")
        if verb == "eub_unsubscribe":
            subscription = subscriptions.pop(params[0], None) if isinstance(params[0], int) else None
            if subscription is not None:
                self._backend.hub.unsubscribe(subscription)
            return subscription is not None
        if len(subscriptions) >= SUBSCRIPTIONS_PER_CONNECTION_MAX:
            limit = SUBSCRIPTIONS_PER_CONNECTION_MAX
            raise Fault(
                INVALID_PARAMETERS, method=verb, why=f"a connection has at most {limit} subscriptions"
            )
        try:
            key = bytes.fromhex(str(params[1]).removeprefix("0x")) if len(params) > 1 else None
        except ValueError:
            raise Fault(INVALID_PARAMETERS, method=verb, why="the id is not 0x-hex") from None
        subscription = self._backend.hub.subscribe(str(params[0]), key)
        subscriptions[subscription.number] = subscription
        nursery.start_soon(forward, socket, subscription)
        return subscription.number


async def forward(socket: WebSocket, subscription: Subscription) -> None:
    """Send one subscription's messages until it or the connection ends."""
    async for made, dropped in subscription.receive:
        message = made() if callable(made) else made
        params = {"subscription": subscription.number, "topic": subscription.topic, "result": message}
        if dropped:
            params["dropped"] = dropped
        notification = {"jsonrpc": "2.0", "method": "eub_subscription", "params": params}
        try:
            await socket.send_text(msgspec.json.encode(notification).decode())
        except (WebSocketDisconnect, RuntimeError):  # the connection is closing; its reader ends it
            return


def rpc_application(backend: Backend, origins: tuple[str, ...], hosts: tuple[str, ...]) -> ASGIApp:
    """The ASGI application to serve. `hosts`: names that clients may use for this node."""
    server = Server(backend)
    routes = [
        Route("/rpc", server.rpc, methods=["POST"]),
        Route("/health", server.health, methods=["GET"]),
        WebSocketRoute("/ws", server.websocket),
    ]
    return OriginGate(Starlette(routes=routes), origins, hosts, backend.prefix)
