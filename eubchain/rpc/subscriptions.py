"""Subscriptions: what a WebSocket client asked to be told, within bounds.

Here: topics, the hub that node code publishes to, one bounded queue per subscription.
Not here: the socket (server.py), what is published (eubchain/node).
Keeps: publishing never waits; a full queue drops the newest message and the next one that is
delivered says how many were dropped, so that a client knows to ask again. A message may be a function
that makes it: what is dropped is never made.
Errors: 2310 unknown_topic, 2311 too_many_subscriptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import trio

from consensus.types.errors import Fault, Reason

TOPICS = ("newBlock", "tx", "task", "evidence")
QUEUE_MAX = 256
"""Messages that wait for one slow subscriber."""
SUBSCRIPTIONS_MAX = 1_024
"""Of all connections together."""

UNKNOWN_TOPIC = Reason(
    2310,
    "unknown_topic",
    "topic:text",
    "There is no topic {topic}.",
    "Subscribe to one of newBlock, tx, task, evidence.",
)
TOO_MANY_SUBSCRIPTIONS = Reason(
    2311,
    "too_many_subscriptions",
    "limit:count",
    "The node serves {limit} subscriptions and all are taken.",
    "Close one, or use another node.",
)


class Subscription:
    """One client's interest in a topic; `key` narrows it to a txid or a task."""

    def __init__(self, number: int, topic: str, key: bytes | None) -> None:
        self.number = number
        self.topic = topic
        self.key = key
        self.dropped = 0
        self._send, self.receive = trio.open_memory_channel[tuple[Any, int]](QUEUE_MAX)

    def offer(self, message: Any) -> None:
        """Queue a message with the number dropped before it, or count it as dropped."""
        try:
            self._send.send_nowait((message, self.dropped))
            self.dropped = 0
        except (trio.WouldBlock, trio.BrokenResourceError):
            self.dropped += 1

    def offer_all(self, messages: Sequence[Any]) -> None:
        """Queue as many as there is room for; the rest is counted without being looked at one by one."""
        room = QUEUE_MAX - self._send.statistics().current_buffer_used
        for message in messages[:room]:
            self.offer(message)
        self.dropped += max(0, len(messages) - room)

    def close(self) -> None:
        """End the subscriber's loop."""
        self._send.close()


class Hub:
    """Where the node publishes and connections subscribe."""

    def __init__(self) -> None:
        self._subscriptions: dict[int, Subscription] = {}
        self._next = 1

    def subscribe(self, topic: str, key: bytes | None = None) -> Subscription:
        """Open a subscription; raise `Fault` for an unknown topic or when all places are taken."""
        if topic not in TOPICS:
            raise Fault(UNKNOWN_TOPIC, topic=topic[:64])
        if len(self._subscriptions) >= SUBSCRIPTIONS_MAX:
            raise Fault(TOO_MANY_SUBSCRIPTIONS, limit=SUBSCRIPTIONS_MAX)
        subscription = Subscription(self._next, topic, key)
        self._subscriptions[self._next] = subscription
        self._next += 1
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget it."""
        self._subscriptions.pop(subscription.number, None)
        subscription.close()

    def wants(self, topic: str) -> bool:
        """Whether anybody listens, so that nothing is rendered for nobody."""
        return any(s.topic == topic for s in self._subscriptions.values())

    def publish(self, topic: str, message: Any, key: bytes | None = None) -> None:
        """Hand a message to everyone who asked for the topic, or for this key of it."""
        for subscription in self._subscriptions.values():
            if subscription.topic == topic and subscription.key in (None, key):
                subscription.offer(message)

    def publish_all(self, topic: str, messages: Mapping[bytes, Any]) -> None:
        """Hand out a block's messages by key; the work is bounded by the queues, not by their number."""
        everything = list(messages.values())
        for subscription in self._subscriptions.values():
            if subscription.topic != topic:
                continue
            if subscription.key is None:
                subscription.offer_all(everything)
            elif subscription.key in messages:
                subscription.offer(messages[subscription.key])
