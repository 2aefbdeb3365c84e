"""The signer guard: it remembers the last thing that the validator key signed, and signs nothing twice.

Here: the signer's interface, the guard that keeps the key on this machine, its file.
Not here: the key file (eubchain/wallet), when to ask (node/engine), what to do at start (recovery.py).
Keeps: a signature leaves only after it is on the disk, in both copies. Steps (height, round, kind) only
grow; the same step again gives the same signature, and another text for it is refused. No damage to
one copy takes the guard back: copies are written one after the other, each synced before the next.

File: two slots of 256 bytes, in different pages so that no torn write reaches both. A slot names key,
network, machine and path, and ends with its checksum.
Errors: 2030 guard_missing, 2031 guard_damaged, 2032 guard_of_another_key, 2033 guard_not_written,
2034 guard_reset_too_low.
"""

from __future__ import annotations

import socket
import struct
import zlib
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Protocol

from consensus.agreement.messages import ROUND_MAX
from consensus.types.errors import Fault, Reason
from consensus.types.keys import SecretKey
from consensus.types.vote import PRECOMMIT, PROPOSAL, proposal_hash, vote_hash
from eubchain.node.durable_files import DurableFile, DurableFiles

GUARD_NAME = "signer_guard"
GUARD_NEW_NAME = "signer_guard.new"
SLOT_BYTES = 256
SLOT_OFFSETS = (0, 4096)
MACHINE_ID_FILE = Path("/etc/machine-id")

GUARD_MISSING = Reason(
    2030,
    "guard_missing",
    "file:text",
    "The validator key has been used, but the record of what it signed, {file}, is missing.",
    "Restore it, or say above which height nothing was signed: `eubchain signer reset --above HEIGHT`.",
)
GUARD_DAMAGED = Reason(
    2031,
    "guard_damaged",
    "file:text",
    "Both copies of the record of what the validator key signed, {file}, are damaged.",
    "Say above which height nothing was signed: `eubchain signer reset --above HEIGHT`.",
)
GUARD_OF_ANOTHER_KEY = Reason(
    2032,
    "guard_of_another_key",
    "file:text theirs:hash theirs_genesis:hash ours:hash ours_genesis:hash",
    "The record of signatures {file} is of key {theirs} on network {theirs_genesis}; the validator key here "
    "is {ours} on network {ours_genesis}.",
    "Put back the key that belongs to it, or move the record away and run "
    "`eubchain signer reset --above HEIGHT` for this key.",
)
GUARD_NOT_WRITTEN = Reason(
    2033,
    "guard_not_written",
    "file:text why:text",
    "The record of signatures {file} cannot be written: {why}. Nothing was signed.",
    "Make room, or check the disk. A running node follows the chain meanwhile, as far as its ledger can be "
    "written, and signs again by itself.",
)
GUARD_RESET_TOO_LOW = Reason(
    2034,
    "guard_reset_too_low",
    "above:height last:height",
    "The key has signed at height {last}; resetting to above {above} would let it sign there twice.",
    "Use `eubchain signer reset --above {last}` or a greater height.",
)

_SLOT = struct.Struct(">8sQQIB32s64s32s32s16s16s")
_MAGIC = b"EUBGRD01"


class SignStep(NamedTuple):
    """A place in the order of everything a validator signs."""

    height: int
    round: int
    kind: int
    """PROPOSAL, PREVOTE or PRECOMMIT: the order within a round."""


class Refusal(NamedTuple):
    """No signature: silence for this step."""

    asked: SignStep
    last: SignStep
    why: str


class Place(NamedTuple):
    """Where a guard lives; a copy of the home elsewhere has another one."""

    machine: bytes
    path: bytes


def place_of(home: Path, machine_id_file: Path = MACHINE_ID_FILE) -> Place:
    """This machine and the home's path, as digests of 16 bytes."""
    try:
        machine = machine_id_file.read_text().strip()
    except OSError:
        machine = socket.gethostname()
    path = str(home.resolve())
    return Place(*(blake2b(text.encode(), digest_size=16).digest() for text in (machine, path)))


