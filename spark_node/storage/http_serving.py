"""Serving HTTP within bounds: an ASGI application on a socket that takes so many connections and no more.

Here: `serve_http`, used by the node for JSON-RPC, metrics and blobs, and by the agent for its own store.
Not here: the applications. hypercorn speaks the protocol; it has no bound on connections, and a client
that opens them without end would take the file descriptors that the ledger needs.
Keeps: at most `connections_max` are open, the rest wait in the kernel's queue; a connection that is
silent is closed; nothing outlives the call.
Errors: 3457 cannot_listen.
"""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app

from consensus.types.errors import Fault, Reason

CONNECTIONS_MAX = 512
BACKLOG = 128
SILENCE_S = 20.0
"""A connection without a whole request head is closed after this. Bodies are for the applications."""
STOP_GRACE_S = 5.0
"""What a stop leaves the calls that are under way."""
SOCKET_MESSAGE_BYTES_MAX = 4 * 2**20
CANNOT_LISTEN = Reason(
    3457,
    "cannot_listen",
    "address:text why:text",
    "Nothing can be served at {address}: {why}.",
    "Stop the program that has the port, or give another one where the configuration says {address}.",
)


class _Connection(TCPServer):
    """hypercorn's connection, ended when its client leaves: it would wait for its idle timer else."""

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


class BoundedListener(trio.abc.Listener[trio.SocketStream]):
    """A listener that accepts only while a place is free; whoever serves gives the place back."""

    def __init__(self, listener: trio.SocketListener, places: trio.Semaphore) -> None:
        self._listener = listener
        self._places = places

    async def accept(self) -> trio.SocketStream:
        """The next connection, once there is a place for it."""
        await self._places.acquire()
        try:
            return await self._listener.accept()
        except BaseException:
            self._places.release()
            raise

    async def aclose(self) -> None:
        """Stop listening."""
        await self._listener.aclose()


def _bind(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setblocking(False)
        bound.bind((host, int(port)))
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        why = (error.strerror or type(error).__name__).lower()
        raise Fault(CANNOT_LISTEN, address=listen, why=why) from error
    return bound


def _configured() -> Config:
    config = Config()
    config.accesslog = config.errorlog = None
    config.include_server_header = False
    config.keep_alive_timeout = SILENCE_S
    config.keep_alive_max_requests = 1_000_000
    config.websocket_max_message_size = SOCKET_MESSAGE_BYTES_MAX
    config.websocket_ping_interval = SILENCE_S
    return config


async def serve_http(
    application: Any,
    listen: str,
    stopping: trio.Event,
    *,
    connections_max: int = CONNECTIONS_MAX,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stopping`; tells its URL once it listens. Raises `Fault` 3457 when it cannot bind."""
    bound = _bind(listen)
    host, port = bound.getsockname()[:2]
    places = trio.Semaphore(connections_max)
    listener = BoundedListener(trio.SocketListener(trio.socket.from_stdlib_socket(bound)), places)
    config = _configured()
    app, context = wrap_app(application, config.wsgi_max_body_size, "asgi"), WorkerContext(None)
    lifespan = Lifespan(app, config, {})
    async with trio.open_nursery() as nursery:
        await nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as connections:

            async def serve(stream: trio.SocketStream) -> None:
                try:
                    await _Connection(app, config, context, ConnectionState({}), stream)
                finally:
                    places.release()

            async with trio.open_nursery() as accepting:
                accept = partial(trio.serve_listeners, serve, [listener], handler_nursery=connections)
                accepting.start_soon(accept)
                task_status.started(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
                await stopping.wait()
                accepting.cancel_scope.cancel()
            # Idle connections close at once, busy ones when their answer is out.
            await context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + STOP_GRACE_S
        await lifespan.wait_for_shutdown()
        nursery.cancel_scope.cancel()
