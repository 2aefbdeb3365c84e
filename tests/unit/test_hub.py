"""Subscriptions: nobody waits for a slow reader, and a reader is told what it missed."""

from __future__ import annotations

import pytest

from consensus.types.errors import Fault
from eubchain.rpc import subscriptions
from eubchain.rpc.subscriptions import QUEUE_MAX, Hub


async def test_a_slow_reader_is_told_how_much_it_missed():
    hub = Hub()
    slow = hub.subscribe("newBlock")
    for number in range(QUEUE_MAX + 5):
        hub.publish("newBlock", number)
    first, dropped = await slow.receive.receive()
    assert (first, dropped) == (0, 0)
    hub.publish("newBlock", "next")
    received = [await slow.receive.receive() for _ in range(QUEUE_MAX)]
    assert received[-1] == ("next", 5)
    assert sum(missed for _, missed in received) == 5


async def test_a_key_narrows_a_topic_and_closing_ends_the_loop():
    hub = Hub()
    mine, everything = hub.subscribe("task", b"a"), hub.subscribe("task")
    hub.publish("task", 1, b"a")
    hub.publish("task", 2, b"b")
    hub.publish("tx", 3, b"a")
    hub.unsubscribe(mine)
    hub.publish("task", 4, b"a")
    assert [m async for m, _ in mine.receive] == [1]
    hub.unsubscribe(everything)
    assert [m async for m, _ in everything.receive] == [1, 2, 4]
    assert not hub.wants("task")


def test_unknown_topics_and_too_many_subscriptions_are_refused(monkeypatch):
    hub = Hub()
    with pytest.raises(Fault) as unknown:
        hub.subscribe("blocks")
    assert unknown.value.reason.name == "unknown_topic"
    monkeypatch.setattr(subscriptions, "SUBSCRIPTIONS_MAX", 1)
    hub.subscribe("tx")
    with pytest.raises(Fault) as full:
        hub.subscribe("tx")
    assert full.value.reason.name == "too_many_subscriptions"


async def test_a_reader_that_left_without_a_word_is_passed_over():
    hub = Hub()
    gone = hub.subscribe("newBlock")
    await gone.receive.aclose()
    for number in range(3):
        hub.publish("newBlock", number)
    assert gone.dropped == 3


async def test_a_block_of_messages_costs_a_slow_reader_no_more_than_its_queue():
    """What is dropped is counted at once and never made."""
    hub, made = Hub(), []
    everything, mine = hub.subscribe("tx"), hub.subscribe("tx", b"%d" % (QUEUE_MAX + 1))
    hub.publish_all("tx", {b"%d" % i: lambda i=i: made.append(i) for i in range(QUEUE_MAX + 9)})
    assert everything.dropped == 9
    assert not made
    (await mine.receive.receive())[0]()
    assert made == [QUEUE_MAX + 1]
