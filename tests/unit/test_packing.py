"""Packing and unpacking: what goes in comes out, and what could harm the machine does not come in."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from consensus.types.errors import Fault
from spark_node.storage.packing import (
    ARCHIVE_TOO_LARGE,
    PACKING_REFUSED,
    PARTIAL_PREFIX,
    TARGET_EXISTS,
    PackingLimits,
    content_digests,
    pack,
    sweep_partials,
    unpack,
)
from spark_node.storage.tar_entries import ARCHIVE_DAMAGED, ARCHIVE_UNSAFE


def tree(at: Path) -> Path:
    """A small directory with a program, an empty directory, a long name and a Chinese one."""
    (at / "code" / "empty").mkdir(parents=True)
    (at / "code" / "train.py").write_text("print('hello')\n")
    (at / "code" / "train.py").chmod(0o755)
    (at / "结果.csv").write_bytes(b"1,2,3\n" * 1000)
    (at / ("long" * 40)).write_bytes(b"")
    (at / "code-2").write_bytes(os.urandom(1025))
    return at


def packed(source: Path, limits: PackingLimits | None = None) -> bytes:
    """The archive of a directory, in memory."""
    out = io.BytesIO()
    pack(source, out, limits or PackingLimits())
    return out.getvalue()


def hostile(*members: tarfile.TarInfo, data: bytes = b"", form: int = tarfile.PAX_FORMAT) -> bytes:
    """A compressed archive of these headers, as the standard library writes them."""
    raw = b"".join(
        m.tobuf(form, "utf-8", "surrogateescape")
        + (data.ljust((m.size + 511) // 512 * 512, b"\0") if m.isreg() else b"")
        for m in members
    )
    return zstandard.compress(raw + bytes(1024))


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    """One header."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


def refusal(archive: bytes, at: Path, limits: PackingLimits | None = None) -> Fault:
    """The fault that unpacking meets, having left nothing behind."""
    target = at / "target"
    with pytest.raises(Fault) as caught:
        unpack(io.BytesIO(archive), target, limits or PackingLimits())
    assert not list(at.glob(PARTIAL_PREFIX + "*"))
    assert not target.exists()
    return caught.value


def test_what_was_packed_comes_out_the_same(tmp_path: Path) -> None:
    """Files, empty directories, names and the executable bit survive; both sides know the contents."""
    source = tree(tmp_path / "source")
    out = io.BytesIO()
    contents = pack(source, out)
    out.seek(0)
    assert unpack(out, tmp_path / "target") == contents
    assert content_digests(tmp_path / "target") == content_digests(source)
    assert content_digests(source) == [(c.path, c.digest) for c in contents]
    assert (tmp_path / "target" / "code" / "empty").is_dir()
    assert (tmp_path / "target" / "code" / "train.py").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "target" / "结果.csv").stat().st_mode & 0o777 == 0o644


def test_equal_contents_give_equal_archives_whenever_and_by_whomever_made(tmp_path: Path) -> None:
    """Times, and modes beyond the executable bit, leave no trace."""
    first = tmp_path / "a"
    second = tmp_path / "b"
    for directory in (first, second):
        directory.mkdir()
        for name in ("x", "y") if directory is first else ("y", "x"):
            (directory / name).write_text(name)
    os.utime(second / "x", (1, 1))
    (second / "y").chmod(0o640)
    assert packed(first) == packed(second)


def test_any_tar_program_reads_our_archives(tmp_path: Path) -> None:
    """The standard library, an independent reader, finds the same files."""
    source = tree(tmp_path / "source")
    raw = zstandard.ZstdDecompressor().decompressobj().decompress(packed(source))
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive if m.isreg()}  # type: ignore[union-attr]
        assert all(m.mtime == 0 and m.uid == 0 and m.uname == "" for m in archive.getmembers())
    assert sorted((name, hashlib.sha256(data).digest()) for name, data in files.items()) == (
        content_digests(source)
    )


def test_single_files_are_packed_by_their_names(tmp_path: Path) -> None:
    """A list of sources: each stands under its own name, a directory with what it holds."""
    source = tree(tmp_path / "source")
    out = io.BytesIO()
    contents = pack([source / "结果.csv", source / "code"], out)
    assert [c.path for c in contents] == ["code/train.py", "结果.csv"]
    with pytest.raises(Fault) as caught:
        pack([source / "code-2", tmp_path / "other" / "code-2"], io.BytesIO())
    assert caught.value.reason is PACKING_REFUSED


def _link(at: Path) -> None:
    (at / "link").symlink_to("/etc/passwd")


def _directory_link(at: Path) -> None:
    (at / "link").symlink_to("/etc")


def _pipe(at: Path) -> None:
    os.mkfifo(at / "pipe")


def _foreign_name(at: Path) -> None:
    os.close(os.open(os.fsencode(at) + b"/\xff", os.O_CREAT))


def _control_character(at: Path) -> None:
    (at / "a\x1b[2Jb").touch()


