"""What stands in packets of the local network: ours, others', and garbage."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.identity import NodeKey
from p2p.lan import RECORDS_MAX, packet, read_packet, service_name
from p2p.messages import AddressRecord

GENESIS = bytes(range(32))
SERVICE = service_name(GENESIS)
KEY = NodeKey(bytes(32))
PLACES = tuple(f"/ip4/198.51.100.{n}/tcp/26656/p2p/{KEY.peer_id}" for n in range(8))
RECORD = KEY.address_record(GENESIS, PLACES, 1_700_000_000)


@pytest.mark.parametrize("asks", [False, True])
def test_a_packet_holds_what_was_put_into_it(asks: bool):
    assert read_packet(packet(SERVICE, RECORD, asks), SERVICE) == (asks, (RECORD,))


def test_a_packet_of_another_network_or_service_holds_nothing():
    assert read_packet(packet(service_name(bytes(32)), RECORD, True), SERVICE) == (False, ())
    assert read_packet(packet("_ipp._tcp.local.", RECORD, True), SERVICE) == (False, ())


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_packet_costs_nothing_but_itself(data: st.DataObject):
    """Bytes changed, cut, repeated: never an exception, and no record but such as decode."""
    raw = bytearray(packet(SERVICE, RECORD, data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))] * data.draw(st.integers(1, 3))
    assert all(isinstance(record, AddressRecord) for record in read_packet(bytes(raw), SERVICE).records)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_garbage_that_names_the_service_holds_nothing(raw: bytes):
    label = SERVICE.split(".")[0].encode()
    assert read_packet(raw + bytes((len(label),)) + label + raw, SERVICE).records == ()


def test_a_name_that_points_to_itself_is_read_in_no_time():
    label = SERVICE.split(".")[0].encode()
    loop = b"\0\0\x84\0\0\0\0\xff\0\0\0\0" + (b"\xc0\x0c" + b"\0\x10\0\1\0\0\0\0\0\0") * 500 + label
    assert read_packet(loop, SERVICE).records == ()


def test_one_packet_tells_of_few_nodes():
    one = packet(SERVICE, RECORD, False)
    body = one[12:]
    many = one[:6] + (2 * 40).to_bytes(2, "big") + one[8:12] + body
    assert len(read_packet(many, SERVICE).records) <= RECORDS_MAX
