"""A validator's clock is wrong: the chain does not wait for it, and it is told by how much.

Skewed with libfaketime, which Debian has in the package `faketime`; without it these are skipped by name.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.playbook_world import Play, log_lines, metric

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime to set a process's clock"),
]


def skewed(seconds: int) -> dict[str, str]:
    """The environment of a process whose wall clock is ahead by so much; time still passes as it does."""
    return {"LD_PRELOAD": str(LIBRARY), "FAKETIME": f"{seconds:+d}s", "DONT_FAKE_MONOTONIC": "1"}


@pytest.mark.parametrize(("seconds", "words"), [(30, "ahead of"), (-30, "behind")])
def test_a_validator_whose_clock_is_out_is_told_and_holds_up_nobody(
    tmp_path: Path, seconds: int, words: str
) -> None:
    """A machine comes up with its clock half a minute out. Its proposals are refused or late and it votes
    against the others', who make blocks of their own; block times stay theirs. Its status and log say how
    far the clock is out and what to do. The clock is set, the node started again: it is one of four.
    """
    stage = Play(tmp_path / "net")
    try:
        with stage.step("three good clocks and a bad one"):
            stage.start(0, 1, 2)
            stage.start(3, environment=skewed(seconds))
            stage.pay(through=3)
            stage.blocks(8)
        with stage.step("the node knows its clock is out, says by how much and what to do"):
            stage.until(3, lambda: "clock" in stage.node_status(3))
            assert words in stage.node_status(3)["clock"]
            stage.until(3, lambda: 20_000 < abs(metric(stage.nodes[3], "eub_clock_skew_ms")) < 40_000)
            assert log_lines(stage.nodes[3], ["timedatectl"])
        with stage.step("no block is dated by it"):
            for height in range(2, stage.nodes[0].height + 1):
                header = stage.nodes[0].call("chain_getHeader", height=height)
                parent = stage.nodes[0].call("chain_getHeader", height=height - 1)
                assert header["time_ms"] - parent["time_ms"] < 25_000
        with stage.step("the clock is set: it is one of four again"):
            stage.stop(3)
            stage.start(3)
            stage.blocks(6)
            assert "clock" not in stage.node_status(3)
        stage.curtain()
    finally:
        stage.end()
