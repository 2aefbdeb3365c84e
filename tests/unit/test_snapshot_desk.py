"""What a node gives of its snapshots to peers, within bounds, whatever they ask."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio

from consensus.types.codec import encode
from consensus.types.tree import finish
from eubchain.ledger import snapshot
from eubchain.ledger.snapshot import MANIFEST, MANIFEST_FILE, cut, layout_of
from eubchain.ledger.snapshot_folder import SnapshotFolder
from eubchain.node.snapshot_desk import WAITING_MAX, SnapshotDesk
from p2p.faults import FRAME_TOO_LARGE, PeerFault
from p2p.frames import CHUNK_BYTES_MAX, AnswerReader, Kind, answer_bytes_max, answer_frames
from p2p.messages import SNAPSHOT_OFFERS, GetChunk, GetSnapshots
from p2p.net import Request
from p2p.peers import REQUESTS, Intake
from tests.ledger_world import grow, new_ledger

HEIGHTS = (3, 5, 7)


@pytest.fixture
def folder(tmp_path: Path) -> SnapshotFolder:
    """Three snapshots of a small ledger."""
    ledger, made = new_ledger(tmp_path / "ledger"), SnapshotFolder(tmp_path / "snapshots")
    for height in HEIGHTS:
        grow(ledger, height - ledger.height)
        finish(cut(ledger, made.begin(height), []))
        made.finish(height, keep=9)
    ledger.close()
    return made


async def asked(desk: SnapshotDesk, *questions: tuple[Kind, bytes]) -> list[bytes | None]:
    """The answers, in order."""
    answers: dict[int, bytes | None] = {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.run)
        for number, (kind, body) in enumerate(questions):
            desk.take(
                Request("peer", kind, body, lambda found, number=number: answers.update({number: found}))
            )
        while len(answers) < len(questions):  # noqa: ASYNC110  # answers come by a call
            await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    return [answers[number] for number in range(len(questions))]


async def test_the_newest_snapshots_are_offered_first_and_as_many_as_were_asked_for(
    folder: SnapshotFolder,
) -> None:
    (answer,) = await asked(SnapshotDesk(folder), (Kind.GET_SNAPSHOTS, encode(GetSnapshots(2))))
    assert answer is not None
    offers = SNAPSHOT_OFFERS.decode(answer).offers
    assert [offer.height for offer in offers] == [7, 5]
    manifest = folder.manifest(7)
    assert (offers[0].layout, offers[0].block_id) == (layout_of(manifest), manifest.commit.block_id)
    assert offers[0].size == sum(len(folder.chunk(7, name)) for name in manifest.chunks())
    assert len(folder.manifest_bytes(7)) == offers[0].manifest_bytes


async def test_pieces_come_as_they_lie_on_the_disk_and_others_do_not_come(folder: SnapshotFolder) -> None:
    def chunk(height: int, section: int, number: int) -> tuple[Kind, bytes]:
        return Kind.GET_CHUNK, encode(GetChunk(height, section, number))

    desk = SnapshotDesk(folder)
    answers = await asked(
        desk, chunk(7, 0, 0), chunk(7, 1, 0), chunk(7, 0, 1), chunk(7, 1, 999_999), chunk(6, 1, 0),
        chunk(7, 2, 0), chunk(2**62, 3, 0),
    )  # fmt: skip
    assert answers == [folder.manifest_bytes(7), folder.chunk(7, "part-000000"), *[None] * 5]
    assert desk.served == 2


async def test_a_snapshot_that_is_dropped_is_offered_no_more(folder: SnapshotFolder) -> None:
    desk = SnapshotDesk(folder)
    question = (Kind.GET_SNAPSHOTS, encode(GetSnapshots(8)))
    await asked(desk, question)
    for path in folder.place(7).iterdir():
        path.unlink()
    (answer,) = await asked(desk, question)
    assert answer is not None
    assert [offer.height for offer in SNAPSHOT_OFFERS.decode(answer).offers] == [5, 3]
    assert [one.height for one in folder.listed()] == [3, 5]


async def test_a_node_without_snapshots_says_that_there_is_nothing(tmp_path: Path) -> None:
    for desk in (SnapshotDesk(None), SnapshotDesk(SnapshotFolder(tmp_path / "none"))):
        questions = (Kind.GET_SNAPSHOTS, encode(GetSnapshots(8))), (Kind.GET_CHUNK, encode(GetChunk(1, 1, 1)))
        assert await asked(desk, *questions) == [None, None]


def test_more_than_may_wait_are_told_at_once_that_there_is_nothing(folder: SnapshotFolder) -> None:
    desk, answers = SnapshotDesk(folder), list[bytes | None]()
    for _ in range(WAITING_MAX + 3):
        desk.take(Request("peer", Kind.GET_CHUNK, encode(GetChunk(7, 1, 0)), answers.append))
    assert answers == [None] * 3


@pytest.mark.parametrize(
    "body", [b"", b"\x93\x07\x01", encode([7, 4, 0]), encode([7, 1, 1_000_000]), encode([7, 1, 0, 0])]
)
def test_a_malformed_question_is_answered_with_nothing_and_counts_against_its_peer(
    folder: SnapshotFolder, body: bytes
) -> None:
    answers: list[bytes | None] = []
    with pytest.raises(PeerFault):
        SnapshotDesk(folder).take(Request("peer", Kind.GET_CHUNK, body, answers.append))
    assert answers == [None]


def test_a_chunk_costs_its_peer_tokens_by_its_size() -> None:
    """Of half a megabyte a fifth as many are given at once, of a small one as many as of anything else."""

    def given_at_once(kind: Kind, size: int) -> int:
        intake, count = Intake(0.0), 0
        while not intake.request(0.0):
            intake.answered(kind, size, 0.0)
            count += 1
        return count

    assert given_at_once(Kind.GET_BLOCKS, 4 * 2**20) == REQUESTS.burst
    assert given_at_once(Kind.GET_CHUNK, 30_000) == REQUESTS.burst
    assert given_at_once(Kind.GET_CHUNK, 512 * 1024) == REQUESTS.burst / 5


def test_an_answer_larger_than_its_kind_may_be_is_not_kept() -> None:
    reader = AnswerReader(answer_bytes_max(Kind.GET_CHUNK))
    with pytest.raises(PeerFault) as refused:
        reader.feed(b"".join(answer_frames(bytes(CHUNK_BYTES_MAX + 1))))
    assert refused.value.reason is FRAME_TOO_LARGE


def test_layouts_are_alike_where_only_commits_differ(folder: SnapshotFolder) -> None:
    """Two nodes that heard other precommits give parts that may be mixed; another state's may not."""
    manifest = MANIFEST.decode((folder.place(7) / MANIFEST_FILE).read_bytes())
    commit = msgspec.structs.replace(manifest.commit, round=3)
    assert layout_of(msgspec.structs.replace(manifest, commit=commit)) == layout_of(manifest)
    assert layout_of(folder.manifest(5)) != layout_of(manifest)
    assert layout_of(msgspec.structs.replace(manifest, prefixes=())) != layout_of(manifest)
    assert snapshot.CHUNK_BYTES_MAX <= CHUNK_BYTES_MAX
