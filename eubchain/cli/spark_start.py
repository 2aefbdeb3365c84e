"""`eubchain spark start`: the agent, put together from home, wallet, machine and node.

Here: opening the account, taking inventory, logs, signals. Not here: the agent (spark_node/agent.py).
Keeps: the password is asked once; the key stays in this process; one agent per home.
"""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import msgspec
import structlog
import trio

from consensus.types.errors import Fault
from eubchain.cli.paying import open_network
from eubchain.cli.session import SESSION
from eubchain.client.connection import NODE_UNREACHABLE, Connection
from eubchain.client.spark_chain import SparkChain
from eubchain.client.spark_identity import spark_identity
from eubchain.node.logs import set_up_logs
from eubchain.wallet.accounts import AccountSigner
from spark_node.agent import Agent, Means
from spark_node.inventory import take_inventory
from spark_node.lending import engine_settings, lent_of, runtimes_of
from spark_node.policy import PolicyFile

if TYPE_CHECKING:
    from consensus.types.keys import SecretKey
    from eubchain.client.network import Network
    from spark_node.folder import Folder

NODE_RETRY_S = 2.0
log = structlog.get_logger("spark")


class Chosen(msgspec.Struct):
    """Which account this spark is; in `account.json`."""

    account: str


def chosen_account(folder: Folder) -> str | None:
    """The account that `spark init` chose, None where the wallet's default is meant."""
    try:
        return msgspec.json.decode((folder.root / "account.json").read_bytes(), type=Chosen).account
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def open_account(name: str | None) -> tuple[str, SecretKey]:
    """Open an account with this command's one password. Blocks for half a second, by design."""
    wallet = SESSION.wallet()
    account = wallet.key_account(name)
    password = SESSION.passwords().get(f"Password of {account.name}: ")
    secret = wallet.open(account.name, password)
    return account.name, secret.key_at(account.keyfile.path)


async def run_here(folder: Folder) -> None:
    """Run the agent until a signal, or until it has retired."""
    policy = PolicyFile(folder.policy)
    folder.create()
    with folder.locked():
        _, key = await trio.to_thread.run_sync(open_account, chosen_account(folder))
        set_up_logs("info", as_json=SESSION.json)
        machine = await take_inventory(engine_settings(policy.policy, folder, policy.policy.gpus))
        log.info(machine.describe())
        async with Connection(SESSION.url) as node:
            network = await _network(node)
            lent = lent_of(policy.policy, machine)
            means = Means(
                chain=SparkChain(node, network, AccountSigner.of(key)),
                folder=folder,
                policy=policy,
                key=key,
                identity=spark_identity(key),
                machine=machine,
                runtimes=runtimes_of(policy.policy, folder, lent),
                now_ms=lambda: time.time_ns() // 1_000_000,
                minute_of_day=_minute_of_day,
            )
            await _run_until_signal(Agent(means))


async def _network(node: Connection) -> Network:
    """The node's network; a node that is not there yet is waited for."""
    is_told = False
    while True:
        try:
            return await open_network(node, signing=True)
        except Fault as fault:
            if fault.reason is not NODE_UNREACHABLE:
                raise
            if not is_told:
                log.warning("waits for a node", why=str(fault))
                is_told = True
        await trio.sleep(NODE_RETRY_S)


async def _run_until_signal(agent: Agent) -> None:
    async with trio.open_nursery() as nursery:

        async def stop_on_signal() -> None:
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for _ in signals:
                    log.info("stops; what runs is continued at the next start")
                    nursery.cancel_scope.cancel()
                    return

        nursery.start_soon(stop_on_signal)
        place: str = await nursery.start(agent.run)
        print(json.dumps({"started": True, "place": place}), flush=True)
        await agent.ended.wait()
        log.info("retired and done")
        nursery.cancel_scope.cancel()


def _minute_of_day() -> int:
    now = time.localtime()
    return now.tm_hour * 60 + now.tm_min
