"""Finality while compute is proved: four validators and two sparks on one machine, in windows and outside.

500 transfers a second in batches of 50, as in tx_4's `finality`; each batch counts for where the chain was
when it was sent. Each spark's prover takes one thread at the lowest priority for as long as a window lasts,
here forty blocks of five hundred milliseconds with gaps of about as many. The reference of what was measured
inside is the same outside, in the same run.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import httpx
import trio
from msgspec.structs import replace

from consensus.types.params import DEV
from eubchain.cli.devnet import running_devnet
from eubchain.client.connection import Connection
from eubchain.node.founding import Founded, found_devnet
from eubchain.wallet.accounts import Wallet
from scripts.benchmarks.tx_1 import bodies_of, figure
from scripts.benchmarks.tx_4 import ACCOUNTS, PACE_BATCH, PACE_S, fund, transfers

VALIDATORS, SPARKS = 4, 2
PACE_BATCHES = 900
"""A minute and a half: some windows and as many gaps."""
LOOK_S = 0.1
WINDOWS = {"window_wait_blocks": 20, "window_blocks": 40, "grace_blocks": 6, "verify_blocks": 10}
PARAMS = replace(DEV, resource=replace(DEV.resource, **WINDOWS))


class Wait(NamedTuple):
    """One batch."""

    milliseconds: float
    """From sending to the answer that its last transfer is final."""
    is_inside: bool
    """Whether the provers were computing when it was sent."""


def run(batches: int = PACE_BATCHES) -> list[dict[str, str | float]]:
    """p50 and p99 of finality inside windows, in milliseconds, beside those outside."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "net"
        now_ms = time.time_ns() // 1_000_000
        founded = found_devnet(root, now_ms, VALIDATORS, SPARKS, params=PARAMS, reveals=2**12)
        waits = trio.run(_measure, founded, batches)
    inside, outside = (
        sorted(w.milliseconds for w in waits if w.is_inside is where) for where in (True, False)
    )
    assert inside, "a window was open for some batches"
    assert outside, "and none for some"
    return [
        figure(f"finality_window_p{percent}", _at(inside, percent), "ms", _at(outside, percent))
        for percent in (50, 99)
    ]


def _at(values: list[float], percent: int) -> float:
    return values[min(len(values) - 1, len(values) * percent // 100)]


async def _measure(founded: Founded, batches: int) -> list[Wait]:
    each = -(-PACE_BATCH * batches // ACCOUNTS)
    raws = transfers(founded.genesis, 0, each)[: PACE_BATCH * batches]
    signer = Wallet(founded.root / "wallet").signer("requester", founded.password_file.read_text().strip())
    async with running_devnet(founded.root, VALIDATORS, SPARKS) as network:
        await fund(network.url, founded.genesis, signer)
        async with Connection(network.url) as node, trio.open_nursery() as nursery:
            # Every spark has proved once: from now on each window is worked in.
            while not all(int(spark["capacity"]) for spark in await _sparks(node)):  # noqa: ASYNC110  # of another process
                await trio.sleep(LOOK_S)
            watch = Watch()
            nursery.start_soon(watch.look, node)
            waits = await _paced(network.url, raws, watch)
            nursery.cancel_scope.cancel()
    return waits


async def _sparks(node: Connection) -> list[dict[str, str]]:
    found: list[dict[str, str]] = await node.call("spark_list")
    assert len(found) == SPARKS, "the network registers them before it runs"
    return found


class Watch:
    """Whether the provers compute now."""

    def __init__(self) -> None:
        self.is_inside = False

    async def look(self, node: Connection) -> None:
        """Go on looking."""
        while True:
            window = await node.call("por_window")
            height = (await node.call("chain_status"))["height"]
            self.is_inside = window is not None and window["window"] <= height < window["search_until"]
            await trio.sleep(LOOK_S)


async def _paced(url: str, raws: list[bytes], watch: Watch) -> list[Wait]:
    waits: list[Wait] = []

    async def one(batch: list[bytes]) -> None:
        is_inside, began = watch.is_inside, time.perf_counter()
        async with httpx.AsyncClient(timeout=90, trust_env=False) as client:
            answer = (await client.post(f"{url}/rpc", content=bodies_of(batch)[0])).json()["result"]
            params = {"txid": answer[-1]["txid"], "timeout_s": 60}
            request = {"jsonrpc": "2.0", "id": 1, "method": "tx_wait", "params": params}
            await client.post(f"{url}/rpc", json=request)
        waits.append(Wait((time.perf_counter() - began) * 1000, is_inside))

    async with trio.open_nursery() as nursery:
        for start in range(0, len(raws), PACE_BATCH):
            nursery.start_soon(one, raws[start : start + PACE_BATCH])
            await trio.sleep(PACE_S)
    return waits
