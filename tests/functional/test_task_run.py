"""`eubchain task run` against a real node over real sockets; the spark's steps are the test's.

Rules of this file: 127.0.0.1 and port 0 only; every wait is for a condition, under a limit; the command is
a process of its own, as a person starts it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from pyrage.x25519 import Identity

from consensus.types.amounts import format_eubc
from consensus.types.keys import SecretKey
from consensus.types.params import DEV, Params
from eubchain.client.connection import Connection
from eubchain.node.founding import found_devnet
from eubchain.wallet.accounts import Wallet
from spark_node.storage.age_keys import new_identity
from tests.scripted_spark import ScriptedSpark
from vm.task.payloads import Release
from vm.task.records import Stage

ROOT = Path(__file__).parent.parent.parent
MODULE = ROOT / "examples" / "words" / "readings.wasm"
CHECK = ROOT / "examples" / "words" / "check.wasm"
LIMIT_S = 90
NOT_FOUND = "command not found (exit 127): eho"
EXIT = 1
"""The code of a failure whose program ended by itself."""


@dataclass
class Net:
    """A development network of one node, a requester's home, a spark's key."""

    home: Path
    url: str
    password_file: Path
    spark_keys: list[SecretKey]
    room: Path
    identities: list[Identity] = field(default_factory=lambda: [new_identity() for _ in range(3)])

    def command(self, *arguments: str) -> list[str]:
        """A line of the command for this home and node."""
        shared = ["--home", str(self.home), "--node", self.url, "--password-file", str(self.password_file)]
        return [sys.executable, "-m", "eubchain", *arguments[:2], *shared, "--yes", "--json", *arguments[2:]]

    def run_line(self, *more: str) -> list[str]:
        """`task run` with a module and an input."""
        given = ["--wasm", str(MODULE), "-i", str(self.room / "in"), "-o", str(self.room / "out")]
        return self.command("task", "run", *given, "--time", "1s", *more)

    async def do(self, line: list[str], code: int = 0) -> list[dict[str, Any]]:
        """Run a line to its end; its JSON objects."""
        done = await trio.run_process(line, capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT)
        shown = done.stdout.decode() + done.stderr.decode()
        assert done.returncode == code, shown
        return [json.loads(row) for row in done.stdout.decode().splitlines()]

    @asynccontextmanager
    async def begun(
        self, line: list[str]
    ) -> AsyncIterator[tuple[trio.Process, trio.MemoryReceiveChannel[Any]]]:
        """A line that runs: its process and its JSON objects as they come."""
        send, receive = trio.open_memory_channel[Any](1_000)
        process = await trio.lowlevel.open_process(line, stdout=subprocess.PIPE, cwd=ROOT)

        async def read() -> None:
            rest = b""
            assert process.stdout is not None
            async with send:
                async for block in process.stdout:
                    *rows, rest = (rest + block).split(b"\n")
                    for row in rows:
                        await send.send(json.loads(row))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            try:
                yield process, receive
            finally:
                if process.returncode is None:
                    process.kill()
                await process.wait()
                nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def spark(self, number: int = 0) -> AsyncIterator[ScriptedSpark]:
        """A spark, registered."""
        async with ScriptedSpark.at(self.url, self.spark_keys[number], self.identities[number]) as spark:
            yield spark

    async def tasks(self) -> set[str]:
        """Every task that the chain holds."""
        async with Connection(self.url) as node:
            return {row["task"][2:] for row in (await node.call("task_list", limit=100))["tasks"]}

    async def balance(self) -> int:
        """Grains that the requester can spend."""
        async with Connection(self.url) as node:
            from eubchain.client.network import learn_network

            network = await learn_network(node)
            address = network.show(Wallet(self.home / "wallet").key_account("requester").address)
            return int((await node.call("account_get", address=address))["spendable"])


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    """One node for the whole file: tasks do not disturb each other."""
    with one_node(tmp_path_factory.mktemp("devnet")) as net:
        yield net


@contextmanager
def one_node(root: Path, sparks: int = 2, params: Params = DEV) -> Iterator[Net]:
    """A network of one node and these sparks' keys, until the block ends."""
    founded = found_devnet(root / "net", time.time_ns() // 1_000_000, 1, sparks, params=params)
    with (root / "node.log").open("wb") as log:
        line = [sys.executable, "-m", "eubchain", "start", "--home", str(founded.validators[0])]
        node = subprocess.Popen(line, stdout=log, stderr=log, cwd=ROOT)
    address = founded.validators[0] / "data" / "rpc_address"
    limit = time.monotonic() + LIMIT_S
    while not address.exists() or not address.read_text():
        assert node.poll() is None, (root / "node.log").read_text()
        assert time.monotonic() < limit, (root / "node.log").read_text()
        time.sleep(0.05)  # poll
    password = founded.password_file.read_text().strip()
    keys = []
    for home in founded.sparks:
        wallet = Wallet(home / "wallet")
        path = wallet.key_account("spark").keyfile.path
        keys.append(wallet.open("spark", password).key_at(path))
    try:
        yield Net(founded.root, address.read_text(), founded.password_file, keys, root)
    finally:
        node.terminate()
        node.wait()


@pytest.fixture
def net(devnet: Net, tmp_path: Path) -> Net:
    """The network with a fresh room: an input, no output yet."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "words.txt").write_text("one two\n")
    devnet.room = tmp_path
    return devnet


def kinds(rows: list[dict[str, Any]]) -> list[str]:
    """The events of a run in order."""
    return [row["event"] for row in rows if "event" in row and row["event"] not in ("alive", "log")]


async def test_one_command_brings_the_result_home_and_its_final_line_equals_the_balance(net: Net) -> None:
    """Post, match, grant, start, log, deliver, fetch, accept: the money adds up to the grain."""
    with trio.fail_after(LIMIT_S):
        before = await net.balance()
        async with net.spark() as spark, trio.open_nursery() as nursery:
            nursery.start_soon(spark.echo)
            rows = await net.do(net.run_line("--price", "2", "--stars", "4"))
        after = await net.balance()
    assert kinds(rows) == [
        "posted", "uploaded", "offers", "matched", "granted", "started", "delivered", "fetched", "answered",
        "closed",
    ] or set(kinds(rows)) >= {"matched", "granted", "started", "fetched", "answered", "closed"}  # fmt: skip
    assert [row["text"] for row in rows if row.get("event") == "log"] == ["hello"]
    result = rows[-1]
    assert result["ok"]
    assert result["ending"] == "accepted"
    assert (net.room / "out" / "words.txt").read_text() == "one two\n"
    spent, fees, deposit = (int(result[name]) for name in ("spent", "transaction_fees", "deposit"))
    assert int(result["reserved"]) == spent + int(result["returned"])
    assert spent == int(result["paid"]) + int(result["fee"]) + int(result["burned"])
    assert before - after == spent + fees + deposit


async def test_a_command_that_is_not_found_is_the_applications_fault_and_says_its_price(net: Net) -> None:
    """The sentence names the command and the price; the spark is not blamed."""
    with trio.fail_after(LIMIT_S):
        async with net.spark() as spark, trio.open_nursery() as nursery:

            async def script() -> None:
                task, spec, job = await spark.begin()
                await spark.fail(task, spec, job, EXIT, 127, NOT_FOUND)

            nursery.start_soon(script)
            rows = await net.do(net.run_line(), code=1)
    said = next(row for row in rows if row.get("event") == "failed")["text"]
    result = rows[-1]
    paid = int(result["paid"]) + int(result["fee"])
    assert said == (
        "Your command was not found (exit 127): eho. "
        f"The spark is not at fault; you pay {format_eubc(paid)} EUBC."
    )
    assert result["blame"] == "application"
    assert not result["ok"]


async def test_a_vanished_spark_is_named_and_everything_is_refunded(net: Net) -> None:
    """The spark starts and is never heard of again."""
    with trio.fail_after(LIMIT_S):
        async with net.spark() as spark, trio.open_nursery() as nursery:
            nursery.start_soon(partial(spark.begin, hasty=True))
            rows = await net.do(net.run_line(), code=1)
    result, closed = rows[-1], next(row for row in rows if row.get("event") == "closed")
    assert result["blame"] == "spark"
    assert result["ending"] == "run_timeout"
    assert result["returned"] == result["reserved"]
    assert result["spent"] == "0"
    held = format_eubc(int(result["gas_held"]))
    assert closed["text"].startswith(
        f"The spark vanished at block {result['height']}. "
        f"Refunded {format_eubc(int(result['reserved']))} EUBC; {held} EUBC of its deposit is burned when "
        "the epoch closes, unless that was an outage."
    )


async def test_a_result_with_another_digest_is_neither_opened_nor_paid(net: Net) -> None:
    """What lies at the place is not what the spark put on chain."""
    with trio.fail_after(LIMIT_S):
        async with net.spark() as spark, trio.open_nursery() as nursery:

            async def script() -> None:
                task, spec, job = await spark.begin()
                await spark.deliver(task, spec, job, spark.room / "input", digest=bytes(32))

            nursery.start_soon(script)
            rows = await net.do(net.run_line(), code=1)
            task = next(row["task"] for row in rows if "task" in row)
            assert rows[-1]["error"]["name"] == "result_unavailable"
            assert not (net.room / "out").exists()
            rejected = await net.do(net.command("task", "reject", task[:12]))
    assert rejected[-1]["outcome"] == "rejected"


async def test_a_result_that_is_not_the_sealed_answer_is_refused(net: Net) -> None:
    """It opens, but its contents are not what the spark bound itself to."""
    with trio.fail_after(LIMIT_S):
        async with net.spark() as spark, trio.open_nursery() as nursery:

            async def script() -> None:
                task, spec, job = await spark.begin()
                await spark.deliver(task, spec, job, spark.room / "input", answer=b"\1" * 32)

            nursery.start_soon(script)
            rows = await net.do(net.run_line(), code=1)
    assert rows[-1]["error"]["name"] == "answer_differs"


async def test_ctrl_c_detaches_with_both_lines_and_attach_goes_on(net: Net) -> None:
    """Ctrl-C while it runs: attach and cancel are named with their price; attach brings the result."""
    with trio.fail_after(LIMIT_S):
        async with net.spark() as spark, net.begun(net.run_line()) as (process, rows):
            task, spec, job = await spark.begin()
            async for row in rows:
                if row.get("event") == "started":
                    break
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
            last = [row async for row in rows][-1]
            assert last.get("detached"), last
            assert last["attach"].endswith(f" task attach {task.hex()[:12]}")
            assert int(last["cancel_cost"]) > 0
            await spark.say(task, spec, job, b"first\nlast\n")
            await spark.deliver(task, spec, job, spark.room / "input")
            attached = await net.do(net.command("task", "attach", task.hex()[:12]))
    assert [row["text"] for row in attached if row.get("event") == "log"] == ["first", "last"]
    assert attached[-1]["ok"]
    assert (net.room / "out" / "words.txt").exists()


@pytest.mark.parametrize("moment", ["posted", "granted", "fetched"])
async def test_a_killed_command_that_is_repeated_goes_on_and_pays_once(net: Net, moment: str) -> None:
    """kill -9 at a moment; the same line again follows the same task."""
    with trio.fail_after(LIMIT_S):
        known = await net.tasks()
        async with net.spark() as spark, trio.open_nursery() as nursery:
            nursery.start_soon(spark.echo)
            async with net.begun(net.run_line("--price", "3")) as (process, rows):
                async for row in rows:
                    if row.get("event") == moment:
                        break
                os.kill(process.pid, signal.SIGKILL)
                await process.wait()
            assert row.get("event") == moment, row
            first = row["task"]
            again = await net.do(net.run_line("--price", "3"))
    result = again[-1]
    assert result["ok"]
    assert result["task"] == first
    assert await net.tasks() - known == {first}, "one task, one price"
    assert (net.room / "out" / "words.txt").read_text() == "one two\n"


async def test_a_declined_job_costs_both_and_blames_nobody(net: Net) -> None:
    """The spark cannot start it."""
    with trio.fail_after(LIMIT_S):
        async with net.spark() as spark, trio.open_nursery() as nursery:

            async def script() -> None:
                task = await spark.open_task()
                await spark.offer(task)
                await spark.granted(task)
                await spark.decline(task, 3)

            nursery.start_soon(script)
            rows = await net.do(net.run_line(), code=1)
    assert rows[-1]["blame"] == "undecided"
    assert rows[-1]["ending"] == "declined"


async def test_a_task_that_nobody_takes_costs_nothing_but_a_fee(net: Net) -> None:
    """No offer comes: the escrow is back, and the sentence says why."""
    with trio.fail_after(LIMIT_S):
        async with net.spark():
            rows = await net.do(net.run_line(), code=1)
    assert rows[-1]["ending"] == "expired"
    assert rows[-1]["spent"] == "0"


async def test_an_impossible_request_is_refused_before_anything_is_signed(net: Net) -> None:
    """64 GPUs: the largest registered spark is named, and no task exists."""
    with trio.fail_after(LIMIT_S):
        async with net.spark():
            line = net.command("task", "run", "--image", f"sha256:{'0' * 64}", "--gpus", "64")
            rows = await net.do([*line, "-i", str(net.room / "in")], code=1)
    assert rows[-1]["error"]["sentence"].endswith("largest registered spark has 0.")


async def test_a_large_job_travels_as_a_sealed_file(net: Net) -> None:
    """More environment than an envelope holds."""
    with trio.fail_after(LIMIT_S):
        async with net.spark() as spark, trio.open_nursery() as nursery:
            nursery.start_soon(spark.echo)
            rows = await net.do(net.run_line("--env", "A=" + "x" * 4_000, "--env", "B=" + "y" * 4_000))
    assert rows[-1]["ok"]


async def test_a_retry_posts_once_more_without_the_spark_that_failed(net: Net) -> None:
    """The first spark gives up; the second brings the result; both tasks are told."""
    with trio.fail_after(LIMIT_S):
        async with net.spark(0) as first, net.spark(1) as second, trio.open_nursery() as nursery:

            async def script() -> None:
                task, _, __ = await first.begin()
                await first.send(Release(task, 0))
                await first.until(task, Stage.CLOSED)
                await second.echo()

            nursery.start_soon(script)
            rows = await net.do(net.run_line("--retry"))
    results = [row for row in rows if "ok" in row]
    assert [(row["ok"], row["ending"]) for row in results] == [(False, "released"), (True, "accepted")]
    assert results[0]["task"] != results[1]["task"]
    assert results[0]["spent"] == "0"


async def test_every_step_is_a_verb(net: Net) -> None:
    """post, offers, match by hand, grant, status, logs, fetch, accept, report, list."""
    file = net.room / "task.toml"
    file.write_text(
        f'[run]\nmodule = "{MODULE}"\n[files]\ninput = "in"\noutput = "out"\n'
        '[price]\ntime = "1s"\n[market]\nby_hand = true\noffer_time = "20s"\n'
    )
    with trio.fail_after(LIMIT_S):
        async with net.spark() as spark:
            posted = await net.do(net.command("task", "post", "--file", str(file)))
            task = posted[-1]["task"]
            await spark.offer(bytes.fromhex(task))
            offers = await net.do(net.command("task", "offers", task[:10]))
            address = offers[-1]["offers"][0]["spark"]
            await net.do(net.command("task", "match", task[:10], address))
            await net.do(net.command("task", "grant", task[:10]))
            spec, job = await spark.granted(bytes.fromhex(task))
            await spark.fetch_input(bytes.fromhex(task), job)
            await spark.start(bytes.fromhex(task))
            await spark.say(bytes.fromhex(task), spec, job, b"a\nb\n")
            await spark.deliver(bytes.fromhex(task), spec, job, spark.room / "input")
            assert (await spark.sight(bytes.fromhex(task))).seat.stage == Stage.REVIEW  # type: ignore[union-attr]  # it is matched
            shown = await net.do(net.command("task", "logs", task[:10]))
            assert [row["text"] for row in shown] == ["a", "b"]
            await net.do(net.command("task", "fetch", task[:10]))
            status = await net.do(net.command("task", "status", task[:10]))
            assert status[-1]["seats"][0]["stage"] == "review"
            refused = await net.do(net.command("task", "dispute", task[:10]), code=4)
            assert refused[-1]["error"]["name"] == "not_yet"
            await net.do(net.command("task", "accept", task[:10]))
            report = await net.do(net.command("task", "report", task[:10], "--cloud-hour", "3"))
            assert report[-1]["ending"] == "accepted"
            watched = await net.do(net.command("task", "watch", task))
            assert watched[-1]["state"] == "final"
            listed = await net.do(net.command("task", "list"))
    assert task in [row["task"] for row in listed[-1]["tasks"]]
