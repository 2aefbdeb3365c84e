"""Whoever signs is counted, however far away: the next block's commit waits for precommits that come late.

Here: whole nodes whose lines have different lengths, and what the chain then says of them.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.sim.whole.checks import stored
from tests.sim.whole.town import EPOCH_BLOCKS, Plan, Town, play
from vm import head as heads
from vm.outage import was_outage
from vm.validator import ACTIVE, VALIDATORS

FAR = 3
EXTRA_MS = 100
"""On a line of up to 20 ms; a block comes every 500."""


def lengthen(town: Town, index: int) -> None:
    """Put a node far from all others."""
    carry = town.wire.carry

    def carried(sender: int, receiver: int, deliver: Callable[[], None], *, sure: bool = False) -> bool:
        if index not in (sender, receiver):
            return carry(sender, receiver, deliver, sure=sure)
        return carry(sender, receiver, lambda: town.wire.later(EXTRA_MS, deliver), sure=sure)

    town.wire.carry = carried  # type: ignore[method-assign]


def test_a_validator_that_is_far_away_is_counted_and_not_jailed() -> None:
    """It signs every block 100 ms after the others; counted at the decision alone, it was jailed."""
    signed: list[bool] = []

    async def story(town: Town) -> None:
        lengthen(town, FAR)
        await town.until_height(3 * EPOCH_BLOCKS)
        node, key = town.nodes[0], town.nodes[FAR].key.public
        for height in range(2, node.height + 1):
            found = stored(node, height)
            assert found is not None
            assert found.block.last_commit is not None
            members = town.watch.sets[height - 1]
            signers = found.block.last_commit.signers(len(members))
            signed.append(key in {members[position].key for position in signers})
        record = heads.view(node.ledger, node.rules).get(VALIDATORS, town.nodes[FAR].operator.address)
        assert record is not None
        assert record.status == ACTIVE
        town.check_all()

    play(1, Plan([1, 1, 1, 1], users=False), story)
    assert sum(signed) >= len(signed) - 2


def test_seven_validators_that_all_sign_are_no_outage() -> None:
    """Five of seven decide: were the other precommits lost, more than a quarter of power would be absent."""

    async def story(town: Town) -> None:
        await town.until_height(EPOCH_BLOCKS + 1)
        assert not was_outage(heads.view(town.nodes[0].ledger, town.rules), 0)

    play(1, Plan([1] * 7, users=False), story)
