"""What a node does at its start, from what it finds: ledger, write-ahead log, signer guard, network.

Here: the decision, as a table of rules over facts; no file is touched.
Not here: gathering the facts (wal.py, guard.py, the ledger), carrying the plan out (node/engine).
Keeps: what is unclear never leads to a signature. Whether the disk takes writes is not asked here: log and
guard refuse by themselves, now and later (height_log.py). Refusals about the files themselves (another
network's log, a missing or damaged guard) are raised where they are read, before this is asked.
Errors: 2050 ledger_root_differs.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from consensus.agreement.messages import ROUND_MAX
from consensus.types.errors import Fault, Reason
from consensus.types.vote import PRECOMMIT
from eubchain.node.guard import SignStep

WATCH_BLOCKS = 20
"""A moved home watches for its twin's votes for so many heights …"""
WATCH_SECONDS = 30
"""… or for so long, whichever is over first."""

LEDGER_ROOT_DIFFERS = Reason(
    2050,
    "ledger_root_differs",
    "height:height stored:hash computed:hash",
    "The state stored at height {height} has the root {computed}; its record says {stored}.",
    "Run `eubchain inspect` to see what differs, then restore a backup or join again from a snapshot.",
)


class WalFound(NamedTuple):
    """A readable log of this network."""

    height: int
    is_decided: bool
    """Replaying it decides its height."""
    last_step: tuple[int, int] | None
    """(round, kind) of the last thing that its inputs lead to signing; of a log beyond the ledger, which
    cannot be replayed, the last that it says was signed."""


class Found(NamedTuple):
    """Everything the decision rests on."""

    ledger_height: int
    """0 for a ledger that holds the genesis state only."""
    root_stored: bytes
    root_computed: bytes
    wal: WalFound | None
    guard_last: SignStep | None
    """None for a node that validates with no key."""
    is_moved: bool
    """The guard was written by another machine or under another path."""
    peers_height: int
    """The highest height a peer has reported; 0 if none has."""


class WalAction(Enum):
    """What happens to the log."""

    CREATE = "begin a log for the next height"
    DISCARD = "its height is in the ledger: begin a log for the next height"
    REPLAY = "replay it and go on"
    REPLAY_AND_DECIDE = "replay it, decide, apply the block; ask peers for precommits it lacks"


class Signing(Enum):
    """When the key may sign. Except after AFTER_WATCHING, a moved guard adopts its new place at once."""

    NEVER = "this node has no validator key"
    AT_ONCE = "from the first input on"
    ABOVE = "from the first height above `silent_up_to`"
    AFTER_WATCHING = "after watching the network for another node that signs with this key"


class Plan(NamedTuple):
    """What to do."""

    wal: WalAction
    signing: Signing
    silent_up_to: int
    """Sign nothing at or below this height; the ledger's height where nothing is special."""
    why: str
    """For the log and `status`."""


def plan_recovery(found: Found) -> Plan:
    """Decide; raise `Fault` 2050 if the ledger contradicts itself."""
    if found.root_stored != found.root_computed:
        raise Fault(
            LEDGER_ROOT_DIFFERS,
            height=found.ledger_height,
            stored=found.root_stored,
            computed=found.root_computed,
        )
    wal, why_wal = _wal_action(found)
    signing, silent_up_to, why = _signing(found)
    return Plan(wal, signing, silent_up_to, f"{why_wal}; {why}")


def _wal_action(found: Found) -> tuple[WalAction, str]:
    if found.wal is None:
        return WalAction.CREATE, "there is no log"
    if found.wal.height <= found.ledger_height:
        return WalAction.DISCARD, f"the log's height {found.wal.height} is in the ledger"
    if found.wal.height > found.ledger_height + 1:
        return WalAction.CREATE, f"the log is of height {found.wal.height}, beyond the ledger"
    if found.wal.is_decided:
        return WalAction.REPLAY_AND_DECIDE, f"the log decides height {found.wal.height}"
    return WalAction.REPLAY, f"the log is of the next height {found.wal.height}"


def _signing(found: Found) -> tuple[Signing, int, str]:
    next_height = found.ledger_height + 1
    last = found.guard_last
    if last is None:
        return Signing.NEVER, found.ledger_height, "there is no validator key"
    signed_up_to = last.height
    if found.wal is not None and found.wal.height > next_height:
        signed_up_to = max(signed_up_to, _signed_beyond(found.wal, last))
    if signed_up_to > next_height:
        return _restored(found, signed_up_to)
    if last.height == next_height and not _remembers(found.wal, last):
        # The lock that goes with what was signed is lost: a vote could now contradict it in a later
        # round without the guard noticing.
        return _silent(found, next_height, "the log of what was signed at the next height is lost")
    return _silent(found, found.ledger_height, "the key signs on")


def _signed_beyond(wal: WalFound, last: SignStep) -> int:
    """Up to which height a log beyond the ledger says that the key signed.

    One that holds no signature, beside a guard that was there when the log began, tells of none at its own
    height: after a rollback the validator speaks again where it had not spoken. Beside an older guard it is
    no proof, for the last signature is in a log only once something follows it.
    """
    says_nothing = wal.last_step is None and last.height == wal.height - 1
    return wal.height - 1 if says_nothing else wal.height


def _restored(found: Found, signed_up_to: int) -> tuple[Signing, int, str]:
    why = f"the key has signed up to height {signed_up_to}, beyond this ledger: it was restored"
    return _silent(found, signed_up_to, why)


def _silent(found: Found, up_to: int, why: str) -> tuple[Signing, int, str]:
    """Apply what delays signing whatever the heights say."""
    if found.is_moved and (found.ledger_height > 0 or found.peers_height > 0):
        return Signing.AFTER_WATCHING, up_to, f"{why}, after watching, for the home has moved"
    return (Signing.ABOVE if up_to > found.ledger_height else Signing.AT_ONCE), up_to, why


def _remembers(wal: WalFound | None, last: SignStep) -> bool:
    """Whether the log leads at least to what the guard saw signed (F3 comes before F4)."""
    if (last.round, last.kind) == (ROUND_MAX, PRECOMMIT):
        return True  # a reset, not a signature: the guard itself refuses the whole height
    if wal is None or wal.height != last.height or wal.last_step is None:
        return False
    return wal.last_step >= (last.round, last.kind)
