"""A running network whose validators differ in stake and proved compute: who makes the blocks?

Here: four validators as processes, two of which prove compute for real; the count of blocks against power,
with the band that chance allows, and the picture.
Not here: the picture itself (eubchain/cli/por_plot.py), reputation, which no transaction of this version
moves in weight (tests/unit/test_proportion.py has it in state), a year of 200 nodes (year.py).
Keeps: blocks are counted only after power stands still: what is compared is the draw, not the way there.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import trio
from msgspec.structs import replace

from consensus.types.amounts import PPB, eubc
from consensus.types.params import DEV
from eubchain.client.connection import Connection
from eubchain.client.network import learn_network
from eubchain.node.founding import Founded, found_devnet
from eubchain.wallet.accounts import Wallet
from spark_node.storage.age_keys import new_identity
from tests.node_world import NodeProcess, command
from tests.playbook_world import brisk_config
from tests.scripted_spark import ScriptedSpark
from vm.account import Transfer
from vm.stake import Bond

REVEALS = 2**12
DEVIATIONS_MAX = 4.0
"""A share of blocks farther from its power than this is no chance: 1 in 16,000 for one validator."""
EPOCH_BLOCKS = 20
PATIENT = {"propose_timeout_ms": "3000", "vote_timeout_ms": "1000"}
"""On a machine with much else to do nobody is to be jailed for a proposal that was a second late."""
WINDOWS = {"window_wait_blocks": 2, "window_blocks": 12, "grace_blocks": 8, "verify_blocks": 4}
PARAMS = replace(
    DEV,
    chain=replace(DEV.chain, epoch_blocks=EPOCH_BLOCKS, block_interval_ms=250, msg_delay_ms=3_000),
    resource=replace(DEV.resource, s_ref=20 * 2**16, **WINDOWS),
)
"""Short epochs, windows one after the other, and compute that soon counts for half of power."""


class Kind(NamedTuple):
    """What one of the validators brings."""

    name: str
    more_bond: int
    """EUBC beside the 10,000 of its founding."""
    blocks_of_tiles: int
    """Of 64 tiles, searched in every window; 0: it is no spark."""


KINDS = (
    Kind("stake 10,000", 0, 0),
    Kind("stake 50,000", 40_000, 0),
    Kind("stake 10,000, compute 4", 0, 4),
    Kind("stake 10,000, compute 3", 0, 3),
)


class Found(NamedTuple):
    """What came of it."""

    blocks: int
    rows: list[dict[str, Any]]
    """As `por plot --json` has them, with `deviations` from the expected share."""
    validators: str
    """What `eubchain validator list` shows."""

    @property
    def is_in_proportion(self) -> bool:
        """Whether chance explains every difference."""
        return all(abs(row["deviations"]) <= DEVIATIONS_MAX for row in self.rows)


async def run(root: Path, blocks: int, picture: Path) -> Found:
    """Found it below `root`, let power settle, count so many blocks and draw them."""
    founded = found_devnet(
        root / "net", time.time_ns() // 1_000_000, len(KINDS), 0, params=PARAMS, reveals=REVEALS
    )
    for home in founded.validators:
        brisk_config(home, PATIENT)
    nodes = [NodeProcess(home, wait_s=120) for home in founded.validators]
    try:
        url = nodes[0].url
        keys = await _endow(founded, url)
        async with trio.open_nursery() as nursery:
            for kind, key in zip(KINDS, keys, strict=True):
                if kind.blocks_of_tiles:
                    await nursery.start(_prove, url, key, kind.blocks_of_tiles)
            await _until_settled(url)
            async with Connection(url) as node:
                begun = await _height(node)
                while await _height(node) < begun + blocks:  # noqa: ASYNC110  # of another process
                    await trio.sleep(0.2)
            nursery.cancel_scope.cancel()
        return _counted(founded.root, url, blocks, picture)
    finally:
        for node in nodes:
            if node.process.poll() is None:
                node.kill()


async def _endow(founded: Founded, url: str) -> list[Any]:
    """Give each validator's account its bond; returns the accounts' keys."""
    password = founded.password_file.read_text().strip()
    wallet = Wallet(founded.root / "wallet")

    def key_of(name: str) -> Any:
        return wallet.open(name, password).key_at(wallet.key_account(name).keyfile.path)

    keys = [key_of(f"validator{number}") for number in range(len(KINDS))]
    async with Connection(url) as node:
        network = await learn_network(node)
        payer = ScriptedSpark(node, network, key_of("requester"), founded.root, new_identity())
        for kind, key in zip(KINDS, keys, strict=True):
            if kind.more_bond:
                own = ScriptedSpark(node, network, key, founded.root, new_identity())
                await payer.send(Transfer(own.address, eubc(kind.more_bond)))
                await own.send(Bond(eubc(kind.more_bond)))
    return keys


async def _prove(url: str, key: Any, blocks_of_tiles: int, *, task_status: trio.TaskStatus[None]) -> None:
    """Be a spark as well, and prove in every window; started after the first."""
    async with ScriptedSpark.at(url, key, new_identity()) as spark:
        await spark.proves(blocks_of_tiles, task_status=task_status)


async def _height(node: Connection) -> int:
    return int((await node.call("chain_status"))["height"])


async def _until_settled(url: str) -> None:
    """Wait until compute has entered P, and for two epochs more: of two weights the smaller one votes."""
    async with Connection(url) as node:
        while not all(spark["power"] > 0 for spark in await node.call("spark_list")):  # noqa: ASYNC110  # likewise
            await trio.sleep(0.2)
        settled = (await _height(node) // EPOCH_BLOCKS + 2) * EPOCH_BLOCKS
        while await _height(node) < settled:  # noqa: ASYNC110  # of another process
            await trio.sleep(0.2)


def _counted(root: Path, url: str, blocks: int, picture: Path) -> Found:
    """The two commands that a person would type."""
    words = ["por", "plot", "--blocks", str(blocks), "--output", str(picture), "--json", "--node", url]
    done = command(root, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    drawn = json.loads(done.stdout)
    for row in drawn["validators"]:
        chance, count = row["power"] / PPB, drawn["blocks"]
        spread = math.sqrt(count * chance * (1 - chance))
        row["deviations"] = (row["blocks"] - count * chance) / spread if spread else 0.0
    listed = command(root, "validator", "list", "--node", url)
    assert listed.returncode == 0, listed.stdout + listed.stderr
    return Found(drawn["blocks"], drawn["validators"], listed.stdout)


def main(arguments: list[str]) -> int:
    """Run it and tell; returns 1 when a share of blocks is not explained by chance."""
    parser = argparse.ArgumentParser(prog="scripts/proportion")
    parser.add_argument("--blocks", type=int, default=1_000)
    parser.add_argument("--output", type=Path, default=Path("proportion.png"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="proportion-") as root:
        found = trio.run(run, Path(root), options.blocks, options.output.absolute())
    names = {f"validator{number}": kind.name for number, kind in enumerate(KINDS)}
    for row in found.rows:
        row["kind"] = names[row["name"]]
    if options.json:
        print(json.dumps({"blocks": found.blocks, "validators": found.rows}))
    else:
        for row in found.rows:
            share, power = row["blocks"] / found.blocks, row["power"] / PPB
            print(
                f"{row['kind']:<24} {share:7.2%} of blocks  {power:7.2%} of power  "
                f"95 % band {row['low']:.2%} to {row['high']:.2%}  {row['deviations']:+.1f} deviations"
            )
        print(found.validators, end="")
        print(f"proportion: {found.blocks} blocks, {options.output}")
    return 0 if found.is_in_proportion else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
