"""A moved home looks for its twin before it signs."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from consensus.agreement.inputs import StartHeight
from consensus.types.errors import Fault
from consensus.validators import Validator
from eubchain.node.arrivals import Item, WatchOver
from eubchain.node.clocks import Clocks
from eubchain.node.guard import SignStep
from eubchain.node.network import NoPeers
from eubchain.node.recovery import WATCH_SECONDS
from eubchain.node.twin_watch import TWIN_SEEN, TwinWatch

LAST = SignStep(100, 2, 1)


@pytest.mark.parametrize("step", [(100, 2, 2), (100, 3, 0), (101, 0, 0)])
def test_a_word_beyond_what_the_guard_remembers_is_a_twins(step: tuple[int, int, int]):
    """Somebody signs with this key, and it is not this home."""
    with pytest.raises(Fault) as caught:
        TwinWatch(100, LAST).saw(SignStep(*step))
    assert caught.value.reason is TWIN_SEEN


@pytest.mark.parametrize("step", [(100, 2, 1), (100, 0, 2), (99, 9, 2)])
def test_an_old_word_repeated_by_peers_is_this_homes_own(step: tuple[int, int, int]):
    """It was said before the move."""
    TwinWatch(100, LAST).saw(SignStep(*step))


def test_the_watch_ends_after_twenty_heights_or_thirty_seconds():
    """Whichever is over first."""
    watch = TwinWatch(100, LAST)
    watch.listened(29)
    assert not watch.is_over(119)
    assert watch.is_over(120)
    watch.listened(1)
    assert watch.is_over(100)


def test_blocks_that_were_caught_up_with_do_not_end_the_watch():
    """A copy that is behind takes hundreds in a second, all of them made before its twin came back."""
    watch = TwinWatch(100, LAST)
    watch.listened(31)
    watch.begin_again(500)
    watch.listened(29)
    assert not watch.is_over(519)
    assert watch.is_over(520)
    watch.listened(1)
    assert watch.is_over(500)


class Hub(NoPeers):
    """A network that peers join and leave."""

    peers = 0

    def is_connected(self) -> bool:
        return self.peers > 0


@pytest.mark.trio
async def test_seconds_in_which_nobody_could_be_heard_do_not_count(autojump_clock: trio.testing.MockClock):
    """A moved home without a connected peer hears of no twin, however long it waits."""
    watch, hub, inbox, begun = TwinWatch(100, LAST), Hub(), *begin(members=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(begun, watch, hub)
        await trio.sleep(3_600)
        assert not watch.is_over(100)
        with pytest.raises(trio.WouldBlock):
            inbox.receive_nowait()
        hub.peers, joined = 1, trio.current_time()
        assert await inbox.receive() == WatchOver(101)
        assert WATCH_SECONDS - 1 <= trio.current_time() - joined <= WATCH_SECONDS + 1
    assert watch.is_over(100)


@pytest.mark.trio
async def test_a_lone_validator_starts_though_nobody_is_there(autojump_clock: trio.testing.MockClock):
    """Nobody else is in its set: it would wait for ever."""
    watch, inbox, begun = TwinWatch(100, LAST), *begin(members=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(begun, watch, Hub())
        assert await inbox.receive() == WatchOver(101)


def begin(members: int) -> tuple[Any, Any]:
    """An inbox, and the task that watches at height 101 in a set of so many."""
    send, inbox = trio.open_memory_channel[Item](1)
    validators = tuple(Validator(bytes([i]) * 20, bytes(32), 1) for i in range(members))
    start = StartHeight(101, validators, None, bytes(32), 0)
    return inbox, partial(Clocks(send, lambda: 0).watch, start)
