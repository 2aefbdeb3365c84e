"""`eubchain spark`: lend this machine.

Here: the verbs of a spark's owner that need no signature, and `start`.
Not here: registering and retiring (spark_init.py), practice (spark_bench.py), the agent (spark_node).
Keeps: every verb but `start` works while the agent runs and while it does not; wishes stay until they are
taken back.
Errors: 3240 no_such_seat_here, 3241 nothing_to_release, 3242 agent_never_ran.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.types.amounts import format_eubc
from consensus.types.errors import Fault, Reason
from eubchain.cli.session import BAD_ARGUMENT, SESSION

if TYPE_CHECKING:
    from spark_node.folder import Folder
    from spark_node.journal import SeatNote

app = typer.Typer(name="spark", help="Lend this machine and earn EUBC.", no_args_is_help=True)

NO_SUCH_SEAT_HERE = Reason(
    3240,
    "no_such_seat_here",
    "task:text",
    "This spark has no seat in a task that begins with {task}.",
    "List what it knows with `eubchain spark history`.",
)
NOTHING_TO_RELEASE = Reason(
    3241,
    "nothing_to_release",
    "",
    "This spark holds no seat that could be given up.",
    "See what it does with `eubchain spark status`.",
)
NEVER_RAN = Reason(
    3242,
    "agent_never_ran",
    "folder:text",
    "The agent of {folder} has not run yet, so there is nothing to tell.",
    "Start it with `eubchain spark start`.",
)

Task = Annotated[str, typer.Argument(help="A task's id, or how it begins.")]
DAY_S = 86_400


def folder() -> Folder:
    """The spark's directory in this home; raises `Fault` 3222 when there is none."""
    from spark_node.folder import Folder

    found = Folder(SESSION.home / "spark")
    found.check()
    return found


@app.command()
def start() -> None:
    """Run the agent in the foreground until Ctrl-C or SIGTERM; what runs is continued at the next start.

    Example: eubchain spark start --password-file ./password
    """
    from eubchain.cli.spark_start import run_here

    SESSION.run(run_here, folder())


@app.command()
def status() -> None:
    """What it earns, why it has no work, what the machine does, and what to change.

    Example: eubchain spark status
    """
    from spark_node.status import read_status, status_lines

    found = folder()
    facts, is_running = read_status(found), found.is_running()
    if facts is None:
        raise Fault(NEVER_RAN, folder=str(found.root))
    SESSION.result({"running": is_running, **facts}, "\n".join(status_lines(facts, is_running)))


@app.command("set")
def set_option(
    name: Annotated[str, typer.Argument(help="price, or an option of the policy as SECTION.KEY.")],
    value: Annotated[str, typer.Argument(help="The new value, as it is typed on the command line.")],
) -> None:
    """Change the policy; a running agent takes it up within a second.

    Example: eubchain spark set price 2.60
    """
    from spark_node.folder import write_durably
    from spark_node.policy import OPTIONS, changed_text, parse_policy
    from spark_node.settings import nearest

    found = folder()
    if name == "price":
        name = "price.gpu_hour" if _has_gpu(found) else "price.cpu_hour"
    section, _, key = name.partition(".")
    option = next((o for o in OPTIONS if (o.section, o.key) == (section, key)), None)
    if option is None:
        near = nearest(name, [f"{o.section}.{o.key}" for o in OPTIONS])
        raise Fault(BAD_ARGUMENT, why=f"The policy has no option {name}{near}.")
    before = found.policy.read_text("utf-8")
    text = changed_text(before, section, key, _typed(option.default, value))
    parse_policy(text, str(found.policy))
    write_durably(found.policy, text.encode())
    SESSION.result({"option": name, "value": value}, f"{name} = {value}")
    SESSION.follow("eubchain spark status")


def _has_gpu(found: Folder) -> bool:
    from spark_node.inventory import read_gpus
    from spark_node.status import read_status

    facts = read_status(found)
    return facts["lent"]["gpus"] > 0 if facts is not None else bool(read_gpus()[0])


def _typed(default: Any, value: str) -> Any:
    if isinstance(default, bool):
        if value not in ("true", "false"):
            raise Fault(BAD_ARGUMENT, why=f"'{value}' is neither true nor false.")
        return value == "true"
    if isinstance(default, int):
        if not value.isascii() or not value.isdigit():
            raise Fault(BAD_ARGUMENT, why=f"'{value}' is not a number.")
        return int(value)
    if isinstance(default, tuple):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


@app.command()
def pause() -> None:
    """Take no work and freeze what runs, until `resume`; also through restarts.

    Example: eubchain spark pause
    """
    from spark_node.folder import PAUSED

    folder().wish(PAUSED)
    SESSION.result({"paused": True}, "Paused: no new work, and what runs is frozen; its deadlines go on.")
    SESSION.follow("eubchain spark resume")


@app.command()
def resume() -> None:
    """Take work again and let what was frozen go on.

    Example: eubchain spark resume
    """
    from spark_node.folder import PAUSED

    was = folder().take_back(PAUSED)
    SESSION.result({"paused": False, "was_paused": was}, "It takes work." if was else "It was not paused.")
    SESSION.follow("eubchain spark status")


