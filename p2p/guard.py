"""Where libp2p is held by its insides: the few internals that make it safe, all in this file.

Here: a guard around every stream handler, inbound slots that come free, closing a connection socket first,
what a connection holds in memory, closing listeners. Written against libp2p 0.8.1; `check_internals` fails
when they are gone.
Not here: when any of it is done (service.py).
Keeps: nothing that a peer sends ends more than its own connection; closing never waits for the peer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
import trio
from libp2p.host.basic_host import BasicHost
from libp2p.identity.identify_push.identify_push import ID_PUSH as IDENTIFY_PUSH
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.swarm import Swarm
from libp2p.peer.peerstore import PeerStoreError
from libp2p.stream_muxer.yamux.yamux import Yamux

log = structlog.get_logger("p2p")

LIBRARY_ERRORS = (Exception,)
"""What a peer's bytes can make the library raise: there is no narrower set (decoding, multiplexing,
negotiation and the socket each have their own, and some raise whatever Python does)."""
ABORT_S_MAX = 2.0
"""What closing may take once the socket is closed; then the connection is struck off the list."""


def check_internals() -> None:
    """Assert that the library still has the internals used here."""
    assert hasattr(BasicHost, "_swarm_stream_handler"), "the handler that the guard wraps"
    assert hasattr(Yamux, "close"), "the multiplexer"
    assert hasattr(AutoConnector, "maybe_connect"), "the dialler that is kept still"
    assert hasattr(BasicHost, "_schedule_identify"), "the question that is never asked"
    assert "event_closed" in Yamux.__init__.__code__.co_names, "what says that a connection is over"
    assert hasattr(Swarm, "upgrade_inbound_raw_conn"), "what an inbound connection's handler waits for"


def guard_streams(host: Any, report: Callable[[Any, Exception], None]) -> None:
    """Wrap the handler of all inbound streams: negotiation, identify, ping and our own.

    Without it an exception in any of them ends the host and the nursery around it.
    """
    inner = host._swarm_stream_handler

    async def guarded(stream: Any) -> None:
        try:
            await inner(stream)
        except LIBRARY_ERRORS as error:
            # Whatever a peer's bytes can raise in the library: its own stream is the only casualty.
            report(stream, error)
            await reset(stream)

    host.get_network().set_stream_handler(guarded)


def keep_from_dialling(host: Any) -> None:
    """Still the library's own dialler: whom to dial is decided here, with the back-off and bans here.

    No watermark does it: below the middle of low and high it dials whatever its peer store knows.
    """

    async def nobody() -> None:
        return None

    host.get_network().auto_connector.maybe_connect = nobody


def guard_inbound(host: Any, admits: Callable[[str], bool]) -> None:
    """Ask before an inbound connection's handshake, and let its handler, with its slot, end when it ends.

    The library's own waits until the host ends: after as many inbound connections as it has slots, however
    short and long ago, it would accept none. `admits` is given the IP address.
    """
    network = host.get_network()
    upgrade = network.upgrade_inbound_raw_conn

    async def until_it_ends(raw: Any, address: Any) -> None:
        remote = raw.get_remote_address()
        if remote is not None and not admits(remote[0]):
            raise ConnectionError("it may not come in now")
        muxed = await upgrade(raw, address)
        await muxed.event_closed.wait()
        raise ConnectionError("the connection is over")  # what the handler takes for its end

    network.upgrade_inbound_raw_conn = until_it_ends


def keep_from_asking(host: Any) -> None:
    """Ask no peer what it is, and take no such news unasked; answering the question remains.

    The library asks whoever connects, in a task of the whole process, and keeps a megabyte of names and
    addresses of each peer id for ever: strangers have as many of those as they like.
    """

    def ask_nobody(peer: Any, *, reason: str) -> None:
        return None

    host._schedule_identify = ask_nobody
    host.multiselect.handlers.pop(IDENTIFY_PUSH, None)


async def reset(stream: Any) -> None:
    """Reset a stream, whatever state it is in; shielded, since half a write would wedge the connection."""
    with trio.CancelScope(shield=True):
        try:
            await stream.reset()
        except LIBRARY_ERRORS as error:
            log.debug("a stream is past resetting", why=repr(error))


def close_socket(connection: Any) -> None:
    """Close the TCP socket below a connection: every read and write on it ends at once."""
    try:
        inner = connection.muxed_conn.secured_conn.conn.read_writer.read_write_closer.stream.stream
    except AttributeError:
        return  # a connection that never finished its upgrade
    inner.socket.close()


async def close(connection: Any) -> None:
    """Finish closing a connection whose socket is closed, and strike it off the library's list."""
    with trio.CancelScope(shield=True):
        with trio.move_on_after(ABORT_S_MAX):
            try:
                await connection.close()
            except LIBRARY_ERRORS as error:
                log.debug("a connection closed badly", why=repr(error))
        swarm, peer = connection.swarm, connection.muxed_conn.peer_id
        if connection in swarm.get_connections(peer):
            swarm.remove_conn(connection)
        if not swarm.get_connections(peer):
            with suppress(PeerStoreError):  # of every stranger its key would stay for ever
                swarm.peerstore.clear_peerdata(peer)
        connection.muxed_conn.event_closed.set()  # also when closing took too long to come so far


def stream_count(connection: Any) -> int:
    """Open streams of a connection, both directions."""
    return len(connection.muxed_conn.streams)


def unread_bytes(connection: Any) -> int:
    """Bytes received and not read, in all streams."""
    return sum(len(buffer) for buffer in connection.muxed_conn.stream_buffers.values())


async def close_listeners(host: Any) -> None:
    """Close the listening sockets; otherwise a rebuilt host would share the port with a dead one."""
    network = host.get_network()
    with trio.CancelScope(shield=True), trio.move_on_after(ABORT_S_MAX):
        for listener in list(network.listeners.values()):
            await listener.close()
