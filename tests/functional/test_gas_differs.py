"""One task, three sparks, three deposits: the seed's law, seen from the offer screen of a running network.

The story: three accounts register alike. *The proven one* computes in windows and delivers a task that
is accepted with full marks; *the newcomer* does nothing; *the one that failed* wins a task and vanishes.
After an epoch's end all three offer for one task at one price: what each would lock differs plainly, and
`por explain` says why. The page docs/explanation/gas-curve.md shows a run of this.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import trio
from msgspec.structs import replace

from consensus.types.amounts import PPB, format_eubc
from consensus.types.params import DEV
from tests.functional.test_task_run import MODULE, Net, one_node
from tests.scripted_spark import ScriptedSpark

LIMIT_S = 600
POLL_S = 0.1
BLOCKS_OF_TILES = 3
"""Searched for each proof: 192 tiles, about 12 shares at the first difficulty."""
WINDOWS = {"window_wait_blocks": 2, "window_blocks": 8, "grace_blocks": 8, "verify_blocks": 3}
PARAMS = replace(DEV, resource=replace(DEV.resource, s_ref=20 * 2**16, **WINDOWS))
"""Windows one after the other, and a network whose proved compute is soon worth half of its power."""


async def delivers(net: Net, spark: ScriptedSpark) -> None:
    """A task that this spark alone may do, delivered and accepted with full marks."""
    address = spark.network.show(spark.address)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spark.echo)
        out = str(net.room / "delivered")
        line = net.command("task", "run", "--wasm", str(MODULE), "-i", str(net.room / "in"), "-o", out)
        await net.do([*line, "--allow", address, "--price", "100", "--time", "1s", "--stars", "5"])


async def vanishes(net: Net, spark: ScriptedSpark) -> None:
    """A task that this spark alone may do, started and never heard of again."""
    address = spark.network.show(spark.address)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(spark.begin, hasty=True))
        out = str(net.room / "none")
        line = net.command("task", "run", "--wasm", str(MODULE), "-i", str(net.room / "in"), "-o", out)
        await net.do([*line, "--allow", address, "--price", "4", "--time", "1s"], code=1)


async def words(net: Net, *arguments: str) -> str:
    """What a person reads."""
    line = [part for part in net.command(*arguments) if part != "--json"]
    done = await trio.run_process(line, capture_stdout=True, capture_stderr=True)
    return done.stdout.decode()


async def test_three_sparks_lock_three_deposits_for_the_same_task(tmp_path: Path) -> None:
    """Proven about the price, newcomer at 2.2 times it, failed beyond three; the screen says the same."""
    with one_node(tmp_path, 3, PARAMS) as net, trio.fail_after(LIMIT_S):
        net.room = tmp_path
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "words.txt").write_text("one two\n")
        async with (
            net.spark(0) as proven, net.spark(1) as newcomer, net.spark(2) as failed,
            trio.open_nursery() as nursery,
        ):  # fmt: skip
            await nursery.start(proven.proves, BLOCKS_OF_TILES)
            await delivers(net, proven)
            await vanishes(net, failed)
            await settled(proven, failed)
            offers, screen = await offered(net, [proven, newcomer, failed])
            told = [await words(net, "por", "explain", s.network.show(s.address)) for s in (proven, failed)]
            nursery.cancel_scope.cancel()
    gases = [int(offers[spark]["gas"]) for spark in ("proven", "newcomer", "failed")]
    price = int(offers["proven"]["price"])
    assert gases[0] < gases[1] < gases[2]
    assert gases[0] < price * 3 // 2, (
        "what it has proved and done is worth more than half of a newcomer's gas"
    )
    assert price * 21 // 10 < gases[1] <= price * 22 // 10
    assert gases[2] > 3 * price
    assert all(format_eubc(gas) in screen for gas in gases)
    of_proven, of_failed = (_adds(words) for words in told)
    assert of_proven["proved compute"] > 0.1
    assert of_proven["tasks completed"] > 0
    assert of_failed["proved compute"] == 0
    assert of_failed["tasks completed"] < -0.1


def _adds(explained: str) -> dict[str, float]:
    """What each factor adds, off the screen of `por explain`."""
    rows = re.findall(r"(?m)^  (\S.*?) +([+-]\d\.\d{4})", explained)
    return {name: float(adds) for name, adds in reversed(rows)}


async def settled(proven: ScriptedSpark, failed: ScriptedSpark) -> None:
    """Return once an epoch's end has taken up what happened."""

    async def kappa(spark: ScriptedSpark) -> int:
        view = await spark.node.call("spark_get", address=spark.network.show(spark.address))
        return int(view["kappa"])

    while await kappa(proven) < PPB * 45 // 100 or await kappa(failed) > PPB * 28 // 100:  # noqa: ASYNC110  # poll
        await trio.sleep(POLL_S)


async def offered(net: Net, sparks: list[ScriptedSpark]) -> tuple[dict[str, Any], str]:
    """All offer half of ten EUBC for a task that waits to be given by hand; facts by name, and the screen."""
    file = net.room / "task.toml"
    file.write_text(
        f'[run]\nmodule = "{MODULE}"\n[files]\ninput = "in"\noutput = "chosen"\n'
        '[price]\ntime = "1s"\nmaximum = "10"\n[market]\nby_hand = true\noffer_time = "20s"\n'
    )
    posted = await net.do(net.command("task", "post", "--file", str(file)))
    task = posted[-1]["task"]
    for spark in sparks:
        await spark.offer(bytes.fromhex(task))
    shown = await net.do(net.command("task", "offers", task[:10]))
    by_address = {offer["spark"]: offer for offer in shown[-1]["offers"]}
    names = ("proven", "newcomer", "failed")
    facts = {n: by_address[s.network.show(s.address)] for n, s in zip(names, sparks, strict=True)}
    return facts, await words(net, "task", "offers", task[:10])
