"""Single liars against whole nodes, each until what it does is seen: caught and punished, or in vain."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from consensus.agreement.messages import VOTE
from consensus.types.vote import PRECOMMIT, PROPOSAL
from p2p.frames import Kind
from tests.sim import planted
from tests.sim.outcome import in_words
from tests.sim.whole.checks import stored
from tests.sim.whole.liars.double_proposer import DoubleProposer
from tests.sim.whole.liars.splitter import Splitter
from tests.sim.whole.town import Plan, Town, play
from vm.evidence import INFRACTIONS, SubmitEvidence
from vm.registry import decode_candidate
from vm.validator import TOMBSTONED, VALIDATORS


def evidence_in(town: Town) -> list[SubmitEvidence]:
    """What stands in the longest honest chain."""
    node = max(town.honest, key=lambda each: each.height)
    blocks = [found.block for h in range(1, node.height + 1) if (found := stored(node, h))]
    payloads = [
        decode_candidate(raw, town.rules).transaction.body.payload for b in blocks for raw in b.transactions
    ]
    return [payload for payload in payloads if isinstance(payload, SubmitEvidence)]


@pytest.mark.parametrize("seed", range(2))
def test_who_proposes_twice_is_proved_guilty_in_the_chain_and_loses_its_seat(seed: int):
    """It votes as everybody does: only its proposals can betray it, and one node that hears both does."""

    async def story(town: Town) -> None:
        guilty = town.nodes[seed].operator.address

        def is_punished() -> bool:
            view = max(town.honest, key=lambda each: each.height).service.view()
            found = view.get(VALIDATORS, guilty)
            return found is not None and found.status == TOMBSTONED

        await town.until_height(1)
        await town.until(is_punished, 60_000)
        await town.until_height(town.top() + 2)
        town.check_all()
        assert {(proof.kind, proof.key) for proof in evidence_in(town)} == {
            (PROPOSAL, town.nodes[seed].key.public)
        }
        taken = town.chain.view.get(INFRACTIONS, guilty)
        assert taken is not None
        assert taken.taken > 0

    play(seed, Plan([1] * 4, {seed: DoubleProposer}), story)


def unheard(victim: int) -> Callable[[int, Kind, bytes], bool]:
    """A censor of everything by which others could learn what the victim has decided."""

    def censor(sender: int, kind: Kind, body: bytes) -> bool:
        if sender != victim:
            return False
        is_precommit = kind is Kind.VOTE and VOTE.decode(body).kind == PRECOMMIT
        return is_precommit or kind in (Kind.CERTIFICATE, Kind.GET_BLOCKS)

    return censor


async def one_decides_unheard(town: Town) -> None:
    """The victim hears everything and decides alone: the others hold no more than locks on its block."""
    await town.until_height(1)
    for _ in range(6):
        town.wire.censor = unheard(1)
        await town.run(6_000)
        town.check()
        town.wire.censor = lambda sender, kind, body: False
        await town.until_height(town.top() + 1, 60_000)
    town.check_all()


@pytest.mark.parametrize("seed", range(3))
def test_locks_of_whole_nodes_hold_when_one_decides_unheard_and_a_liar_proposes_something_else(seed: int):
    """No fork: the honest propose again what they are locked on, and after healing all have it."""
    town = play(seed, Plan([1] * 4, {0: Splitter}, users=False), one_decides_unheard)
    assert town.nodes[0].bait, "it had its rounds"


def test_without_locks_the_same_story_forks():
    """Else the story would prove nothing."""

    def fork() -> None:
        play(0, Plan([1] * 4, {0: Splitter}, users=False), one_decides_unheard)

    with planted.dropped_lock(), pytest.raises(BaseExceptionGroup) as failure:
        fork()
    assert "agreement: 2 blocks" in in_words(failure.value)
