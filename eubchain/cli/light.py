"""`eubchain light`: check a chain and its accounts without running a node or believing one.

Here: the verbs. Not here: verification (consensus/light.py), asking (eubchain/client/light.py).
Keeps: what is printed as verified was proven against a header that the trusted one leads to; how many
witnesses stand behind it is always said.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import trio
import typer

from consensus.types.amounts import format_eubc
from consensus.types.errors import Fault
from eubchain.cli.session import BAD_ARGUMENT, SESSION

if TYPE_CHECKING:
    from eubchain.client.light import Followed, LightClient, Remembered
    from eubchain.client.network import Network

app = typer.Typer(name="light", help="Check a chain without running a node.", no_args_is_help=True)

TrustText = Annotated[
    str | None,
    typer.Option("--trust", help="HEIGHT:HASH of a block you trust; needed once, then remembered."),
]
Witnesses = Annotated[
    list[str] | None,
    typer.Option("--witness", help="URL of another node that must agree; may be repeated."),
]


@asynccontextmanager
async def _client(
    trust: str | None, witnesses: list[str] | None
) -> AsyncIterator[tuple[LightClient, Remembered, Network]]:
    """A light client that stands on what was given or remembered; keeps a fork's blocks on the way out."""
    from consensus.light import parse_trust, terms_of
    from eubchain.client.connection import Connection
    from eubchain.client.light import LIGHT_TRUST_MISSING, Divided, LightClient, Remembered
    from eubchain.client.network import learn_network

    given = parse_trust(trust) if trust is not None else None
    async with AsyncExitStack() as stack:
        primary = await stack.enter_async_context(Connection(SESSION.url))
        others = [
            await stack.enter_async_context(Connection(url if "://" in url else f"http://{url}"))
            for url in witnesses or []
        ]
        # The trusted hash covers the genesis hash, so a record of another network does not pass.
        network = await learn_network(primary)
        SESSION.network_prefix = network.prefix
        client = LightClient(terms_of(network.genesis), primary, others, lambda: time.time_ns() // 1_000_000)
        remembered = Remembered(SESSION.home / "light", network.rules.genesis)
        block = remembered.load() if given is None else None
        if given is not None:
            await client.begin(given)
        elif block is not None:
            client.resume(block)
        else:
            raise Fault(LIGHT_TRUST_MISSING)
        if not others:
            SESSION.note("no --witness: nobody but this one node says that there is no other chain")
        try:
            yield client, remembered, network
        except Divided as divided:
            kept = remembered.keep_fork(divided.ours, divided.theirs)
            SESSION.note(f"both blocks are kept in {kept}")
            raise


def _facts(followed: Followed, remembered: Remembered) -> dict[str, Any]:
    """The verified block as facts; it is remembered from here on."""
    remembered.store(followed.block)
    for heard in followed.witnesses:
        if not heard.agrees:
            SESSION.note(f"witness {heard.url} does not count: {heard.why}")
    return {
        "height": followed.trusted.height,
        "block_id": followed.trusted.block_id.hex(),
        "time_ms": followed.trusted.time_ms,
        "state_root": followed.block.header.state_root.hex(),
        "headers_verified": followed.steps,
        "witnesses": sum(heard.agrees for heard in followed.witnesses),
    }


def _line(facts: dict[str, Any]) -> str:
    count = facts["witnesses"]
    return (
        f"height {facts['height']}  {facts['block_id']}  verified by {facts['headers_verified']} headers, "
        f"{count} witness{'' if count == 1 else 'es'}"
    )


@app.command()
def follow(
    trust: TrustText = None,
    witness: Witnesses = None,
    height: Annotated[
        int | None, typer.Option("--height", min=1, help="Verify this height instead of the head.")
    ] = None,
    keep_on: Annotated[
        bool, typer.Option("--keep-on", help="Go on with every new head until Ctrl-C.")
    ] = False,
) -> None:
    """Verify the head of the node's chain from a trusted block, and hold it against witnesses.

    Example: eubchain light follow --witness http://127.0.0.1:26750
    """
    if height is not None and keep_on:
        raise Fault(BAD_ARGUMENT, why="--height names one block; --keep-on follows the head.")

    async def run() -> None:
        async with _client(trust, witness) as (client, remembered, network):
            seen = 0
            while True:
                followed = await client.follow(height)
                if followed.trusted.height != seen:
                    seen = followed.trusted.height
                    facts = _facts(followed, remembered)
                    SESSION.result(facts, _line(facts))
                if not keep_on:
                    return
                await trio.sleep(network.rules.params.chain.block_interval_ms / 1000)

    SESSION.run(run)


@app.command()
def balance(
    account: Annotated[str, typer.Argument(help="An address, or an account of this home.")],
    trust: TrustText = None,
    witness: Witnesses = None,
) -> None:
    """Prove what an account holds, at the head, by a verified header and a state proof.

    Example: eubchain light balance savings --witness http://127.0.0.1:26750
    """

    async def run() -> None:
        async with _client(trust, witness) as (client, remembered, network):
            wallet = SESSION.wallet()
            known = account in wallet.names()
            address = wallet.account(account).address if known else network.address(account)
            record, followed = await client.account(address)
            facts = _facts(followed, remembered)
            shown = {
                "address": network.show(address),
                "balance": str(record.balance),
                "nonce": record.nonce,
                **facts,
            }
            SESSION.result(
                shown, f"{network.show(address)}  {format_eubc(record.balance)} EUBC\n  {_line(facts)}"
            )

    SESSION.run(run)
