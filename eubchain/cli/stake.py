"""`eubchain stake` and `eubchain validator`: bonding EUBC and producing blocks with it.

Here: the verbs and their payloads. Not here: the rules (vm/stake.py, vm/validator.py), the way from
summary to finality (paying.py), the validator's key file (setup.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.types.amounts import format_eubc, parse_eubc
from consensus.types.errors import Fault
from eubchain.cli import paying
from eubchain.cli.money import resolve
from eubchain.cli.paying import Again, From, MaxPrice, NoWait, Order, Situation, Terms, Tip
from eubchain.cli.session import BAD_ARGUMENT, SESSION
from eubchain.client.connection import Connection

if TYPE_CHECKING:
    from eubchain.client.network import Network
    from eubchain.node.validator_key import ValidatorKey

stake = typer.Typer(name="stake", help="Bond EUBC and take it back.", no_args_is_help=True)
validator = typer.Typer(name="validator", help="Produce blocks with a bond.", no_args_is_help=True)

Who = Annotated[str | None, typer.Argument(help="An address or an account; the default one if left out.")]


def _order(action: str, payload: Any, lines: list[tuple[str, str]], moved: int, follow: str) -> Order:
    async def build(situation: Situation) -> Any:
        return payload

    async def summary(situation: Situation, made: Any) -> list[tuple[str, str]]:
        return lines

    return Order(action, build, summary, lambda _: moved, lambda txid, network: follow)


@stake.command()
def bond(
    amount: Annotated[str, typer.Argument(help="EUBC.")],
    source: From = None,
    tip: Tip = None,
    max_price: MaxPrice = None,
    again: Again = False,
    no_wait: NoWait = False,
) -> None:
    """Bond EUBC: a validator or spark needs it; it can be slashed, and takes epochs to come back.

    Example: eubchain stake bond 10000
    """
    from vm.stake import Bond

    grains = parse_eubc(amount)
    lines = [("bond", f"{format_eubc(grains)} EUBC, free again only epochs after `stake unbond`")]
    order = _order("Sign and bond", Bond(grains), lines, grains, "eubchain stake show")
    paying.carry_out(order, Terms(source, tip, max_price, None, again, no_wait))


@stake.command()
def unbond(
    amount: Annotated[str, typer.Argument(help="EUBC.")],
    source: From = None,
    tip: Tip = None,
    max_price: MaxPrice = None,
    again: Again = False,
    no_wait: NoWait = False,
) -> None:
    """Start the way back of bonded EUBC; `stake show` says at which height it is free.

    Example: eubchain stake unbond 500
    """
    from vm.stake import Unbond

    grains = parse_eubc(amount)

    async def build(situation: Situation) -> Any:
        return Unbond(grains)

    async def lines(situation: Situation, payload: Any) -> list[tuple[str, str]]:
        chain = situation.network.rules.params
        epochs = chain.validators.unbonding_epochs
        seconds = epochs * chain.chain.epoch_blocks * chain.chain.block_interval_ms // 1000
        return [
            (
                "unbond",
                f"{format_eubc(grains)} EUBC, free in {epochs} to {epochs + 1} epochs (about {seconds} s)",
            )
        ]

    order = Order("Sign and unbond", build, lines, lambda _: 0, lambda txid, network: "eubchain stake show")
    paying.carry_out(order, Terms(source, tip, max_price, None, again, no_wait))


@stake.command("show")
def show_stake(name: Who = None) -> None:
    """Show what is bonded, and what is on its way back and when it is free.

    Example: eubchain stake show
    """
    SESSION.run(_show_stake, name)


async def _show_stake(name: str | None) -> None:
    async with Connection(SESSION.url) as node:
        network = await paying.open_network(node)
        held = await node.call("account_get", address=_address(name, network))
        height = (await node.call("chain_status"))["height"]
        interval = network.rules.params.chain.block_interval_ms
        lines = [f"{format_eubc(int(held['bonded']))} EUBC bonded  {held['address']}"]
        for entry in held["unbonding"]:
            left = max(0, entry["mature_height"] - height)
            lines.append(
                f"  {format_eubc(int(entry['amount']))} EUBC free at height {entry['mature_height']}, "
                f"in about {left * interval // 1000} s"
            )
        facts = {name: held[name] for name in ("address", "bonded", "unbonding")} | {"height": height}
        SESSION.result(facts, "\n".join(lines))


def _address(name: str | None, network: Network) -> str:
    address = SESSION.wallet().account().address if name is None else resolve(name, network)
    return network.show(address)


# ------------------------------------------------------------------ validators


def _home_key(situation: Situation) -> ValidatorKey:
    """The consensus key in this home; raises `Fault` when there is none, or another account's."""
    from eubchain.node.home import Home
    from eubchain.node.validator_key import read_validator_key

    key = read_validator_key(Home(SESSION.home).validator_key)
    if key is None:
        why = f"{SESSION.home} has no validator key; `eubchain init --genesis FILE --validator` makes one."
        raise Fault(BAD_ARGUMENT, why=why)
    if key.address != situation.network.show(situation.account.address):
        why = f"This home's validator key belongs to {key.address}; sign with that account (--from)."
        raise Fault(BAD_ARGUMENT, why=why)
    return key


