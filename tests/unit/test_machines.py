"""A network for several machines: every home whole, all of one genesis, each knowing the others."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from consensus.types.amounts import eubc
from consensus.types.errors import Fault
from eubchain.node.config import load_config
from eubchain.node.home import Home
from eubchain.node.machines import FoundedMachines, Machine, found_machines, parse_machine
from eubchain.node.validator_key import read_validator_key
from eubchain.wallet.accounts import Wallet
from eubchain.wallet.keystore import WORK_FOR_TESTS
from genesis.files import read_genesis
from p2p.identity import read_node_key

MACHINES = (Machine("lab-1", "192.0.2.1", 26656), Machine("lab-2", "node.example", 26700))


def found(root: Path, machines: tuple[Machine, ...] = MACHINES) -> FoundedMachines:
    return found_machines(
        root, machines, network="dev", chain_id="eub-lab", now_ms=1_700_000_000_000, bond=eubc(10_000),
        balances=(), password="correct horse", work=WORK_FOR_TESTS,
    )  # fmt: skip


def test_every_home_is_whole_and_bootstraps_from_the_others(tmp_path: Path) -> None:
    made = found(tmp_path / "net")
    ids, keys = [], set()
    for root in made.homes:
        home = Home(root)
        home.check()
        assert read_genesis(home.genesis) == made.genesis
        key = read_validator_key(home.validator_key)
        assert key is not None
        keys.add(key.key.public)
        assert key.account("deub") == Wallet(root / "wallet").account("operator").address
        ids.append(read_node_key(home.node_key).peer_id)
        assert stat.S_IMODE(home.config.stat().st_mode) == 0o600
    assert keys == {v.key for v in made.genesis.validators}
    first, second = (load_config(Home(root).config) for root in made.homes)
    assert first.texts("p2p", "bootstrap") == (f"/dns4/node.example/tcp/26700/p2p/{ids[1]}",)
    assert second.texts("p2p", "bootstrap") == (f"/ip4/192.0.2.1/tcp/26656/p2p/{ids[0]}",)
    assert second.texts("p2p", "announce") == ("/dns4/node.example/tcp/26700",)
    assert first.text("p2p", "network_key") == second.text("p2p", "network_key") != ""


def test_two_machines_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="its own name"):
        found(tmp_path / "net", (MACHINES[0], MACHINES[0]))


def test_two_machines_at_one_place_are_refused_by_name(tmp_path: Path) -> None:
    twin = MACHINES[0]._replace(name="twin")
    with pytest.raises(Fault, match=f"'twin' does not name a machine: {MACHINES[0].name} is at"):
        found(tmp_path / "net", (MACHINES[0], twin))
    assert not (tmp_path / "net").exists(), "it is said before anything is made"


@pytest.mark.parametrize(
    "text", ["", "lab", "=host", "lab=", "Lab=h", "lab=h:", "lab=h:0", "lab=h:70000", "a/b=h"]
)
def test_what_names_no_machine_is_refused(text: str) -> None:
    with pytest.raises(Fault, match="machine_malformed"):
        parse_machine(text)


def test_a_machine_has_the_usual_port_unless_it_says_another() -> None:
    assert parse_machine("lab-1=192.0.2.1") == Machine("lab-1", "192.0.2.1", 26656)
    assert parse_machine("a=b:7") == Machine("a", "b", 7)
