"""`eubchain devnet`: a whole network on this machine, in one terminal.

Here: starting its processes, watching them, stopping them all.
Not here: founding it (eubchain/node/founding.py), what the processes do.
Keeps: when this command ends, so has everything it started; the network's state survives for the next
start in the same place.
Errors: 3910 devnet_part_died, 3911 devnet_shape_fixed.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import trio
import typer

from consensus.types.errors import Fault, Reason
from eubchain.cli.session import SESSION
from eubchain.client.connection import Connection
from eubchain.node.founding import PASSWORD_NAME, found_devnet
from spark_node.folder import Folder
from spark_node.policy import default_policy_text

START_TIMEOUT_S = 60.0
STOP_GRACE_S = 10.0
LOG_TAIL_LINES = 12

DEVNET_PART_DIED = Reason(
    3910,
    "devnet_part_died",
    "part:text code:count log:text tail:text",
    "The {part} of the development network ended with code {code}.\n{tail}",
    "Its log is {log}; start again with the same command once the cause is gone.",
)
DEVNET_SHAPE_FIXED = Reason(
    3911,
    "devnet_shape_fixed",
    "home:text validators:count sparks:count",
    "The network in {home} was founded with {validators} validators and {sparks} sparks.",
    "Start it with those numbers, or found another one with --home DIR.",
)


class Part(NamedTuple):
    """One process of the network."""

    name: str
    process: trio.Process
    log: Path


class Devnet(NamedTuple):
    """A running network."""

    home: Path
    url: str
    parts: tuple[Part, ...]


def _shape(home: Path) -> tuple[int, int]:
    # Each has a directory, and beside it a log of the same name.
    validators = [path for path in home.glob("validator[0-9]*") if path.is_dir()]
    return len(validators), len([path for path in home.glob("spark[0-9]*") if path.is_dir()])


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join("    " + line for line in lines[-LOG_TAIL_LINES:])


async def _spawn(home: Path, name: str, arguments: list[str]) -> Part:
    log = home / f"{name}.log"
    command = [sys.executable, "-m", "eubchain", *arguments]
    with open(log, "ab") as sink:
        process: trio.Process = await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
        )
    return Part(name, process, log)


async def _until(part: Part, path: Path) -> str:
    """The URL that a starting part writes down; raise `Fault` when it dies first."""
    with trio.move_on_after(START_TIMEOUT_S):
        while True:
            if part.process.returncode is not None:
                raise _died(part)
            if path.exists() and (text := path.read_text().strip()):
                return text
            await trio.sleep(0.05)
    raise _died(part)


def _died(part: Part) -> Fault:
    code = part.process.returncode or 0
    facts: dict[str, Any] = {"part": part.name, "code": abs(code), "log": str(part.log)}
    return Fault(DEVNET_PART_DIED, tail=_tail(part.log), **facts)


async def _stop(parts: list[Part]) -> None:
    with trio.CancelScope(shield=True):
        for part in reversed(parts):
            if part.process.returncode is None:
                part.process.send_signal(signal.SIGTERM)
        with trio.move_on_after(STOP_GRACE_S):
            for part in parts:
                await part.process.wait()
        for part in parts:
            if part.process.returncode is None:
                part.process.kill()
                await part.process.wait()


@asynccontextmanager
async def running_devnet(home: Path, validators: int = 1, sparks: int = 1) -> AsyncIterator[Devnet]:
    """Found the network if there is none, start it, and stop it on the way out."""
    if not (home / "genesis.json").exists():
        found_devnet(home, time.time_ns() // 1_000_000, validators, sparks)
    elif _shape(home) != (validators, sparks):
        there = _shape(home)
        raise Fault(DEVNET_SHAPE_FIXED, home=str(home), validators=there[0], sparks=there[1])
    parts: list[Part] = []
    try:
        addresses = []
        for number in range(validators):
            root = home / f"validator{number}"
            addresses.append(root / "data" / "rpc_address")
            addresses[-1].unlink(missing_ok=True)
            parts.append(await _spawn(home, root.name, ["start", "--home", str(root)]))
        urls = [await _until(part, address) for part, address in zip(parts, addresses, strict=True)]
        (home / "data").mkdir(mode=0o700, exist_ok=True)
        # The network's own directory is a wallet's home too: its commands find the node by this file.
        (home / "data" / "rpc_address").write_text(urls[0])
        for number in range(sparks):
            root = home / f"spark{number}"
            shared = ["--home", str(root), "--node", urls[0], "--password-file", str(home / PASSWORD_NAME)]
            if not (root / "spark" / "policy.toml").exists():
                await _register(root, shared)
            parts.append(await _spawn(home, root.name, ["spark", "start", *shared]))
        yield Devnet(home, urls[0], tuple(parts))
    finally:
        await _stop(parts)


async def _register(root: Path, shared: list[str]) -> None:
    """Register a spark on chain, once. On one machine each prover of the network takes one thread."""
    found = Folder(root / "spark")
    found.create()
    found.policy.write_text(default_policy_text({("proving", "threads"): 1}), "utf-8")
    done = await trio.run_process(
        [sys.executable, "-m", "eubchain", "spark", "init", "--yes", *shared],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    if done.returncode != 0:
        log = root.parent / f"{root.name}.log"
        log.write_bytes(done.stdout + done.stderr)
        facts: dict[str, Any] = {"part": root.name, "code": done.returncode, "log": str(log)}
        raise Fault(DEVNET_PART_DIED, tail=_tail(log), **facts)


async def watch(devnet: Devnet) -> None:
    """Return when a part dies, by raising what it died of."""
    async with trio.open_nursery() as nursery:

        async def mourn(part: Part) -> None:
            await part.process.wait()
            raise _died(part)

        for part in devnet.parts:
            nursery.start_soon(mourn, part)


def devnet(
    validators: Annotated[int, typer.Option(min=1, max=16, help="Validators, a process each.")] = 1,
    sparks: Annotated[int, typer.Option(min=0, max=16, help="Sparks, a process each.")] = 1,
) -> None:
    """Run a development network on this machine until Ctrl-C; its state survives.

    Example: eubchain devnet --home ./devnet --validators 1 --sparks 1
    """

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async with running_devnet(SESSION.home, validators, sparks) as network:
                    nursery.start_soon(watch, network)
                    await _announce(network)
                    async for _ in signals:
                        SESSION.note("stopping")
                        break
                    nursery.cancel_scope.cancel()

    SESSION.run(run)


async def _announce(network: Devnet) -> None:
    async with Connection(network.url) as node:
        status = await node.call("chain_status")
    facts = {
        "rpc": network.url,
        "chain_id": status["chain_id"],
        "height": status["height"],
        "home": str(network.home),
        "logs": [str(part.log) for part in network.parts],
    }
    if SESSION.json:
        print(json.dumps(facts), flush=True)
        return
    SESSION.say(f"{status['chain_id']} at height {status['height']}: {network.url}/rpc")
    SESSION.say(f"wallet  eubchain wallet balance --home {network.home}")
    SESSION.say(f"task    eubchain task run --home {network.home} --file examples/words/task.toml")
    SESSION.say("Ctrl-C stops it; the same command continues it.")
