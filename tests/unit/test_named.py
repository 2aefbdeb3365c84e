"""What live records name of old blocks: the transactions that pruning and snapshots must keep."""

from __future__ import annotations

from tests.market import deliver_of, fail_of, grant_of, start_of
from tests.unit.test_task_world import found, matched
from vm.named import named_transactions


def test_a_tasks_transactions_are_named_while_its_records_live() -> None:
    """The post from the beginning, the grant and the delivery as they come; nothing once all is forgotten."""
    world = found()
    assert named_transactions(world.view) == frozenset()
    task = matched(world)
    wtxids = {c.txid: c.wtxid for outcome in world.outcomes for c in outcome.included}
    assert named_transactions(world.view) == {wtxids[task]}
    for payload, count in ((grant_of(task), 2), (start_of(task), 2), (deliver_of(task), 3)):
        world.succeed("alice" if count == 2 and payload == grant_of(task) else "bob", payload)
        newest = world.outcomes[-1].included[0].wtxid
        assert len(named_transactions(world.view)) == count
        assert (newest in named_transactions(world.view)) == (payload != start_of(task))
    world.blocks(world.params.market.task_retain_blocks + 700)
    assert named_transactions(world.view) == frozenset()


def test_a_claimed_failure_is_named_by_its_report() -> None:
    world = found()
    task = matched(world)
    world.succeed("alice", grant_of(task))
    world.succeed("bob", start_of(task))
    world.succeed("bob", fail_of(task))
    assert world.outcomes[-1].included[0].wtxid in named_transactions(world.view)
