"""Sealing: only the right key opens, damage is noticed, and nothing plaintext stays behind."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pyrage
import pytest
import trio

from consensus.types.errors import Fault
from spark_node.storage import sealing
from spark_node.storage.age_keys import (
    IDENTITY_MALFORMED,
    RECIPIENT_MALFORMED,
    identity_from_secret,
    new_identity,
    parse_identity,
    parse_recipient,
    recipient_key,
    recipient_of,
    recipient_text,
)
from spark_node.storage.packing import (
    PACKING_REFUSED,
    PARTIAL_PREFIX,
    TARGET_EXISTS,
    PackingLimits,
    content_digests,
)
from spark_node.storage.seal_requests import (
    CIPHERTEXT_DIFFERS,
    DISK_REFUSES,
    DOES_NOT_OPEN,
    OpenDirectory,
    OpenFile,
)
from spark_node.storage.sealing import (
    ENVELOPE_TOO_LARGE,
    GRANT_ENVELOPE_BYTES_MAX,
    RESULT_ENVELOPE_BYTES_MAX,
    SEALING_STOPPED,
    open_directory,
    open_file,
    seal,
    seal_directory,
    seal_file,
    unseal,
)

IDENTITY = identity_from_secret(bytes(range(32)))


def nothing_is_left(directory: Path) -> bool:
    """Whether no partial file or directory is in `directory`."""
    return not list(directory.glob(PARTIAL_PREFIX + "*"))


def test_an_identity_is_its_secret() -> None:
    """RFC 7748 §6.1: Bob's published secret gives his published public key."""
    secret = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    public = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    assert recipient_key(recipient_of(identity_from_secret(secret))) == public
    assert str(parse_identity(str(IDENTITY))) == str(IDENTITY)


def test_a_recipient_has_one_text_and_32_bytes() -> None:
    """Both forms lead to each other; the library that seals accepts what we spell."""
    for _ in range(20):
        text = recipient_of(new_identity())
        assert recipient_text(recipient_key(text)) == text
        assert str(parse_recipient(text)) == text


@pytest.mark.parametrize("text", ["", "age1", "age1" + "q" * 58, "eub1" + "q" * 58, "AGE-SECRET-KEY-1Q"])
def test_a_malformed_recipient_is_refused(text: str) -> None:
    """Also where it is asked for its bytes."""
    for read in (parse_recipient, recipient_key):
        with pytest.raises(Fault) as caught:
            read(text)
        assert caught.value.reason is RECIPIENT_MALFORMED


@pytest.mark.parametrize(
    "point",
    [
        bytes(32),
        b"\1" + bytes(31),
        bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        b"\xec" + b"\xff" * 30 + b"\x7f",
        b"\xed" + b"\xff" * 30 + b"\x7f",
        b"\xee" + b"\xff" * 30 + b"\x7f",
    ],
)
def test_a_recipient_of_small_order_is_refused(point: bytes) -> None:
    """The seven of Curve25519 (cr.yp.to/ecdh.html): a stranger names one, and the sealing library panics."""
    for attempt in (parse_recipient, recipient_key, lambda text: seal(b"text", text, 4096)):
        with pytest.raises(Fault) as caught:
            attempt(recipient_text(point))
        assert caught.value.reason is RECIPIENT_MALFORMED


def test_a_recipient_is_spelled_in_lower_case_only() -> None:
    """Bech32 allows capitals, but two spellings of one key are one too many."""
    with pytest.raises(Fault):
        parse_recipient(recipient_of(IDENTITY).upper())


def test_a_malformed_identity_is_never_repeated() -> None:
    """A slip of one letter must not put the secret into a log."""
    text = str(new_identity())[:-1] + "B"
    with pytest.raises(Fault) as caught:
        parse_identity(text)
    assert caught.value.reason is IDENTITY_MALFORMED
    assert text not in str(caught.value)
    assert caught.value.__cause__ is None
    shown = repr(OpenFile(b"", b"", bytes(32), text)) + repr(
        OpenDirectory(b"", b"", bytes(32), text, PackingLimits())
    )
    assert text not in shown


