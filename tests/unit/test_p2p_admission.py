"""The door before the handshake: a stranger cannot make a node spend its loop on connections."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from p2p import admission, guard
from p2p.admission import Admission


def _door(banned: str = "", most: int = 4) -> Admission:
    return Admission(lambda address: address == banned, most)


def test_a_part_of_the_network_has_so_many_handshakes_and_then_some_every_second() -> None:
    door = _door()
    assert sum(door.admits(f"192.0.2.{i}", 0.0) for i in range(100)) == 20
    assert door.admits("198.51.100.1", 0.0), "another part is not concerned"
    assert sum(door.admits("192.0.2.9", 1.0) for _ in range(100)) == 2


def test_a_banned_address_gets_no_handshake_and_this_machine_always_does() -> None:
    door = _door(banned="192.0.2.1")
    assert not door.admits("192.0.2.1", 0.0)
    assert door.admits("192.0.2.2", 0.0)
    assert all(door.admits("127.0.0.1", 0.0) for _ in range(200))


def test_the_door_remembers_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "PARTS_MAX", 10)
    door = _door()
    for number in range(40):
        door.admits(f"10.0.{number}.1", 0.0)
    assert len(door._tokens) == 10


@pytest.mark.trio
async def test_who_may_not_come_in_is_not_shaken_hands_with() -> None:
    """The check stood after the handshake: a banned address that hammers cost 9 ms each time."""
    shaken: list[Any] = []

    async def upgrade(raw: Any, address: Any) -> Any:
        shaken.append(raw)

    network = SimpleNamespace(upgrade_inbound_raw_conn=upgrade)
    door = _door(banned="192.0.2.1")
    host = SimpleNamespace(get_network=lambda: network)
    guard.guard_inbound(host, lambda address: door.admits(address, 0.0))
    raw = SimpleNamespace(get_remote_address=lambda: ("192.0.2.1", 4001))
    with pytest.raises(ConnectionError):
        await network.upgrade_inbound_raw_conn(raw, None)
    assert not shaken
