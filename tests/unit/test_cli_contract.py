"""What every verb of the command promises: an example that runs, JSON that parses, an exit code that means
something, the nearest name for a misspelt one, no traceback.

Rules: the command runs in this process on a temporary home; the node is one in memory, or none.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from consensus.types.address import format_address
from consensus.types.amounts import eubc
from consensus.types.errors import Reason
from consensus.types.naming import to_named
from eubchain.cli.general import every_reason
from eubchain.cli.main import build, take_shared_options
from eubchain.cli.session import SESSION
from eubchain.node.config import default_text
from eubchain.wallet.keystore import WORK_FOR_TESTS
from eubchain.wallet.mnemonic import read_words
from genesis.files import write_genesis
from tests.cli_world import PASSWORD, Cli
from tests.rpc_world import WorldNode, patched
from vm.account import Transfer

RUNS_ON = ("start", "devnet")
"""Verbs that do not return by themselves; their examples are parsed only."""
PARSED_ONLY = ("task", "spark", "light", "snapshot", *RUNS_ON)
"""Their own tests run them."""
WORDS = "abandon " * 23 + "art"


def verbs(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every verb with its path, in the order of the help."""
    command = command or typer.main.get_command(build())
    for name, inner in getattr(command, "commands", {}).items():
        if hasattr(inner, "commands"):
            yield from verbs(inner, (*path, name))
        else:
            yield (*path, name), inner


VERBS = list(verbs())
IDS = [" ".join(path) for path, _ in VERBS]


def example_of(command: Any) -> str:
    """The example in a verb's help."""
    lines = [line.strip() for line in (command.callback.__doc__ or "").splitlines()]
    found = [line.removeprefix("Example: ") for line in lines if line.startswith("Example: ")]
    assert len(found) == 1, "one example, on a line of its own: `Example: eubchain …`"
    return found[0]


def split(example: str) -> tuple[list[str], str | None]:
    """The words after `eubchain`, and the file on stdin; where output goes does not matter."""
    words = shlex.split(example)
    assert words[0] == "eubchain"
    stdin = None
    for sign in ("<", ">"):
        if sign in words:
            at = words.index(sign)
            stdin = words[at + 1] if sign == "<" else stdin
            del words[at : at + 2]
    return words[1:], stdin


@pytest.mark.parametrize(("path", "command"), VERBS, ids=IDS)
def test_every_verb_has_help_and_an_example_that_parses(path: tuple[str, ...], command: Any) -> None:
    words, _ = split(example_of(command))
    assert tuple(words[: len(path)]) == path, "the example shows this verb"
    rest = take_shared_options(words[len(path) :])
    command.make_context(" ".join(path), rest)  # raises for anything that does not fit
    SESSION.begin()
    assert "Anywhere: --json" in (command.epilog or ""), "its help names the options that every verb takes"
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{parameter.name} has no help"


@pytest.mark.parametrize(("path", "command"), VERBS, ids=IDS)
def test_no_verb_takes_a_secret_as_an_argument(path: tuple[str, ...], command: Any) -> None:
    for parameter in command.params:
        assert parameter.name not in {"password", "words_text", "secret", "mnemonic", "passphrase"}


