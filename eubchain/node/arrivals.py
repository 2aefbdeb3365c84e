"""What comes to the engine's inbox, from the network and from its own tasks.

Here: the records. Not here: what the engine does with them (engine.py).
"""

from __future__ import annotations

from typing import NamedTuple

import trio

from consensus.agreement.effects import SignAndSendProposal
from consensus.agreement.inputs import RecordedInput
from eubchain.node.network import Final


class Arrival(NamedTuple):
    """An input for a height, from the network or from this node's own work."""

    height: int
    event: RecordedInput
    is_own: bool = False


class ProposalDue(NamedTuple):
    """The moment to sign a proposal has come."""

    height: int
    effect: SignAndSendProposal


class Overtaken(NamedTuple):
    """Others have decided these heights: apply their blocks instead of agreeing on them."""

    blocks: tuple[Final, ...]
    done: trio.Event


class WatchOver(NamedTuple):
    """The watch for a twin has lasted long enough."""

    height: int


class RoomAgain(NamedTuple):
    """The disk takes writes again: enter this height anew, from what reached the disk."""

    height: int


Item = Arrival | ProposalDue | Overtaken | WatchOver | RoomAgain
