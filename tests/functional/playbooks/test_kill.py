"""Validators die, one, two, all of them: what the others do, and that everybody comes back to one chain."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.playbook_world import play

pytestmark = pytest.mark.slow


def test_killed_one_two_and_all_validators_come_back_to_one_chain(tmp_path: Path) -> None:
    """One is killed and three go on without it. A second is killed and nothing can become final, but
    nothing is lost either: a payment waits. Both come back and it is paid. Then the power fails for all
    four at once, and the chain goes on where it stood.
    """
    with play(tmp_path / "net") as stage:
        with stage.step("one is killed, three go on"):
            stage.kill(3)
            stage.pay(through=0)
            stage.blocks(4)
        with stage.step("a second is killed: two of four make no block"):
            stage.kill(2)
            stage.pay(through=1)
            stands = max(node.height for node in stage.nodes.values())
            for number in (0, 1):
                stage.until(number, lambda number=number: not stage.is_ready(number))
            assert max(node.height for node in stage.nodes.values()) <= stands + 1
        with stage.step("both come back and sign"):
            stage.start(2, 3)
            stage.blocks(4)
            for number in (2, 3):
                stage.until(number, lambda number=number: stage.is_validating(number))
        with stage.step("all are killed at once and started again"):
            stands = max(node.height for node in stage.nodes.values())
            stage.kill(*list(stage.nodes))
            stage.start()
            stage.reach(stands + 4)
            stage.pay(through=3)
        stage.curtain()
