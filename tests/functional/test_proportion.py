"""Four validators of different stake and compute make the blocks of a running network in proportion.

The story: the validators are endowed with 10,000 or 50,000 EUBC; two of them prove compute in each window.
Once power stands still, the next blocks are counted by the two commands that anybody has.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from consensus.types.amounts import PPB
from scripts.experiments.proportion import KINDS, run

BLOCKS = 60
LIMIT_S = 900


@pytest.mark.slow
async def test_who_brings_more_makes_more_blocks_as_far_as_chance_allows(tmp_path: Path) -> None:
    """`por plot` draws it, `validator list` shows both columns, and compute counts beside stake."""
    picture = tmp_path / "shares.png"
    with trio.fail_after(LIMIT_S):
        found = await run(tmp_path, BLOCKS, picture)
    assert found.blocks == BLOCKS
    assert found.is_in_proportion, [(row["name"], row["deviations"]) for row in found.rows]
    power = {row["name"]: row["power"] for row in found.rows}
    assert sum(power.values()) > PPB - len(KINDS)
    least, staking, *computing = (power[f"validator{number}"] for number in range(len(KINDS)))
    # Compute still grows when the count begins, and no power is above a third.
    assert staking > 1.4 * least, "five times the stake"
    assert all(each > 1.2 * least for each in computing), "the same stake, and compute"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert found.validators.count(" % of blocks") == len(KINDS)