def _possession(key: ValidatorKey, situation: Situation) -> bytes:
    from consensus.types.genesis import possession_hash

    return key.key.sign(possession_hash(situation.network.rules.chain_id, situation.account.address))


async def _renewed_commitment(situation: Situation, held: ValidatorKey) -> bytes:
    """Of a chain that has revealed nothing; this home's key file is raised to its generation."""
    from eubchain.node.home import Home
    from eubchain.node.reveal_file import renewed
    from eubchain.node.validator_key import write_validator_key

    found = await situation.node.call("validator_get", address=held.address)
    key = renewed(held, bytes.fromhex(found["validator"]["reveal"].removeprefix("0x")))
    commitment = key.reveal_chain().commitment
    write_validator_key(Home(SESSION.home).validator_key, key, replace=True)
    return commitment


@validator.command()
def register(
    name: Annotated[str, typer.Option("--name", help="What others see; a-z, 0-9 and ._:/@-")],
    source: From = None,
    tip: Tip = None,
    max_price: MaxPrice = None,
    again: Again = False,
    no_wait: NoWait = False,
) -> None:
    """Make the account a validator with this home's key; bond first. It votes from the second epoch on.

    Example: eubchain validator register --name lab-1
    """

    async def build(situation: Situation) -> Any:
        from vm.validator import RegisterValidator

        key = _home_key(situation)
        SESSION.note("computing the reveal chain …")
        return RegisterValidator(
            name, key.key.public, _possession(key, situation), key.reveal_chain().commitment
        )

    async def lines(situation: Situation, payload: Any) -> list[tuple[str, str]]:
        held = await situation.node.call(
            "account_get", address=situation.network.show(situation.account.address)
        )
        return [
            ("validator", f"{payload.name}, key {payload.key.hex()}"),
            ("bonded", f"{format_eubc(int(held['bonded']))} EUBC"),
        ]

    order = Order(
        "Sign and register", build, lines, lambda _: 0, lambda txid, network: "eubchain validator show"
    )
    paying.carry_out(order, Terms(source, tip, max_price, None, again, no_wait))


@validator.command()
def update(
    name: Annotated[str | None, typer.Option("--name", help="A new name, at once.")] = None,
    key: Annotated[bool, typer.Option("--key", help="This home's key, two epochs later.")] = False,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="This home's reveal chain, two epochs later.")
    ] = False,
    source: From = None,
    tip: Tip = None,
    max_price: MaxPrice = None,
    again: Again = False,
    no_wait: NoWait = False,
) -> None:
    """Change a validator's name, consensus key or reveal chain.

    Example: eubchain validator update --name lab-one
    """
    if name is None and not key and not reveal:
        raise Fault(BAD_ARGUMENT, why="Say what changes: --name, --key or --reveal.")

    async def build(situation: Situation) -> Any:
        from vm.validator import NewKey, UpdateValidator

        held = _home_key(situation) if key or reveal else None
        new_key = new_reveal = None
        if held is not None and key:
            new_key = NewKey(held.key.public, _possession(held, situation))
        if held is not None and reveal:
            SESSION.note("computing the reveal chain …")
            new_reveal = await _renewed_commitment(situation, held)
        return UpdateValidator(name, new_key, new_reveal)

    async def lines(situation: Situation, payload: Any) -> list[tuple[str, str]]:
        found = [("name", payload.name)] if payload.name else []
        if payload.key:
            found.append(("new key", f"{payload.key.key.hex()}, effective two epochs later"))
        if payload.reveal:
            found.append(("new chain", f"{payload.reveal.hex()}, effective two epochs later"))
            found.append(("then", "start this home's node again within them: it then knows both chains"))
        return found

    order = Order(
        "Sign and change", build, lines, lambda _: 0, lambda txid, network: "eubchain validator show"
    )
    paying.carry_out(order, Terms(source, tip, max_price, None, again, no_wait))


