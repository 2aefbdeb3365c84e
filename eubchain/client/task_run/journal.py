"""The journal of a task on this machine: what attaching from another terminal, or after a crash, needs.

Here: the folder `<home>/tasks/<task>`, its state, its keys, the search for an unfinished repetition.
Not here: what is done with them (following.py), the wallet's outbox (eubchain/wallet).
Keeps: a task's keys and its signed post are durable before the post is sent; every file is its owner's
alone; one command at a time drives a task; no secret shows in a repr.
Errors: 3154 task_unknown_here, 3155 task_followed_elsewhere, 3156 journal_damaged, 3164 posting_elsewhere,
3165 task_of_another_network.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import trio
from msgspec.structs import replace
from pyrage.x25519 import Identity

from consensus.types.codec import encode
from consensus.types.errors import Fault, Reason
from eubchain.client.task_run.order import Order
from eubchain.wallet.private_file import read_private, sync_folder, write_private
from spark_node.job import JOB, Job
from spark_node.storage.age_keys import new_identity, parse_identity

STATE, KEYS, JOB_FILE, POST, INPUT, RESULT, LOCK = (
    "state.json",
    "keys.json",
    "job",
    "post",
    "input.age",
    "result.age",
    "lock",
)
STAGING = ".new-"
PREFIX_DIGITS_MIN = 4
POSTING_WAIT_S, POSTING_PAUSE_S = 8.0, 0.1
"""For another command of this home to have posted; longer, and a person would wonder."""

TASK_UNKNOWN_HERE = Reason(
    3154,
    "task_unknown_here",
    "task:text home:text why:text",
    "{why} in {home}, so its keys are not here: {task}.",
    "List what is here with `eubchain task list`, or name the --home that posted it.",
)
TASK_FOLLOWED_ELSEWHERE = Reason(
    3155,
    "task_followed_elsewhere",
    "task:text",
    "Another command follows the task {task} right now.",
    "Watch it with `eubchain task watch {task}`, or end the other command with Ctrl-C and attach again.",
)
TASK_OF_ANOTHER_NETWORK = Reason(
    3165,
    "task_of_another_network",
    "task:text theirs:hash",
    "Task {task} was posted on another network than the node's ({theirs}).",
    "Name a node of its network with --node URL.",
)
POSTING_ELSEWHERE = Reason(
    3164,
    "posting_elsewhere",
    "home:text",
    "Another command is posting a task from {home} right now.",
    "Wait until it has asked its question and posted, then repeat this one.",
)
JOURNAL_DAMAGED = Reason(
    3156,
    "journal_damaged",
    "file:text",
    "{file} cannot be read as a task's journal.",
    "Move its folder away to go on. Without it the result cannot be opened; cancelling still works by id.",
)

T = TypeVar("T")
Hex = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2})*\Z")]


class Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A task's secrets; hexadecimal or age texts."""

    own: str
    """Opens logs, reports and the envelope of the delivery."""
    input: str
    """Opens the sealed input; travels in the job."""
    salt: Hex
    """Of the job."""

    def __repr__(self) -> str:
        return "Keys(…)"


class KeptEnding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a task ended, kept here because the chain forgets a task some time after its end."""

    why: str
    money: str
    facts: dict[str, Any]
    seconds: dict[str, int]
    """Of each stage."""


class JournalState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a task stands on this side; replaced whole."""

    task: Hex
    wish: Hex
    """What the command asked for: the same again, while this one is unfinished, is a repetition."""
    genesis: Hex
    account: str
    valid_until: int
    """The last height that may include the post."""
    posted_s: int
    """Seconds since 1970."""
    program: str
    runtime: str
    maximum: int
    output: str
    check: str
    pass_mark: int
    cloud_hour: int
    """Grains; 0 when nobody said what it costs elsewhere."""
    place: str
    input_digest: Hex
    """SHA-256 of the sealed input; empty when there is none."""
    input_bytes: int
    fees: int = 0
    """Grains that this side's transactions have cost."""
    is_uploaded: bool = False
    result_path: str = ""
    """Where the unpacked result is; empty before."""
    score: int = -1
    """Of the local check; -1 before or without one."""
    is_told: bool = False
    """Whether the person was told how it ended."""
    ending: KeptEnding | None = None


