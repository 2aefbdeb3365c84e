"""`eubchain task`: running a program on somebody's machine, from one command to the result.

Here: run, post, attach, init.
Not here: following on a screen (task_follow.py), the single steps (task_steps.py, on the same group),
the steps themselves (eubchain/client/task_run), what is shown (task_screen.py).
Keeps: nothing is signed before candidates, reserve, judge and worst case were shown and answered with
yes; a command repeated after a crash follows the task that it began; one question for the password.
Errors: 3180 task_file_exists.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import trio
import typer

from consensus.types.errors import Fault, Reason
from eubchain.cli.paying import From, open_network
from eubchain.cli.session import SESSION
from eubchain.cli.task_follow import drive, leave
from eubchain.client.connection import Connection

if TYPE_CHECKING:
    from eubchain.client.task_run.journal import Journal
    from eubchain.client.task_run.order import Order
    from eubchain.client.task_run.requester import Requester

app = typer.Typer(name="task", help="Run programs on others' machines.", no_args_is_help=True)

TASK_FILE_NAME = "task.toml"
TASK_FILE_EXISTS = Reason(
    3180,
    "task_file_exists",
    "file:text",
    "{file} exists already; nothing was written.",
    "Name another file, or move that one away.",
)

Task = Annotated[str, typer.Argument(help="A task's id, or its first digits.")]
Stars = Annotated[int | None, typer.Option(min=1, max=5, help="Stars for the spark; asked if left out.")]
Score = Annotated[int | None, typer.Option(min=0, max=100, help="Score; the check's or 100 if left out.")]
Text = str | None


def _option(help_text: str, *names: str) -> Any:
    return typer.Option(*names, help=help_text)


# ------------------------------------------------------------------------------------- options


def values_of(file: Path | None, command: list[str] | None, options: dict[tuple[str, str], Any]) -> Any:
    """The task file's values with the command line's in their place."""
    from eubchain.client.task_file import read_task_file

    values = {} if file is None else read_task_file(file)
    values |= {name: value for name, value in options.items() if value not in (None, ())}
    if command:
        values["run", "command"] = tuple(command)
    # An image on the line replaces a module in the file, and the other way round.
    if options.get(("run", "image")):
        values["run", "module"] = options.get(("run", "module")) or ""
    elif options.get(("run", "module")):
        values["run", "image"] = ""
    return values


def _collected(**given: Any) -> dict[tuple[str, str], Any]:
    """Options by the name that they have in the file."""
    named = {
        "wasm": ("run", "module"),
        "image": ("run", "image"),
        "env": ("run", "environment"),
        "input_path": ("files", "input"),
        "output": ("files", "output"),
        "place": ("files", "place"),
        "gpus": ("machine", "gpus"),
        "gpu_memory": ("machine", "gpu_memory"),
        "cpus": ("machine", "cpus"),
        "memory": ("machine", "memory"),
        "disk": ("machine", "disk"),
        "price": ("price", "maximum"),
        "time": ("price", "time"),
        "avoid": ("market", "avoid"),
        "allow": ("market", "allow"),
        "start_in": ("market", "start_in"),
        "offer_time": ("market", "offer_time"),
        "review_time": ("market", "review_time"),
        "by_hand": ("market", "by_hand"),
        "check": ("judge", "check"),
        "pass_mark": ("judge", "pass_mark"),
    }
    values: dict[tuple[str, str], Any] = {}
    for name, value in given.items():
        if isinstance(value, list):
            values[named[name]] = tuple(value)
        elif isinstance(value, Path):
            values[named[name]] = str(value)
        else:
            values[named[name]] = value
    return values


# ---------------------------------------------------------------------------------------- verbs


@app.command()
def run(
    command: Annotated[
        list[str] | None, typer.Argument(help="After --: what runs in the container, or the arguments.")
    ] = None,
    file: Annotated[Path | None, _option("A task file; see `task init`.", "--file", "-f")] = None,
    image: Annotated[Text, _option("A container image, pinned as name@sha256:….")] = None,
    wasm: Annotated[Path | None, _option("A WebAssembly (WASI) module; runs on every spark.")] = None,
    gpus: Annotated[int | None, _option("GPUs.")] = None,
    gpu_memory: Annotated[Text, _option("Memory of each GPU, as in 24G.")] = None,
    cpus: Annotated[Text, _option("Processor cores, as in 0.5 or 4.")] = None,
    memory: Annotated[Text, _option("Memory, as in 8G.")] = None,
    disk: Annotated[Text, _option("Disk, as in 20G.")] = None,
    input_path: Annotated[Path | None, _option("Input file or directory.", "--input", "-i")] = None,
    output: Annotated[Path | None, _option("New directory for the result.", "--output", "-o")] = None,
    env: Annotated[list[str] | None, _option("NAME=value for the program; may be repeated.")] = None,
    price: Annotated[Text, _option("The most you pay, EUBC.")] = None,
    time: Annotated[Text, _option("What the program may take, as in 30m or 2h.")] = None,
    avoid: Annotated[list[str] | None, _option("A spark that may not offer.")] = None,
    allow: Annotated[list[str] | None, _option("Only this spark may offer; may be repeated.")] = None,
    start_in: Annotated[Text, _option("Reserve for later: price fixed now, clocks start then.")] = None,
    offer_time: Annotated[Text, _option("How long offers are taken.")] = None,
    review_time: Annotated[Text, _option("How long you may look at the result.")] = None,
    place: Annotated[Text, _option("Where sealed data lies, if not at your node.")] = None,
    check: Annotated[Path | None, _option("A WASI module that scores the result here.")] = None,
    pass_mark: Annotated[int | None, _option("The score from which a result is good.")] = None,
    stars: Stars = None,
    retry: Annotated[bool, _option("If the spark fails, post once more without it.")] = False,
    again: Annotated[bool, _option("Post although the same command has a task under way.")] = False,
    source: From = None,
) -> None:
    """Run a program on the best spark and bring the result home.

    Example: eubchain task run --file examples/words/task.toml
    """
    given = _collected(
        wasm=wasm, image=image, env=env, input_path=input_path, output=output, place=place, gpus=gpus,
        gpu_memory=gpu_memory, cpus=cpus, memory=memory, disk=disk, price=price, time=time, avoid=avoid,
        allow=allow, start_in=start_in, offer_time=offer_time, review_time=review_time, check=check,
        pass_mark=pass_mark,
    )  # fmt: skip
    from eubchain.client.task_file import order_of
    from eubchain.client.task_run.order import check_order

    order = order_of(values_of(file, command, given))
    check_order(order)  # before anybody is asked anything
    leave(SESSION.run(_run, order, source, stars, again, retry))


async def _run(order: Order, source: str | None, stars: int | None, again: bool, retry: bool) -> int:
    from dataclasses import replace

    from vm.task.records import Ending

    others_fault = (Ending.DECLINED, Ending.RELEASED, Ending.START_TIMEOUT, Ending.RUN_TIMEOUT)
    async with opened_requester(source) as requester:
        while True:
            requester, journal = await _post_or_find(requester, order, again)
            code, followed = await drive(requester, journal, stars)
            seat = followed.sight.seat if followed is not None and followed.sight is not None else None
            if not retry or seat is None or seat.outcome is None or seat.outcome.ending not in others_fault:
                return code
            failed = requester.network.show(seat.spark)
            SESSION.note(f"posting once more, without {failed}")
            order, retry, again = replace(order, avoid=(*order.avoid, failed)), False, True


@app.command()
def post(
    file: Annotated[Path, _option("A task file.", "--file", "-f")] = Path(TASK_FILE_NAME),
    source: From = None,
) -> None:
    """Sign and send a task without following it; `task attach` goes on from there.

    Example: eubchain task post --file task.toml
    """
    from eubchain.client.task_file import order_of

    SESSION.run(_post, order_of(values_of(file, None, {})), source)


async def _post(order: Order, source: str | None) -> None:
    from eubchain.client.task_run.posting import finish_post

    async with opened_requester(source) as requester:
        requester, journal = await _post_or_find(requester, order, again=False)
        is_posted = await finish_post(requester, journal)
        task = journal.state.task
        facts = {"task": task, "outcome": "posted" if is_posted else "expired"}
        SESSION.result(facts, f"task {task} {facts['outcome']}")
        SESSION.follow(f"eubchain task attach {task[:12]}")


@app.command()
def attach(task: Task, stars: Stars = None) -> None:
    """Follow a task of this home to its end: logs, progress, result, answer.

    Example: eubchain task attach 7f3a91c2
    """
    leave(SESSION.run(_attach, task, stars))


async def _attach(task: str, stars: int | None) -> int:
    async with journal_requester(task) as (requester, journal):
        code, _ = await drive(await unlock(requester), journal, stars)
        return code


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path(TASK_FILE_NAME),
    wasm: Annotated[Path | None, _option("The WebAssembly module to run; a small one if left out.")] = None,
) -> None:
    """Write a commented task file that runs as it is.

    Example: eubchain task init task.toml
    """
    from eubchain.client.task_file import task_file_text
    from eubchain.client.task_run.first_program import FIRST_PROGRAM_NAME, first_program

    module = file.parent / FIRST_PROGRAM_NAME
    named = FIRST_PROGRAM_NAME if wasm is None else str(wasm.absolute())
    text = task_file_text({("run", "module"): named, ("price", "time"): "1m"})
    files = {file: text.encode()} | ({module: first_program()} if wasm is None else {})
    for path in files:
        if path.exists():
            raise Fault(TASK_FILE_EXISTS, file=str(path))
    for path, content in files.items():
        path.write_bytes(content)
    SESSION.result({"files": [str(path) for path in files]}, f"wrote {', '.join(map(str, files))}")
    SESSION.follow(f"eubchain task run --file {file}")


# --------------------------------------------------------------------------------- what they share


@asynccontextmanager
async def opened_requester(source: str | None) -> AsyncIterator[Requester]:
    """The account `source` (or the default one) at the node, its key still closed."""
    from eubchain.client.task_run.requester import Requester

    async with Connection(SESSION.url) as node:
        network = await open_network(node)
        account = SESSION.wallet().key_account(source)
        yield Requester(node, network, account.public, SESSION.home, name=account.name)


@asynccontextmanager
async def journal_requester(task: str) -> AsyncIterator[tuple[Requester, Journal]]:
    """The journal of a task of this home and the account that posted it."""
    from eubchain.client.task_run.journal import Journals

    journal = Journals(SESSION.home).find(task)
    async with opened_requester(journal.state.account or None) as requester:
        journal.check_network(requester.network.rules.genesis)
        yield requester, journal


async def unlock(requester: Requester) -> Requester:
    """Ask for the password, once per command, and open the account's key."""
    from eubchain.client.network import Pins

    if requester.key is not None:
        return requester
    wallet = SESSION.wallet()
    account = wallet.key_account(requester.name)
    password = SESSION.passwords().get(f"Password of {account.name}: ")
    # scrypt takes half a second by design.
    secret = await trio.to_thread.run_sync(wallet.open, account.name, password)
    Pins(SESSION.home / "wallet").remember(requester.node.url, requester.network)
    return requester.unlocked(secret.key_at(account.keyfile.path))


async def _post_or_find(requester: Requester, order: Order, again: bool) -> tuple[Requester, Journal]:
    """Show, ask, sign; or find the task that this very command began before."""
    from functools import partial

    from eubchain.cli.task_screen import Screen, busy, show_preview
    from eubchain.client.task_run.posting import find_begun, sign_post
    from eubchain.client.task_run.preview import preview_order

    async with requester.journals.held():
        found = None if again else await find_begun(requester, order)
        if found is not None:
            SESSION.note(f"this command began the task {found.state.task[:12]} before; going on with it")
            return await unlock(requester), found
        screen = Screen(requester.interval_ms)
        preview = await busy(screen, "asking the chain", partial(preview_order, requester, order))
        show_preview(preview, requester.network)
        SESSION.confirm("Sign?")
        requester = await unlock(requester)
        work = partial(sign_post, requester, preview)
        journal = await busy(screen, "packing and sealing the input", work)
    SESSION.note(f"task {journal.state.task}")
    return requester, journal