@pytest.mark.parametrize("spoil", [_link, _directory_link, _pipe, _foreign_name, _control_character])
def test_what_no_archive_may_hold_is_not_packed(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """A result directory is a stranger's work: links are refused, never followed."""
    spoil(tmp_path)
    with pytest.raises(Fault) as caught:
        pack(tmp_path, io.BytesIO())
    assert caught.value.reason is PACKING_REFUSED
    with pytest.raises(Fault):
        content_digests(tmp_path)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (member("../up"), "climbs"),
        (member("a/../../up"), "climbs"),
        (member("/etc/passwd"), "absolute"),
        (member("a//b"), "empty part"),
        (member("./a"), "empty part"),
        (member("a\nb"), "control"),
        (member("n" * 256), "too long"),
        (member("d/" * 200 + "f"), "nested too deeply"),
        (member("p" * 90 + "/" + ("q" * 200 + "/") * 5 + "f"), "too long"),
        (member("l", tarfile.SYMTYPE, link="/etc/passwd"), "symbolic link"),
        (member("l", tarfile.LNKTYPE, link="x"), "hard link"),
        (member("c", tarfile.CHRTYPE), "character device"),
        (member("b", tarfile.BLKTYPE), "block device"),
        (member("p", tarfile.FIFOTYPE), "pipe"),
        (member("s", tarfile.GNUTYPE_SPARSE), "not ours"),
        (member("g", tarfile.XGLTYPE), "not ours"),
        (member("orphan/file"), "no directory"),
    ],
)
def test_an_entry_that_could_escape_or_harm_is_refused(
    tmp_path: Path, header: tarfile.TarInfo, why: str
) -> None:
    """Each kind by its own name, and nothing is left on disk."""
    fault = refusal(hostile(header), tmp_path)
    assert fault.reason is ARCHIVE_UNSAFE
    assert why in str(fault)


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """The bytes of a ustar name are checked before they are used."""
    fault = refusal(hostile(member("a\udcff"), form=tarfile.USTAR_FORMAT), tmp_path)
    assert fault.reason is ARCHIVE_UNSAFE
    assert "UTF-8" in str(fault)


@pytest.mark.parametrize("second", [member("a"), member("a", tarfile.DIRTYPE), member("a/b")])
def test_a_name_that_stands_twice_is_refused(tmp_path: Path, second: tarfile.TarInfo) -> None:
    """The same path again, as a file, as a directory, or used as a directory."""
    assert refusal(hostile(member("a"), second), tmp_path).reason is ARCHIVE_UNSAFE


@pytest.mark.parametrize(
    "limits",
    [
        PackingLimits(entries_max=3),
        PackingLimits(file_bytes_max=5_999),
        PackingLimits(total_bytes_max=7_000),
        PackingLimits(ratio_max=2, ratio_free_bytes=4_000),
    ],
)
def test_an_archive_beyond_a_limit_is_refused_both_ways(tmp_path: Path, limits: PackingLimits) -> None:
    """What a machine would not unpack is not packed either, so the refusal comes before the upload."""
    source = tree(tmp_path / "source")
    assert refusal(packed(source), tmp_path, limits).reason is ARCHIVE_TOO_LARGE
    with pytest.raises(Fault) as caught:
        pack(source, io.BytesIO(), limits)
    assert caught.value.reason is ARCHIVE_TOO_LARGE


def test_a_decompression_bomb_stops_early(tmp_path: Path) -> None:
    """A gigabyte of zeros in 32 KB is refused by its ratio, and by its declared size before that."""
    bomb = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(bomb, closefd=False) as out:
        out.write(member("zeros", size=2**30).tobuf(tarfile.PAX_FORMAT))
        for _ in range(1024):
            out.write(bytes(2**20))
        out.write(bytes(1024))
    assert len(bomb.getvalue()) < 2**17
    assert refusal(bomb.getvalue(), tmp_path).facts["what"] == "times its compressed size"
    small = PackingLimits(file_bytes_max=2**20)
    assert refusal(bomb.getvalue(), tmp_path, small).facts["what"] == "bytes in one file"


def test_an_extended_header_cannot_fill_the_memory(tmp_path: Path) -> None:
    """A header that claims a path of four gigabytes is refused before any of it is read."""
    huge = zstandard.compress(member("x", tarfile.XHDTYPE, size=2**32).tobuf(tarfile.USTAR_FORMAT))
    assert refusal(huge, tmp_path).reason is ARCHIVE_DAMAGED


def test_what_follows_the_end_mark_is_refused(tmp_path: Path) -> None:
    """More zeros, more data in the frame, another frame, or bytes after it."""
    raw = member("a").tobuf() + bytes(1024)
    for archive in (
        zstandard.compress(raw + bytes(512)),
        zstandard.compress(raw + b"x"),
        zstandard.compress(raw) + zstandard.compress(b"x"),
        zstandard.compress(raw) + b"\0",
        b"",
        b"not an archive",
    ):
        assert refusal(archive, tmp_path).reason is ARCHIVE_DAMAGED


def test_a_directory_in_use_is_not_overwritten(tmp_path: Path) -> None:
    """Only a new or an empty directory may be the target."""
    archive = packed(tree(tmp_path / "source"))
    (tmp_path / "target").mkdir()
    unpack(io.BytesIO(archive), tmp_path / "target")
    with pytest.raises(Fault) as caught:
        unpack(io.BytesIO(archive), tmp_path / "target")
    assert caught.value.reason is TARGET_EXISTS


def test_what_a_crash_left_is_swept(tmp_path: Path) -> None:
    """Partial files and directories go; everything else stays."""
    (tmp_path / (PARTIAL_PREFIX + "1") / "deep").mkdir(parents=True)
    (tmp_path / (PARTIAL_PREFIX + "2")).touch()
    (tmp_path / "mine").touch()
    assert sweep_partials(tmp_path) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
