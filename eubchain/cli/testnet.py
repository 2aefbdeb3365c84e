"""`eubchain testnet`: found a private network for several machines that one operator runs.

Here: the verb. Not here: the homes (eubchain/node/machines.py), a network of several operators
(genesis.py), one on this machine (devnet.py).
"""

# ruff: noqa: PT028  # the verb is called testnet, but it is no test
from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from consensus.types.amounts import parse_eubc
from consensus.types.errors import Fault
from eubchain.cli.genesis import BOND, NetworkName, check_network_name, parse_balances
from eubchain.cli.session import BAD_ARGUMENT, SESSION


def testnet(
    directory: Annotated[Path, typer.Argument(help="Where to put the homes; new or empty.")],
    machine: Annotated[
        list[str] | None,
        typer.Option("--machine", help="NAME=HOST or NAME=HOST:PORT, once for each machine."),
    ] = None,
    chain_id: Annotated[str, typer.Option("--chain-id", help="The network's name.")] = "eub-private",
    network: NetworkName = "dev",
    bond: Annotated[str, typer.Option("--bond", help="EUBC that each validator bonds.")] = BOND,
    balance: Annotated[
        list[str] | None, typer.Option("--balance", help="ADDRESS=EUBC; may be repeated.")
    ] = None,
) -> None:
    """Found a network for several machines: a home each, to be copied there and started.

    Example: eubchain testnet ./net --machine lab-1=192.0.2.1 --machine lab-2=192.0.2.2
    """
    from consensus.types.genesis import genesis_hash
    from eubchain.node.machines import check_machines, found_machines, parse_machine

    if directory.exists() and any(directory.iterdir()):
        raise Fault(BAD_ARGUMENT, why=f"{directory} is not empty: name a new directory.")
    machines = [parse_machine(text) for text in machine or []]
    if not machines:
        raise Fault(BAD_ARGUMENT, why="Name the machines: --machine NAME=HOST, once for each.")
    check_machines(machines)  # before anybody is asked for a password
    prefix = check_network_name(network)
    grains, held = parse_eubc(bond), parse_balances(balance or [], prefix)
    password = SESSION.passwords().get("A password for the new accounts: ", repeat=True)
    SESSION.note(f"making keys and reveal chains for {len(machines)} machines …")
    made = found_machines(
        directory, machines, network=network, chain_id=chain_id, now_ms=time.time_ns() // 1_000_000,
        bond=grains, balances=held, password=password,
    )  # fmt: skip
    identity = genesis_hash(made.genesis).hex()
    lines = [f"{chain_id}  {identity}"]
    lines += [f"  {home}  to {m.host}:{m.port}" for home, m in zip(made.homes, machines, strict=True)]
    SESSION.result(
        {
            "chain_id": chain_id,
            "genesis_hash": identity,
            "homes": [
                {"home": str(home), "host": m.host, "port": m.port}
                for home, m in zip(made.homes, machines, strict=True)
            ],
        },
        "\n".join(lines),
    )
    SESSION.note("Copy each home to its machine, whole and to that machine only: it holds its keys.")
    SESSION.follow("there: eubchain start --home HOME")
