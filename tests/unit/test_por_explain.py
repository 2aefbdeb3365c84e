"""`por_explain` against a chain that ran a task: history gives back the marks, the rules give the parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from consensus.types.address import format_address
from consensus.types.amounts import PPB, eubc
from eubchain.rpc.past import past_tasks
from tests.cli_world import Cli
from tests.market import PRICE, PROMISE, WINDOWS, accept_of, deliver_of, grant_of, post_of, start_of
from tests.proving import TILES, Provers
from tests.rpc_world import WorldNode, patched
from tests.unit.test_task_world import found
from vm.spark import SPARKS
from vm.stake import Bond
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
    assert "when the epoch began" in out
    assert "1 tasks decided" in out


async def test_what_moved_in_this_epoch_is_told_factor_by_factor(node: WorldNode) -> None:
    """One task was decided for bob, with better marks than a newcomer's middle; alice posted it."""
    told = await ask(node, "bob")
    by_name = {factor["name"]: factor for factor in told["factors"]}
    since = told["since"]
    assert (since["decided"], since["posted"], since["failed"]) == (1, 0, 0)
    assert by_name["completed"]["had"] == "0"
    assert by_name["completed"]["moved"] > 0
    assert by_name["validation"]["had"] == str(PPB // 2)
    assert by_name["validation"]["moved"] > 0
    assert since["moved"] == told["kappa"] - told["kappa_stored"]
    assert since["moved"] == since["rest"] + sum(factor["moved"] for factor in told["factors"])
    posted = {factor["name"]: factor for factor in (await ask(node, "alice"))["factors"]}["posted"]
    assert posted["moved"] > 0 == int(posted["had"])


async def test_a_new_epoch_begins_without_any_move(node: WorldNode) -> None:
    node.world.until_epoch_end()
    told = await ask(node, "bob")
    assert told["since"]["began"] == node.world.height + 1
    assert all(factor["moved"] == 0 for factor in told["factors"])
    assert told["since"]["decided"] == 0


async def test_a_bond_and_a_proof_are_walked_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spark had proved nothing before; half of its present bond came in this epoch."""
    world = Provers()
    world.until_epoch_end()
    speed = world.spark("alice").capacity
    world.until_open()
    world.succeed("alice", Bond(eubc(50)))
    world.prove("alice", TILES[:40])
    world.until_closed()
    with patched(WorldNode(world), monkeypatch) as node:
        told = await ask(node, "alice")
    by_name = {factor["name"]: factor for factor in told["factors"]}
    began = told["since"]["began"]
    assert began <= world.height
    assert (told["since"]["windows"], told["since"]["shares"]) == (1, 40)
    assert int(by_name["compute"]["had"]) == pytest.approx(speed, abs=2)
    assert int(by_name["bonded"]["has"]) - int(by_name["bonded"]["had"]) == eubc(50)
    assert by_name["compute"]["has"] > by_name["compute"]["had"]
