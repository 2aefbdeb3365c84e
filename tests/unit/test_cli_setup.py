"""Founding a network, making homes, looking after the validator key, from the command line.

Rules: no node runs; words are fixed, so keys are; every home is temporary.
"""

from __future__ import annotations

import json
import stat
import tomllib
from pathlib import Path

import pytest

from consensus.types.genesis import genesis_hash
from eubchain.node.config import OPTIONS, parse_config
from eubchain.node.durable_files import FolderFiles
from eubchain.node.guard import SignerGuard, place_of
from eubchain.node.home import Home
from eubchain.node.validator_key import read_validator_key
from eubchain.wallet.keystore import WORK_FOR_TESTS
from eubchain.wallet.mnemonic import read_words
from genesis.files import read_genesis
from tests.cli_world import PASSWORD, Cli
from vm.genesis import genesis_writes

WORDS = (
    "abandon " * 23 + "art",
    "legal winner thank year wave sausage worth useful legal winner thank yellow",
)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.chdir(tmp_path)
    return Cli(tmp_path / "home", monkeypatch, capsys)


def with_account(cli: Cli, words: str = WORDS[0], name: str = "main") -> Cli:
    cli.wallet.add(name, read_words(words), PASSWORD, work=WORK_FOR_TESTS)
    return cli


def test_init_alone_makes_a_network_of_one_that_can_start(cli: Cli) -> None:
    made = with_account(cli)("init", "--json").json
    home = Home(cli.home)
    home.check()
    record = read_genesis(home.genesis)
    assert genesis_hash(record).hex() == made["genesis_hash"]
    assert genesis_writes(record), "it founds a network"
    key = read_validator_key(home.validator_key)
    assert key is not None
    assert key.address == made["validator"]
    assert record.validators[0].key == key.key.public
    assert record.validators[0].reveal == key.reveal_chain().commitment
    guard = SignerGuard(FolderFiles(home.data), key.key, genesis_hash(record), place_of(home.root))
    assert not guard.is_moved
    guard.close()
    for file in (home.validator_key, cli.home / "data" / "signer_guard"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_home_is_never_made_over_another(cli: Cli) -> None:
    with_account(cli)("init")
    before = (cli.home / "config" / "genesis.json").read_bytes()
    again = cli("init", "--json")
    assert again.code == 1
    assert again.error["name"] == "home_exists"
    assert (cli.home / "config" / "genesis.json").read_bytes() == before


def test_without_an_account_init_makes_one_first(cli: Cli) -> None:
    assert cli("init").code == 0
    assert cli.wallet.names() == ["main"]


def test_show_config_prints_every_option_and_makes_nothing(cli: Cli) -> None:
    text = cli("init", "--show-config", "--moniker", "lab").out
    parsed = tomllib.loads(text)
    assert {(o.section, o.key) for o in OPTIONS} == {(s, k) for s, keys in parsed.items() for k in keys}
    assert parse_config(text, environment={}).text("node", "moniker") == "lab"
    assert not (cli.home / "config").exists()


def test_two_operators_found_a_network_and_join_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each makes an entry from words; one gathers them; both get a home with the key that they entered."""
    monkeypatch.chdir(tmp_path)
    operators = []
    for number, words in enumerate(WORDS):
        operators.append(with_account(Cli(tmp_path / f"home{number}", monkeypatch, capsys), words))
    keeper = operators[0]
    assert keeper("genesis", "new", "genesis.json", "--chain-id", "eub-lab").code == 0
    refused = keeper("genesis", "verify", "genesis.json", "--json")
    assert refused.error["name"] == "genesis_refused", "no validator yet"
    for number, operator in enumerate(operators):
        line = ("genesis", "entry", "--name", f"lab-{number}", "--chain-id", "eub-lab", "--bond", "500")
        (tmp_path / f"lab-{number}.json").write_text(operator(*line).out)
    added = keeper("genesis", "add", "genesis.json", "lab-0.json", "lab-1.json", "--balance", "main=1000")
    assert added.code == 0
    verified = keeper("genesis", "verify", "genesis.json", "--json").json
    assert verified["validators"] in (["lab-0", "lab-1"], ["lab-1", "lab-0"])
    record = read_genesis(tmp_path / "genesis.json")
    for operator in operators:
        assert operator("init", "--genesis", "genesis.json", "--validator").code == 0
        key = read_validator_key(Home(operator.home).validator_key)
        assert key is not None
        assert key.key.public in {validator.key for validator in record.validators}
        shown = operator("show-validator", "--json").json
        assert shown["genesis_hash"] == verified["genesis_hash"]
        assert shown["key"] == key.key.public.hex()


def test_an_entry_for_another_network_is_refused(cli: Cli) -> None:
    with_account(cli)
    cli("genesis", "new", "genesis.json", "--chain-id", "eub-lab")
    Path("other.json").write_text(cli("genesis", "entry", "--name", "x", "--chain-id", "eub-other").out)
    result = cli("genesis", "add", "genesis.json", "other.json", "--json")
    assert result.error["name"] == "genesis_entry_malformed"
    assert "chain id" in result.error["sentence"]
    Path("other.json").write_text("{}")
    assert cli("genesis", "add", "genesis.json", "other.json", "--json").code == 1
    document = json.loads(Path("genesis.json").read_text())
    document["chain_id"] = "eub-changed"
    Path("genesis.json").write_text(json.dumps(document))
    assert cli("genesis", "verify", "genesis.json", "--json").error["name"] == "genesis_invalid"


def test_the_record_of_signatures_is_shown_and_never_lowered(cli: Cli) -> None:
    with_account(cli)("init")
    assert cli("signer", "show", "--json").json["above"] == 0
    assert cli("signer", "reset", "--above", "50").code == 2, "nobody confirmed"
    with Home(cli.home).locked():
        running = cli("signer", "reset", "--above", "50", "--json")
        assert running.error["name"] == "home_in_use", "that comes before any question"
    assert cli("signer", "reset", "--above", "50", typed="y\n").code == 0
    assert cli("signer", "show", "--json").json["above"] == 50
    lower = cli("signer", "reset", "--above", "49", "--yes", "--json")
    assert lower.error["name"] == "guard_reset_too_low"
    (cli.home / "data" / "signer_guard").unlink()
    assert "signer reset" in cli("signer", "show").err


def test_a_home_in_use_is_left_alone_and_its_process_named(cli: Cli) -> None:
    with_account(cli)("init")
    with Home(cli.home).locked():
        result = cli("inspect", "--json")
    assert result.error["name"] == "home_in_use"


def test_a_misspelt_option_of_the_configuration_is_shown_with_its_line(cli: Cli) -> None:
    with_account(cli)("init")
    config = cli.home / "config" / "config.toml"
    config.write_text(config.read_text().replace("moniker =", "monicker ="))
    result = cli("export")
    assert result.code == 1
    assert "the nearest is moniker" in result.err
    assert "monicker = " in result.err
