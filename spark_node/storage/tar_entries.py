"""The tar entries we write and the only ones we read: files and directories, POSIX pax format.

Here: one header in, one header out (POSIX.1-2017, pax Interchange Format).
Not here: directories and compression (packing.py). The standard library's reader is not used to read:
it follows extensions that we never write (links, sparse files, GNU names) and reads an extended header
of any size into memory.
Keeps: a path is relative, UTF-8, without `.`, `..`, empty parts or control characters, and bounded; the
header carries no time, owner or group.
Errors: 3401 archive_unsafe, 3402 archive_damaged.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from typing import NamedTuple

from consensus.types.errors import Fault, Reason

BLOCK_BYTES = 512
PATH_BYTES_MAX = 1024
PART_BYTES_MAX = 255
"""The longest name that Linux file systems hold."""
DEPTH_MAX = 64
"""Nested directories; also bounds the descriptors that packing holds open."""
EXTENDED_BYTES_MAX = 4096
"""An extended header holds a path and a size, and nothing else of ours is that long."""

ARCHIVE_UNSAFE = Reason(
    3401,
    "archive_unsafe",
    "path:text why:text",
    "The archive's entry '{path}' is refused: {why}.",
    "Nothing was unpacked. Files and directories with ordinary names are all an archive may hold.",
)
ARCHIVE_DAMAGED = Reason(
    3402,
    "archive_damaged",
    "why:text",
    "The archive is damaged: {why}.",
    "Nothing was unpacked. Fetch it again; if that does not help, its sender packed it wrongly.",
)

_KINDS_REFUSED = {
    b"1": "it is a hard link",
    b"2": "it is a symbolic link",
    b"3": "it is a character device",
    b"4": "it is a block device",
    b"6": "it is a pipe",
}


class Entry(NamedTuple):
    """A file or directory of an archive; `size` is in bytes and 0 for a directory."""

    path: str
    is_directory: bool
    is_executable: bool
    size: int


def path_trouble(path: str) -> str | None:
    """Say why `path` may stand in no archive, or nothing if it may."""
    try:
        spelled = path.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    parts = path.split("/")
    if path.startswith("/"):
        return "its path is absolute"
    if ".." in parts:
        return "its path climbs out of the archive"
    if "" in parts or "." in parts:
        return "its path has an empty part"
    if any(ord(c) < 32 or ord(c) == 127 for c in path):
        return "its name has a control character"
    if len(spelled) > PATH_BYTES_MAX or any(len(p.encode()) > PART_BYTES_MAX for p in parts):
        return "its name is too long"
    if len(parts) > DEPTH_MAX:
        return "it is nested too deeply"
    return None


def entry_header(entry: Entry) -> bytes:
    """The header blocks of an entry: only path, kind, size and the executable bit vary."""
    assert path_trouble(entry.path) is None, "the packer has refused such paths"
    header = tarfile.TarInfo(entry.path)
    header.type = tarfile.DIRTYPE if entry.is_directory else tarfile.REGTYPE
    header.size = entry.size
    header.mode = 0o755 if entry.is_directory or entry.is_executable else 0o644
    return header.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def padding(size: int) -> bytes:
    """The zeros that fill the last block of `size` bytes."""
    return bytes(-size % BLOCK_BYTES)


def read_entry(read: Callable[[int], bytes]) -> Entry | None:
    """Read the next header, or None at the end mark; raise `Fault` 3401 or 3402.

    `read(n)` returns exactly n bytes or raises.
    """
    block = read(BLOCK_BYTES)
    if not any(block):
        if any(read(BLOCK_BYTES)):
            raise Fault(ARCHIVE_DAMAGED, why="one empty block stands where two mark the end")
        return None
    extended: dict[str, str] = {}
    if _kind(block) == b"x":
        extended = _read_extended(read, _size(block))
        block = read(BLOCK_BYTES)
    kind = _kind(block)
    if kind not in (b"0", b"5"):
        raise Fault(ARCHIVE_UNSAFE, path=_shown(block), why=_KINDS_REFUSED.get(kind, "its kind is not ours"))
    if any(block[157:257]) or any(block[345:500]):
        raise Fault(ARCHIVE_DAMAGED, why="a header has a link target or a path prefix")
    is_directory = kind == b"5"
    path = extended.get("path", "") or _text(block[0:100].rstrip(b"\0"))
    if is_directory:
        path = path.removesuffix("/")
    trouble = path_trouble(path)
    if trouble is not None:
        raise Fault(ARCHIVE_UNSAFE, path=path[:120], why=trouble)
    size = _decimal(extended["size"]) if "size" in extended else _size(block)
    if is_directory and size:
        raise Fault(ARCHIVE_DAMAGED, why="a directory has a size")
    return Entry(path, is_directory, bool(_octal(block[100:108]) & 0o100), size)


def _kind(block: bytes) -> bytes:
    """The type of a header whose magic and checksum are right."""
    total = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if block[257:265] != b"ustar\x0000" or _octal(block[148:156]) != total:
        raise Fault(ARCHIVE_DAMAGED, why="a header's checksum does not match")
    return block[156:157]


def _size(block: bytes) -> int:
    return _octal(block[124:136])


def _octal(field: bytes) -> int:
    digits = field.rstrip(b"\0 ")
    if not digits or digits.strip(b"01234567"):
        raise Fault(ARCHIVE_DAMAGED, why="a number in a header is not octal")
    return int(digits, 8)


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise Fault(ARCHIVE_DAMAGED, why="a size in an extended header is not a number")
    return int(text)


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Fault(
            ARCHIVE_UNSAFE, path=raw.decode("utf-8", "replace")[:120], why="its name is not UTF-8"
        ) from None


def _shown(block: bytes) -> str:
    return block[0:100].rstrip(b"\0").decode("utf-8", "replace")


def _read_extended(read: Callable[[int], bytes], size: int) -> dict[str, str]:
    """Read the records "LENGTH KEY=VALUE\\n" of an extended header; only path and size are ours."""
    if size > EXTENDED_BYTES_MAX:
        raise Fault(ARCHIVE_DAMAGED, why="an extended header is too long")
    data = read(size + len(padding(size)))[:size]
    records: dict[str, str] = {}
    while data:
        digits, _, rest = data.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) <= 4 else 0
        key, equals, value = rest[: max(0, length - len(digits) - 1)].partition(b"=")
        if not equals or not value.endswith(b"\n") or len(data) < length:
            raise Fault(ARCHIVE_DAMAGED, why="an extended header has a malformed record")
        name = _text(key)
        if name not in ("path", "size") or name in records:
            raise Fault(ARCHIVE_DAMAGED, why="an extended header has a record that is not ours")
        records[name] = _text(value[:-1])
        data = data[length:]
    return records
