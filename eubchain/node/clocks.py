"""What the engine waits for beside its inbox: timeouts, a block's time, the end of a watch, room on the disk.

Here: Unix time; a task for each wait, which ends by sending one item to the inbox.
Not here: what follows from it (engine.py). Keeps: a task belongs to one height and ends with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

from consensus.agreement.effects import ScheduleTimeout, SignAndSendProposal
from consensus.agreement.inputs import StartHeight, TimeoutFired
from eubchain.node.arrivals import Arrival, Item, ProposalDue, RoomAgain, WatchOver
from eubchain.node.height_log import DiskAlarm
from eubchain.node.network import Network
from eubchain.node.twin_watch import TwinWatch

LISTEN_S = 1
"""How often a moved home looks whether it can hear the network."""


def wall_clock_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class Clocks:
    """Waits on one machine's clock and tells one inbox."""

    def __init__(self, inbox: trio.MemorySendChannel[Item], clock_ms: Callable[[], int]) -> None:
        self._inbox, self._clock_ms = inbox, clock_ms

    async def timeout(self, height: int, effect: ScheduleTimeout) -> None:
        """A timeout of agreement; round 0's runs from the earliest time that a block may have."""
        until_start = max(0, effect.not_before_ms - self._clock_ms()) if effect.not_before_ms else 0
        await trio.sleep((until_start + effect.after_ms) / 1000)
        await self._inbox.send(Arrival(height, TimeoutFired(effect.kind, effect.round)))

    async def proposal(self, height: int, effect: SignAndSendProposal, time_ms: int) -> None:
        """A new block's proposal leaves when this node's clock has reached the block's time."""
        if effect.valid_round is None:
            ahead = time_ms - self._clock_ms()
            if ahead > 0:
                await trio.sleep(ahead / 1000)
        await self._inbox.send(ProposalDue(height, effect))

    async def watch(self, start: StartHeight, watch: TwinWatch, network: Network) -> None:
        """A moved home has listened long enough for its twin.

        Seconds count in which a twin would be heard: with a peer, or where nobody else is in the set.
        """
        while not watch.is_over(start.height - 1):
            await trio.sleep(LISTEN_S)
            if len(start.validators) == 1 or network.is_connected():
                watch.listened(LISTEN_S)
        await self._inbox.send(WatchOver(start.height))

    async def room(self, height: int, disk: DiskAlarm) -> None:
        """The disk takes writes again."""
        await disk.wait_for_room()
        await self._inbox.send(RoomAgain(height))
