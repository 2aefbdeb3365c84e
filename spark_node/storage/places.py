"""Where objects lie, as text that fits into a transaction: `blob:http://HOST:PORT/PREFIX`, `file:/DIR`.

Here: `Place`, `parse_place`, `format_place`, `open_store`.
Not here: the stores themselves (blob.py, directory.py).
Keeps: one spelling per place; no user names, queries or fragments; a `file:` place is a name that a
stranger gave us, so it is opened only below a directory that the caller allows.
Errors: 3470 place_malformed, 3471 place_not_allowed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from consensus.types.errors import Fault, Reason
from spark_node.storage.blob import AccessSigner, BlobStore
from spark_node.storage.directory import DirectoryStore
from spark_node.storage.store import Store

PLACE_BYTES_MAX = 256

PLACE_MALFORMED = Reason(
    3470,
    "place_malformed",
    "text:text why:text",
    "'{text}' is not a place: {why}.",
    "A place is blob:http://HOST:PORT/PREFIX, blob:https://HOST/PREFIX or file:///DIRECTORY.",
)
PLACE_NOT_ALLOWED = Reason(
    3471,
    "place_not_allowed",
    "text:text",
    "The place '{text}' is a directory that this program may not use.",
    "Only directories below the one its owner allows are opened; use a blob store instead.",
)

_HOST = r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])"
_BLOB = re.compile(rf"(https?)://({_HOST})(?::([1-9][0-9]{{0,4}}))?((?:/[A-Za-z0-9._~-]+)*)", re.ASCII)


class Place(NamedTuple):
    """A kind of store, `blob` or `file`, and its URL or absolute directory."""

    kind: str
    where: str


def parse_place(text: str) -> Place:
    """Read a place; raise `Fault` 3470 with what is wrong."""
    shown = text[:120]
    if len(text.encode("utf-8", "replace")) > PLACE_BYTES_MAX:
        raise Fault(PLACE_MALFORMED, text=shown, why=f"it is longer than {PLACE_BYTES_MAX} bytes")
    kind, _, rest = text.partition(":")
    if kind == "blob":
        match = _BLOB.fullmatch(rest)
        if match is None or (match[3] and int(match[3]) > 65535):
            raise Fault(PLACE_MALFORMED, text=shown, why="what follows blob: is not an address we use")
        if any(part in (".", "..") for part in match[4].split("/")):
            raise Fault(PLACE_MALFORMED, text=shown, why="its path has a dot part")
        return Place(kind, rest)
    if kind == "file" and rest.startswith("///"):
        try:
            path = unquote(rest[2:], errors="strict")
        except UnicodeDecodeError:
            raise Fault(PLACE_MALFORMED, text=shown, why="its path is not UTF-8") from None
        place = Place(kind, path)
        # normpath leaves a leading // alone, which POSIX allows to mean something of its own.
        if os.path.normpath(path) != path or path.startswith("//") or "\0" in path or _spell(place) != text:
            raise Fault(PLACE_MALFORMED, text=shown, why="its path is not in its shortest spelling")
        return place
    raise Fault(PLACE_MALFORMED, text=shown, why="it begins with neither blob: nor file:///")


def format_place(place: Place) -> str:
    """Spell a place; raise `Fault` 3470 if it does not fit or is none."""
    text = _spell(place)
    if parse_place(text) != place:
        raise Fault(PLACE_MALFORMED, text=text[:120], why="it has another spelling")
    return text


def _spell(place: Place) -> str:
    return f"file://{quote(place.where)}" if place.kind == "file" else f"{place.kind}:{place.where}"


def open_store(place: str, signer: AccessSigner, *, directory_allowed: Path | None = None) -> Store:
    """Open the store at a place, to be used as an async context manager; raise `Fault` 3470, 3471."""
    kind, where = parse_place(place)
    if kind == "blob":
        return BlobStore(where, signer)
    # Links are resolved: a name below the allowed directory may point anywhere.
    resolved = Path(where).resolve()
    if directory_allowed is None or not resolved.is_relative_to(directory_allowed.resolve()):
        raise Fault(PLACE_NOT_ALLOWED, text=place[:120])
    return DirectoryStore(resolved)
