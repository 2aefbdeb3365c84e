"""The address book among strangers and on bad disks: it costs little, displaces nobody, ends nothing."""

from __future__ import annotations

from pathlib import Path

from p2p import book as books
from p2p.book import BOOK_MAX, AddressBook
from p2p.peers import Scores
from tests.unit.test_p2p_peers import GENESIS, KEY, NOW, record


def test_addresses_are_read_once_however_often_they_are_asked_for(monkeypatch):
    """Reading a full book took half a second, ten times a second, on the loop that votes run on."""
    book = AddressBook(None, GENESIS, [])
    book.add([record(number) for number in range(1, 40)], NOW)
    first = book.places()
    read: list[str] = []
    monkeypatch.setattr(books, "parse_address", read.append)
    assert book.places() == first
    assert not read


def test_a_newer_record_changes_where_its_peer_is_dialled():
    book = AddressBook(None, GENESIS, [])
    book.add([record(1)], NOW)
    before = book.places()
    moved = record(1, NOW + 1)
    other = KEY.address_record(GENESIS, (f"/ip4/192.0.2.77/tcp/1/p2p/{KEY.peer_id}",), NOW)
    book.add([moved, other], NOW)
    assert before != book.places()
    assert [place.host for place in book.places()[KEY.peer_id]] == ["192.0.2.77"]


def test_invented_nodes_displace_none_that_was_known_before(monkeypatch):
    monkeypatch.setattr(books, "BOOK_MAX", 8)
    book = AddressBook(None, GENESIS, [])
    real = [record(number) for number in range(1, 9)]
    book.add(real, NOW)
    book.reached(real[0].peer)
    book.add([record(number) for number in range(100, 120)], NOW)
    assert {one.peer for one in real} <= book.places().keys()
    book.failed(real[3].peer)
    book.add([record(200)], NOW)
    assert real[3].peer not in book.places(), "who could not be reached makes room"
    assert BOOK_MAX == 1000


def test_a_folder_that_takes_no_writes_ends_neither_the_book_nor_a_ban(tmp_path: Path):
    """A full disk: the node goes on following, as its log does."""
    gone = tmp_path / "gone"
    book = AddressBook(gone / "addresses", GENESIS, [])
    book.add([record(1)], NOW)
    book.save()
    scores = Scores(gone / "bans.json")
    scores.ban("p", NOW)
    assert scores.is_banned("p", NOW + 1)


def test_a_record_without_an_address_is_not_kept_nor_read_from_the_disk(tmp_path: Path):
    """A node that listens everywhere and announces nothing says this of itself. Who dialled it chose one
    address of none: the network part ended, again each time it was rebuilt, until the node gave up.
    """
    nowhere = KEY.address_record(GENESIS, (), NOW)
    file = tmp_path / "addresses"
    book = AddressBook(file, GENESIS, [])
    assert book.add([nowhere, record(1)], NOW) == 0
    assert KEY.peer_id not in book.places()
    book._records[nowhere.peer] = nowhere
    book.save()
    assert all(AddressBook(file, GENESIS, []).places().values())
    assert len(AddressBook(file, GENESIS, [])) == 1
