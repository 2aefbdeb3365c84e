"""What a node hears of a height: each thing is checked once, and neither flood nor forgery keeps it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import pytest
import trio
import trio.testing

from consensus.agreement.inputs import CertificateReceived, RecordedInput, StartHeight, VoteReceived
from consensus.agreement.messages import Certificate, Vote, make_certificate
from consensus.types.codec import encode
from consensus.types.transaction import SignatureCheck
from consensus.types.vote import PRECOMMIT, PREVOTE, vote_hash
from eubchain.node.hearing import REMEMBERED_MS, SPOKEN_MAX, Hearing
from p2p.faults import PeerFault
from p2p.frames import Kind
from tests.world import World, verify_all

X = b"x" * 32
WORLD = World(validators=7)
KEYS = {operator.consensus.public: operator.consensus for operator in WORLD.operators}
SET = WORLD.validators
HEIGHT = 5


class Listener:
    """A hearing whose engine and workers only take notes."""

    def __init__(self) -> None:
        self.checked = 0
        self.told: list[tuple[int, RecordedInput]] = []
        self.accused: list[str] = []
        pool: Any = self
        self.hearing = Hearing(WORLD.rules, pool, self._deliver, lambda heard: None, self._accuse)
        self.begin(HEIGHT)

    def begin(self, height: int) -> None:
        self.hearing.at_height(StartHeight(height, SET, None, bytes(32), 0))

    async def signatures(self, checks: Sequence[SignatureCheck]) -> list[bool]:
        self.checked += len(checks)
        return [verify_all([check]) for check in checks]

    async def _deliver(self, height: int, event: RecordedInput) -> None:
        self.told.append((height, event))

    def _accuse(self, peer: str, fault: PeerFault) -> None:
        self.accused.append(peer)

    def hear(self, peer: str, message: Vote | Certificate, arrived_ms: int = 0) -> None:
        kind = Kind.VOTE if isinstance(message, Vote) else Kind.CERTIFICATE
        self.hearing.take(peer, kind, encode(message), arrived_ms)


def vote(who: int, kind: int = PREVOTE, height: int = HEIGHT, *, forged: bool = False) -> Vote:
    text = vote_hash(WORLD.rules.genesis, kind, height, 0, X)
    signature = bytes(64) if forged else KEYS[SET[who].key].sign(text)
    return Vote(kind, height, 0, X, who, signature)


def listening(story: Callable[[Listener], Any]) -> Listener:
    """Hear what the story says, until nothing waits."""
    listener = Listener()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.hearing.run)
            story(listener)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    trio.run(main)
    return listener


def test_certificates_of_one_thing_cost_one_check() -> None:
    """From seven votes anybody can make 29 certificates; with a hundred validators there is no end."""

    def story(listener: Listener) -> None:
        signatures = {who: vote(who).signature for who in range(7)}
        for some in combinations(range(7), 5):
            chosen = {who: signatures[who] for who in some}
            listener.hear("flooder", make_certificate(PREVOTE, HEIGHT, 0, X, chosen, 7))

    listener = listening(story)
    assert [type(event) for _, event in listener.told] == [CertificateReceived]
    assert listener.checked == 5
    assert not listener.accused


def test_a_forged_vote_does_not_keep_the_true_one_out() -> None:
    def story(listener: Listener) -> None:
        listener.hear("forger", vote(1, forged=True))
        listener.hear("honest", vote(1))

    listener = listening(story)
    assert listener.told == [(HEIGHT, VoteReceived(vote(1)))]
    assert listener.accused == ["forger"]


@pytest.mark.parametrize(("kind", "is_taken"), [(PRECOMMIT, True), (PREVOTE, False)])
def test_of_the_height_before_only_precommits_are_taken(kind: int, is_taken: bool) -> None:
    def story(listener: Listener) -> None:
        listener.begin(HEIGHT + 1)
        listener.hear("far away", vote(2, kind))

    expected = [(HEIGHT, VoteReceived(vote(2, kind)))] if is_taken else []
    assert listening(story).told == expected


def test_what_waits_when_its_height_is_decided_is_taken_late() -> None:
    def story(listener: Listener) -> None:
        listener.hear("slow", vote(2, PRECOMMIT))
        listener.begin(HEIGHT + 1)

    assert listening(story).told == [(HEIGHT, VoteReceived(vote(2, PRECOMMIT)))]


def test_a_height_that_is_entered_again_hears_everything_again() -> None:
    """What its log had not kept when the disk refused is lost, and peers say it again."""
    told: list[tuple[int, RecordedInput]] = []

    async def main() -> None:
        listener = Listener()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.hearing.run)
            for _ in range(2):
                listener.hear("peer", vote(1))
                await trio.testing.wait_all_tasks_blocked()
                listener.begin(HEIGHT)
            nursery.cancel_scope.cancel()
        told.extend(listener.told)

    trio.run(main)
    assert told == [(HEIGHT, VoteReceived(vote(1)))] * 2


def test_two_heights_later_nothing_is_taken() -> None:
    def story(listener: Listener) -> None:
        listener.begin(HEIGHT + 1)
        listener.begin(HEIGHT + 2)
        listener.hear("late", vote(2, PRECOMMIT))

    assert listening(story).told == []


def test_what_is_said_again_after_a_while_is_heard_again() -> None:
    """Agreement drops what it has no use for yet; were it never heard again, a height could stand still."""
    told: list[tuple[int, RecordedInput]] = []

    async def main() -> None:
        listener = Listener()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.hearing.run)
            for arrived_ms in (0, REMEMBERED_MS - 1, REMEMBERED_MS):
                listener.hear("peer", vote(1), arrived_ms)
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        told.extend(listener.told)

    trio.run(main)
    assert told == [(HEIGHT, VoteReceived(vote(1)))] * 2


def test_a_validator_that_says_something_else_a_thousand_times_is_heard_a_bounded_number_of_times() -> None:
    """Its signatures are true: each was checked, counted by nobody, and passed on to everybody."""

    def story(listener: Listener) -> None:
        for number in range(3 * SPOKEN_MAX):
            block_id = number.to_bytes(32, "big")
            text = vote_hash(WORLD.rules.genesis, PREVOTE, HEIGHT, 0, block_id)
            listener.hear("liar", Vote(PREVOTE, HEIGHT, 0, block_id, 3, KEYS[SET[3].key].sign(text)))
        listener.hear("honest", vote(1))

    listener = listening(story)
    assert (HEIGHT, VoteReceived(vote(1))) in listener.told
    assert len(listener.told) == SPOKEN_MAX + 1