class Signer(Protocol):
    """Whatever signs for the validator: the guard below, or a program on another machine."""

    public: bytes

    def sign_proposal(
        self, height: int, round_: int, block_id: bytes, valid_round: int | None
    ) -> bytes | Refusal:
        """The signature (64 bytes) or a refusal; `Fault` when it cannot be remembered. Blocks for IO."""
        ...

    def sign_vote(self, kind: int, height: int, round_: int, block_id: bytes | None) -> bytes | Refusal:
        """The signature (64 bytes) or a refusal; `Fault` when it cannot be remembered. Blocks for IO."""
        ...


class _Slot(NamedTuple):
    sequence: int
    last: SignStep
    message: bytes
    """The hash that was signed; zeros where nothing was."""
    signature: bytes
    public: bytes
    genesis: bytes
    place: Place

    def pack(self) -> bytes:
        body = _SLOT.pack(
            _MAGIC, self.sequence, *self.last, self.message, self.signature, self.public, self.genesis,
            *self.place,
        )  # fmt: skip
        body = body.ljust(SLOT_BYTES - 4, b"\x00")
        return body + zlib.crc32(body).to_bytes(4, "big")


def _unpack(data: bytes) -> _Slot | None:
    body, checksum = data[: SLOT_BYTES - 4], data[SLOT_BYTES - 4 :]
    if len(data) != SLOT_BYTES or zlib.crc32(body) != int.from_bytes(checksum, "big"):
        return None
    magic, sequence, height, round_, kind, *rest = _SLOT.unpack_from(body)
    if magic != _MAGIC:
        return None
    message, signature, public, genesis, machine, path = rest
    last = SignStep(height, round_, kind)
    return _Slot(sequence, last, message, signature, public, genesis, Place(machine, path))


def _read_slot(files: DurableFiles) -> _Slot | None:
    """The newest whole copy; None if there is no file. Raises `Fault` 2031."""
    data = files.read(GUARD_NAME)
    if data is None:
        return None
    found = (_unpack(data[offset : offset + SLOT_BYTES]) for offset in SLOT_OFFSETS)
    slots = [slot for slot in found if slot is not None]
    if not slots:
        raise Fault(GUARD_DAMAGED, file=files.describe(GUARD_NAME))
    return max(slots, key=lambda slot: slot.sequence)


def last_signed(files: DurableFiles) -> SignStep | None:
    """What a guard remembers, for `eubchain signer show`; None if there is none. Raises `Fault` 2031."""
    slot = _read_slot(files)
    return None if slot is None else slot.last


def reset_guard(files: DurableFiles, public: bytes, genesis: bytes, place: Place, above: int = 0) -> None:
    """Make a guard that refuses everything up to height `above`; 0 is right for a new key only.

    Raises `Fault` 2034 if the guard that is there remembers a signature above it, 2033.
    """
    try:
        before = _read_slot(files)
    except Fault as fault:
        if fault.reason is not GUARD_DAMAGED:
            raise
        before = None
    is_ours = before is not None and (before.public, before.genesis) == (public, genesis)
    if before is not None and is_ours and before.last.height > above:
        raise Fault(GUARD_RESET_TOO_LOW, above=above, last=before.last.height)
    last = SignStep(above, ROUND_MAX, PRECOMMIT)
    slot = _Slot(1, last, bytes(32), bytes(64), public, genesis, place)
    try:
        file = files.create(GUARD_NEW_NAME)
        for offset in SLOT_OFFSETS:
            file.write_at(offset, slot.pack())
        file.sync()
        file.close()
        files.rename(GUARD_NEW_NAME, GUARD_NAME)
        files.sync_folder()
    except OSError as error:
        raise _not_written(files, error) from None


def _not_written(files: DurableFiles, error: OSError) -> Fault:
    why = error.strerror or str(error)
    return Fault(GUARD_NOT_WRITTEN, file=files.describe(GUARD_NAME), why=why)


