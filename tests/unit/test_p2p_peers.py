"""Standing, bans, buckets, queues, identities and the address book."""

from __future__ import annotations

import json
import random
import stat

import pytest

from consensus.types.errors import Fault
from p2p.book import AddressBook
from p2p.discovery import DELAY_S_MAX, Backoff
from p2p.faults import NODE_KEY_DAMAGED, PEER_ADDRESS_MALFORMED
from p2p.frames import COALESCED_BYTES_MAX, Channel, FrameReader, Kind, frame
from p2p.identity import NodeKey, is_signed, key_of, parse_address, read_node_key
from p2p.net import AGREEMENT_BYTES_MAX, AGREEMENT_FRAMES_MAX, POOL_FRAMES_MAX, OutQueue, QueueFull
from p2p.peers import BAN_S, HALF_LIFE_S, Bucket, Intake, Rate, Scores

GENESIS = bytes(range(32))
KEY = NodeKey(bytes(range(32)))
NOW = 1_800_000_000


def record(number: int, when: int = NOW, genesis: bytes = GENESIS):
    """A signed address record of a made-up node."""
    key = NodeKey(number.to_bytes(32, "big"))
    return key.address_record(genesis, (f"/ip4/192.0.2.{number % 250}/tcp/26656/p2p/{key.peer_id}",), when)


# ------------------------------------------------------------ scores


def test_a_score_halves_in_an_hour():
    scores = Scores(None)
    scores.penalise("p", "192.0.2.1", 80, NOW)
    assert scores.score("p", NOW) == -80
    assert scores.score("p", NOW + HALF_LIFE_S) == -40
    assert scores.score("a stranger", NOW) == 0


def test_who_falls_below_the_limit_is_banned_by_id_and_address_for_an_hour(tmp_path):
    file = tmp_path / "bans.json"
    scores = Scores(file)
    assert not scores.penalise("p", "192.0.2.1", 100, NOW)
    assert scores.penalise("p", "192.0.2.1", 50, NOW)
    for name in ("p", "192.0.2.1"):
        assert scores.is_banned(name, NOW + BAN_S - 1)
        assert Scores(file).is_banned(name, NOW + 1), "a ban survives a restart"
        assert not scores.is_banned(name, NOW + BAN_S)
    assert scores.score("p", NOW + BAN_S) == 0, "after a ban one begins anew"


def test_the_loopback_address_is_never_banned():
    scores = Scores(None)
    assert scores.penalise("p", "127.0.0.1", 200, NOW)
    assert not scores.is_banned("127.0.0.1", NOW)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"p": "soon"}', "\x00"])
def test_a_damaged_list_of_bans_is_an_empty_one(tmp_path, content):
    file = tmp_path / "bans.json"
    file.write_text(content)
    assert not Scores(file).is_banned("p", NOW)


# ------------------------------------------------------------ buckets


def test_a_bucket_lets_a_burst_through_and_then_asks_for_patience():
    bucket = Bucket(Rate(10, 20), 0.0)
    assert [bucket.take(1, 0.0) for _ in range(20)] == [0.0] * 20
    assert bucket.take(1, 0.0) == pytest.approx(0.1)
    assert bucket.take(9, 1.0) == 0.0, "a second brings ten"
    assert bucket.take(1, 1.0) == pytest.approx(0.1)


def test_buckets_of_a_connection_are_apart():
    intake = Intake(0.0)
    while not intake.message(Kind.VOTE, 0.0):
        continue
    assert intake.message(Kind.TRANSACTIONS, 0.0) == 0.0
    assert intake.request(0.0) == 0.0


# ------------------------------------------------------------ queues


def test_a_pool_queue_drops_its_oldest_and_an_agreement_queue_refuses():
    pool, agreement = OutQueue(Channel.POOL), OutQueue(Channel.AGREEMENT)
    for number in range(POOL_FRAMES_MAX + 5):
        pool.put(frame(Kind.WANT, bytes([number % 256])))
    assert len(pool) == POOL_FRAMES_MAX
    assert pool.dropped == 5
    first = FrameReader(Channel.POOL).feed(pool.take())[0]
    assert first == (Kind.WANT, bytes([5]))
    for _ in range(AGREEMENT_FRAMES_MAX):
        agreement.put(b"x")
    with pytest.raises(QueueFull):
        agreement.put(b"x")