class Place:
    """A home and a current folder in which every example can run."""

    def __init__(self, cli: Cli, node: WorldNode, folder: Path) -> None:
        self.cli, self.node, self.folder = cli, node, folder
        world = node.world
        config = cli.home / "config"
        config.mkdir()
        write_genesis(config / "genesis.json", world.genesis)
        (config / "config.toml").write_text(default_text())
        cli.wallet.add("main", read_words(WORDS), PASSWORD, work=WORK_FOR_TESTS)
        cli.add_person(world, "alice", account="savings")
        cli.wallet.set_default("savings")
        main = cli.wallet.account("main").address
        world.succeed("bob", Transfer(main, eubc(5_000)))
        if "board" not in cli.wallet.names():
            keys = [cli.wallet.key_account(name).public for name in ("main", "savings")]
            board = cli.wallet.add_multisig("board", 2, keys)
            world.succeed("bob", Transfer(board.address, eubc(100)))
        raw = world.sign("carol", Transfer(main, 5))
        (folder / "signed.txt").write_text(raw.hex())
        (folder / "words.txt").write_text(WORDS)
        (folder / "claims.json").write_text('{"claims": []}')

    def run(self, path: tuple[str, ...], command: Any, *, without_node: bool = False) -> Any:
        words, stdin = split(example_of(command))
        piped = (self.folder / stdin).read_text() if stdin else ""
        kept = [word for word in words if word not in ("--home", "./node0")]
        self._prepare(path)
        self.node.is_down = without_node
        return self.cli(*kept, "--json", "--yes", piped=piped)

    def _prepare(self, path: tuple[str, ...]) -> None:
        """What stands before this verb in a person's day."""
        payment = self.folder / "payment.json"
        if path[0] == "multisig" and path[1] in ("sign", "combine", "send"):
            address = self.node.world["carol"].address
            shown = to_named(Transfer(address, 1), "deub")["recipient"]
            for file in (payment, self.folder / "a.json", self.folder / "b.json"):
                file.unlink(missing_ok=True)
            self.cli("multisig", "pay", "board", shown, "25", str(payment))
            for name, file in (("main", "a.json"), ("savings", "b.json")):
                (self.folder / file).write_bytes(payment.read_bytes())
                self.cli("multisig", "sign", str(self.folder / file), "--from", name, "--yes")
            if path[1] == "send":
                copies = [str(self.folder / "a.json"), str(self.folder / "b.json")]
                payment.unlink()
                self.cli("multisig", "combine", *copies, "--out", str(payment))
            if path[1] == "combine":
                payment.unlink()
        if path == ("genesis", "add"):
            self.cli("genesis", "new", "genesis.json", "--chain-id", "eub-lab")
            entry = self.cli("genesis", "entry", "--name", "lab-1", "--chain-id", "eub-lab", "--from", "main")
            (self.folder / "lab-1.json").write_text(entry.out)
        if path == ("genesis", "verify"):
            write_genesis(self.folder / "genesis.json", self.node.world.genesis)
        if path == ("multisig", "new"):
            (self.cli.home / "wallet" / "board.multisig.json").unlink()


@pytest.fixture
def place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with patched(WorldNode(), monkeypatch) as node:
        yield Place(Cli(tmp_path / "home", monkeypatch, capsys), node, folder)


RUNNABLE = [(path, command) for path, command in VERBS if path[0] not in PARSED_ONLY]
RUNNABLE_IDS = [" ".join(path) for path, _ in RUNNABLE]
REFUSED = {
    ("init",): "home_exists",
    ("show-validator",): "bad_argument",
    ("inspect",): "ledger_missing",
    ("replay",): "ledger_missing",
    ("rollback",): "ledger_missing",
    ("export",): "ledger_missing",
    ("signer", "show"): "bad_argument",
    ("signer", "reset"): "bad_argument",
    ("validator", "register"): "bad_argument",
    ("validator", "update"): "no_validator",
    ("validator", "unjail"): "no_validator",
    ("validator", "show"): "no_such_validator",
    ("wallet", "verify"): "bad_argument",
    ("wallet", "new"): "account_exists",
    ("wallet", "export"): "account_has_no_words",
    ("stake", "unbond"): "bond_not_free",
    ("stake", "bond"): "short_of_funds",
    ("query", "tx"): "no_such_transaction",
    ("tx", "get"): "no_such_transaction",
    ("tx", "wait"): "bad_argument",
}
"""What an example meets on a home that was never started, where it is refused."""


@pytest.mark.parametrize(("path", "command"), RUNNABLE, ids=RUNNABLE_IDS)
def test_every_example_answers_with_json_from_a_live_node(
    place: Place, path: tuple[str, ...], command: Any
) -> None:
    result = place.run(path, command)
    check_contract(result)
    refused = REFUSED.get(path)
    if refused is None:
        assert result.code == 0, result.out
    else:
        assert result.error["name"] == refused, result.out


@pytest.mark.parametrize(("path", "command"), RUNNABLE, ids=RUNNABLE_IDS)
def test_every_example_answers_with_json_without_a_node(
    place: Place, path: tuple[str, ...], command: Any
) -> None:
    result = place.run(path, command, without_node=True)
    check_contract(result)
    if result.code == 3:
        assert result.error["name"] == "node_unreachable"
        assert "eubchain start" in result.error["hint"]


