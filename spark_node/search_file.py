"""The file that lets a search for shares go on after a restart: what was found, and where to go on.

Here: reading, writing and clearing it. Not here: the search (prover/search.py), when to use it (proving.py).
Layout: proving/<window>-<account>, mode 0600: one `SavedSearch`.
Keeps: what belongs to another seed or difficulty is not used, since its shares would be false; a file that
cannot be read is as good as none.
"""

from __future__ import annotations

from pathlib import Path

from consensus.types.codec import Codec, Record, encode
from consensus.types.errors import Rejected
from spark_node.folder import Folder, folder_refuses, write_durably
from spark_node.prover.order import NOT_BEGUN, Assignment, Progress


class SavedSearch(Record, frozen=True):
    """How far the search of an assignment has come."""

    assignment: Assignment
    progress: Progress


SAVED_CODEC: Codec[SavedSearch] = Codec(SavedSearch)


def search_file(folder: Folder, assignment: Assignment) -> Path:
    """Where the search of an account in a window is kept."""
    return folder.proving / f"{assignment.window}-{assignment.account.hex()}"


def save_search(folder: Folder, assignment: Assignment, progress: Progress) -> None:
    """Keep how far it has come. Blocks; raises `Fault` 3221."""
    path = search_file(folder, assignment)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise folder_refuses(path, error) from None
    write_durably(path, encode(SavedSearch(assignment, progress)))


def saved_search(folder: Folder, assignment: Assignment) -> Progress:
    """How far an earlier process came with this very assignment, `NOT_BEGUN` for nowhere. Blocks."""
    try:
        saved = SAVED_CODEC.decode(search_file(folder, assignment).read_bytes())
    except (OSError, Rejected):
        return NOT_BEGUN
    return saved.progress if saved.assignment == assignment else NOT_BEGUN


def clear_searches(folder: Folder, but_window: int = 0) -> None:
    """Delete what was kept, except of one window. Blocks; raises `Fault` 3221."""
    try:
        for path in list(folder.proving.glob("*")):
            if not path.name.startswith(f"{but_window}-"):
                path.unlink(missing_ok=True)
    except OSError as error:
        raise folder_refuses(folder.proving, error) from None
