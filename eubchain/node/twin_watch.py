"""Watching for a twin: after a home has moved, another copy of it may still sign with the same key.

Here: how long to watch, and what counts as the twin's word.
Not here: that a home has moved (guard.py), where votes come from (node/engine).
Keeps: nothing is signed while the watch lasts. What this home's own guard remembers, or anything before
it, is no sign of a twin: peers repeat old votes. Seconds in which nobody could have told of a twin say
nothing: where the set has other members, only those with a connected peer count.
Errors: 2051 twin_seen.
"""

from __future__ import annotations

from consensus.agreement.inputs import CertificateReceived, RecordedInput, VoteReceived
from consensus.agreement.messages import commit_certificate
from consensus.types.block import Commit
from consensus.types.errors import Fault, Reason
from consensus.validators import ValidatorSet
from eubchain.node.guard import GUARD_NOT_WRITTEN, SignerGuard, SignStep
from eubchain.node.height_log import DiskAlarm
from eubchain.node.recovery import WATCH_BLOCKS, WATCH_SECONDS
from vm import head as heads
from vm.state import State

TWIN_SEEN = Reason(
    2051,
    "twin_seen",
    "height:height round:count",
    "Another node signs with this validator key: it spoke at height {height}, round {round}.",
    "Stop one of the two for good. To go on with the other, ask `eubchain signer show` in the stopped one's "
    "home, and run `eubchain signer reset --above HEIGHT` with that height in the other's.",
)


class TwinWatch:
    """One watch, from the node's start until enough heights or seconds have passed."""

    def __init__(self, height: int, guard_last: SignStep) -> None:
        self._height = height
        self._listened_seconds = 0
        self._guard_last = guard_last

    def saw(self, step: SignStep) -> None:
        """Told of every verified message under this node's key; raises `Fault` 2051 for a twin's."""
        if step > self._guard_last:
            raise Fault(TWIN_SEEN, height=step.height, round=step.round)

    def begin_again(self, height: int) -> None:
        """Count from here: blocks that were caught up with are the past, and say nothing of who lives now."""
        self._height, self._listened_seconds = height, 0

    def listened(self, seconds: int) -> None:
        """Told of time in which a twin would have been heard, or in which there can be none to hear."""
        self._listened_seconds += seconds

    def is_over(self, height: int) -> bool:
        """Whether to sign now: 20 heights were decided, or 30 seconds listened, without a twin."""
        return height - self._height >= WATCH_BLOCKS or self._listened_seconds >= WATCH_SECONDS


def look_for_twin(watch: TwinWatch, key: bytes, validators: ValidatorSet, event: RecordedInput) -> None:
    """Tell the watch of every vote under this key in a verified input; raises `Fault` 2051 for a twin's."""
    match event:
        case VoteReceived(vote=vote):
            votes = [vote]
        case CertificateReceived(certificate=certificate):
            votes = certificate.votes(len(validators))
        case _:
            votes = []
    for vote in votes:
        if validators[vote.validator].key == key:
            watch.saw(SignStep(vote.height, vote.round, vote.kind))


def look_in_commit(watch: TwinWatch, key: bytes, view: State, height: int, commit: Commit) -> None:
    """The same for a final block's commit; `view` is the state before the block. Raises `Fault` 2051."""
    validators = heads.validators_at(view, height) or ()
    look_for_twin(watch, key, validators, CertificateReceived(commit_certificate(commit, height)))


def take_place(guard: SignerGuard, disk: DiskAlarm) -> bool:
    """No twin was seen: the key signs here from now on; False while the disk refuses to remember it."""
    try:
        guard.adopt_place()
    except Fault as fault:
        if fault.reason is not GUARD_NOT_WRITTEN:
            raise
        disk.begin(fault)
        return False
    return True
