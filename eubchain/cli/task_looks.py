"""`eubchain task`, looking only: offers, status, logs, watch, list, report.

Here: verbs that sign nothing. Not here: verbs that do (task.py, task_steps.py).
Keeps: whoever looks at a task of somebody else sees what the chain knows, never more.
"""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Annotated, Any

import trio
import typer

from consensus.types.amounts import format_eubc, parse_eubc
from consensus.types.errors import Fault
from eubchain.cli.paying import open_network
from eubchain.cli.session import SESSION
from eubchain.cli.task import Task, app, journal_requester, unlock
from eubchain.client.connection import Connection

if TYPE_CHECKING:
    from eubchain.client.network import Network
    from eubchain.client.task_run.journal import Journal
    from eubchain.client.task_run.market import Sight

WATCH_S = 0.5
HOUR_S = 3_600


def identify(text: str) -> tuple[bytes, Journal | None]:
    """A task of this home by its first digits, or any task by its whole id; raise `Fault` 3154."""
    from eubchain.client.task_run.journal import Journals

    digits = text.lower().removeprefix("0x")
    try:
        journal = Journals(SESSION.home).find(digits)
    except Fault:
        if re.fullmatch(r"[0-9a-f]{64}", digits) is None:
            raise
        return bytes.fromhex(digits), None
    return journal.task, journal


async def _look(node: Connection, network: Network, task: bytes) -> Sight:
    from eubchain.client.task_run.following import TASK_FORGOTTEN
    from eubchain.client.task_run.market import look

    sight = await look(node, network, task)
    if sight is None:
        raise Fault(TASK_FORGOTTEN, task=task.hex()[:12])
    return sight


@app.command()
def offers(task: Task) -> None:
    """Show the offers that stand for an open task, the best first.

    Example: eubchain task offers 7f3a91c2
    """
    SESSION.run(_offers, task)


async def _offers(text: str) -> None:
    from eubchain.cli.task_screen import offer_lines
    from eubchain.client.task_run.market import standing_offers

    task, _ = identify(text)
    async with Connection(SESSION.url) as node:
        network = await open_network(node)
        sight = await _look(node, network, task)
        found = await standing_offers(node, network, task)
        interval = network.rules.params.chain.block_interval_ms
        facts = {
            "task": task.hex(),
            "until": sight.offers_end,
            "offers": [
                {
                    "spark": network.show(offer.spark),
                    "price": str(offer.price),
                    "promise": offer.promise,
                    "kappa": offer.kappa,
                    "gas": str(offer.gas),
                }
                for offer in found
            ],
        }
        lines = offer_lines(found, network, interval) if found else ["no offer stands"]
        SESSION.result(facts, "\n".join(lines))


@app.command()
def status(task: Task) -> None:
    """Say where a task stands, what it waits for and what each way out costs.

    Example: eubchain task status 7f3a91c2
    """
    SESSION.run(_status, task)


async def _status(text: str) -> None:
    from eubchain.client.task_run.market import look

    task, journal = identify(text)
    async with Connection(SESSION.url) as node:
        network = await open_network(node)
        if journal is not None and await look(node, network, task) is None and _tell_kept(journal):
            return
        sight = await _look(node, network, task)
        if SESSION.json:
            SESSION.result(await node.call("task_get", task="0x" + task.hex()))
            return
        SESSION.say("\n".join(status_lines(sight, network, journal)))


def _tell_kept(journal: Journal) -> bool:
    """Tell the end of a task that the chain has forgotten, from the journal; False when it has none."""
    from eubchain.client.task_run.quantities import show_clock

    state, ending = journal.state, journal.state.ending
    if ending is None:
        return False
    lines = [f"task {state.task}", f"  {state.program} ({state.runtime})"]
    lines += [f"  {name:<10} {show_clock(seconds)}" for name, seconds in ending.seconds.items()]
    lines += [
        f"  {ending.why}",
        f"  {ending.money}",
        "  The chain has let go of it; this is what the journal keeps.",
    ]
    facts = {"task": state.task, "seconds": ending.seconds, "is_kept_here_only": True}
    SESSION.result({**facts, **ending.facts}, "\n".join(lines))
    return True


