"""Single liars against whole nodes, each until what it does is seen: caught and punished, or in vain."""

from __future__ import annotations

import pytest

from consensus.types.vote import PROPOSAL
from tests.sim.stories import SPLIT, one_decides_unheard
from tests.sim.whole.checks import stored
from tests.sim.whole.liars.double_proposer import DoubleProposer
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


def test_locks_of_whole_nodes_hold_when_one_decides_unheard_and_a_liar_proposes_something_else():
    """No fork: the honest propose again what they are locked on, and after healing all have it."""
    towns = [play(seed, SPLIT, one_decides_unheard) for seed in range(6)]
    assert any(town.nodes[0].bait for town in towns), "it had its rounds"
