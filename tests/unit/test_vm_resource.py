"""Proving on chain: windows from announcement to close, proofs and their refusals, what a close does."""

from __future__ import annotations

from consensus.resource.windows import opens_at
from consensus.types.amounts import eubc
from spark_node.prover.numpy_backend import NumpyBackend
from spark_node.prover.order import Assignment
from spark_node.prover.search import prove
from tests.proving import Provers
from vm.measuring import CLOSED
from vm.resource import Prove


def test_a_real_proof_is_counted_and_moves_what_the_spark_is_worth() -> None:
    """The numpy prover searches for a real window; S grows by what it found, D follows, the pool pays."""
    world = Provers(difficulty=8)
    opened = world.until_open()
    world.block()
    last = world.window
    assert last.seed is not None
    assignment = Assignment(last.window.profile, opened, last.seed, world["alice"].address, 8)
    looks = iter([True] * 4)
    answer = prove(NumpyBackend(), assignment, lambda: next(looks, False))
    assert answer.dropped == 0
    found = answer.proof.count
    assert found >= 8

    receipt = world.succeed("alice", Prove(answer.proof))
    assert receipt.fee == receipt.units * world.params.fees.min_price
    world.until_closed()
    assert world.events(CLOSED.code)[-1] == (opens_at(world.window.window), 1, found, 1)
    after = world.spark("alice")
    assert after.capacity == (found * 8 << 16) // 8
    assert after.difficulty == 8 * (found + 32) // 64
    before = world.balance("alice")
    world.until_epoch_end()
    assert world.balance("alice") - before > eubc(1)
    assert world.spark("alice").power > 0
    world.check()
