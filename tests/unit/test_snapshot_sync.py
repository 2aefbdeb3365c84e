"""Joining by snapshot: from several peers, past every liar, after a kill, or not at all and said so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from consensus.light import LIGHT_BLOCK
from consensus.types.codec import encode
from consensus.types.errors import Fault
from consensus.types.tree_proof import STATE_RANGE
from eubchain.ledger.snapshot_check import SNAPSHOT_CHUNK_REFUSED
from eubchain.node.snapshot_sync import ATTEMPTS_MAX, FETCHED_SUFFIX
from p2p.frames import Kind
from p2p.messages import GET_CHUNK, SNAPSHOT_OFFERS, SnapshotOffer, SnapshotOffers
from tests.snapshot_world import (
    EPOCH,
    NEWEST,
    Chain,
    Giver,
    Lie,
    Town,
    check_ledger,
    honest,
    town,
)

pytest_plugins = ("tests.snapshot_fixtures",)
pytestmark = pytest.mark.usefixtures("no_threads")

Clock = trio.testing.MockClock
MANIFEST, PART, NAMED, EPOCHS = range(4)


def chunks_asked(giver: Giver) -> list[tuple[int, int]]:
    """(section, number) of the chunks that were asked of a peer."""
    asked = (GET_CHUNK.decode(body) for kind, body in giver.asked if kind is Kind.GET_CHUNK)
    return [(one.section, one.number) for one in asked]


# ------------------------------------------------------------ as it should be


async def test_a_home_joins_from_three_peers_to_the_chains_own_state(
    autojump_clock: Clock, tmp_path: Path, chain: Chain
) -> None:
    made = town(tmp_path, chain, honest, honest, honest)
    async with made.open():
        assert await made.joiner().run() == NEWEST
    check_ledger(made, chain)
    asked = [chunk for giver in made.givers.values() for chunk in chunks_asked(giver)]
    assert len(asked) == len(set(asked)), "nothing is asked for twice"
    assert all(len(chunks_asked(giver)) > 2 for giver in made.givers.values())
    assert {section for section, _ in asked} == {MANIFEST, PART, NAMED, EPOCHS}
    assert made.accused() == set()


async def test_an_interrupted_fetch_goes_on_where_it_was(
    autojump_clock: Clock, tmp_path: Path, chain: Chain
) -> None:
    """No ledger is there meanwhile; what came before is not asked for again."""
    made = town(tmp_path, chain, honest, honest)
    async with made.open():
        joiner = made.joiner()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(joiner.run)
                while joiner.describe().get("chunks", 0) < 5:  # noqa: ASYNC110  # a count is no event
                    await trio.sleep(0.001)
                scope.cancel()
        assert not made.places.ledger.exists()
        before = {chunk for giver in made.givers.values() for chunk in chunks_asked(giver)}
        kept = {path.name for path in made.places.fetched(NEWEST).glob("part-*")}
        assert len(kept) >= 5
        for giver in made.givers.values():
            giver.asked.clear()
        assert await made.joiner().run() == NEWEST
        asked = {chunk for giver in made.givers.values() for chunk in chunks_asked(giver)}
    assert (MANIFEST, 0) in before
    assert not asked & {(PART, int(name.partition("-")[2])) for name in kept}
    check_ledger(made, chain)


async def test_a_chunk_that_the_disk_lost_is_fetched_again_and_blames_nobody(
    autojump_clock: Clock, tmp_path: Path, chain: Chain
) -> None:
    made = town(tmp_path, chain, honest)
    shutil.copytree(chain.folder.place(NEWEST), made.places.fetched(NEWEST))
    (made.places.fetched(NEWEST) / "part-000002").write_bytes(b"")
    (made.places.fetched(NEWEST) / "part-000004").unlink()
    (made.places.snapshots / f"7{FETCHED_SUFFIX}").mkdir()
    async with made.open():
        assert await made.joiner().run() == NEWEST
    assert set(chunks_asked(made.givers["p0"])) == {(PART, 2), (PART, 4)}
    assert made.accused() == set()
    check_ledger(made, chain)


async def test_a_disk_that_loses_a_chunk_again_and_again_ends_the_snapshot(
    autojump_clock: Clock, tmp_path: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> Iterator[None]:
        raise Fault(SNAPSHOT_CHUNK_REFUSED, chunk="part-000001", why="it is empty")
        yield

    monkeypatch.setattr("eubchain.node.snapshot_sync.restore", refuse)
    made = town(tmp_path, chain, honest)
    async with made.open():
        assert await made.joiner().run() is None
    newest = [one for one in chunks_asked(made.givers["p0"]) if one == (PART, 1)]
    assert len(newest) == 2 * ATTEMPTS_MAX, "of both snapshots"
    assert made.accused() == set()
    assert not made.places.ledger.exists()


# ------------------------------------------------------------ liars


def chunk_lie(section: int, change: object) -> Lie:
    """Another answer for every chunk of a section."""

    async def lie(kind: Kind, asked: bytes, answer: bytes | None) -> bytes | None:
        if kind is not Kind.GET_CHUNK or GET_CHUNK.decode(asked).section != section or answer is None:
            return answer
        return change(answer)  # type: ignore[operator]  # each is a function of bytes

    return lie


def richer(raw: bytes) -> bytes:
    part = STATE_RANGE.decode(raw)
    entries = tuple((key, value[:-1] + b"\x01") for key, value in part.entries)
    return encode(msgspec.structs.replace(part, entries=entries))


def offer_lie(**changes: object) -> Lie:
    """Other fields in every offer."""

    async def lie(kind: Kind, asked: bytes, answer: bytes | None) -> bytes | None:
        if kind is not Kind.GET_SNAPSHOTS or answer is None:
            return answer
        offers = SNAPSHOT_OFFERS.decode(answer).offers
        return encode(SnapshotOffers(tuple(msgspec.structs.replace(one, **changes) for one in offers)))

    return lie


async def babble(kind: Kind, asked: bytes, answer: bytes | None) -> bytes | None:
    return b"\xc1 what?" if kind is Kind.GET_SNAPSHOTS else answer


async def false_header(kind: Kind, asked: bytes, answer: bytes | None) -> bytes | None:
    if kind is not Kind.GET_LIGHT_BLOCK or answer is None:
        return answer
    block = LIGHT_BLOCK.decode(answer)
    return encode(
        msgspec.structs.replace(block, header=msgspec.structs.replace(block.header, state_root=bytes(32)))
    )


CHUNK_LIES: dict[str, Lie] = {
    "a part of another state": chunk_lie(PART, richer),
    "a part cut short": chunk_lie(PART, lambda raw: raw[:-3]),
    "a part that is too large": chunk_lie(PART, lambda raw: bytes(3 * 2**20)),
    "an empty part": chunk_lie(PART, lambda raw: b""),
    "a manifest cut short": chunk_lie(MANIFEST, lambda raw: raw[:-1]),
    "a manifest of nothing": chunk_lie(MANIFEST, lambda raw: bytes(len(raw))),
    "other named transactions": chunk_lie(NAMED, lambda raw: encode([b"other"])),
    "no named transactions": chunk_lie(NAMED, lambda raw: encode([])),
    "garbage for the ends of epochs": chunk_lie(EPOCHS, lambda raw: raw[:-70] + bytes(70)),
    "no ends of epochs": chunk_lie(EPOCHS, lambda raw: encode([])),
}


@pytest.mark.parametrize("name", CHUNK_LIES)
async def test_who_gives_a_wrong_chunk_is_accused_and_another_gives_it(
    autojump_clock: Clock, tmp_path: Path, chain: Chain, name: str
) -> None:
    """The liar comes first wherever one peer is chosen."""
    made = town(tmp_path, chain, CHUNK_LIES[name], honest)
    async with made.open():
        assert await made.joiner().run() == NEWEST
    assert made.accused() == {"p0"}
    check_ledger(made, chain)


@pytest.mark.parametrize("name", CHUNK_LIES)
async def test_with_nobody_but_a_liar_there_is_no_ledger_and_no_end_without_words(
    autojump_clock: Clock, tmp_path: Path, chain: Chain, name: str
) -> None:
    made = town(tmp_path, chain, CHUNK_LIES[name])
    async with made.open():
        assert await made.joiner().run() is None
    assert made.accused() == {"p0"}
    assert not made.places.ledger.exists()
    assert not list(made.places.snapshots.iterdir())


async def test_one_part_given_for_every_other_is_refused(
    autojump_clock: Clock, tmp_path: Path, chain: Chain
) -> None:
    first = chain.folder.chunk(NEWEST, "part-000000")
    made = town(tmp_path, chain, chunk_lie(PART, lambda raw: first), honest)
    async with made.open():
        assert await made.joiner().run() == NEWEST
    assert made.accused() == {"p0"}


OFFER_LIES: dict[str, Lie] = {
    "a block that is not the chain's": offer_lie(block_id=bytes(32)),
    "a layout that its manifest has not": offer_lie(layout=bytes(32)),
    "a manifest of another length": offer_lie(manifest_bytes=17),
    "what is no offer": babble,
    "a header nobody signed": false_header,
}


@pytest.mark.parametrize("name", OFFER_LIES)
async def test_who_offers_what_it_cannot_show_is_accused_and_the_others_snapshot_is_taken(
    autojump_clock: Clock, tmp_path: Path, chain: Chain, name: str
) -> None:
    made = town(tmp_path, chain, OFFER_LIES[name], honest)
    async with made.open():
        assert await made.joiner().run() == NEWEST
    assert made.accused() <= {"p0"}
    check_ledger(made, chain)
    alone = town(tmp_path / "alone", chain, OFFER_LIES[name])
    async with alone.open():
        assert await alone.joiner().run() is None
    assert alone.accused() == {"p0"}


async def test_an_offer_of_a_height_that_does_not_exist_leads_nowhere(
    autojump_clock: Clock, tmp_path: Path, chain: Chain
) -> None:
    """Its peer claims the height as well; it has no header of it to show."""

    async def lie(kind: Kind, asked: bytes, answer: bytes | None) -> bytes | None:
        offer = SnapshotOffer(900, bytes(32), bytes(32), 300, 20, 10_000)
        return encode(SnapshotOffers((offer,))) if kind is Kind.GET_SNAPSHOTS else answer

    givers = [Giver("p0", chain, lie, ahead=10_000), Giver("p1", chain)]
    made = Town(tmp_path, chain.genesis, givers)
    async with made.open():
        assert await made.joiner().run() == NEWEST
    check_ledger(made, chain)


# ------------------------------------------------------------ those who do not give


async def silence(kind: Kind, asked: bytes, answer: bytes | None) -> bytes | None:
    if kind is Kind.GET_CHUNK:
        await trio.sleep_forever()
    return answer


async def test_a_peer_that_never_answers_delays_the_others_and_does_not_stop_them(
    autojump_clock: Clock, tmp_path: Path, chain: Chain
) -> None:
    made = town(tmp_path, chain, silence, honest)
    async with made.open():
        assert await made.joiner().run() == NEWEST
    check_ledger(made, chain)
    alone = town(tmp_path / "alone", chain, silence)
    async with alone.open():
        assert await alone.joiner().run() is None


async def test_a_snapshot_that_is_dropped_meanwhile_gives_way_to_another(
    autojump_clock: Clock, tmp_path: Path, chain: Chain
) -> None:
    """The newest goes after some chunks, on every peer: the one before it is taken."""
    given: list[int] = []

    async def forget(kind: Kind, asked: bytes, answer: bytes | None) -> bytes | None:
        if kind is Kind.GET_CHUNK and GET_CHUNK.decode(asked).height == NEWEST:
            given.append(1)
            return answer if len(given) < 6 else None
        if kind is Kind.GET_SNAPSHOTS and len(given) >= 6 and answer is not None:
            return encode(SnapshotOffers(SNAPSHOT_OFFERS.decode(answer).offers[1:]))
        return answer

    made = town(tmp_path, chain, forget, forget)
    async with made.open():
        assert await made.joiner().run() == EPOCH
    check_ledger(made, chain, EPOCH)


async def test_without_peers_or_offers_or_blocks_to_go_on_with_the_chain_is_followed_from_the_first_block(
    autojump_clock: Clock, tmp_path: Path, chain: Chain
) -> None:
    async def nothing(kind: Kind, asked: bytes, answer: bytes | None) -> bytes | None:
        return None

    casts = ([], [Giver("p0", chain, nothing)], [Giver("p0", chain, lowest=NEWEST + 2)])
    for number, givers in enumerate(casts):
        made = Town(tmp_path / str(number), chain.genesis, givers)
        async with made.open():
            assert await made.joiner().run() is None
        assert not made.places.ledger.exists()