@app.command()
def release(
    task: Annotated[str | None, typer.Argument(help="A task's id or how it begins; all if left out.")] = None,
) -> None:
    """Give seats up, to have the machine back now. It costs a tenth of a seat's base.

    Example: eubchain spark release 7f3ac1
    """
    from spark_node.folder import release_wish
    from spark_node.journal import Journal

    found = folder()
    open_notes = [note for note in Journal(found).unsettled() if note.result is None and note.failure is None]
    chosen = [note for note in open_notes if task is None or note.task.hex().startswith(task)]
    if not chosen:
        raise Fault(NO_SUCH_SEAT_HERE, task=task) if task else Fault(NOTHING_TO_RELEASE)
    lines = ", ".join(f"{note.task.hex()[:16]} (locks {format_eubc(note.gas)} EUBC)" for note in chosen)
    SESSION.note(
        f"Gives up {lines}. Up to a tenth of a seat's base is burned, its reputation falls a little."
    )
    SESSION.confirm("Give up?")
    for note in chosen:
        found.wish(release_wish(note.task, note.seat))
    tasks = [note.task.hex() for note in chosen]
    SESSION.result({"released": tasks}, "The agent gives up within seconds." if found.is_running() else None)
    SESSION.follow("eubchain spark status" if found.is_running() else "eubchain spark start")


@app.command()
def history(
    task: Annotated[str | None, typer.Argument(help="A task's id, or how it begins.")] = None,
) -> None:
    """The tasks of this machine; with TASK: stages, rule, evidence, transactions, next step.

    Example: eubchain spark history
    """
    from spark_node.earnings import story
    from spark_node.journal import Journal

    notes = sorted(Journal(folder()).notes.values(), key=lambda note: note.first_ms)
    if task is None:
        rows = [story(note) for note in notes]
        lines = [_row(note) for note in notes] or ["no task yet"]
        SESSION.result({"tasks": rows}, "\n".join(lines))
        return
    chosen = [note for note in notes if note.task.hex().startswith(task.removeprefix("0x"))]
    if not chosen:
        raise Fault(NO_SUCH_SEAT_HERE, task=task)
    told = story(chosen[-1])
    SESSION.result(told, "\n".join(_story_lines(told)))


def _row(note: SeatNote) -> str:
    end = note.end.ending if note.end is not None else (note.moments[-1].what if note.moments else "")
    paid = format_eubc(note.end.paid) if note.end is not None else "–"
    return f"{_clock(note.first_ms)}  {note.task.hex()[:16]}  {paid:>12} EUBC  {end}"


def _story_lines(told: dict[str, Any]) -> list[str]:
    price, gas = format_eubc(int(told["price"])), format_eubc(int(told["gas"]))
    lines = [f"task {told['task']} seat {told['seat']}, price {price} EUBC, gas {gas} EUBC"]
    for moment in told["moments"]:
        txid = f"  tx {moment['txid'][:16]}" if moment["txid"] else ""
        lines.append(f"  {_clock(moment['time_ms'])}  block {moment['height']:<8} {moment['what']}{txid}")
    if told["ending"]:
        lines.append(f"ended     {told['ending']}, at fault: {told['blame']}")
        lines.append(f"rule      {told['rule']}")
        money = ", ".join(
            f"{label} {format_eubc(int(told[name]))}"
            for name, label in (
                ("paid", "paid"),
                ("gas_returned", "gas returned"),
                ("gas_burned", "gas burned"),
                ("gas_held", "gas held until the epoch closes"),
            )
            if int(told[name])
        )
        lines.append(f"money     {money or 'nothing moved'} EUBC")
    if told["next"]:
        lines.append(f"next      {told['next']}")
    return lines


def _clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000).strftime("%Y-%m-%d %H:%M:%S")


@app.command()
def earnings(
    days: Annotated[int, typer.Option(min=1, max=3_650, help="How many days back.")] = 1,
) -> None:
    """What came in and what was lost, every movement counted once.

    Example: eubchain spark earnings --days 7
    """
    from spark_node.earnings import summary
    from spark_node.journal import Journal

    found = folder()
    since = (int(time.time()) - days * DAY_S) * 1000
    sums = summary(found, list(Journal(found).notes.values()), since)
    lines = [
        f"paid      {format_eubc(int(sums['paid']))} EUBC for {sums['paid_tasks']} tasks",
        f"failed    {sums['failed_tasks']} tasks, {format_eubc(int(sums['lost']))} EUBC of deposits lost",
        f"proofs    {format_eubc(int(sums['proofs']))} EUBC for proved compute",
        f"fees      {format_eubc(int(sums['fees']))} EUBC",
        f"locked    {format_eubc(int(sums['gas_locked_now']))} EUBC of gas now",
        f"balance   changed by {format_eubc(int(sums['change']))} EUBC through the agent",
    ]
    SESSION.result({"days": days, **sums}, "\n".join(lines))
