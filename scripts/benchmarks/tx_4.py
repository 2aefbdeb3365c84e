"""Four validators as processes on this machine: transfers committed per second, and how soon one is final.

Load goes to one node through RPC batches, as in tx_1; the accounts are funded by transactions first. The
references: tx_1's ceiling (bare verification on all cores) for throughput, the block interval for
finality. `finality` sends 500 a second in batches of 50 and waits for the last of each.
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import trio

from consensus.types.address import key_address
from consensus.types.amounts import eubc
from consensus.types.codec import encode
from consensus.types.genesis import Genesis, genesis_hash
from consensus.types.params import DEV
from consensus.types.transaction import Body, KeyAuth, Transaction, sign_hash
from eubchain.node.founding import found_devnet
from eubchain.wallet.accounts import AccountSigner, Wallet
from scripts.benchmarks import verify
from scripts.benchmarks.transfers import secret_key
from scripts.benchmarks.tx_1 import bodies_of, drive, figure, node_url, start_node
from vm.account import MultiTransfer, Output, Transfer

ACCOUNTS, EACH, CONNECTIONS = 1_000, 40, 4
PACE_BATCH, PACE_BATCHES, PACE_S = 50, 100, 0.1


def run() -> list[dict[str, str | float]]:
    """tx_4 in transactions per second; finality in milliseconds."""
    ceiling = max(float(row["value"]) for row in verify.run())
    with tempfile.TemporaryDirectory() as directory:
        network = found_devnet(Path(directory) / "net", time.time_ns() // 1_000_000, 4, 0, reveals=2**12)
        nodes = [start_node(home) for home in network.validators]
        try:
            urls = [node_url(home) for home in network.validators]
            password = network.password_file.read_text().strip()
            signer = Wallet(network.root / "wallet").signer("requester", password)
            trio.run(fund, urls[0], network.genesis, signer)
            lanes: list[list[bytes]] = [[] for _ in range(CONNECTIONS)]
            for position, raw in enumerate(transfers(network.genesis, 0, EACH)):
                lanes[position % ACCOUNTS // (ACCOUNTS // CONNECTIONS)].append(raw)
            committed, _ = trio.run(drive, urls[0], [bodies_of(lane) for lane in lanes], ACCOUNTS * EACH)
            paced = transfers(network.genesis, EACH, PACE_BATCH * PACE_BATCHES // ACCOUNTS)
            waits = sorted(trio.run(_paced, urls[0], paced))
        finally:
            for node in nodes:
                _kill(node)
    interval = float(DEV.chain.block_interval_ms)
    return [
        figure("tx_4", committed, "tx/s", ceiling),
        figure("finality_p50", waits[len(waits) // 2], "ms", interval),
        figure("finality_p99", waits[len(waits) * 99 // 100], "ms", interval),
    ]


def _kill(node: subprocess.Popen[bytes]) -> None:
    os.killpg(node.pid, signal.SIGKILL)
    node.wait()


def _signed(genesis: Genesis, signer: Any, nonce: int, payload: Any) -> bytes:
    body: Body[Any] = Body(1, genesis.chain_id, key_address(signer.public), nonce, 100, 1, 5_000, payload)
    signature = signer.sign(sign_hash(genesis_hash(genesis), encode(body)))
    return encode(Transaction(body, KeyAuth(signer.public, signature)))


def transfers(genesis: Genesis, first: int, each: int) -> list[bytes]:
    keys = [secret_key(i) for i in range(ACCOUNTS)]
    addresses = [key_address(key.public) for key in keys]
    return [
        _signed(genesis, key, nonce, Transfer(addresses[(i * 7 + nonce + 1) % ACCOUNTS], 500_000))
        for nonce in range(first, first + each)
        for i, key in enumerate(keys)
    ]


async def fund(url: str, genesis: Genesis, signer: AccountSigner) -> None:
    """Ten EUBC for every account, from the network's funded one; waits until they are final."""
    addresses = [key_address(secret_key(i).public) for i in range(ACCOUNTS)]
    async with httpx.AsyncClient(timeout=90, trust_env=False) as client:
        for nonce, start in enumerate(range(0, ACCOUNTS, 250)):
            outputs = tuple(Output(address, eubc(10)) for address in addresses[start : start + 250])
            raw = _signed(genesis, signer, nonce, MultiTransfer(outputs))
            params = {"transaction": base64.b64encode(raw).decode(), "timeout_s": 60}
            request = {"jsonrpc": "2.0", "id": 1, "method": "tx_submitAndWait", "params": params}
            answer = (await client.post(f"{url}/rpc", json=request)).json()
            assert answer["result"]["receipt"]["error"] is None, answer


async def _paced(url: str, raws: list[bytes]) -> list[float]:
    """Milliseconds from sending a batch to the answer that its last transfer is final, per batch."""
    waits: list[float] = []

    async def one(batch: list[bytes]) -> None:
        async with httpx.AsyncClient(timeout=90, trust_env=False) as client:
            began = time.perf_counter()
            answer = (await client.post(f"{url}/rpc", content=bodies_of(batch)[0])).json()["result"]
            params = {"txid": answer[-1]["txid"], "timeout_s": 60}
            request = {"jsonrpc": "2.0", "id": 1, "method": "tx_wait", "params": params}
            await client.post(f"{url}/rpc", json=request)
            waits.append((time.perf_counter() - began) * 1000)

    async with trio.open_nursery() as nursery:
        for start in range(0, len(raws), PACE_BATCH):
            nursery.start_soon(one, raws[start : start + PACE_BATCH])
            await trio.sleep(PACE_S)
    return waits
