"""`eubchain init`, `show-validator`, `signer`: making a node's home and looking after its key.

Here: the verbs. Not here: what the files hold (eubchain/node: config, validator_key, guard).
Keeps: no key is overwritten; a home is made whole or the command says what is missing; the record of
what a key signed is never lowered.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.types.amounts import parse_eubc
from consensus.types.errors import Fault
from eubchain.cli import genesis as founding
from eubchain.cli.session import BAD_ARGUMENT, SESSION

if TYPE_CHECKING:
    from consensus.types.genesis import Genesis
    from eubchain.node.home import Home
    from eubchain.node.validator_key import ValidatorKey

signer = typer.Typer(name="signer", help="The record of what the validator key signed.", no_args_is_help=True)


def init(
    genesis: Annotated[
        Path | None,
        typer.Option("--genesis", help="The network's genesis file; a new dev network if left out."),
    ] = None,
    validator: Annotated[
        bool, typer.Option("--validator", help="Put the validator key of an account into this home.")
    ] = False,
    source: Annotated[str | None, typer.Option("--from", help="The account behind the validator.")] = None,
    chain_id: Annotated[str, typer.Option("--chain-id", help="Of a new network.")] = "eub-dev",
    bond: Annotated[
        str, typer.Option("--bond", help="EUBC that a new network's validator bonds.")
    ] = founding.BOND,
    moniker: Annotated[str, typer.Option("--moniker", help="The node's name in logs.")] = "eub-node",
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Only print every option of config.toml.")
    ] = False,
) -> None:
    """Make a node's home. Without --genesis: a dev network of one validator, for trying things out.

    Example: eubchain init --home ./node0
    """
    from eubchain.node.config import default_text
    from eubchain.node.home import Home

    text = default_text({("node", "moniker"): moniker})
    if show_config:
        SESSION.result({"config": text}, text.rstrip("\n"))
        return
    home = Home(SESSION.home)
    home.create()
    if genesis is not None:
        record, key = _join(genesis, validator, source)
    else:
        record, key = _found(chain_id, moniker, bond, source)
    _write_home(home, text, record, key)
    _tell(home, record, key)


def _join(file: Path, with_validator: bool, source: str | None) -> tuple[Genesis, ValidatorKey | None]:
    from genesis.files import read_genesis
    from vm.genesis import check_genesis

    record = read_genesis(file)
    check_genesis(record)
    if not with_validator:
        return record, None
    return record, founding.derive_validator_key(source, record.prefix)


def _found(chain_id: str, name: str, bond: str, source: str | None) -> tuple[Genesis, ValidatorKey]:
    """A network of one: its founder holds everything and validates."""
    from consensus.types.genesis import Balance
    from genesis.builder import build_genesis

    wallet, grains = SESSION.wallet(), parse_eubc(bond)
    if not wallet.names():
        password = SESSION.passwords().get("A password for the new account main: ", repeat=True)
        wallet.create("main", password)
        SESSION.note(f"made the account main; its words: {SESSION.line('eubchain wallet export main')}")
    key = founding.derive_validator_key(source, "deub")
    entry = founding.genesis_entry(key, "deub", chain_id, name, grains)
    balances = [Balance(key.account("deub"), founding.DEV_BALANCE)]
    record = build_genesis("dev", chain_id, time.time_ns() // 1_000_000, balances, [entry])
    return record, key


def _write_home(home: Home, config: str, record: Genesis, key: ValidatorKey | None) -> None:
    """Everything but the genesis file first: a home counts as one only once that is there."""
    from genesis.files import write_genesis

    home.config.write_text(config, "utf-8")
    if key is not None:
        _write_key(home, record, key)
    write_genesis(home.genesis, record)


def _write_key(home: Home, record: Genesis, key: ValidatorKey) -> None:
    from consensus.types.genesis import genesis_hash
    from eubchain.node.durable_files import FolderFiles
    from eubchain.node.guard import place_of, reset_guard
    from eubchain.node.validator_key import write_validator_key

    write_validator_key(home.validator_key, key)
    reset_guard(FolderFiles(home.data), key.key.public, genesis_hash(record), place_of(home.root))


def _tell(home: Home, record: Genesis, key: ValidatorKey | None) -> None:
    from consensus.types.genesis import genesis_hash

    facts: dict[str, Any] = {
        "home": str(home.root),
        "chain_id": record.chain_id,
        "genesis_hash": genesis_hash(record).hex(),
        "validator": None if key is None else key.address,
    }
    what = "follows the network" if key is None else f"validates as {key.address}"
    SESSION.result(facts, f"{home.root} is the home of a node of {record.chain_id}; it {what}")
    SESSION.follow(f"eubchain start --home {home.root}")


def _validator_key(home: Home) -> ValidatorKey:
    from eubchain.node.validator_key import read_validator_key

    home.check()
    key = read_validator_key(home.validator_key)
    if key is None:
        raise Fault(
            BAD_ARGUMENT, why=f"{home.root} has no validator key; `eubchain init --validator` makes one."
        )
    return key


def show_validator() -> None:
    """Show this home's validator: account, consensus key, and what it must register. Nothing secret.

    Example: eubchain show-validator --home ./node0
    """
    from consensus.types.genesis import genesis_hash, possession_hash
    from eubchain.node.home import Home
    from genesis.files import read_genesis

    home = Home(SESSION.home)
    key = _validator_key(home)
    record = read_genesis(home.genesis)
    possession = key.key.sign(possession_hash(record.chain_id, key.account(record.prefix)))
    SESSION.result(
        {
            "address": key.address,
            "key": key.key.public.hex(),
            "possession": possession.hex(),
            "reveal": key.reveal_chain().commitment.hex(),
            "generation": key.generation,
            "chain_id": record.chain_id,
            "genesis_hash": genesis_hash(record).hex(),
        }
    )


@signer.command("show")
def show_signer() -> None:
    """Show the last thing that this home's validator key signed, as far as it remembers.

    Example: eubchain signer show --home ./node0
    """
    from consensus.agreement.messages import ROUND_MAX
    from eubchain.node.durable_files import FolderFiles
    from eubchain.node.guard import last_signed
    from eubchain.node.home import Home

    home = Home(SESSION.home)
    key = _validator_key(home)
    found = last_signed(FolderFiles(home.data))
    if found is None:
        SESSION.result(
            {"key": key.key.public.hex(), "last": None}, "no record: the key signs nothing until reset"
        )
        SESSION.follow("eubchain signer reset --above HEIGHT")
        return
    if found.round == ROUND_MAX:
        facts = {"key": key.key.public.hex(), "last": None, "above": found.height}
        SESSION.result(facts, f"no signature yet; the key signs only above height {found.height}")
        return
    kinds = ("proposal", "prevote", "precommit")
    last = {"height": found.height, "round": found.round, "kind": kinds[found.kind]}
    text = f"{key.key.public.hex()} signed last: {last['kind']} of height {found.height}, round {found.round}"
    SESSION.result({"key": key.key.public.hex(), "last": last}, text)


@signer.command("reset")
def reset_signer(
    above: Annotated[int, typer.Option("--above", min=0, help="The height above which nothing was signed.")],
) -> None:
    """Make a lost record anew: the key will sign only above this height. The node must be stopped.

    Example: eubchain signer reset --above 120500
    """
    from consensus.types.genesis import genesis_hash
    from eubchain.node.durable_files import FolderFiles
    from eubchain.node.guard import place_of, reset_guard
    from eubchain.node.home import Home
    from genesis.files import read_genesis

    home = Home(SESSION.home)
    key = _validator_key(home)
    network = genesis_hash(read_genesis(home.genesis))
    with home.locked():  # a running node is told of before anything is asked
        SESSION.confirm(
            f"Is it certain that {key.key.public.hex()[:16]}… signed nothing above height {above}, "
            "on any machine? If not, its bond is lost."
        )
        reset_guard(FolderFiles(home.data), key.key.public, network, place_of(home.root), above)
    SESSION.result({"above": above}, f"the key signs nothing up to height {above}")
    SESSION.follow(f"eubchain start --home {home.root}")
