"""Finding nodes on the same local network, by multicast DNS (RFC 6762).

Here: what a node says of itself in a packet, what it takes from one, the socket and its bounds.
Not here: keeping and dialling what was found (book.py, discovery.py): it is believed no more than what any
peer tells. The packets are written and read by zeroconf; its threads and its cache are not used.
Keeps: only addresses signed for this network's genesis leave this module; packets beyond a rate are
dropped unread; whatever stands in one costs at most itself; without a socket the node goes on without.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import ifaddr
import structlog
import trio
from zeroconf import DNSIncoming, DNSOutgoing, DNSPointer, DNSQuestion, DNSText
from zeroconf.const import _CLASS_IN, _FLAGS_AA, _FLAGS_QR_QUERY, _FLAGS_QR_RESPONSE, _TYPE_PTR, _TYPE_TXT

from consensus.types.codec import encode
from consensus.types.errors import Rejected
from p2p.guard import LIBRARY_ERRORS
from p2p.identity import is_local
from p2p.messages import ADDRESS_RECORD, ADDRESSES_MAX, AddressRecord
from p2p.peers import Bucket, Rate

log = structlog.get_logger("p2p")
logging.getLogger("zeroconf").setLevel(logging.CRITICAL)

GROUP, PORT = "224.0.0.251", 5353
PACKET_BYTES_MAX = 9000
"""Of RFC 6762; a longer one is cut and cannot be read."""
PACKETS = Rate(50, 100)
"""Read per second; a node of a quiet network needs one in twenty."""
RECORDS_MAX = 8
"""Nodes taken from one packet."""
PIECE_BYTES = 250
LIFE_S = 120
"""How long others may keep what a packet says."""
SAY_HUNGRY_S, SAY_S = 2.0, 20.0
"""Between two packets of ours, without a peer and with one."""
ANSWER_S_MIN = 1.0
RETRY_S = 30.0


def service_name(genesis: bytes) -> str:
    """The service that nodes of this network offer."""
    return f"_eub-{genesis[:4].hex()}._udp.local."


def packet(service: str, record: AddressRecord, asks: bool) -> bytes:
    """Where this node is; and, if it asks, a question for others."""
    name = f"{record.peer[-16:]}.{service}"
    body = encode(record)
    pieces = [b"r=" + body[i : i + PIECE_BYTES] for i in range(0, len(body), PIECE_BYTES)]
    text = b"".join(bytes((len(piece),)) + piece for piece in pieces)
    out = DNSOutgoing(_FLAGS_QR_QUERY if asks else _FLAGS_QR_RESPONSE | _FLAGS_AA)
    if asks:
        out.add_question(DNSQuestion(service, _TYPE_PTR, _CLASS_IN))
    out.add_answer_at_time(DNSPointer(service, _TYPE_PTR, _CLASS_IN, LIFE_S, name), 0)
    out.add_answer_at_time(DNSText(name, _TYPE_TXT, _CLASS_IN, LIFE_S, text), 0)
    (data,) = out.packets()
    return bytes(data)


class Heard(NamedTuple):
    """What a packet holds for this network."""

    asks: bool
    records: tuple[AddressRecord, ...]
    """As they were told: nothing is verified."""


def read_packet(data: bytes, service: str) -> Heard:
    """Read a packet of whoever sent it; what cannot be read holds nothing."""
    label = service.split(".", maxsplit=1)[0].encode()
    if label not in data.lower():
        return Heard(False, ())  # most packets of a local network are about printers
    try:
        incoming = DNSIncoming(data)
        asks = any(question.name.lower() == service for question in incoming.questions)
        texts = [
            answer.text
            for answer in incoming.answers()
            if isinstance(answer, DNSText) and answer.name.lower().endswith("." + service)
        ]
    except LIBRARY_ERRORS as error:
        # The parser catches what it expects; a stranger's packet may hold what it does not.
        log.debug("a packet of the local network cannot be read", why=repr(error))
        return Heard(False, ())
    found = (_record_in(text) for text in texts[:RECORDS_MAX])
    return Heard(asks, tuple(record for record in found if record is not None))


def _record_in(text: bytes) -> AddressRecord | None:
    body, at = b"", 0
    while at < len(text):
        piece = text[at + 1 : at + 1 + text[at]]
        if piece.startswith(b"r="):
            body += piece[2:]
        at += 1 + text[at]
    try:
        return ADDRESS_RECORD.decode(body)
    except Rejected:
        return None


class Neighbours(Protocol):
    """What finding neighbours needs of the network part."""

    genesis: bytes

    def record_at(self, places: Sequence[str]) -> AddressRecord | None:
        """This node's signed addresses, if it listens on all, at these IP addresses; None without any."""
        ...

    def found_nearby(self, records: Sequence[AddressRecord]) -> None:
        """Nodes that said where they are."""
        ...

    def upright(self) -> list[str]:
        """Peers that have greeted."""
        ...


