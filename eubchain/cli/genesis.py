"""`eubchain genesis`: founding a network together, a file that goes round.

Here: new, entry, add, verify; validator keys from an account's words.
Not here: the record and its checks (genesis/, vm/genesis.py), a node's home (setup.py).
Keeps: an operator's entry is made from words on the operator's machine; only public parts travel.
Errors: 3907 genesis_entry_malformed.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.types.amounts import eubc, format_eubc, parse_eubc
from consensus.types.errors import Fault, Reason, Rejected
from eubchain.cli.session import BAD_ARGUMENT, SESSION

if TYPE_CHECKING:
    from consensus.types.genesis import Genesis, GenesisValidator
    from eubchain.node.validator_key import ValidatorKey

app = typer.Typer(name="genesis", help="Found a network: its genesis file.", no_args_is_help=True)

GENESIS_ENTRY_MALFORMED = Reason(
    3907,
    "genesis_entry_malformed",
    "file:text why:text",
    "{file} is not a validator's entry for this genesis: {why}.",
    "Let its operator make it again: `eubchain genesis entry`.",
)
NETWORK_NAMES = ("main", "test", "dev")
BOND = "10000"
"""EUBC that a founding validator bonds unless it says otherwise."""

NetworkName = Annotated[str, typer.Option("--network", help="The parameters: main, test or dev.")]
ChainId = Annotated[str, typer.Option("--chain-id", help="The network's name; lower case, unique.")]


def check_network_name(name: str) -> str:
    """Refuse what is neither main, test nor dev; returns the address prefix."""
    from genesis.builder import NETWORKS

    if name not in NETWORKS:
        raise Fault(BAD_ARGUMENT, why=f"There are no parameters for '{name}'; there are main, test and dev.")
    return NETWORKS[name][0]


def derive_validator_key(name: str | None, prefix: str, generation: int = 0) -> ValidatorKey:
    """The validator key of an account's words; of a raw-key account, fresh ones. Asks for the password."""
    from consensus.types.address import format_address
    from consensus.types.keys import SecretKey
    from eubchain.node.validator_key import REVEALS_ELSEWHERE, REVEALS_ON_DEV, ValidatorKey
    from eubchain.wallet.mnemonic import Words, reveal_path, validator_path

    wallet = SESSION.wallet()
    account = wallet.key_account(name)
    secret = wallet.open(account.name, SESSION.passwords().get(f"Password of {account.name}: "))
    if isinstance(secret, Words):
        key = secret.key_at(validator_path(generation=generation))
        reveal = secret.secret_at(reveal_path())
    else:
        import secrets

        key, reveal = SecretKey(secrets.token_bytes(32)), secrets.token_bytes(32)
        SESSION.note(f"{account.name} has no words: the validator key is a new one; back up its file")
    length = REVEALS_ON_DEV if prefix == "deub" else REVEALS_ELSEWHERE
    return ValidatorKey(format_address(account.address, prefix), key, reveal, generation, length)


def genesis_entry(key: ValidatorKey, prefix: str, chain_id: str, name: str, bond: int) -> GenesisValidator:
    """What a founding validator contributes; its reveal chain takes a second on dev, a minute else."""
    from genesis.builder import genesis_validator

    SESSION.note("computing the reveal chain …")
    commitment = key.reveal_chain().commitment
    return genesis_validator(chain_id, key.account(prefix), name, key.key, bond, commitment)


def parse_balances(texts: list[str], prefix: str) -> list[Any]:
    """ADDRESS=AMOUNT, each; an account of the wallet may stand for an address."""
    from consensus.types.address import parse_address
    from consensus.types.genesis import Balance

    wallet, found = SESSION.wallet(), []
    for text in texts:
        who, equals, amount = text.partition("=")
        if not equals:
            raise Fault(BAD_ARGUMENT, why=f"'{text[:60]}' is not ADDRESS=AMOUNT.")
        address = wallet.account(who).address if who in wallet.names() else parse_address(who, prefix)
        found.append(Balance(address, parse_eubc(amount)))
    return found


@app.command()
def new(
    file: Annotated[Path, typer.Argument(help="The genesis file to write.")],
    chain_id: ChainId,
    network: NetworkName = "dev",
    balance: Annotated[
        list[str] | None, typer.Option("--balance", help="ADDRESS=EUBC; may be repeated.")
    ] = None,
) -> None:
    """Begin a network's genesis file; validators are added by `genesis add`.

    Example: eubchain genesis new genesis.json --chain-id eub-lab --network dev
    """
    from consensus.types.genesis import Genesis
    from genesis.builder import FORMAT, NETWORKS

    prefix = check_network_name(network)
    if file.exists():
        raise Fault(BAD_ARGUMENT, why=f"{file} exists already.")
    balances = sorted(parse_balances(balance or [], prefix), key=lambda b: b.address)
    time_ms = time.time_ns() // 1_000_000
    record = Genesis(FORMAT, chain_id, prefix, time_ms, NETWORKS[network][1], (), tuple(balances), (), ())
    _write(file, record)
    SESSION.follow(
        f"eubchain genesis entry --chain-id {chain_id} --network {network} --name NAME > NAME.json"
    )