@validator.command()
def unjail(
    source: From = None,
    tip: Tip = None,
    max_price: MaxPrice = None,
    again: Again = False,
    no_wait: NoWait = False,
) -> None:
    """Come back after a jail term; `validator show` says from which height this is accepted.

    Example: eubchain validator unjail --from main
    """
    from vm.validator import Unjail

    order = _order("Sign and unjail", Unjail(), [("validator", "comes back")], 0, "eubchain validator show")
    paying.carry_out(order, Terms(source, tip, max_price, None, again, no_wait))


@validator.command("list")
def list_() -> None:
    """List the validators with their power and share of the last 1,000 blocks, and how they sign now.

    Example: eubchain validator list
    """
    found, counted = SESSION.asked("validator_list"), SESSION.asked("validator_shares")
    proposed = {row["address"]: row["blocks"] for row in counted["validators"]}
    for view in found:
        view["latest_blocks"] = proposed.get(view["address"], 0)
    every = max(1, counted["blocks"])
    lines = [
        f"{v['power'] / 10**7:6.2f} %  {v['latest_blocks'] * 100 / every:6.2f} % of blocks  "
        f"{v['status']:<10} {v['name']:<20} {v['address']}  "
        f"signed {v['signed']} of {v['due']}, proposed {v['proposed']}, missed {v['missed_proposals']}"
        for v in found
    ]
    SESSION.result({"validators": found, "latest_counted": counted["blocks"]}, "\n".join(lines))


@validator.command()
def show(name: Who = None) -> None:
    """Show a validator: its power, the heights it missed and why, and the line that mends it.

    Example: eubchain validator show main
    """
    SESSION.run(_show, name)


async def _show(name: str | None) -> None:
    async with Connection(SESSION.url) as node:
        network = await paying.open_network(node)
        found = await node.call("validator_get", address=_address(name, network))
        view, height = found["validator"], (await node.call("chain_status"))["height"]
        mend = _mend(view, height, name)
        lines = [
            f"{view['name']}  {view['address']}  {view['status']}, {view['power'] / 10**7:.2f} % of power, "
            f"{format_eubc(int(view['bonded']))} EUBC bonded",
            f"  epoch {view['epoch']}: signed {view['signed']} of {view['due']}, "
            + f"proposed {view['proposed']}, missed {view['missed_proposals']} proposals, "
            + f"earned {format_eubc(int(view['accrued']))} EUBC",
        ]
        for span in found["missed"]:
            heights = (
                f"{span['first']}" if span["first"] == span["last"] else f"{span['first']} to {span['last']}"
            )
            lines.append(f"  missed {heights}: {span['cause']}")
        if not found["missed"]:
            lines.append(f"  missed none of the last {found['looked_at']} heights due to it")
        if view["status"] == "jailed":
            lines.append(
                f"  jailed until epoch {view['jailed_until']}, height {view['unjail_height']}; now {height}"
            )
        SESSION.result(found | {"height": height, "next": mend}, "\n".join(lines))
        if mend:
            SESSION.follow(mend)


def _mend(view: dict[str, Any], height: int, name: str | None) -> str | None:
    """The line that helps, if one does."""
    source = f" --from {name}" if name in SESSION.wallet().names() else ""
    if view["status"] == "jailed":
        if height + 1 >= view["unjail_height"]:
            return f"eubchain validator unjail{source}"
        return f"eubchain validator unjail{source}   (from height {view['unjail_height']} on)"
    if view["status"] == "retired":
        return f"eubchain validator register --name {view['name']}{source}"
    return None
