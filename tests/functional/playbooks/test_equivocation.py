"""One of four signs twice for the same step: caught, slashed, and its key never signs again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.node_world import command
from tests.playbook_world import EPOCH_BLOCKS, Play, log_lines

pytestmark = pytest.mark.slow


def test_a_validator_that_signs_twice_is_proved_slashed_and_tombstoned(tmp_path: Path) -> None:
    """A validator's program was changed to vote for a block and for nil at once. The others keep both
    votes as evidence; the evidence becomes a transaction, the bond is cut at once, the key is banned for
    good and the set goes on as three. Nobody else's bond is touched, no block is undone, and asking to
    come back is refused by name.
    """
    stage = Play(tmp_path / "net", epoch_blocks=EPOCH_BLOCKS)
    try:
        with stage.step("three honest validators and one that lies from the sixth height on"):
            liar = stage.key(1)
            stage.liars.add(liar.key.public)
            bonded = int(stage.founded.genesis.validators[0].bond)
            stage.start(0, 2, 3)
            stage.start(1, module="tests.liar_process")
        with stage.step("the evidence lands on chain"):
            stage.until(0, lambda: stage.validator(1, through=0)["status"] == "tombstoned")
            record = stage.validator(1, through=0)
            assert int(record["bonded"]) <= bonded - bonded // 20
            assert log_lines(stage.nodes[0], ["a validator signed twice"])
        with stage.step("the set goes on as three, everybody else unharmed"):
            stage.until(0, lambda: stage.validator(1, through=0)["power"] == 0)
            stage.blocks(4, (0, 2, 3))
            for number in (0, 2, 3):
                honest = stage.validator(number, through=0)
                assert (honest["status"], int(honest["bonded"])) == ("active", bonded)
                assert stage.is_validating(number)
        with stage.step("there is no way back for the key"):
            refused = command(
                stage.founded.root, "validator", "unjail", "--from", "validator1", "--yes", "--json",
                "--node", stage.nodes[0].url, password=stage.founded.password_file,
            )  # fmt: skip
            assert refused.returncode == 4, refused.stdout + refused.stderr
            assert '"no_validator"' in refused.stdout
            told = stage.ask("validator", "show", "validator1", "--home", str(stage.founded.root),
                             "--node", stage.nodes[0].url)  # fmt: skip
            assert (told["validator"]["status"], told["next"]) == ("tombstoned", None)
        stage.curtain()
        assert {step[0] for step in stage.caught} <= {liar.key.public}
    finally:
        stage.end()
