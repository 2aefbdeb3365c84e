"""What is said between a process and its sealing child: one request, one reply.

Here: the records of both, and the reasons that the child fails for.
Not here: who asks (sealing.py) and who answers (seal_file.py, which imports this and no event loop).
Keeps: a record that holds an identity shows nothing of it in its repr.
Errors: 3412 does_not_open, 3415 ciphertext_differs, 3416 disk_refuses.
"""

from __future__ import annotations

from consensus.types.codec import Codec, Hash32, Record, Uint
from consensus.types.errors import Fault, Reason
from spark_node.storage.packing import Content, PackingLimits

DOES_NOT_OPEN = Reason(
    3412,
    "does_not_open",
    "what:text",
    "{what} does not open: it is damaged, or sealed to another key.",
    "Fetch it again; if it still does not open, whoever sealed it used another recipient.",
)
CIPHERTEXT_DIFFERS = Reason(
    3415,
    "ciphertext_differs",
    "what:text expected:hash found:hash",
    "{what} is not the file that was announced: its digest is {found}, not {expected}.",
    "Fetch it again; if it stays so, its sender announced another file.",
)
DISK_REFUSES = Reason(
    3416,
    "disk_refuses",
    "path:text why:text",
    "'{path}' cannot be read or written: {why}.",
    "Free space, or correct the permissions, and repeat.",
)


class Sealed(Record, frozen=True):
    """A sealed file: SHA-256 and size of its ciphertext in bytes, and what it holds if it is packed."""

    digest: Hash32
    size: Uint
    contents: tuple[Content, ...]


class SealFile(Record, tag=0, frozen=True):
    """Encrypt a file to a recipient."""

    source: bytes
    target: bytes
    recipient: str


class OpenFile(Record, tag=1, frozen=True):
    """Decrypt a file whose ciphertext has `digest`."""

    source: bytes
    target: bytes
    digest: Hash32
    identity: str

    def __repr__(self) -> str:
        return "OpenFile(…)"


class SealDirectory(Record, tag=2, frozen=True):
    """Pack one directory (`is_whole`) or several sources, and encrypt the archive."""

    sources: tuple[bytes, ...]
    is_whole: bool
    target: bytes
    recipient: str
    limits: PackingLimits


class OpenDirectory(Record, tag=3, frozen=True):
    """Decrypt an archive whose ciphertext has `digest`, and unpack it."""

    source: bytes
    target: bytes
    digest: Hash32
    identity: str
    limits: PackingLimits

    def __repr__(self) -> str:
        return "OpenDirectory(…)"


class Done(Record, tag=0, frozen=True):
    """The child's success."""

    sealed: Sealed


class Failed(Record, tag=1, frozen=True):
    """The child's `Fault`: the code of its reason, and its facts by their type."""

    code: Uint
    numbers: dict[str, Uint]
    texts: dict[str, str]
    raws: dict[str, bytes]

    @staticmethod
    def of(fault: Fault) -> Failed:
        """Take a fault apart."""
        facts = fault.facts.items()
        return Failed(
            fault.reason.code,
            {name: value for name, value in facts if isinstance(value, int)},
            {name: value for name, value in facts if isinstance(value, str)},
            {name: value for name, value in facts if isinstance(value, bytes)},
        )

    def fault(self) -> Fault:
        """Put it together again."""
        return Fault(Reason.registry[self.code], **self.numbers, **self.texts, **self.raws)


Request = SealFile | OpenFile | SealDirectory | OpenDirectory
REQUEST: Codec[Request] = Codec(Request)
REPLY: Codec[Done | Failed] = Codec(Done | Failed)