@pytest.mark.parametrize("limit", [GRANT_ENVELOPE_BYTES_MAX, RESULT_ENVELOPE_BYTES_MAX])
def test_an_envelope_keeps_to_its_size(limit: int) -> None:
    """What fits opens again, what does not is refused before or after it is sealed."""
    to = recipient_of(IDENTITY)
    data = os.urandom(limit - 400)
    assert unseal(seal(data, to, limit), IDENTITY) == data
    for size in (limit - 215, limit + 1, 2**24):
        with pytest.raises(Fault) as caught:
            seal(bytes(size), to, limit)
        assert caught.value.reason is ENVELOPE_TOO_LARGE


def test_an_envelope_opens_for_its_recipient_only() -> None:
    """Another key, a flipped bit anywhere, or a cut: one fault, and never other data."""
    sealed = seal(b"access", recipient_of(IDENTITY), GRANT_ENVELOPE_BYTES_MAX)
    trials = [sealed[:cut] for cut in range(0, len(sealed), 37)]
    for at in range(0, len(sealed), 7):
        flipped = bytearray(sealed)
        flipped[at] ^= 1
        trials.append(bytes(flipped))
    for trial in trials:
        with pytest.raises(Fault) as caught:
            unseal(trial, IDENTITY)
        assert caught.value.reason is DOES_NOT_OPEN
    with pytest.raises(Fault):
        unseal(sealed, new_identity())


@pytest.mark.trio
async def test_a_file_comes_back_as_it_was(tmp_path: Path) -> None:
    """Digest and size are the ciphertext's, the target is its owner's alone, other age programs open it."""
    data = os.urandom(200_000)
    (tmp_path / "plain").write_bytes(data)
    sealed = await seal_file(tmp_path / "plain", tmp_path / "sealed", recipient_of(IDENTITY))
    ciphertext = (tmp_path / "sealed").read_bytes()
    assert (sealed.digest, sealed.size) == (hashlib.sha256(ciphertext).digest(), len(ciphertext))
    assert pyrage.decrypt(ciphertext, [IDENTITY]) == data
    await open_file(tmp_path / "sealed", tmp_path / "opened", IDENTITY, sealed.digest)
    assert (tmp_path / "opened").read_bytes() == data
    assert (tmp_path / "opened").stat().st_mode & 0o777 == 0o600
    assert nothing_is_left(tmp_path)


@pytest.mark.trio
async def test_a_directory_comes_back_as_it_was(tmp_path: Path) -> None:
    """Packed, sealed, opened and unpacked; both sides learn the digests of the contents."""
    (tmp_path / "source" / "deep").mkdir(parents=True)
    (tmp_path / "source" / "deep" / "data").write_bytes(os.urandom(70_000))
    sealed = await seal_directory(tmp_path / "source", tmp_path / "sealed", recipient_of(IDENTITY))
    opened = await open_directory(tmp_path / "sealed", tmp_path / "target", IDENTITY, sealed.digest)
    assert opened == sealed
    assert [(c.path, c.digest) for c in sealed.contents] == content_digests(tmp_path / "target")
    one = await seal_directory(
        [tmp_path / "source" / "deep" / "data"], tmp_path / "one", recipient_of(IDENTITY)
    )
    assert [c.path for c in one.contents] == ["data"]
    assert nothing_is_left(tmp_path)
    with pytest.raises(Fault) as caught:
        await open_directory(tmp_path / "sealed", tmp_path / "target", IDENTITY, sealed.digest)
    assert caught.value.reason is TARGET_EXISTS