def status_lines(sight: Sight, network: Network, journal: Journal | None) -> list[str]:
    """Where a task stands, for a person."""
    from eubchain.cli.task_screen import stage_words
    from eubchain.client.task_run import story

    interval = network.rules.params.chain.block_interval_ms
    lines = [f"task {sight.id.hex()}", f"  {stage_words(sight, interval)}"]
    seat = sight.seat
    if journal is not None:
        lines.append(f"  {journal.state.program} ({journal.state.runtime})")
    if seat is not None:
        lines.append(f"  spark {network.show(seat.spark)}, price {format_eubc(seat.price)} EUBC")
    if sight.is_final:
        if journal is not None:
            closing = story.close(sight, journal.state, network.rules.params.market.task_retain_blocks)
            lines += [f"  {closing.why}", f"  {closing.money}"]
        return lines
    quote = story.cancel_quote(sight)
    if quote is not None:
        lines.append(f"  cancelling now costs about {format_eubc(quote.cost)} EUBC")
    if seat is not None and seat.result is not None:
        lines.append(f"  accept: {story.answers_words(sight)}")
        lines.append(f"  reject: {story.reject_words(sight)}")
    return lines


@app.command()
def logs(
    task: Task,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the program ends.")] = False,
) -> None:
    """Print what a task's program printed, from its first line on.

    Example: eubchain task logs 7f3a91c2 --follow
    """
    SESSION.run(_logs, task, follow)


async def _logs(text: str, follow: bool) -> None:
    from eubchain.cli.task_screen import print_line, print_progress
    from eubchain.client.task_run.log_tail import follow_log
    from eubchain.client.task_run.market import look
    from eubchain.client.task_run.story import WORKING

    async with journal_requester(text) as (requester, journal):
        # With the task the store has let go of its log: silence would look like a program that said nothing.
        await _look(requester.node, requester.network, journal.task)
        requester = await unlock(requester)
        is_over = not follow

        async def watch_stage() -> None:
            nonlocal is_over
            while not is_over:
                sight = await look(requester.node, requester.network, journal.task)
                seat = sight.seat if sight is not None else None
                is_over = sight is None or sight.is_final
                if seat is not None and seat.grant is not None:
                    is_over = is_over or seat.stage not in WORKING
                await trio.sleep(WATCH_S)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_stage)
            dropped = await follow_log(
                requester, journal, print_line, print_progress, is_over=lambda: is_over
            )
            nursery.cancel_scope.cancel()
        if dropped:
            SESSION.note(f"the log is full: {dropped:,} bytes were not kept")


@app.command()
def watch(task: Task) -> None:
    """Watch a task to its end without doing anything for it.

    Example: eubchain task watch 7f3a91c2
    """
    SESSION.run(_watch, task)


async def _watch(text: str) -> None:
    from eubchain.cli.task_screen import Screen

    task, journal = identify(text)
    async with Connection(SESSION.url) as node:
        network = await open_network(node)
        screen = Screen(network.rules.params.chain.block_interval_ms)
        stage: object = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(screen.tick)
            while True:
                sight = await _look(node, network, task)
                screen.seen(sight)
                now = sight.task.state if sight.seat is None else sight.seat.stage
                if now != stage:
                    stage = now
                    screen.note_stage(sight)
                if sight.is_final:
                    break
                await trio.sleep(WATCH_S)
            nursery.cancel_scope.cancel()
        if SESSION.json:
            SESSION.result(await node.call("task_get", task="0x" + task.hex()))
        else:
            SESSION.say("\n".join(status_lines(sight, network, journal)))


@app.command(name="list")
def list_tasks() -> None:
    """List the tasks of this home, the latest first.

    Example: eubchain task list
    """
    SESSION.run(_list)