class SignerGuard:
    """A validator key on this machine, behind the memory of what it signed.

    *Resource handling*: owns its file until `close`; the home's lock keeps a second process away.
    *Error handling*: `Fault` 2033 when the disk refuses; nothing has left then, and asking again is safe.
    """

    def __init__(self, files: DurableFiles, key: SecretKey, genesis: bytes, place: Place) -> None:
        """Open the guard of this key; raises `Fault` 2030, 2031 or 2032.

        A key without a guard counts as used: a new key gets one by `reset_guard`.
        """
        slot = _read_slot(files)
        file = files.describe(GUARD_NAME)
        if slot is None:
            raise Fault(GUARD_MISSING, file=file)
        if (slot.public, slot.genesis) != (key.public, genesis):
            raise Fault(
                GUARD_OF_ANOTHER_KEY, file=file, theirs=slot.public, theirs_genesis=slot.genesis,
                ours=key.public, ours_genesis=genesis,
            )  # fmt: skip
        self.public = key.public
        self._files, self._key, self._genesis, self._place = files, key, genesis, place
        self._slot = slot
        self._file: DurableFile | None = None
        # A disk that refuses keeps nobody from following; the key signs nothing before this has succeeded.
        with suppress(OSError):
            self._open()

    def _open(self) -> DurableFile:
        """Make both copies whole and equal again before anything rests on them.

        And the name of the file durable: a reset may have ended between renaming and the folder's sync, and
        the guard that a power cut then brought back would know less.
        """
        opened = self._files.open(GUARD_NAME)
        try:
            self._store(opened, self._slot._replace(sequence=self._slot.sequence + 1))
            self._files.sync_folder()
        except OSError:
            opened.close()
            raise
        self._file = opened
        return opened

    @property
    def last(self) -> SignStep:
        """The last step that was signed, or that counts as signed."""
        return self._slot.last

    @property
    def is_moved(self) -> bool:
        """Whether the home was copied or moved here: another copy may be signing with this key.

        Nothing is signed before the caller has watched the network and called `adopt_place`.
        """
        return self._slot.place != self._place

    def adopt_place(self) -> None:
        """From now on the key signs here; call it once watching found nobody else signing with it."""
        self._write(self._slot._replace(place=self._place))

    def sign_proposal(
        self, height: int, round_: int, block_id: bytes, valid_round: int | None
    ) -> bytes | Refusal:
        """The signature of a proposal, or a refusal. Blocks for two syncs of the disk."""
        message = proposal_hash(self._genesis, height, round_, block_id, valid_round)
        return self._sign(SignStep(height, round_, PROPOSAL), message)

    def sign_vote(self, kind: int, height: int, round_: int, block_id: bytes | None) -> bytes | Refusal:
        """The signature of a vote, or a refusal. Blocks for two syncs of the disk."""
        message = vote_hash(self._genesis, kind, height, round_, block_id)
        return self._sign(SignStep(height, round_, kind), message)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _sign(self, step: SignStep, message: bytes) -> bytes | Refusal:
        self._opened()  # also before a signature is repeated: it may stand in one copy only
        last = self._slot.last
        if self.is_moved:
            return Refusal(step, last, "the home has moved, and nobody has watched for its twin yet")
        if step == last and message == self._slot.message:
            return self._slot.signature
        if step <= last:
            return Refusal(step, last, "something else was signed there or later")
        signature = self._key.sign(message)
        self._write(self._slot._replace(last=step, message=message, signature=signature))
        return signature

    def _write(self, slot: _Slot) -> None:
        opened = self._opened()
        try:
            self._store(opened, slot._replace(sequence=self._slot.sequence + 1))
        except OSError as error:
            raise _not_written(self._files, error) from None

    def _opened(self) -> DurableFile:
        try:
            return self._file or self._open()
        except OSError as error:
            raise _not_written(self._files, error) from None

    def _store(self, opened: DurableFile, slot: _Slot) -> None:
        """Write one copy after the other, each durable before the next is touched."""
        data = slot.pack()
        assert _unpack(data) == slot, "what is written can be read"
        for offset in SLOT_OFFSETS:
            opened.write_at(offset, data)
            opened.sync()
        self._slot = slot

    def __repr__(self) -> str:
        return f"SignerGuard(public={self.public.hex()}, last={tuple(self.last)})"