def check_contract(result: Any) -> None:
    """One object a line; a failure has its code, name, sentence and hint; nothing is a bug."""
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert lines, f"nothing on stdout: {result.err}"
    assert result.code in (0, 1, 2, 3, 4)
    if result.code:
        error = lines[-1].get("error")
        assert error is not None or lines[-1].get("valid") is False
        if error is not None:
            assert error["name"] != "internal_error", result.err
            assert error["code"] in Reason.registry
            assert error["sentence"]
            assert error["hint"]
            assert isinstance(error["facts"], dict)
    else:
        assert "error" not in lines[-1]


@pytest.mark.parametrize(
    ("line", "near"),
    [
        (("walet", "list"), "wallet"),
        (("wallet", "lsit"), "list"),
        (("wallet", "send", "--agan"), "--again"),
        (("wallet", "list", "--jsn"), "--json"),
        (("querry", "block"), "query"),
    ],
)
def test_a_misspelt_verb_or_option_names_the_nearest(place: Place, line: tuple[str, ...], near: str) -> None:
    result = place.cli(*line)
    assert result.code == 2
    assert f"'{near}'" in result.err
    assert re.search(r"[.?] Did you mean", result.err), "what is wrong is a sentence of its own"
    assert not result.out
    assert place.cli(*line, "--json").error["name"] == "usage"


def test_a_group_without_a_verb_shows_its_help_and_is_a_usage_error(place: Place) -> None:
    result = place.cli("wallet")
    assert result.code == 2
    assert "balance" in result.err


def test_shared_options_stand_anywhere_and_their_mistakes_are_told(place: Place) -> None:
    assert place.cli("--json", "wallet", "list").json["accounts"]
    assert place.cli("wallet", "--json", "list").json["accounts"]
    assert place.cli("wallet", "list", "--json", "--password-fd", "x").error["name"] == "usage"


def test_a_bug_of_ours_is_told_in_words_with_a_file(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from eubchain.cli.main import tell_of_a_bug

    SESSION.json = True
    capsys.readouterr()
    tell_of_a_bug(KeyError, KeyError("gone"), None)
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["name"] == "internal_error"
    assert "KeyError" in Path(error["facts"]["file"]).read_text()
    Path(error["facts"]["file"]).unlink()


def test_every_reason_of_every_part_can_be_explained(place: Place) -> None:
    for code in every_reason():
        assert code == Reason.registry[code].code
    explained = place.cli("help", "error", "1110")
    assert explained.code == 0
    assert "short_of_funds" in explained.out
    assert "nonce_used" in place.cli("help", "error", "nonce_usd").err


def test_help_imports_nothing_heavy() -> None:
    """`eubchain --help` must answer at once: no LevelDB, Docker, WebAssembly, numpy, server."""
    heavy = ("wasmtime", "docker", "numpy", "plyvel", "hypercorn", "starlette", "libp2p", "torch", "pynvml")
    probe = (
        "import sys, eubchain.cli.main\n"
        "try: eubchain.cli.main.main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        f"print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "wallet" in done.stdout


def test_completion_offers_verbs() -> None:
    environment = {"_EUBCHAIN_COMPLETE": "complete_bash", "COMP_WORDS": "eubchain wal", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "eubchain"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stdout.split() == ["wallet"]


def test_a_closed_pipe_is_no_bug() -> None:
    """As in `eubchain … | head`: whoever read the output has gone."""
    read, write = os.pipe()
    os.close(read)
    line = [sys.executable, "-m", "eubchain", "status", "--json", "--node", "http://127.0.0.1:1"]
    done = subprocess.run(line, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 1
    assert not done.stderr


def test_ctrl_c_is_told_in_the_form_asked_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(WorldNode, "wait_for", interrupted)
    address = format_address(place.node.world["carol"].address, "deub")
    result = place.cli("wallet", "send", address, "1", "--yes", "--json")
    assert result.code == 130
    assert result.error["name"] == "interrupted"
    assert "txid " in result.err
