"""`por tile` and `por verify`: a proof is judged by whoever doubts it, without a node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

import eubchain.rpc.methods  # noqa: F401  # declares every method
from consensus.types.address import format_address
from eubchain.cli.por_proofs import CLAIMS_UNREADABLE, NOT_A_TILE
from eubchain.rpc.method import call
from tests.cli_world import Cli
from tests.proving import TILES, Provers
from tests.rpc_world import WorldNode
from vm.claims import claims

WORDS = (
    "464e0697,7926b5f0,69e3d949,7930b287,959dc286,e80e4fc6,4f23658e,e721dd44,"
    "7305d1b7,bacb7e8b,ebf92756,ece9b753,8c206a8e,83cd0e96,4e1a9b03,60bf4781"
)
SEED, OWNER = bytes(range(32)).hex(), bytes(range(32, 64)).hex()


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The command on a home without a node."""
    return Cli(tmp_path / "home", monkeypatch, capsys)


@pytest.mark.parametrize(
    "named", [("--words", WORDS), ("--window", "1000", "--seed", SEED, "--owner", OWNER)]
)
def test_a_tile_is_named_by_its_key_words_or_by_what_they_come_from(cli: Cli, named: tuple[str, ...]) -> None:
    """The published figures of tile (1, 2)."""
    found = cli("por", "tile", "1", "2", *named, "--json").json
    assert (found["ticket"], found["digest"]) == ("fb64f5f174356030", ["c7b40adb", "4c28190d"])
    assert (found["first"], found["sums"]) == (491741, ["fc49869b", "65da8f61"])


@pytest.mark.parametrize(
    "wrong",
    [
        ("1", "2"),
        ("1", "2", "--words", "1,2"),
        ("1", "2", "--words", "x"),
        ("16777216", "0", "--words", WORDS),
        ("0", "0", "--words", WORDS, "--profile", "9"),
        ("0", "0", "--seed", "00", "--owner", OWNER),
    ],
)
def test_what_names_no_tile_is_refused(cli: Cli, wrong: tuple[str, ...]) -> None:
    assert cli("por", "tile", *wrong, "--json").error["code"] == NOT_A_TILE.code


def claims_file(folder: Path, **changes: Any) -> Path:
    """A file with the claim of a spark that proved in a real window at a difficulty of one."""
    world = Provers()
    world.until_open()
    world.prove("alice", TILES[:9])
    world.block()
    ((account, claim),) = claims(world.view, world.window)
    shown = {
        "profile": claim.profile,
        "window": claim.window,
        "seed": "0x" + claim.seed.hex(),
        "account": format_address(account, "deub"),
        "difficulty": claim.difficulty,
        "shares": TILES[:9],
        "checked": list(claim.checked),
    }
    path = folder / "claims.json"
    path.write_text(json.dumps({"claims": [shown | changes]}))
    return path


def test_a_true_claim_is_found_true_and_a_false_one_names_its_share(cli: Cli, tmp_path: Path) -> None:
    true = cli("por", "verify", str(claims_file(tmp_path)), "--json").json["verdicts"]
    assert [(v["is_true"], v["checked"]) for v in true] == [(True, 9)]
    hard = claims_file(tmp_path, difficulty=2**40, checked=[4, 7])
    false = cli("por", "verify", str(hard), "--json").json["verdicts"]
    assert [(v["is_true"], v["false_index"]) for v in false] == [(False, 4)]
    every = cli("por", "verify", str(hard), "--all", "--json").json["verdicts"]
    assert [v["false_index"] for v in every] == [0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"shares": [(0, 0), (0, 0)]},
        {"shares": [(2**24, 0)]},
        {"shares": [(-1, 0)]},
        {"difficulty": 0},
        {"profile": 2},
        {"account": "deub1nobody"},
        {"seed": "00"},
    ],
)
def test_a_claim_that_no_chain_would_take_is_refused(cli: Cli, tmp_path: Path, wrong: dict[str, Any]) -> None:
    answer = cli("por", "verify", str(claims_file(tmp_path, **wrong)), "--json")
    assert answer.error["code"] in (CLAIMS_UNREADABLE.code, NOT_A_TILE.code)


def test_a_file_that_is_not_there_is_refused(cli: Cli, tmp_path: Path) -> None:
    answer = cli("por", "verify", str(tmp_path / "nothing.json"), "--json")
    assert answer.error["code"] == CLAIMS_UNREADABLE.code


def test_a_node_hands_out_the_claims_of_its_running_window() -> None:
    """Final only once the sample beacon is set; gone when verdicts are in state."""
    world = Provers()
    node = WorldNode(world)

    def ask() -> Any:
        return trio.run(call, node, "por_claims", {})

    world.until_open()
    world.prove("alice", TILES[:3])
    world.block()
    found = ask()
    assert not found.is_final
    assert found.claims[0].shares == TILES[:3]
    world.until_proofs_end()
    world.block()
    assert ask().is_final
    world.until_closed()
    assert ask().claims == []


def test_the_ranking_says_what_power_is_made_of() -> None:
    """The prover has all of compute, the validator all of the stake but the prover's; powers add up."""
    world = Provers()
    world.all_prove("alice")
    found = trio.run(call, WorldNode(world), "por_ranking", {})
    names = {account.address: account for account in found.accounts}
    alice, operator = (names[format_address(world[n].address, "deub")] for n in ("alice", "v0"))
    assert (alice.compute, operator.compute) == (10**9, 0)
    assert alice.is_credited
    assert not operator.is_credited
    assert [account.rank for account in found.accounts] == [1, 2]
    assert operator.rank == 1
    assert 10**9 - 4 <= sum(account.power for account in found.accounts) <= 10**9
    assert 0 < found.compute_fraction < 10**9 // 2
    assert len(trio.run(call, WorldNode(world), "por_ranking", {"limit": 1}).accounts) == 1
