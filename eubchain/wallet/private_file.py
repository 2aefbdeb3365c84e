"""Files that only their owner may read, written so that a crash leaves the old one or the new one.

Here: `write_private`, `read_private`. Not here: what stands in them (wallet/keystore.py and others).
Keeps: content never lies on disk under a wider mode than 0600, nor half written under its final name.
Errors: 3010 key_file_missing, 3011 key_file_exposed, 3012 key_file_exists, 3013 file_not_written,
3014 file_not_read.
"""

from __future__ import annotations

import os
import shlex
import stat
import tempfile
from pathlib import Path

from consensus.types.errors import Fault, Reason

PRIVATE_FILE_BYTES_MAX = 64 * 1024
"""No key file is larger; a larger one is not a key file."""

KEY_FILE_MISSING = Reason(
    3010,
    "key_file_missing",
    "file:text",
    "There is no key file {file}.",
    "Check --home, or make a key with `eubchain wallet new` or `eubchain wallet import`.",
)
KEY_FILE_EXPOSED = Reason(
    3011,
    "key_file_exposed",
    "file:text mode:text quoted:text",
    "The key file {file} can be read or changed by other users of this machine (mode {mode}).",
    "Close it with: chmod 600 {quoted}",
)
KEY_FILE_EXISTS = Reason(
    3012,
    "key_file_exists",
    "file:text",
    "{file} exists already, and a key is never overwritten.",
    "Choose another name, or move the file away first.",
)
FILE_NOT_WRITTEN = Reason(
    3013,
    "file_not_written",
    "file:text why:text",
    "{file} could not be written: {why}. What stood there before is untouched.",
    "Check free space and the owner of the folder, then repeat the command.",
)
FILE_NOT_READ = Reason(
    3014,
    "file_not_read",
    "file:text why:text",
    "{file} could not be read: {why}.",
    "Check the file's owner, its mode and the disk, then repeat the command.",
)


def write_private(path: Path, content: bytes, *, replace: bool = False) -> None:
    """Put `content` at `path`, durable once this returns; a missing folder is made with mode 0700.

    Raises `Fault` 3012 if the file exists and `replace` is false, 3013 if the system refuses.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp creates with mode 0600, so the mode is right before there is content.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.replace(temporary, path)
            else:
                # A hard link, unlike a rename, fails when the name is taken, without a race.
                os.link(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        sync_folder(path.parent)
    except FileExistsError:
        raise Fault(KEY_FILE_EXISTS, file=str(path)) from None
    except OSError as error:
        raise Fault(FILE_NOT_WRITTEN, file=str(path), why=_why(error)) from None


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_private(path: Path) -> bytes:
    """Return the content (at most 64 KiB of it); raise `Fault` 3010, 3011 (exposed) or 3014."""
    try:
        with path.open("rb") as file:
            # Of the opened file, not of the name: the name may point elsewhere a moment later.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise Fault(
                    KEY_FILE_EXPOSED, file=str(path), mode=f"{mode:04o}", quoted=shlex.quote(str(path))
                )
            return file.read(PRIVATE_FILE_BYTES_MAX)
    except FileNotFoundError:
        raise Fault(KEY_FILE_MISSING, file=str(path)) from None
    except OSError as error:
        raise Fault(FILE_NOT_READ, file=str(path), why=_why(error)) from None


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
