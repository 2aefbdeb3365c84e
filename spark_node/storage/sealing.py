"""Sealing with age: small things in this process, files and directories in a process of their own.

Here: `seal`, `unseal` of envelopes; `seal_file`, `open_file`, `seal_directory`, `open_directory` on trio.
Not here: keys (age_keys.py), what the child is asked (seal_requests.py), what it does (seal_file.py).
The library holds the interpreter lock while it works, so a file sealed here would stop the event loop.
Keeps: an identity reaches the child through its standard input, never as an argument; a target appears
when it is whole or not at all, with mode 0600; no plaintext is left beside it, also after a cancellation.
Errors: 3413 envelope_too_large, 3414 sealing_stopped, and those of seal_requests.py and packing.py.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pyrage
import trio
from pyrage.x25519 import Identity

from consensus.types.codec import encode
from consensus.types.errors import Fault, Reason
from spark_node.storage.age_keys import parse_recipient
from spark_node.storage.packing import (
    DEFAULT_LIMITS,
    PARTIAL_PREFIX,
    PackingLimits,
    refuse_occupied,
)
from spark_node.storage.seal_requests import (
    DISK_REFUSES,
    DOES_NOT_OPEN,
    REPLY,
    Failed,
    OpenDirectory,
    OpenFile,
    Request,
    SealDirectory,
    Sealed,
    SealFile,
)

GRANT_ENVELOPE_BYTES_MAX = 4096
RESULT_ENVELOPE_BYTES_MAX = 1024
OVERHEAD_BYTES_MIN = 200 + 16
"""What sealing adds at least to 64 KiB or less. The library adds a stanza of random length as well, so
that readers stay tolerant; measured over 30,000 envelopes: 384 bytes in all at most."""
_PACKAGES = str(Path(__file__).resolve().parents[2])
"""Where the child finds this code, whatever directory it is started in."""
ATTEMPTS_MAX = 8
"""An envelope that is near its limit is sealed again, as often as this, for a shorter random stanza."""

ENVELOPE_TOO_LARGE = Reason(
    3413,
    "envelope_too_large",
    "size:bytes limit:bytes",
    "The sealed envelope has {size} bytes; at most {limit} fit.",
    "Put the bulk into a sealed file, and its place, digest and key into the envelope.",
)
SEALING_STOPPED = Reason(
    3414,
    "sealing_stopped",
    "status:text",
    "The process that seals and opens files ended early ({status}).",
    "Often the machine ran out of memory; free some and repeat.",
)
# ---------------------------------------------------------------------------------------- envelopes


def seal(data: bytes, recipient: str, bytes_max: int) -> bytes:
    """Seal an envelope to age1…; raise `Fault` 3410, or 3413 if it outgrows `bytes_max`."""
    to = parse_recipient(recipient)
    # Asked first, so that nothing large is sealed on the event loop.
    size = len(data) + OVERHEAD_BYTES_MIN
    for _ in range(ATTEMPTS_MAX if size <= bytes_max else 0):
        sealed: bytes = pyrage.encrypt(data, [to])
        if len(sealed) <= bytes_max:
            return sealed
        size = len(sealed)
    raise Fault(ENVELOPE_TOO_LARGE, size=size, limit=bytes_max)


def unseal(sealed: bytes, identity: Identity, what: str = "The envelope") -> bytes:
    """Open an envelope; raise `Fault` 3412, naming `what`."""
    try:
        data: bytes = pyrage.decrypt(sealed, [identity])
    except (pyrage.DecryptError, OSError):
        raise Fault(DOES_NOT_OPEN, what=what) from None
    return data


# -------------------------------------------------------------------------------------------- files


async def seal_file(source: Path, target: Path, recipient: str) -> Sealed:
    """Encrypt `source` as the file `target`; raise `Fault` 3410, 3414, 3416."""
    parse_recipient(recipient)
    return await _in_child(target, lambda at: SealFile(os.fsencode(source), at, recipient))


async def open_file(source: Path, target: Path, identity: Identity, digest: bytes) -> Sealed:
    """Decrypt `source`, whose ciphertext has this SHA-256, as `target`; raise `Fault` 3412, 3414-3416."""
    return await _in_child(target, lambda at: OpenFile(os.fsencode(source), at, digest, str(identity)))


async def seal_directory(
    sources: Path | Sequence[Path],
    target: Path,
    recipient: str,
    limits: PackingLimits = DEFAULT_LIMITS,
) -> Sealed:
    """Pack and encrypt a directory, or files by their names; raise `Fault` 3403, 3404, 3410, 3414, 3416."""
    parse_recipient(recipient)
    is_whole = isinstance(sources, Path)
    listed = tuple(os.fsencode(s) for s in ([sources] if isinstance(sources, Path) else sources))
    return await _in_child(target, lambda at: SealDirectory(listed, is_whole, at, recipient, limits))


async def open_directory(
    source: Path,
    target: Path,
    identity: Identity,
    digest: bytes,
    limits: PackingLimits = DEFAULT_LIMITS,
) -> Sealed:
    """Decrypt and unpack `source` into the new directory `target`; raise `Fault` 3401-3405, 3412-3416."""
    refuse_occupied(target)
    return await _in_child(
        target, lambda at: OpenDirectory(os.fsencode(source), at, digest, str(identity), limits)
    )


async def _in_child(target: Path, ask: Callable[[bytes], Request]) -> Sealed:
    """Let a child make the target inside a private sibling directory, then give it its name.

    The directory is this process's to remove, so nothing survives a child that was killed.
    """
    try:
        room = Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=target.parent))
    except OSError as error:
        raise Fault(DISK_REFUSES, path=str(target.parent)[-120:], why=error.strerror or "") from None
    try:
        whole = room / "whole"
        sealed = await _ask_child(ask(os.fsencode(whole)))
        whole.rename(target)
        return sealed
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(partial(shutil.rmtree, room, ignore_errors=True))


async def _ask_child(request: Request) -> Sealed:
    # -P: the current directory may hold a stranger's files, and no module may come from there.
    done = await trio.run_process(
        [sys.executable, "-P", "-m", "spark_node.storage.seal_file"],
        stdin=encode(request),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={**os.environ, "PYTHONPATH": _PACKAGES},
    )
    if done.returncode != 0:
        # Its error output is not passed on: whatever ended it, it held an identity.
        raise Fault(SEALING_STOPPED, status=_status_text(done.returncode))
    reply = REPLY.decode(done.stdout)
    if isinstance(reply, Failed):
        raise reply.fault()
    return reply.sealed


def _status_text(returncode: int) -> str:
    return f"exit status {returncode}" if returncode > 0 else f"signal {-returncode}"
