"""`eubchain spark bench`: what would this machine earn?

Here: the practice, the network's figures beside it, the words. Not here: the figures (spark_node/bench.py).
Keeps: it spends nothing and needs neither wallet nor node; without a node the place is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.types.amounts import format_eubc
from consensus.types.errors import Fault
from eubchain.cli.session import SESSION
from eubchain.cli.spark import app
from eubchain.client.connection import Connection, RemoteRefusal

if TYPE_CHECKING:
    from consensus.types.params import Params
    from spark_node.bench import Outlook, Practice
    from spark_node.inventory import Machine

TERA = 10**12
GIGA = 10**9


@app.command()
def bench(
    seconds: Annotated[int, typer.Option(min=2, max=50, help="How long to compute.")] = 20,
    backend: Annotated[str, typer.Option(help="numpy, torch or torch:DEVICE.")] = "numpy",
) -> None:
    """Practise for a minute at most, spending nothing: proved operations, place, a range of EUBC a day.

    Example: eubchain spark bench --seconds 10
    """
    from spark_node.bench import outlook, practise
    from spark_node.folder import Folder
    from spark_node.inventory import take_inventory
    from spark_node.lending import lent_of
    from spark_node.policy import PolicyFile, parse_policy

    policy_path = Folder(SESSION.home / "spark").policy
    policy = PolicyFile(policy_path).policy if policy_path.exists() else parse_policy("")
    machine = SESSION.run(take_inventory)
    SESSION.note(machine.describe())
    SESSION.note(f"computing for {seconds} s on all processors but one, as in a proof; nothing is sent")
    practice = SESSION.run(practise, backend, seconds * 1000)
    known = SESSION.run(_ask_network)
    params, capacities, height, chain_id = known if known is not None else (_default_params(), [], 1, "")
    found = outlook(practice, params, policy, lent_of(policy, machine), capacities, height)
    facts = {
        "machine": machine.describe(),
        "backend": practice.backend,
        "operations_per_second": practice.operations_per_second,
        "tiles": practice.tiles,
        "milliseconds": practice.milliseconds,
        "dropped": practice.dropped,
        "difficulty": found.difficulty,
        "network": chain_id,
        "place": found.place if chain_id else None,
        "sparks": found.sparks if chain_id else None,
        "least_a_day": str(found.least_a_day),
        "most_a_day": str(found.most_a_day),
        "pool_a_day": str(found.pool_a_day) if chain_id else None,
    }
    SESSION.result(facts, "\n".join(_lines(practice, found, machine, chain_id)))
    SESSION.follow(f"eubchain spark init --difficulty {found.difficulty}")


def _lines(practice: Practice, found: Outlook, machine: Machine, chain_id: str) -> list[str]:
    speed = practice.operations_per_second
    shown = f"{speed / TERA:.2f} T" if speed >= TERA else f"{speed / GIGA:.1f} G"
    lines = [f"proved    {shown} operations a second ({practice.backend})"]
    if practice.dropped:
        lines.append(
            f"warning   {practice.dropped} results were wrong on the second look: check the hardware"
        )
    if not machine.gpus:
        lines.append("kind      a CPU spark: welcome, and in its place; tasks that need no GPU come here")
    if chain_id:
        lines.append(f"place     {found.place} of {found.sparks + 1} on {chain_id}, by proved compute")
    else:
        lines.append("place     unknown: no node answers (--node URL)")
    lines.append(f"a day     0 to {format_eubc(found.most_a_day)} EUBC from tasks")
    if chain_id:
        lines.append(
            f"          and about {format_eubc(found.pool_a_day)} EUBC from the pool for proved compute"
        )
    lines.append("assumes   0 if nobody needs this machine; the most is work around the clock at your own")
    lines.append(
        "          prices, less the fee of 2 %; the pool if it proves in every window and the others"
    )
    lines.append("          stay as they are; a validator's rewards and electricity are not counted")
    return lines


async def _ask_network() -> tuple[Params, list[int], int, str] | None:
    from eubchain.client.network import learn_network

    try:
        async with Connection(SESSION.url) as node:
            network = await learn_network(node)
            sparks: list[dict[str, Any]] = await node.call("spark_list")
            height = int((await node.call("chain_status"))["height"])
    except (Fault, RemoteRefusal):
        return None
    capacities = [int(spark["capacity"]) for spark in sparks]
    return network.rules.params, capacities, height, network.rules.chain_id


def _default_params() -> Params:
    from consensus.types.params import MAIN

    return MAIN
