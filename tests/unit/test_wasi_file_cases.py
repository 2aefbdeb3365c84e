"""The files a wasi program sees: single cases that the model (tests/property) rarely meets."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_node.runtimes import wasi_files
from spark_node.runtimes.wasi_files import E_FBIG, E_INVAL, E_NAMETOOLONG, E_NOSPC, Directory, Files, Refusal


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """An empty input and an empty output with a hundred bytes."""
    (tmp_path / "store").mkdir()
    return Files([], tmp_path, tmp_path / "store", 100)


def make(files: Files, path: str, directory: bool = False) -> object:
    """Create a file or directory of the output."""
    return files.create(*files.resolve(files.output, path.encode()), directory=directory)


def move(files: Files, old: str, new: str) -> None:
    """Rename within the output."""
    files.rename(*files.resolve(files.output, old.encode()), *files.resolve(files.output, new.encode()))


def test_a_moved_directory_knows_its_new_parent(files):
    """`..` leads to where it is, not to where it was."""
    for path in ("old", "old/x", "new"):
        make(files, path, directory=True)
    move(files, "old/x", "new/x")
    moved = files.output.entries["new"].entries["x"]
    assert files.find(moved, b"..") is files.output.entries["new"]
    assert isinstance(moved, Directory)
    assert moved.depth == 2


def test_a_directory_cannot_move_into_itself(files):
    """It would be lost with all that is in it."""
    make(files, "a", directory=True)
    with pytest.raises(Refusal) as refused:
        move(files, "a", "a/b")
    assert refused.value.number == E_INVAL


def test_names_are_limited_like_bytes(files, monkeypatch):
    """Empty files are no way around the disk limit."""
    monkeypatch.setattr(wasi_files, "NAMES_MAX", 2)
    make(files, "a")
    make(files, "b", directory=True)
    with pytest.raises(Refusal) as refused:
        make(files, "c")
    assert refused.value.number == E_NOSPC
    assert files.was_full


def test_directories_nest_only_so_deep(files):
    """By creating and by moving."""
    for depth in range(1, wasi_files.DEPTH_MAX + 1):
        make(files, "/".join("d" * depth), directory=True)
    with pytest.raises(Refusal) as refused:
        make(files, "/".join("d" * (wasi_files.DEPTH_MAX + 1)), directory=True)
    assert refused.value.number == E_NAMETOOLONG
    make(files, "e", directory=True)
    with pytest.raises(Refusal) as refused:
        move(files, "d", "e/d")
    assert refused.value.number == E_NAMETOOLONG


def test_a_hole_is_not_free(files):
    """One byte far out counts all that is before it; beyond the disk it is refused."""
    file = make(files, "a")
    files.open(file)
    assert files.write(file, 90, b"x" * 20) == 10
    assert files.used == 100
    with pytest.raises(Refusal) as refused:
        files.write(file, 101, b"x")
    assert refused.value.number == E_FBIG
    files.close(file)