class Journal:
    """One task's folder."""

    def __init__(self, folder: Path, state: JournalState) -> None:
        self.folder, self.state = folder, state

    @property
    def task(self) -> bytes:
        """The task's id."""
        return bytes.fromhex(self.state.task)

    def check_network(self, genesis: bytes) -> None:
        """Refuse to look for the task on another network: it would seem forgotten. Raise `Fault` 3165."""
        if self.state.genesis != genesis.hex():
            raise Fault(TASK_OF_ANOTHER_NETWORK, task=self.state.task[:12], theirs=genesis)

    def note(self, **changes: object) -> None:
        """Change the state, durably."""
        self.state = replace(self.state, **changes)
        _write_state(self.folder, self.state)

    def keys(self) -> Keys:
        """The secrets; raise `Fault` 3156."""
        return _read_json(self.folder / KEYS, Keys)

    def identity(self) -> Identity:
        """What opens logs, reports and deliveries."""
        return parse_identity(self.keys().own)

    def job(self) -> Job:
        """The job as it was or will be granted; always the same bytes."""
        return JOB.decode((self.folder / JOB_FILE).read_bytes())

    def post(self) -> bytes:
        """The signed post."""
        return (self.folder / POST).read_bytes()

    @property
    def input(self) -> Path:
        """The sealed input."""
        return self.folder / INPUT

    @property
    def result(self) -> Path:
        """Where the sealed result is downloaded to."""
        return self.folder / RESULT

    def drop_sealed(self) -> None:
        """Free the disk that sealed input and result take, once nothing can ask for them any more."""
        self.input.unlink(missing_ok=True)
        self.result.unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the only command that drives this task; raise `Fault` 3155."""
        with _locked(self.folder / LOCK) as is_ours:
            if not is_ours:
                raise Fault(TASK_FOLLOWED_ELSEWHERE, task=self.state.task[:12])
            yield


class Journals:
    """All tasks of a home."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "tasks"

    def all(self) -> list[Journal]:
        """Every readable journal, the latest first."""
        found = []
        for folder in self.folder.glob("*") if self.folder.is_dir() else ():
            if re.fullmatch(r"[0-9a-f]{64}", folder.name) and (folder / STATE).exists():
                found.append(Journal(folder, _read_json(folder / STATE, JournalState)))
        return sorted(found, key=lambda journal: -journal.state.posted_s)

    def find(self, text: str) -> Journal:
        """The journal of a task id or the beginning of one; raise `Fault` 3154, 3156."""
        digits = text.lower().removeprefix("0x")
        matching = [j for j in self.all() if j.state.task.startswith(digits)]
        if len(digits) >= PREFIX_DIGITS_MIN and len(matching) == 1:
            return matching[0]
        why = "Several tasks begin so" if len(matching) > 1 else "There is no journal of such a task"
        raise Fault(TASK_UNKNOWN_HERE, task=text[:80], home=str(self.folder.parent), why=why)

    def unfinished(self, wish: bytes) -> Journal | None:
        """The latest task that the same command began and nobody was told the end of."""
        for journal in self.all():
            if journal.state.wish == wish.hex() and not journal.state.is_told:
                return journal
        return None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Be the only command that posts from this home: two equal ones would both find no repetition.

        Waits a little for another to be done, as two at once in a script are; raise `Fault` 3164.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        limit = trio.current_time() + POSTING_WAIT_S
        while True:
            with _locked(self.folder / ".lock") as is_ours:
                if is_ours:
                    yield
                    return
            if trio.current_time() > limit:
                raise Fault(POSTING_ELSEWHERE, home=str(self.folder.parent))
            await trio.sleep(POSTING_PAUSE_S)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A private folder for a task that has no id yet; gone afterwards unless `begin` has taken it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self.folder.glob(STAGING + "*"):  # of a crash before anything was sent
            shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=STAGING, dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def begin(self, staged: Path, state: JournalState, job: Job, post: bytes) -> Journal:
        """Give a staged folder, which has its keys and input, its name; durable once this returns."""
        write_private(staged / JOB_FILE, encode(job), replace=True)
        write_private(staged / POST, post, replace=True)
        _write_state(staged, state)
        folder = self.folder / state.task
        staged.rename(folder)
        sync_folder(self.folder)
        return Journal(folder, state)


def new_keys(staged: Path, salt: bytes) -> Keys:
    """Make a task's keys in its staged folder."""
    keys = Keys(str(new_identity()), str(new_identity()), salt.hex())
    write_private(staged / KEYS, msgspec.json.encode(keys))
    return keys


def wish_of(genesis: bytes, account: bytes, order: Order, input_contents: bytes) -> bytes:
    """What makes two commands the same wish; sha256, for this folder only."""
    asked = repr(astuple(order)).encode()
    return hashlib.sha256(b"EUB task wish" + genesis + account + asked + input_contents).digest()


def _write_state(folder: Path, state: JournalState) -> None:
    text = msgspec.json.format(msgspec.json.encode(state), indent=2)
    write_private(folder / STATE, text + b"\n", replace=True)


def _read_json(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(read_private(path), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Fault(JOURNAL_DAMAGED, file=str(path)) from None


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Try to lock a file; yields whether it is ours. The lock ends with the process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