@app.command()
def entry(
    name: Annotated[str, typer.Option("--name", help="The validator's name.")],
    chain_id: ChainId,
    network: NetworkName = "dev",
    bond: Annotated[str, typer.Option("--bond", help="EUBC; comes on top of balances.")] = BOND,
    source: Annotated[str | None, typer.Option("--from", help="The account that stands behind it.")] = None,
) -> None:
    """Print this operator's entry for a genesis file, from an account's words; nothing secret.

    Example: eubchain genesis entry --name lab-1 --chain-id eub-lab --bond 10000
    """
    from consensus.types.naming import to_named

    prefix = check_network_name(network)
    grains = parse_eubc(bond)
    made = genesis_entry(derive_validator_key(source, prefix), prefix, chain_id, name, grains)
    print(json.dumps(to_named(made, prefix)), flush=True)
    SESSION.note("next: send this to whoever keeps the genesis file: eubchain genesis add FILE ENTRY")


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="The genesis file.")],
    entries: Annotated[list[Path] | None, typer.Argument(help="Entries of validators.")] = None,
    balance: Annotated[
        list[str] | None, typer.Option("--balance", help="ADDRESS=EUBC; may be repeated.")
    ] = None,
) -> None:
    """Add validators and balances to a genesis file; its hash changes.

    Example: eubchain genesis add genesis.json lab-1.json --balance savings=1000
    """
    from genesis.builder import NETWORKS, build_genesis
    from genesis.files import read_genesis

    record = read_genesis(file)
    network = next(n for n, (prefix, _) in NETWORKS.items() if prefix == record.prefix)
    validators = [*record.validators, *(_read_entry(path, record) for path in entries or [])]
    built = build_genesis(
        network,
        record.chain_id,
        record.time_ms,
        [*record.balances, *parse_balances(balance or [], record.prefix)],
        validators,
        record.vesting,
        record.params,
    )
    _write(file, built)
    SESSION.follow(f"eubchain genesis verify {file}")


def _read_entry(path: Path, record: Genesis) -> GenesisValidator:
    import msgspec

    from consensus.types.codec import Codec
    from consensus.types.genesis import GenesisValidator, possession_hash
    from consensus.types.keys import verify as holds
    from consensus.types.naming import from_named

    try:
        document = json.loads(path.read_text("utf-8"))
        named = from_named(document, GenesisValidator, record.prefix, "entry")
        found = Codec[GenesisValidator](GenesisValidator).decode(msgspec.msgpack.encode(named))
    except (ValueError, KeyError, TypeError, Rejected) as error:
        raise Fault(GENESIS_ENTRY_MALFORMED, file=str(path), why=str(error)) from None
    if not holds(found.key, possession_hash(record.chain_id, found.address), found.possession):
        why = f"its key's proof is not for the chain id {record.chain_id}"
        raise Fault(GENESIS_ENTRY_MALFORMED, file=str(path), why=why)
    return found


@app.command()
def verify(file: Annotated[Path, typer.Argument(help="The genesis file.")]) -> None:
    """Check a genesis file whole and print its hash, to be compared with what others have.

    Example: eubchain genesis verify genesis.json
    """
    from genesis.files import read_genesis
    from vm.genesis import check_genesis

    record = read_genesis(file)
    check_genesis(record)
    _tell(record)


def _write(file: Path, record: Genesis) -> None:
    from genesis.files import write_genesis

    write_genesis(file, record)
    _tell(record)


def _tell(record: Genesis) -> None:
    from consensus.types.genesis import genesis_hash

    held = sum(b.amount for b in record.balances)
    bonded = sum(v.bond for v in record.validators)
    SESSION.result(
        {
            "genesis_hash": genesis_hash(record).hex(),
            "chain_id": record.chain_id,
            "validators": [v.name for v in record.validators],
            "accounts": len(record.balances),
            "balances": str(held),
            "bonded": str(bonded),
        },
        f"{record.chain_id}  {genesis_hash(record).hex()}\n"
        f"  {len(record.validators)} validators with {format_eubc(bonded)} EUBC bonded, "
        f"{len(record.balances)} accounts with {format_eubc(held)} EUBC",
    )


DEV_BALANCE = eubc(1_000_000)
"""What the founder of a network of one holds."""
