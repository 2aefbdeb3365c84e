"""`eubchain task`, step by step: every step of `task run` as a verb of its own.

Here: the steps that sign (match, grant, accept, reject, cancel, dispute, appeal) and fetch.
Not here: run, post, attach (task.py), looking only (task_looks.py), the steps themselves
(eubchain/client/task_run).
Keeps: what a step burns or pays is said before it is signed, by the code that settles it.
Errors: 3181 nothing_delivered, 3182 task_not_matched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consensus.types.amounts import format_eubc
from consensus.types.errors import Fault, Reason
from eubchain.cli.paying import From
from eubchain.cli.session import NOT_CONFIRMED, SESSION
from eubchain.cli.task import Score, Stars, Task, app, journal_requester, opened_requester, unlock

if TYPE_CHECKING:
    from eubchain.client.sending import Final
    from eubchain.client.task_run.journal import Journal
    from eubchain.client.task_run.market import Sight
    from eubchain.client.task_run.requester import Requester

NOTHING_DELIVERED = Reason(
    3181,
    "nothing_delivered",
    "task:text",
    "Task {task} has delivered nothing.",
    "See where it stands with `eubchain task status {task}`.",
)
TASK_NOT_MATCHED = Reason(
    3182,
    "task_not_matched",
    "task:text",
    "Task {task} has no spark yet.",
    "See its offers with `eubchain task offers {task}`.",
)


def tell_step(what: str, task: str, final: Final, follow: str) -> None:
    """How a step ended."""
    facts = {"task": task, "outcome": what, "height": final.height, "fee": str(final.fee)}
    events = "".join(f"\n  {event['sentence']}" for event in final.view["receipt"]["events"])
    text = f"{what} in block {final.height}, fee {format_eubc(final.fee)} EUBC{events}"
    SESSION.result(facts | {"events": final.view["receipt"]["events"]}, text)
    SESSION.follow(follow)


async def sight_of(requester: Requester, task: bytes) -> Sight:
    """The task as it stands; raise `Fault` 3163 when the chain has none."""
    from eubchain.client.task_run.following import TASK_FORGOTTEN
    from eubchain.client.task_run.market import look

    sight = await look(requester.node, requester.network, task)
    if sight is None:
        raise Fault(TASK_FORGOTTEN, task=task.hex()[:12])
    return sight


def confirm_words(question: str) -> None:
    """Ask with the words that say what is lost; --yes answers, a closed stdin does not."""
    if SESSION.yes:
        return
    if not SESSION.can_ask or not SESSION.ask(question):
        raise Fault(NOT_CONFIRMED)


# ---------------------------------------------------------------------------------- before the run


@app.command()
def match(task: Task, spark: Annotated[str, typer.Argument(help="The spark's address.")]) -> None:
    """Choose an offer of a task that is matched by hand.

    Example: eubchain task match 7f3a91c2 deub1xc6xqjvm4txn9tvm8eurw6wktyx694ez3w5u4z
    """

    async def step(requester: Requester, journal: Journal) -> None:
        from eubchain.client.task_run import answering

        final = await answering.match(requester, journal, requester.network.address(spark))
        tell_step("matched", journal.state.task, final, f"eubchain task grant {task}")

    SESSION.run(_with_journal, task, step)


@app.command()
def grant(task: Task) -> None:
    """Upload the sealed input and hand the sealed job to the matched spark.

    Example: eubchain task grant 7f3a91c2
    """

    async def step(requester: Requester, journal: Journal) -> None:
        from eubchain.client.task_run import granting
        from eubchain.client.task_run.inputs import upload_input

        seat = (await sight_of(requester, journal.task)).seat
        if seat is None:
            raise Fault(TASK_NOT_MATCHED, task=journal.state.task[:12])
        await upload_input(requester, journal, lambda done, total: None)
        final = await granting.grant(requester, journal, seat.spark)
        tell_step("granted", journal.state.task, final, f"eubchain task logs {task} --follow")

    SESSION.run(_with_journal, task, step)


# ------------------------------------------------------------------------------- after the delivery


@app.command()
def fetch(
    task: Task,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A new directory.")] = None,
) -> None:
    """Fetch, check and open a delivered result, without answering it.

    Example: eubchain task fetch 7f3a91c2 --output result
    """

    async def step(requester: Requester, journal: Journal) -> None:
        from eubchain.client.task_run.quantities import counted
        from eubchain.client.task_run.results import fetch_result

        seat = (await sight_of(requester, journal.task)).seat
        if seat is None or seat.result is None:
            raise Fault(NOTHING_DELIVERED, task=journal.state.task[:12])
        target = output or Path(journal.state.output)
        fetched = await fetch_result(requester, journal, seat, target, lambda done, total: None)
        facts = {
            "task": journal.state.task,
            "output": str(fetched.directory),
            "files": fetched.files,
            "bytes": fetched.size,
            "result_sha256": fetched.digest.hex(),
        }
        files = counted(fetched.files, "file")
        SESSION.result(facts, f"result in {fetched.directory}: {files}, the digest is right")
        SESSION.follow(f"eubchain task accept {task}")

    SESSION.run(_with_journal, task, step)


@app.command()
def accept(task: Task, score: Score = None, stars: Stars = None) -> None:
    """Take a result (or agree that the application failed): the spark is paid.

    Example: eubchain task accept 7f3a91c2 --stars 5
    """

    async def step(requester: Requester, journal: Journal) -> None:
        from eubchain.client.task_run import answering
        from eubchain.client.task_run.story import answers_words

        sight = await sight_of(requester, journal.task)
        confirm_words(f"Accept: {answers_words(sight)}. Sign?")
        own = score if score is not None else max(journal.state.score, -1)
        final = await answering.accept(requester, journal, own if own >= 0 else 100, stars or 5)
        journal.note(is_told=True)
        tell_step("accepted", journal.state.task, final, f"eubchain task report {task}")

    SESSION.run(_with_journal, task, step)


@app.command()
def reject(task: Task) -> None:
    """Refuse a result or a claimed failure; what accepting would pay is burned.

    Example: eubchain task reject 7f3a91c2
    """

    async def step(requester: Requester, journal: Journal) -> None:
        from eubchain.client.task_run import answering
        from eubchain.client.task_run.story import reject_words

        sight = await sight_of(requester, journal.task)
        if sight.seat is None:
            raise Fault(TASK_NOT_MATCHED, task=journal.state.task[:12])
        confirm_words(f"Reject: {reject_words(sight)}. Sign?")
        final = await answering.reject(requester, journal)
        journal.note(is_told=True)
        tell_step("rejected", journal.state.task, final, f"eubchain task report {task}")

    SESSION.run(_with_journal, task, step)


@app.command()
def cancel(task: Task, source: From = None) -> None:
    """End a task; the price depends on how far it is, and is said first.

    Example: eubchain task cancel 7f3a91c2
    """
    SESSION.run(_cancel, task, source)


async def _cancel(text: str, source: str | None) -> None:
    from eubchain.cli.task_looks import identify
    from eubchain.client.task_run import answering
    from eubchain.client.task_run.story import cancel_quote

    task, journal = identify(text)
    account = journal.state.account if journal is not None else source
    async with opened_requester(account or None) as requester:
        sight = await sight_of(requester, task)
        quote = cancel_quote(sight)
        if quote is not None:
            SESSION.note(
                f"Cancelling takes effect with block {quote.height} and costs about "
                f"{format_eubc(quote.cost)} EUBC; {format_eubc(quote.refunded)} EUBC come back."
            )
        confirm_words("Cancel the task?")
        final = await answering.cancel(await unlock(requester), task, journal)
        if journal is not None:
            journal.note(is_told=True)
        tell_step("cancelled", task.hex(), final, f"eubchain task status {text}")


# -------------------------------------------------------------------------------------- judges


@app.command()
def dispute(task: Task) -> None:
    """Ask judges about a delivery; this version of the network answers `not yet`.

    Example: eubchain task dispute 7f3a91c2
    """

    async def step(requester: Requester, journal: Journal) -> None:
        from eubchain.client.task_run.market import SEAT
        from eubchain.client.task_run.requester import send_step
        from vm.task.payloads import Dispute, DisputeKind

        final = await send_step(requester, Dispute(journal.task, SEAT, DisputeKind.WRONG), journal)
        tell_step("disputed", journal.state.task, final, f"eubchain task status {task}")

    SESSION.run(_with_journal, task, step)


@app.command()
def appeal(task: Task) -> None:
    """Ask a larger panel; this version of the network answers `not yet`.

    Example: eubchain task appeal 7f3a91c2
    """

    async def step(requester: Requester, journal: Journal) -> None:
        from eubchain.client.task_run.market import SEAT
        from eubchain.client.task_run.requester import send_step
        from vm.task.payloads import Appeal

        final = await send_step(requester, Appeal(journal.task, SEAT), journal)
        tell_step("appealed", journal.state.task, final, f"eubchain task status {task}")

    SESSION.run(_with_journal, task, step)


async def _with_journal(task: str, step: Callable[[Requester, Journal], Awaitable[None]]) -> None:
    async with journal_requester(task) as (requester, journal):
        await step(await unlock(requester), journal)