async def _list() -> None:
    from eubchain.cli.task_screen import stage_words, table
    from eubchain.client.task_run.journal import Journals
    from eubchain.client.task_run.market import look

    rows: list[tuple[str, ...]] = [("task", "posted", "program", "at most", "stands")]
    facts: list[dict[str, Any]] = []
    async with Connection(SESSION.url) as node:
        network = await open_network(node)
        interval = network.rules.params.chain.block_interval_ms
        for journal in Journals(SESSION.home).all():
            state = journal.state
            sight = await look(node, network, journal.task)
            ending = state.ending.facts["ending"].replace("_", " ") if state.ending is not None else ""
            away = ending or "settled, or never included"
            stands = away if sight is None else stage_words(sight, interval)
            posted = datetime.datetime.fromtimestamp(state.posted_s).strftime("%Y-%m-%d %H:%M")
            rows.append((state.task[:12], posted, state.program[:40], format_eubc(state.maximum), stands))
            facts.append(
                {
                    "task": state.task,
                    "posted_s": state.posted_s,
                    "program": state.program,
                    "maximum": str(state.maximum),
                    "stands": stands,
                    "output": state.result_path or None,
                    "is_told": state.is_told,
                }
            )
    SESSION.result({"tasks": facts}, "\n".join(table(rows)) if facts else "no tasks in this home yet")
    if not facts:
        SESSION.follow("eubchain task init")


@app.command()
def report(
    task: Task,
    cloud_hour: Annotated[
        str | None, typer.Option(help="What an hour of such a machine costs elsewhere, in EUBC.")
    ] = None,
    alone: Annotated[
        str | None, typer.Option(help="How long it takes on your own machine, as in 5h.")
    ] = None,
) -> None:
    """Report what a task cost and how long each stage took.

    Example: eubchain task report 7f3a91c2 --cloud-hour 3 --alone 5h
    """
    SESSION.run(_report, task, cloud_hour, alone)


async def _report(text: str, cloud_hour: str | None, alone: str | None) -> None:
    from eubchain.client.task_run import story
    from eubchain.client.task_run.market import look
    from eubchain.client.task_run.quantities import parse_duration, show_clock

    async with journal_requester(text) as (requester, journal):
        network, state = requester.network, journal.state
        cloud = parse_eubc(cloud_hour) if cloud_hour is not None else state.cloud_hour
        if await look(requester.node, network, journal.task) is None and _tell_kept(journal):
            return
        sight = await _look(requester.node, network, journal.task)
        interval = network.rules.params.chain.block_interval_ms
        spans = story.stage_spans(sight, interval)
        lines = [f"task {state.task}", f"  {state.program} ({state.runtime})"]
        facts: dict[str, Any] = {"task": state.task, "seconds": dict(spans)}
        lines += [f"  {name:<10} {show_clock(seconds)}" for name, seconds in spans]
        cost = story.cost_now(sight)
        lines.append(f"  cost       {format_eubc(cost)} EUBC, and {format_eubc(state.fees)} EUBC of fees")
        facts |= {"cost": str(cost), "transaction_fees": str(state.fees)}
        if sight.is_final:
            closing = story.close(sight, state, network.rules.params.market.task_retain_blocks)
            lines += [f"  {closing.why}", f"  {closing.money}"]
            facts |= closing.facts
        ran = dict(spans).get("running", 0)
        if ran:
            facts["per_hour"] = str(cost * HOUR_S // ran)
            lines.append(f"  per hour   {format_eubc(cost * HOUR_S // ran)} EUBC")
        if cloud:
            facts["cloud_cost"] = str(cloud * ran // HOUR_S)
            lines.append(f"  elsewhere  {format_eubc(cloud * ran // HOUR_S)} EUBC for the same time")
        if alone is not None:
            own, took = parse_duration(alone), sum(seconds for _, seconds in spans)
            facts |= {"alone_seconds": own, "took_seconds": took}
            lines.append(f"  alone      {show_clock(own)}; here {show_clock(took)} from post to delivery")
        SESSION.result(facts, "\n".join(lines))
