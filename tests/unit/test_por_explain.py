"""`por_explain` against a chain that ran a task: history gives back the marks, the rules give the parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from consensus.types.address import format_address
from consensus.types.amounts import PPB
from eubchain.rpc.past import past_tasks
from tests.cli_world import Cli
from tests.market import PRICE, PROMISE, WINDOWS, accept_of, deliver_of, grant_of, post_of, start_of
from tests.rpc_world import WorldNode, patched
from tests.unit.test_task_world import found
from vm.spark import SPARKS
from vm.task.payloads import Offer
from vm.task.records import TASKS


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorldNode]:
    """A network on which bob ran a task of alice's, which she accepted with 90 of 100 and four stars."""
    made = WorldNode(found())
    world = made.world
    task = world.submit("alice", post_of())
    world.block()
    world.succeed("bob", Offer(task, 0, PRICE, PROMISE))
    world.until_height(world.read(TASKS, task).posted + WINDOWS.offer)
    world.succeed("alice", grant_of(task))
    world.succeed("bob", start_of(task))
    world.blocks(4)
    world.succeed("bob", deliver_of(task))
    world.succeed("alice", accept_of(task, 90, 4))
    with patched(made, monkeypatch):
        yield made


def test_history_gives_back_the_marks_that_state_has_merged(node: WorldNode) -> None:
    past = trio.run(past_tasks, node.ledger(), node.world["bob"].address)
    assert len(past.decided) == 1
    task = past.decided[0]
    assert (task.price, task.validation, task.rating, task.timeliness) == (
        PRICE,
        90 * PPB // 100,
        3 * PPB // 4,
        PPB,  # five blocks of the ten that were promised
    )
    assert not past.posted


def test_history_tells_what_was_posted(node: WorldNode) -> None:
    past = trio.run(past_tasks, node.ledger(), node.world["alice"].address)
    assert [price for _, price in past.posted] == [PRICE]
    assert not past.decided


async def ask(node: WorldNode, who: str) -> Any:
    from eubchain.client.connection import Connection

    async with Connection("http://node.test") as connection:
        address = format_address(node.world[who].address, "deub")
        return await connection.call("por_explain", address=address)


async def test_the_explained_coefficient_is_the_one_that_the_epoch_will_store(node: WorldNode) -> None:
    told = await ask(node, "bob")
    node.world.until_epoch_end()
    stored = node.world.read(SPARKS, node.world["bob"].address).kappa
    # Only the fading of one epoch lies between the two.
    assert told["kappa"] == pytest.approx(stored, rel=0.02)
    assert {factor["name"] for factor in told["factors"]} == {
        "compute", "bonded", "completed", "posted", "timeliness", "validation", "rating"
    }  # fmt: skip
    by_name = {factor["name"]: factor for factor in told["factors"]}
    assert by_name["completed"]["contributes"] > 0
    assert by_name["validation"]["has"] == str(90 * PPB // 100)
    changes = {outcome["name"]: outcome["changes"] for outcome in told["outcomes"]}
    assert changes["decided_and_audited"] > 0 > changes["lost"] > changes["cheated"]


async def test_an_account_without_any_past_is_explained_too(node: WorldNode) -> None:
    told = await ask(node, "carol")
    assert told["reputation"] == PPB // 2
    assert told["power"] == 0


def test_the_command_draws_the_seven_factors(
    node: WorldNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = Cli(tmp_path / "home", monkeypatch, capsys)
    out = cli("por", "explain", format_address(node.world["bob"].address, "deub")).out
    for words in ("proved compute", "tasks completed", "timeliness", "a cheat proved", "raise it most"):
        assert words in out