@pytest.mark.trio
async def test_a_damaged_or_foreign_file_is_refused_and_nothing_plaintext_stays(tmp_path: Path) -> None:
    """Truncated, flipped early and late, another key, another digest: a fault, and an empty directory."""
    (tmp_path / "plain").write_bytes(b"secret" * 40_000)
    sealed = await seal_file(tmp_path / "plain", tmp_path / "sealed", recipient_of(IDENTITY))
    (tmp_path / "plain").unlink()
    good = (tmp_path / "sealed").read_bytes()
    flipped_late, flipped_early = bytearray(good), bytearray(good)
    flipped_late[-10] ^= 1
    flipped_early[100] ^= 1
    room = tmp_path / "room"
    room.mkdir()
    cuts = (good[:-1], good[: len(good) // 2], b"", good + b"x")
    for bad in (*cuts, bytes(flipped_late), bytes(flipped_early)):
        (tmp_path / "bad").write_bytes(bad)
        for opening in (open_file, open_directory):
            with pytest.raises(Fault) as caught:
                await opening(tmp_path / "bad", room / "out", IDENTITY, hashlib.sha256(bad).digest())
            assert caught.value.reason is DOES_NOT_OPEN
    with pytest.raises(Fault) as caught:
        await open_file(tmp_path / "sealed", room / "out", new_identity(), sealed.digest)
    assert caught.value.reason is DOES_NOT_OPEN
    with pytest.raises(Fault) as caught:
        await open_file(tmp_path / "sealed", room / "out", IDENTITY, bytes(32))
    assert caught.value.reason is CIPHERTEXT_DIFFERS
    assert caught.value.facts["found"] == sealed.digest
    assert not list(room.iterdir())


@pytest.mark.trio
async def test_the_disks_and_the_packers_refusals_come_through(tmp_path: Path) -> None:
    """A fault in the child is the same fault here, with its facts."""
    to = recipient_of(IDENTITY)
    with pytest.raises(Fault) as caught:
        await seal_file(tmp_path / "absent", tmp_path / "sealed", to)
    assert caught.value.reason is DISK_REFUSES
    assert "absent" in str(caught.value)
    with pytest.raises(Fault) as caught:
        await seal_file(tmp_path / "absent", tmp_path / "no" / "sealed", to)
    assert caught.value.reason is DISK_REFUSES
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "link").symlink_to("/etc")
    with pytest.raises(Fault) as caught:
        await seal_directory(tmp_path / "source", tmp_path / "sealed", to)
    assert caught.value.reason is PACKING_REFUSED
    assert caught.value.facts["path"] == "link"
    assert nothing_is_left(tmp_path)
    assert not (tmp_path / "sealed").exists()


@pytest.mark.trio
async def test_the_identity_is_no_argument_of_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments and environment are readable by others on the machine; standard input is not."""
    (tmp_path / "plain").write_bytes(b"text")
    sealed = await seal_file(tmp_path / "plain", tmp_path / "sealed", recipient_of(IDENTITY))
    seen: list[str] = []
    run_process = trio.run_process

    async def watch(command: list[str], **options: object) -> object:
        seen.extend([*command, str(options["env"])])
        return await run_process(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(sealing.trio, "run_process", watch)
    await open_file(tmp_path / "sealed", tmp_path / "opened", IDENTITY, sealed.digest)
    assert seen
    assert not any(str(IDENTITY) in word for word in seen)


@pytest.mark.trio
async def test_a_child_that_dies_is_a_fault_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the machine runs out of memory."""
    (tmp_path / "plain").write_bytes(b"text")
    monkeypatch.setattr(sealing.sys, "executable", "/bin/false")
    with pytest.raises(Fault) as caught:
        await seal_file(tmp_path / "plain", tmp_path / "sealed", recipient_of(IDENTITY))
    assert caught.value.reason is SEALING_STOPPED
    assert nothing_is_left(tmp_path)


@pytest.mark.trio
async def test_a_cancelled_opening_leaves_nothing_plaintext(tmp_path: Path) -> None:
    """The child is stopped while it writes; its directory goes with it."""
    size = 2**27
    with (tmp_path / "plain").open("wb") as file:
        file.truncate(size)
    sealed = await seal_file(tmp_path / "plain", tmp_path / "sealed", recipient_of(IDENTITY))
    room = tmp_path / "room"
    room.mkdir()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_file, tmp_path / "sealed", room / "opened", IDENTITY, sealed.digest)
        with trio.fail_after(60):
            while not list(room.glob(PARTIAL_PREFIX + "*/whole")):
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert not list(room.iterdir())