def test_an_agreement_queue_is_bounded_in_bytes_too():
    queue = OutQueue(Channel.AGREEMENT)
    for _ in range(AGREEMENT_BYTES_MAX // 60_000):
        queue.put(bytes(60_000))
    with pytest.raises(QueueFull):
        queue.put(bytes(60_000))
    assert queue.bytes <= AGREEMENT_BYTES_MAX


def test_one_write_carries_many_frames_whole_and_never_more_than_its_bound():
    queue = OutQueue(Channel.AGREEMENT)
    frames = [frame(Kind.VOTE, bytes(random.Random(i).randrange(512))) for i in range(500)]
    for data in frames:
        queue.put(data)
    taken = []
    while len(queue):
        taken.append(queue.take())
        assert len(taken[-1]) <= COALESCED_BYTES_MAX
    assert b"".join(taken) == b"".join(frames)
    assert len(taken) < 5
    assert queue.bytes == 0


async def test_a_closed_queue_ends_its_writer():
    queue = OutQueue(Channel.POOL)
    queue.put(b"x")
    assert await queue.wait()
    queue.close()
    assert not await queue.wait()


# ------------------------------------------------------------ identity


def test_a_peer_id_is_what_libp2p_makes_of_the_key():
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.peer.id import ID

    for number in range(8):
        seed = number.to_bytes(32, "big")
        pair = create_new_key_pair(seed)
        assert NodeKey(seed).peer_id == str(ID.from_pubkey(pair.public_key))
        assert key_of(NodeKey(seed).peer_id) == pair.public_key.to_bytes()


@pytest.mark.parametrize(
    "text",
    ["", "1", "12D3KooW", "Qm" + "a" * 44, KEY.peer_id[:-1], KEY.peer_id + "1", KEY.peer_id[1:], "0" * 52],
)
def test_what_is_no_peer_id_has_no_key(text):
    assert key_of(text) is None


def test_a_node_key_is_made_once_and_is_its_owners_alone(tmp_path):
    file = tmp_path / "node_key.json"
    made = read_node_key(file)
    assert read_node_key(file).peer_id == made.peer_id
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert made.seed.hex() not in repr(made)


@pytest.mark.parametrize("content", ["", "{}", '{"ed25519_seed": "00"}', '{"ed25519_seed": 7}', "[]"])
def test_a_damaged_node_key_is_refused_without_quoting_it(tmp_path, content):
    file = tmp_path / "node_key.json"
    file.write_text(content)
    with pytest.raises(Fault) as refused:
        read_node_key(file)
    assert refused.value.reason is NODE_KEY_DAMAGED


@pytest.mark.parametrize("place", ["/ip4/192.0.2.1", "/ip6/2001:db8::1", "/dns4/node.example"])
def test_an_address_is_read_and_written_alike(place):
    text = f"{place}/tcp/26656/p2p/{KEY.peer_id}"
    assert parse_address(text).text() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "node.example:26656",
        f"/ip4/999.0.2.1/tcp/1/p2p/{KEY.peer_id}",
        f"/ip4/::1/tcp/1/p2p/{KEY.peer_id}",
        f"/dns4/-x/tcp/1/p2p/{KEY.peer_id}",
        f"/ip4/192.0.2.1/udp/1/p2p/{KEY.peer_id}",
        f"/ip4/192.0.2.1/tcp/0/p2p/{KEY.peer_id}",
        f"/ip4/192.0.2.1/tcp/70000/p2p/{KEY.peer_id}",
        "/ip4/192.0.2.1/tcp/1/p2p/12D3KooW",
        "/ip4/192.0.2.1/tcp/1",
    ],
)
def test_a_wrong_address_is_refused(text):
    with pytest.raises(Fault) as refused:
        parse_address(text)
    assert refused.value.reason is PEER_ADDRESS_MALFORMED


# ------------------------------------------------------------ the book


def test_a_record_is_believed_only_with_its_owners_signature_on_this_network(tmp_path):
    book = AddressBook(None, GENESIS, [])
    stolen = record(1)
    forged = type(stolen)(record(2).peer, stolen.addresses, stolen.issued_s, stolen.signature)
    assert book.add([forged, record(3, genesis=bytes(32))], NOW) == 2
    assert len(book) == 0
    assert is_signed(stolen, GENESIS)
    assert book.add([stolen], NOW) == 0
    assert len(book) == 1


def test_the_newest_record_counts_and_the_book_survives_a_restart(tmp_path):
    file = tmp_path / "addresses"
    book = AddressBook(file, GENESIS, [])
    book.add([record(number) for number in range(1, 70)], NOW)
    newer = record(5, NOW + 60)
    book.add([newer, record(5, NOW - 60)], NOW + 60)
    book.save()
    again = AddressBook(file, GENESIS, [])
    assert len(again) == 69
    assert newer in again.some(100, "")
    file.write_bytes(file.read_bytes()[:-3])
    assert 0 < len(AddressBook(file, GENESIS, [])) < 69, "what is whole of a damaged book is kept"


def test_records_from_the_future_or_long_ago_are_not_kept():
    book = AddressBook(None, GENESIS, [])
    assert book.add([record(1, NOW + 3600), record(2, NOW - 40 * 86_400)], NOW) == 0
    assert len(book) == 0


def test_a_configured_address_stays_and_comes_first():
    configured = parse_address(f"/ip4/192.0.2.9/tcp/1/p2p/{NodeKey((1).to_bytes(32, 'big')).peer_id}")
    book = AddressBook(None, GENESIS, [configured])
    book.add([record(1)], NOW)
    assert book.places()[configured.peer][0] == configured
    assert len(book.places()[configured.peer]) == 2


def test_patience_grows_with_failures_and_begins_anew_with_success():
    dice = random.Random(1)
    backoff = Backoff(0.0, dice)
    waits = []
    now = 0.0
    for _ in range(12):
        backoff.failed(now)
        waits.append(backoff.next_s - now)
        now = backoff.next_s
    assert waits[0] <= 0.75
    assert max(waits) <= DELAY_S_MAX * 1.5
    assert sum(waits[6:]) > 6 * DELAY_S_MAX * 0.5
    backoff.worked(now)
    assert backoff.next_s - now <= 0.75


def test_the_list_of_bans_is_plain_json(tmp_path):
    scores = Scores(tmp_path / "bans.json")
    scores.ban("p", NOW)
    assert json.loads((tmp_path / "bans.json").read_text()) == {"p": NOW + BAN_S}
