"""`eubchain spark init` and `retire`: what a spark signs by its owner's hand.

Here: the policy file, the bond, the registration with the machine's inventory; leaving.
Not here: everything else a spark does (spark.py), the rules (vm/spark.py).
Keeps: repeating `init` declares what the machine has now and never bonds twice; the policy that stands is
never overwritten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import trio
import typer

from consensus.types.amounts import format_eubc
from consensus.types.errors import Fault
from eubchain.cli.paying import From, open_network, refusal_of, show_progress
from eubchain.cli.session import BAD_ARGUMENT, SESSION
from eubchain.cli.spark import app, folder
from eubchain.client.connection import Connection, RemoteRefusal

if TYPE_CHECKING:
    from eubchain.client.network import Network
    from spark_node.folder import Folder
    from spark_node.inventory import Machine
    from spark_node.policy import Policy

NO_SUCH_SPARK = 2350
CHAIN_SLOTS_PER_SLOT = 8
"""A seat in review still fills a slot on chain while the machine is free for the next one."""
CHAIN_SLOTS_MAX = 64


@app.command()
def init(
    source: From = None,
    price: Annotated[
        str | None, typer.Option(help="EUBC for an hour of a GPU (of a core, on a machine without).")
    ] = None,
    slots: Annotated[int | None, typer.Option(min=1, max=64, help="Tasks at one time.")] = None,
    difficulty: Annotated[
        int | None, typer.Option(min=1, help="Tiles per share to begin with, as `spark bench` proposes.")
    ] = None,
) -> None:
    """Make this machine a spark: a policy file, the bond, and its registration on chain. Safe to repeat.

    Example: eubchain spark init --price 2.60
    """
    from eubchain.cli.spark_start import Chosen
    from spark_node.folder import RETIRE, Folder, write_durably
    from spark_node.inventory import take_inventory
    from spark_node.lending import engine_settings
    from spark_node.policy import PolicyFile, default_policy_text, parse_policy

    found = Folder(SESSION.home / "spark")
    found.create()
    name = SESSION.wallet().key_account(source).name
    if not found.policy.exists():
        machine = SESSION.run(take_inventory)
        changes: dict[tuple[str, str], Any] = {}
        if price is not None:
            changes["price", "gpu_hour" if machine.gpus else "cpu_hour"] = price
        if slots is not None:
            changes["tasks", "slots"] = slots
        text = default_policy_text(changes)
        parse_policy(text, str(found.policy))
        write_durably(found.policy, text.encode())
    elif price is not None or slots is not None:
        raise Fault(BAD_ARGUMENT, why=f"{found.policy} stands already; change it with `eubchain spark set`.")
    # Whoever sets it up again wants it back: an earlier `retire` would end the agent at once.
    found.take_back(RETIRE)
    write_durably(found.root / "account.json", msgspec.json.encode(Chosen(name)))
    policy = PolicyFile(found.policy).policy
    machine = SESSION.run(take_inventory, engine_settings(policy, found, policy.gpus))
    SESSION.note(machine.describe())
    SESSION.run(_register, found, name, policy, machine, difficulty)


async def _register(
    found: Folder, name: str, policy: Policy, machine: Machine, difficulty: int | None
) -> None:
    from eubchain.cli.spark_start import open_account
    from eubchain.client.spark_identity import spark_identity
    from eubchain.wallet.accounts import AccountSigner
    from spark_node.lending import hardware_of
    from spark_node.storage.age_keys import recipient_of
    from vm.spark import RegisterSpark, UpdateSpark
    from vm.stake import Bond

    async with Connection(SESSION.url) as node:
        network = await open_network(node)
        _, key = await trio.to_thread.run_sync(open_account, name)
        signer = AccountSigner.of(key)
        address = network.show(signer.address)
        params = network.rules.params.resource
        account = await node.call("account_get", address=address)
        short = max(0, params.spark_bond - int(account["bonded"]))
        existing = await _existing(node, address)
        declared = (
            recipient_of(spark_identity(key)),
            hardware_of(policy, machine, found.root),
            min(CHAIN_SLOTS_MAX, CHAIN_SLOTS_PER_SLOT * policy.slots),
            policy.judging,
        )
        steps: list[tuple[str, Any]] = []
        if short:
            steps.append((f"bond {format_eubc(short)} EUBC, free again only epochs later", Bond(short)))
        if existing is None or existing["status"] != "active":
            start = difficulty or params.difficulty_min
            steps.append((f"register {declared[1].model} as a spark", RegisterSpark(*declared, start)))
        elif not _is_declared(existing, declared):
            steps.append((f"declare {declared[1].model} anew", UpdateSpark(*declared)))
        SESSION.note(f"  network      {network.rules.chain_id}")
        SESSION.note(f"  account      {address}  ({name})")
        for label, _ in steps:
            SESSION.note(f"  will         {label}")
        txids = []
        if steps:
            SESSION.confirm("Sign?")
            txids = [await _send(node, network, signer, payload) for _, payload in steps]
    facts = {
        "address": address,
        "policy": str(found.policy),
        "hardware": msgspec.structs.asdict(declared[1]),
        "slots": declared[2],
        "bonded": str(int(account["bonded"]) + short),
        "txids": txids,
    }
    text = f"{address} is a spark; its policy is {found.policy}" if steps else "Nothing has changed."
    SESSION.result(facts, text)
    SESSION.follow("eubchain spark start")


async def _existing(node: Connection, address: str) -> dict[str, Any] | None:
    try:
        view: dict[str, Any] = await node.call("spark_get", address=address)
    except RemoteRefusal as refusal:
        if refusal.wording.code == NO_SUCH_SPARK:
            return None
        raise
    return view


def _is_declared(existing: dict[str, Any], declared: tuple[Any, ...]) -> bool:
    recipient, hardware, slots, judging = declared
    there = existing["hardware"]
    ours = {**msgspec.structs.asdict(hardware)}
    # Free disk changes from hour to hour; only what an offer would notice is worth a transaction.
    is_near = abs(there.pop("disk_bytes") - ours.pop("disk_bytes")) * 10 <= hardware.disk_bytes
    same = (existing["recipient"], existing["slots"], existing["judging"]) == (recipient, slots, judging)
    return same and is_near and there == ours


async def _send(node: Connection, network: Network, signer: Any, payload: Any) -> str:
    """Sign and wait. Repeating the command looks at the chain first, so nothing is done twice."""
    from eubchain.client.sending import await_final, key_authority, prepare, sign, submit

    prepared = await prepare(node, network, key_authority(signer.public), payload)
    signed = sign(prepared, signer)
    SESSION.note(f"txid {signed.txid.hex()}")
    await submit(node, signed)
    final = await await_final(node, signed.txid, signed.valid_until, show_progress)
    if final.error is not None:
        raise refusal_of(final)
    return signed.txid.hex()


@app.command()
def retire() -> None:
    """Leave: no new work, what runs is finished, the bond can be taken back; the agent ends by itself.

    Example: eubchain spark retire
    """
    from eubchain.cli.spark_start import chosen_account
    from spark_node.folder import RETIRE
    from spark_node.journal import Journal

    found = folder()
    notes = Journal(found).unsettled()
    locked = sum(note.gas for note in notes)
    SESSION.note(f"{len(notes)} seats are not settled; they lock {format_eubc(locked)} EUBC until they are.")
    SESSION.confirm("Retire this spark?")
    name = chosen_account(found)
    facts: dict[str, Any] = {"retiring": True, "seats": len(notes), "gas_locked": str(locked), "txid": None}
    if found.is_running():
        found.wish(RETIRE)
        SESSION.result(facts, "The agent retires, finishes what runs, and ends by itself.")
    else:
        facts["txid"] = SESSION.run(_retire_here, name)
        found.wish(RETIRE)
        SESSION.result(facts, "Retired. Start the agent once more if seats are not settled.")
    SESSION.follow("eubchain stake unbond AMOUNT")


async def _retire_here(name: str | None) -> str | None:
    from eubchain.cli.spark_start import open_account
    from eubchain.wallet.accounts import AccountSigner
    from vm.spark import RetireSpark

    async with Connection(SESSION.url) as node:
        network = await open_network(node)
        _, key = await trio.to_thread.run_sync(open_account, name)
        signer = AccountSigner.of(key)
        existing = await _existing(node, network.show(signer.address))
        if existing is None or existing["status"] != "active":
            return None
        return await _send(node, network, signer, RetireSpark())
