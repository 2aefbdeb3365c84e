"""The child process that packs, seals, opens and unpacks one file or directory, then ends.

Here: `main`: one request on standard input, one reply on standard output.
Not here: what may be asked, and the parent's side (sealing.py, seal_requests.py); archives (packing.py).
Keeps: the target is made with mode 0600, beside it nothing plaintext has a name; an archive on its
way is a file that has lost its name before its first byte is written, so no crash can leave it.
Errors: those of packing.py; 3410, 3411 (age_keys.py); 3412, 3415, 3416 (seal_requests.py).
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyrage

from consensus.types.codec import encode
from consensus.types.errors import Fault
from spark_node.storage.age_keys import parse_identity, parse_recipient
from spark_node.storage.packing import pack, unpack
from spark_node.storage.seal_requests import (
    CIPHERTEXT_DIFFERS,
    DISK_REFUSES,
    DOES_NOT_OPEN,
    REQUEST,
    Done,
    Failed,
    OpenDirectory,
    OpenFile,
    Request,
    SealDirectory,
    Sealed,
    SealFile,
)


def main() -> None:
    """Do what standard input asks, and say on standard output how it went."""
    os.umask(0o077)
    request = REQUEST.decode(sys.stdin.buffer.read())
    reply: Done | Failed
    try:
        reply = Done(perform(request))
    except Fault as fault:
        reply = Failed.of(fault)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        target = os.fsdecode(request.target)
        shown = str(error.filename or target)[-120:]
        reply = Failed.of(Fault(DISK_REFUSES, path=shown, why=why.lower()))
    sys.stdout.buffer.write(encode(reply))


def perform(request: Request) -> Sealed:
    """Make the target; raise `Fault`, or OSError with the disk's complaint."""
    target = Path(os.fsdecode(request.target))
    match request:
        case SealFile(source=source):
            return _encrypt(os.fsdecode(source), target, request.recipient)
        case SealDirectory(sources=sources, is_whole=is_whole, limits=limits):
            paths = [Path(os.fsdecode(source)) for source in sources]
            with _nameless_file(target.parent) as archive:
                contents = pack(paths[0] if is_whole else paths, archive, limits)
                archive.flush()
                sealed = _encrypt(_path_of(archive), target, request.recipient)
            return Sealed(sealed.digest, sealed.size, contents)
        case OpenFile(source=source, digest=digest, identity=identity):
            compared = _compare(Path(os.fsdecode(source)), digest)
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            _decrypt(os.fsdecode(source), str(target), identity)
            _write_through(target)
            return compared
        case OpenDirectory(source=source, digest=digest, identity=identity, limits=limits):
            compared = _compare(Path(os.fsdecode(source)), digest)
            with _nameless_file(target.parent) as archive:
                _decrypt(os.fsdecode(source), _path_of(archive), identity)
                archive.seek(0)
                os.umask(0o022)  # what is inside gets its modes; the directory around it is private
                contents = unpack(archive, target, limits)
            return Sealed(compared.digest, compared.size, contents)


@contextmanager
def _nameless_file(directory: Path) -> Iterator[BinaryIO]:
    descriptor, name = tempfile.mkstemp(dir=directory)
    os.unlink(name)
    with open(descriptor, "w+b") as file:
        yield file


def _path_of(file: BinaryIO) -> str:
    """A path that opens a file without a name (Linux: /proc)."""
    return f"/proc/self/fd/{file.fileno()}"


def _encrypt(source: str, target: Path, recipient: str) -> Sealed:
    to = parse_recipient(recipient)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        pyrage.encrypt_file(source, str(target), [to])
    except OSError as error:
        raise _with_number(error, source) from None
    _write_through(target)
    return _measure(target)


def _decrypt(source: str, target: str, identity: str) -> None:
    try:
        pyrage.decrypt_file(source, target, [parse_identity(identity)])
    except pyrage.DecryptError:
        raise Fault(DOES_NOT_OPEN, what="The sealed file") from None
    except OSError as error:
        numbered = _with_number(error, source)
        if numbered.errno is None:  # the library's own: a chunk that does not authenticate
            raise Fault(DOES_NOT_OPEN, what="The sealed file") from None
        raise numbered from None


def _with_number(error: OSError, path: str) -> OSError:
    """The library names the system's error number only in its text."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), str(error), path) if number else error


def _compare(source: Path, digest: bytes) -> Sealed:
    measured = _measure(source)
    if measured.digest != digest:
        raise Fault(CIPHERTEXT_DIFFERS, what=source.name[-120:], expected=digest, found=measured.digest)
    return measured


def _measure(path: Path) -> Sealed:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        return Sealed(digest, file.tell(), ())


def _write_through(path: Path) -> None:
    """Reach the disk before the name does: a power cut leaves a whole file or none."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