class Lan:
    """Tells the local network of this node and hears of others; `run` it in a nursery."""

    def __init__(self, net: Neighbours, port: int = PORT) -> None:
        self._net, self._port = net, port
        self._service = service_name(net.genesis)
        self._joined: set[str] = set()
        self._asked = trio.Event()

    async def run(self) -> None:
        """Until cancelled; what the operating system refuses is said once and tried again."""
        has_said = False
        while True:
            try:
                with _socket(self._port) as group:
                    self._joined.clear()
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._hear, group)
                        nursery.start_soon(self._answer, group)
                        await self._tell(group)
            except* OSError as errors:
                if not has_said:
                    log.warning(
                        "nodes of the local network are not looked for", why=str(errors.exceptions[0])
                    )
                has_said = True
            await trio.sleep(RETRY_S)

    async def _tell(self, group: trio.socket.SocketType) -> None:
        while True:
            await self._say(group, asks=True)
            await trio.sleep(SAY_S if self._net.upright() else SAY_HUNGRY_S)

    async def _answer(self, group: trio.socket.SocketType) -> None:
        """Answer whoever asks, all of them together and not too often."""
        while True:
            await self._asked.wait()
            await trio.sleep(ANSWER_S_MIN)
            self._asked = trio.Event()
            await self._say(group, asks=False)

    async def _say(self, group: trio.socket.SocketType, *, asks: bool) -> None:
        """Send on every interface; interfaces come and go."""
        places = interfaces()
        outer = [place for place in places if not is_local(place)][:ADDRESSES_MAX]
        record = self._net.record_at(outer or places)
        if record is None:
            return
        only_here = all(text.split("/")[2].startswith("127.") for text in record.addresses)
        data = packet(self._service, record, asks)
        for place in places:
            if only_here and not is_local(place):
                continue
            try:
                self._join(group, place)
                group.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(place))
                await group.sendto(data, (GROUP, self._port))
            except OSError as error:  # an interface that is down or has no route: others may have
                log.debug("an interface takes no multicast", address=place, why=error.strerror)

    def _join(self, group: trio.socket.SocketType, place: str) -> None:
        if place not in self._joined:
            self._joined.add(place)
            both = socket.inet_aton(GROUP) + socket.inet_aton(place)
            group.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, both)

    async def _hear(self, group: trio.socket.SocketType) -> None:
        bucket = Bucket(PACKETS, trio.current_time())
        while True:
            data = await group.recv(PACKET_BYTES_MAX)
            if not bucket.spend(trio.current_time()):
                continue
            heard = read_packet(data, self._service)
            if heard.asks:
                self._asked.set()
            if heard.records:
                self._net.found_nearby(heard.records)


def interfaces() -> list[str]:
    """This machine's IPv4 addresses."""
    return sorted(
        {ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if isinstance(ip.ip, str)}
    )


def _socket(port: int) -> trio.socket.SocketType:
    """A socket of the group alone, shared with other programs; raises `OSError`."""
    group = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        group.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        group.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        group.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        group.bind((GROUP, port))
    except OSError:
        group.close()
        raise
    return trio.socket.from_stdlib_socket(group)
