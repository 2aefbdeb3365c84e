"""`eubchain query` and `eubchain por`: what the chain says, without signing anything.

Here: the verbs. Not here: one's own accounts (money.py), transactions (tx.py).
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.types.amounts import PPB, format_eubc, parse_eubc
from eubchain.cli import paying
from eubchain.cli.money import history_line, resolve
from eubchain.cli.session import SESSION
from eubchain.cli.tx import plain_txid, show_transaction
from eubchain.client.connection import Connection

if TYPE_CHECKING:
    from eubchain.client.network import Network

query = typer.Typer(name="query", help="Blocks, accounts, parameters.", no_args_is_help=True)
por = typer.Typer(name="por", help="Proof of Resource: coefficients of sparks.", no_args_is_help=True)

Height = Annotated[int | None, typer.Argument(help="A height; the head's if left out.")]
Who = Annotated[str | None, typer.Argument(help="An address or an account; the default one if left out.")]


@query.command()
def block(height: Height = None) -> None:
    """Show a block with its transactions and what happened in it.

    Example: eubchain query block 1
    """
    found = SESSION.asked("chain_getBlock", height=height)
    header = found["header"]
    lines = [
        f"block {header['height']}  {header['block_id'][2:]}",
        f"  {_when(header['time_ms'])}, round {header['round']}, proposed by {header['proposer']}",
        f"  {len(found['transactions'])} transactions, {len(found['events'])} events",
    ]
    lines += [f"  {history_line(view, '')}" for view in found["transactions"]]
    lines += [f"  {event['sentence']}" for event in found["events"]]
    SESSION.result(found, "\n".join(lines))


@query.command()
def header(height: Height = None) -> None:
    """Show a block's header.

    Example: eubchain query header 1
    """
    SESSION.result(SESSION.asked("chain_getHeader", height=height))


@query.command()
def commit(height: Height = None) -> None:
    """Show the precommits that made a block final.

    Example: eubchain query commit 1
    """
    found = SESSION.asked("chain_getCommit", height=height)
    text = (
        f"block {found['height']}  {found['block_id'][2:]}\n"
        f"  round {found['round']}, {len(found['signatures'])} signatures, bitmap {found['bitmap']}"
    )
    SESSION.result(found, text)


@query.command()
def validators(height: Height = None) -> None:
    """Show the validator set of a height, with powers.

    Example: eubchain query validators
    """
    found = SESSION.asked("chain_getValidators", height=height)
    lines = [f"{v['power'] * 100 / PPB:6.2f} %  {v['address']}  key {v['key']}" for v in found]
    SESSION.result({"validators": found}, "\n".join(lines))


@query.command()
def params() -> None:
    """Show the network's parameters.

    Example: eubchain query params
    """
    found = SESSION.asked("chain_getParams")
    SESSION.result(found, json.dumps(found, indent=2))


@query.command()
def supply() -> None:
    """Show where every grain is.

    Example: eubchain query supply
    """
    found = SESSION.asked("chain_getSupply")
    lines = [f"{name:<10} {format_eubc(int(grains)):>20} EUBC" for name, grains in found.items()]
    SESSION.result(found, "\n".join(lines))


@query.command()
def account(who: Who = None) -> None:
    """Show an account: balance, nonce, bond.

    Example: eubchain query account deub1xc6xqjvm4txn9tvm8eurw6wktyx694ez3w5u4z
    """
    SESSION.run(_account, who)


async def _account(who: str | None) -> None:
    async with Connection(SESSION.url) as node:
        network = await paying.open_network(node)
        SESSION.result(await node.call("account_get", address=_address(who, network)))


@query.command()
def tx(txid: Annotated[str, typer.Argument(help="64 hexadecimal digits.")]) -> None:
    """Show a transaction, as `eubchain tx get` does.

    Example: eubchain query tx 7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730
    """
    show_transaction(SESSION.asked("tx_get", txid="0x" + plain_txid(txid)))


def _address(who: str | None, network: Network) -> str:
    address = SESSION.wallet().account().address if who is None else resolve(who, network)
    return network.show(address)


def _when(time_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time_ms / 1000))


# ------------------------------------------------------------------ Proof of Resource


@por.command("show")
def show(who: Who = None) -> None:
    """Show an account's coefficient, power and what they rest on.

    Example: eubchain por show main
    """
    SESSION.run(_show, who)


async def _show(who: str | None) -> None:
    async with Connection(SESSION.url) as node:
        network = await paying.open_network(node)
        found: dict[str, Any] = await node.call("por_get", address=_address(who, network))
        lines = [
            f"coefficient {found['kappa'] / PPB:.4f}  {found['address']}",
            f"  power {found['power'] * 100 / PPB:.4f} %, "
            f"proved compute {found['capacity'] / 2**16:.2f} tiles a window",
            f"  bonded {format_eubc(int(found['bonded']))} EUBC",
        ]
        lines += [f"  {name.replace('_', ' ')}: {value}" for name, value in found["standing"].items()]
        SESSION.result(found, "\n".join(lines))


FACTORS = {
    "compute": "proved compute",
    "bonded": "EUBC bonded",
    "completed": "tasks completed",
    "posted": "tasks posted",
    "timeliness": "timeliness",
    "validation": "the requesters' own checks",
    "rating": "the requesters' satisfaction",
}
OUTCOMES = {
    "decided_by_word": "a task accepted",
    "decided_and_audited": "a task accepted and confirmed by an audit",
    "posted": "a task posted and settled",
    "timed_out": "a task not delivered in time",
    "lost": "a result refuted",
    "cheated": "a cheat proved",
}


@por.command("explain")
def explain(
    who: Who = None,
    price: Annotated[str, typer.Option("--price", help="EUBC of the task whose outcomes are shown.")] = "5",
) -> None:
    """Take a coefficient apart into its seven factors; say what moved it in this epoch, what would raise it.

    Example: eubchain por explain main --price 5
    """
    SESSION.run(_explain, who, parse_eubc(price))


async def _explain(who: str | None, price: int) -> None:
    async with Connection(SESSION.url) as node:
        network = await paying.open_network(node)
        found: dict[str, Any] = await node.call(
            "por_explain", address=_address(who, network), price=str(price)
        )
        lines = [
            f"coefficient {found['kappa'] / PPB:.4f}  {found['address']}",
            f"  two thirds reputation {found['reputation'] / PPB:.4f}, "
            + f"one third power {found['power_term'] / PPB:.4f}",
            "  factor                       adds      twice of it adds",
        ]
        lines += [
            f"  {FACTORS[f['name']]:<28} {f['contributes'] / PPB:+.4f}   {f['doubled_at_once'] / PPB:+.4f}"
            for f in found["factors"]
        ]
        lines += _moved_lines(found)
        lines.append(f"  what a task of {format_eubc(price)} EUBC would change")
        lines += [f"  {OUTCOMES[e['name']]:<42} {e['changes'] / PPB:+.4f}" for e in found["outcomes"]]
        best = max(found["factors"], key=lambda factor: int(factor["doubled_at_once"]))
        if best["doubled_at_once"] > 0:
            lines.append(f"  what would raise it most: {FACTORS[best['name']]}")
        SESSION.result(found, "\n".join(lines))


def _moved_lines(found: dict[str, Any]) -> list[str]:
    """What moved each factor since the epoch began, and why."""
    since = found["since"]
    lines = [
        f"  since block {since['began']}, when the epoch began: {since['moved'] / PPB:+.4f}",
        *(
            f"  {FACTORS[f['name']]:<28} {f['moved'] / PPB:+.4f}   {_why(f, since)}"
            for f in found["factors"]
            if f["moved"] or f["had"] != f["has"]
        ),
    ]
    if since["rest"]:
        failed = f"{since['failed']} tasks failed, " if since["failed"] else ""
        lines.append(f"  {'all else':<28} {since['rest'] / PPB:+.4f}   {failed}fading, others, the own size")
    return lines


def _why(factor: dict[str, Any], since: dict[str, Any]) -> str:
    name, had, has = factor["name"], int(factor["had"]), int(factor["has"])
    if name == "compute":
        missed = f", {int(since['missed']) / 2**16:.2f} lost by missing" if int(since["missed"]) else ""
        return (
            f"{had / 2**16:.2f} to {has / 2**16:.2f} tiles a window: "
            f"{since['windows']} proofs of {since['shares']} shares{missed}"
        )
    if name == "bonded":
        return f"{format_eubc(had)} to {format_eubc(has)} EUBC"
    if name == "completed":
        return f"{since['decided']} tasks decided"
    if name == "posted":
        return f"{since['posted']} posted tasks settled"
    return f"average mark {had * 100 / PPB:.0f} to {has * 100 / PPB:.0f} %, {since['decided']} tasks decided"


@por.command("top")
def top(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many.")] = 20,
) -> None:
    """Show the sparks with the highest coefficients.

    Example: eubchain por top --limit 5
    """
    found = SESSION.asked("spark_list")[:limit]
    lines = [
        f"{s['kappa'] / PPB:.4f}  {s['capacity'] / 2**16:>10.2f} tiles  {s['hardware']['model']:<20} "
        f"{s['running']} of {s['slots']} seats  {s['address']}"
        for s in found
    ]
    SESSION.result({"sparks": found}, "\n".join(lines) or "no spark is registered yet")
