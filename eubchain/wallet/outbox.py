"""The record of what this wallet has signed, so that repeating a command does not pay twice.

Here: `Outbox` (an append-only file), `intent_digest`, and `find_repeat`, which is pure.
Not here: asking the person or the chain what became of a transaction (eubchain/client, eubchain/cli).
Keeps: a transaction is on disk before it is sent, so a torn last line was never sent and is dropped;
one command at a time holds the outbox from looking for a repeat until its own line is on disk.
Errors: 3040 outbox_damaged, 3041 outbox_busy, 3042 outbox_not_written, 3043 outbox_not_read.

What a client does: under `Outbox.held()`, read `entries`, call `find_repeat`, `record` what it signed;
then send; then, once it has told the person how it ended, `settle`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec

from consensus.types.codec import INTEGER_MAX, encode
from consensus.types.errors import Fault, Reason
from eubchain.wallet.private_file import sync_folder

OUTBOX_DAMAGED = Reason(
    3040,
    "outbox_damaged",
    "file:text line:count",
    "Line {line} of {file} is damaged, so it is not known whether this was paid before.",
    "Look at `eubchain wallet history`; if nothing is missing, move the file away and repeat.",
)
OUTBOX_BUSY = Reason(
    3041,
    "outbox_busy",
    "file:text",
    "Another command is signing with this wallet right now ({file} is locked).",
    "Wait until it has ended, then repeat this one.",
)
OUTBOX_NOT_READ = Reason(
    3043,
    "outbox_not_read",
    "file:text why:text",
    "{file} could not be read: {why}. Nothing was sent.",
    "Check the file's owner and mode, then repeat the command.",
)
OUTBOX_NOT_WRITTEN = Reason(
    3042,
    "outbox_not_written",
    "file:text why:text",
    "{file} could not be written: {why}. Nothing was sent.",
    "Check free space and the owner of the folder, then repeat the command.",
)

Hex = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2})*\Z")]
Count = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]
Outcome = Literal["included", "failed", "expired", "dropped"]
"""included: it did what it says; failed: only its fee was paid; expired: its height passed without it;
dropped: the chain refused it and it can never be included."""


class Signed(msgspec.Struct, frozen=True, tag_field="line", tag="signed", forbid_unknown_fields=True):
    """A transaction as it was signed. Bytes are lower-case hexadecimal, so that people can search."""

    txid: Hex
    sender: Hex
    nonce: Count
    recipient: Hex
    """20 bytes, or empty where the payload pays nobody in particular."""
    amount: Count
    """Grains."""
    valid_until: Count
    """The last height that may include it."""
    intent: Hex
    """`intent_digest` of what it is for."""
    raw: Hex
    """The whole transaction: sending the same bytes again is harmless."""


class Settled(msgspec.Struct, frozen=True, tag_field="line", tag="settled", forbid_unknown_fields=True):
    """How a transaction ended, noted after the person was told."""

    txid: Hex
    outcome: Outcome


class Entry(NamedTuple):
    """A signed transaction and its outcome, None while nobody has been told one."""

    signed: Signed
    outcome: Outcome | None


class Standing(Enum):
    """What the outbox alone can say about an earlier transaction with the same intent."""

    PENDING = "it can still be included"
    UNKNOWN = "it was included or has expired, and nobody was told which"
    RECENT = "it was included, and its repetition would come at once"


class Repeat(NamedTuple):
    """An earlier transaction that the new one would repeat."""

    signed: Signed
    standing: Standing


def signed_entry(
    *,
    txid: bytes,
    sender: bytes,
    nonce: int,
    recipient: bytes,
    amount: int,
    valid_until: int,
    intent: bytes,
    raw: bytes,
) -> Signed:
    """The line for a transaction; amount in grains, valid_until a height, intent from `intent_digest`."""
    return Signed(
        txid.hex(), sender.hex(), nonce, recipient.hex(), amount, valid_until, intent.hex(), raw.hex()
    )


def intent_digest(genesis: bytes, sender: bytes, payload: bytes) -> bytes:
    """What makes two transactions the same wish: network, sender and payload, not nonce or price.

    sha256, for this file only: no other program computes it, and no hash of the chain is like it.
    """
    return hashlib.sha256(b"EUB outbox intent" + encode([genesis, sender, payload])).digest()


def find_repeat(entries: Iterable[Entry], intent: bytes, now_height: int) -> Repeat | None:
    """The earlier transaction that a person should hear of before the same intent is signed again.

    An unsettled one comes first, the latest of several. A settled one counts only if it was included and its
    own term (valid_until) has not passed: the rent of last month is not a repetition. An unsettled
    one counts for ever, because only the chain knows whether it was paid: ask for its txid.
    """
    best: Repeat | None = None
    for signed, outcome in entries:
        if signed.intent != intent.hex():
            continue
        in_term = now_height <= signed.valid_until
        if outcome is None:
            best = Repeat(signed, Standing.PENDING if in_term else Standing.UNKNOWN)
        elif outcome == "included" and in_term and (best is None or best.standing is Standing.RECENT):
            best = Repeat(signed, Standing.RECENT)
    return best


_decoder = msgspec.json.Decoder(Signed | Settled)


def read_lines(data: bytes, file: Path | str) -> tuple[list[Signed | Settled], int]:
    """Decode the file; return its lines and the length of what is whole.

    A last line that is torn or unreadable is left out: a crash while writing leaves exactly that.
    Raises `Fault` 3040 for an unreadable line before it, which no crash explains.
    """
    lines: list[Signed | Settled] = []
    whole = 0
    *pieces, torn = data.split(b"\n")
    for number, piece in enumerate(pieces, start=1):
        try:
            lines.append(_decoder.decode(piece))
        except (msgspec.DecodeError, UnicodeDecodeError):
            if number < len(pieces) or torn:
                raise Fault(OUTBOX_DAMAGED, file=str(file), line=number) from None
            break
        whole += len(piece) + 1
    return lines, whole


class Outbox:
    """The file `<home>/wallet/outbox.jsonl`, made with the first line."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._is_held = False

    def entries(self) -> list[Entry]:
        """Everything signed, oldest first, with its outcome; raises `Fault` 3040 or 3043."""
        try:
            data = self.file.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Fault(OUTBOX_NOT_READ, file=str(self.file), why=_why(error)) from None
        lines, _ = read_lines(data, self.file)
        outcomes = {line.txid: line.outcome for line in lines if isinstance(line, Settled)}
        return [Entry(line, outcomes.get(line.txid)) for line in lines if isinstance(line, Signed)]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the only command that signs with this wallet; raises `Fault` 3041 at once if another does.

        Two equal commands started together would otherwise each find no repeat. The lock has its own
        file, so that a command can note an outcome while another one holds it. It ends with the process.
        """
        assert not self._is_held, "held once"
        descriptor = _open_locked(self.file.with_suffix(".lock"), fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            os.close(descriptor)

    def record(self, signed: Signed) -> None:
        """Put a transaction on disk; only after this returns may it be sent. Raises `Fault` 3040, 3042."""
        assert self._is_held, "look for a repeat and record under one hold"
        self._append(signed)

    def settle(self, txid: bytes, outcome: Outcome) -> None:
        """Note how a transaction ended, after telling the person; raises `Fault` 3040 or 3042."""
        self._append(Settled(txid.hex(), outcome))

    def _append(self, line: Signed | Settled) -> None:
        data = msgspec.json.encode(line) + b"\n"
        descriptor = _open_locked(self.file, fcntl.LOCK_EX)  # others hold it for one write only
        try:
            _, whole = read_lines(self.file.read_bytes(), self.file)
            # A torn tail goes first, or it would swallow this line.
            os.ftruncate(descriptor, whole)
            if os.write(descriptor, data) != len(data):
                os.ftruncate(descriptor, whole)
                raise Fault(OUTBOX_NOT_WRITTEN, file=str(self.file), why="the disk is full")
            os.fsync(descriptor)
        except OSError as error:
            raise Fault(OUTBOX_NOT_WRITTEN, file=str(self.file), why=_why(error)) from None
        finally:
            os.close(descriptor)


def _open_locked(file: Path, how: int) -> int:
    """Open `file` for appending, make its name durable, and lock it; closing ends the lock."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Fault(OUTBOX_NOT_WRITTEN, file=str(file), why=_why(error)) from None
    try:
        sync_folder(file.parent)
        fcntl.flock(descriptor, how)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise Fault(OUTBOX_BUSY, file=str(file)) from None
        raise Fault(OUTBOX_NOT_WRITTEN, file=str(file), why=_why(error)) from None
    return descriptor


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
