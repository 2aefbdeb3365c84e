"""A validator that is silent for epochs: jailed, told why, and back by the line that it is told."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.playbook_world import EPOCH_BLOCKS, VALIDATORS, play

pytestmark = pytest.mark.slow

SILENT_MS = 30_000


def test_a_validator_silent_for_half_a_minute_is_jailed_told_why_and_comes_back(tmp_path: Path) -> None:
    """A machine freezes for thirty seconds of chain time: three validators go on, and at an epoch's end
    jail the fourth. Its operator asks what happened and reads which heights it missed, why, until when
    it is jailed, and the line that brings it back. The machine goes on, catches up, and the line, typed
    exactly as it was shown, makes it a validator again.
    """
    with play(tmp_path / "net", epoch_blocks=EPOCH_BLOCKS) as stage:
        with stage.step("one is stopped; three go on for thirty seconds of chain time"):
            header = stage.nodes[0].call("chain_getHeader", height=stage.nodes[0].height)
            stopped_ms = header["time_ms"]
            stage.pause(2)
            stage.until_peers(0, VALIDATORS - 2)  # its peers drop it, though its sockets are open
            stage.until(
                0,
                lambda: (
                    stage.nodes[0].call("chain_getHeader", height=stage.nodes[0].height)["time_ms"]
                    >= stopped_ms + SILENT_MS
                ),
            )
        with stage.step("it was jailed, and the others were not"):
            record = stage.validator(2, through=0)
            assert (record["status"], record["power"]) == ("jailed", 0)
            for number in (0, 1, 3):
                assert stage.validator(number, through=0)["status"] == "active"
        with stage.step("its operator is told the heights, the cause, the end and the line"):
            wallet = ("--home", str(stage.founded.root), "--node", stage.nodes[0].url)
            told = stage.ask("validator", "show", "validator2", *wallet)
            assert told["validator"]["unjail_height"] > 0
            span = max(told["missed"], key=lambda span: span["last"] - span["first"])
            assert span["last"] - span["first"] >= 4
            assert "the others signed without it" in span["cause"]
            assert told["next"].startswith("eubchain validator unjail --from validator2")
        with stage.step("it goes on, catches up and follows"):
            stage.go_on(2)
            stage.blocks(2)
            stage.until(2, lambda: "why_not_validating" in stage.node_status(2))
            assert stage.node_status(2)["why_not_validating"] == "the key is not in the validator set"
        with stage.step("the line brings it back: two epochs later it signs"):
            stage.reach(told["validator"]["unjail_height"], [0])
            line = stage.ask("validator", "show", "validator2", *wallet)["next"]
            program, *words = shlex.split(line)
            assert program == "eubchain"
            assert words == ["validator", "unjail", "--from", "validator2"]
            stage.ask(*words, "--yes", *wallet)
            stage.until(2, lambda: stage.is_validating(2))
            stage.until(0, lambda: stage.validator(2, through=0)["signed"] > 0)
            assert stage.validator(2, through=1)["status"] == "active"
        stage.curtain()
