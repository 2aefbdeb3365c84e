"""A task's story in words: whose fault an ending is, where the money went, what a step would cost.

Here: sentences and figures for people, and the same facts for programs.
Not here: when they are told (following.py), how they are shown (eubchain/cli).
Keeps: the application's own fault and a spark's never share a sentence; the final figures are those of
the closed seat, so reserved = returned + paid + fee + burned, to the grain.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from consensus.types.amounts import format_eubc
from eubchain.client.task_run.journal import JournalState, KeptEnding
from eubchain.client.task_run.market import Sight
from eubchain.client.task_run.quantities import seconds_of
from spark_node.job import DOCKER
from spark_node.storage.logs import ErrorReport
from vm.task.payloads import FailCode
from vm.task.quotes import CancelQuote, answers, cost_of_cancel, cost_so_far
from vm.task.records import Ending, Outcome, Seat, Stage

COMMAND_NOT_FOUND, COMMAND_NOT_EXECUTABLE = 127, 126
FAILURES = {
    FailCode.MEMORY: "Your program needed more memory than the task allows",
    FailCode.DISK: "Your program filled the disk that the task allows",
    FailCode.TIME: "Your program did not end within the time that the task allows",
    FailCode.OUTPUT: "Your program printed more, or left a larger result, than the task allows",
    FailCode.FORBIDDEN: "Your program asked for something that no task may do",
    FailCode.OTHER: "Your program could not be run to its end",
}
WORKING = (Stage.STARTING, Stage.RUNNING)


class Closing(NamedTuple):
    """How a task ended: the sentence of fault, the final line, the facts."""

    why: str
    money: str
    facts: dict[str, Any]
    is_good: bool
    """Whether there is a result."""


def amount(grains: int) -> str:
    """An amount with its unit."""
    return f"{format_eubc(grains)} EUBC"


def failure_sentence(seat: Seat, report: ErrorReport | None) -> str:
    """What was wrong with the application, as its spark reports it."""
    assert seat.failure is not None, "there is a claim to word"
    status, cause = seat.failure.exit_status, report.cause if report is not None else ""
    if seat.failure.code != FailCode.EXIT:
        return f"{FAILURES[FailCode(seat.failure.code)]} (exit {status}){_detail(cause)}."
    _, colon, program = cause.partition("): ")
    if status == COMMAND_NOT_FOUND and colon:
        return f"Your command was not found (exit {status}): {program.rstrip('.')}."
    if status == COMMAND_NOT_EXECUTABLE and colon:
        return f"Your command cannot be executed (exit {status}): {program.rstrip('.')}."
    return f"Your program ended with an error of its own (exit {status}){_detail(cause)}."


def _detail(cause: str) -> str:
    """What the spark adds to its usual sentence: a trap's name, a refused import, the engine's words."""
    detail = cause.partition(". ")[2].strip("(). ")
    return f": {detail}" if detail else ""


def failure_costs(sight: Sight) -> str:
    """What answering a claimed failure, or not answering, costs."""
    assert sight.seat is not None, "a claim has a seat"
    outcome = answers(sight.task, sight.seat, sight.height)[Ending.FAILURE_AGREED]
    return f"The spark is not at fault; you pay {amount(outcome.paid + outcome.fee)}."


def close(sight: Sight, state: JournalState, retain_blocks: int) -> Closing:
    """The end of a final task."""
    assert sight.is_final, "only a final task has ended"
    outcome = sight.seat.outcome if sight.seat is not None else None
    if outcome is None:
        return _close_unmatched(sight, state, retain_blocks)
    assert sight.seat is not None, "an outcome is a seat's"
    spent = outcome.paid + outcome.fee + outcome.burned
    back = sight.maximum - spent
    why = _why(sight.seat, outcome, back, state)
    money = (
        f"You paid {format_eubc(spent)} of the {format_eubc(sight.maximum)} EUBC reserved "
        f"({format_eubc(outcome.paid)} to the spark, {format_eubc(outcome.fee)} protocol fee, "
        f"{format_eubc(outcome.burned)} burned); {amount(back)} came back."
    )
    facts = _facts(sight, state, outcome.ending, spent, back) | {
        "blame": _blame(outcome),
        "price": str(sight.seat.price),
        "paid": str(outcome.paid),
        "fee": str(outcome.fee),
        "burned": str(outcome.burned),
        "gas_returned": str(outcome.gas_returned),
        "gas_burned": str(outcome.gas_burned),
        "gas_held": str(outcome.gas_held),
    }
    is_good = outcome.ending in (Ending.ACCEPTED, Ending.ACCEPTED_BY_SILENCE)
    return Closing(why, f"{money} {_rest(sight, state, retain_blocks)}", facts, is_good)


def _blame(outcome: Outcome) -> str:
    names = ("nobody", "requester", "application", "spark", "network", "undecided")
    return names[outcome.blame]


def _rest(sight: Sight, state: JournalState, retain_blocks: int) -> str:
    returns = sight.task.final + retain_blocks
    return (
        f"Your transactions cost {amount(state.fees)}; "
        f"the deposit of {amount(sight.task.deposit)} returns with block {returns}."
    )


def _facts(sight: Sight, state: JournalState, ending: int, spent: int, back: int) -> dict[str, Any]:
    return {
        "task": state.task,
        "ending": Ending(ending).name.lower(),
        "height": sight.task.final,
        "reserved": str(sight.maximum),
        "spent": str(spent),
        "returned": str(back),
        "deposit": str(sight.task.deposit),
        "transaction_fees": str(state.fees),
        "output": state.result_path or None,
        "score": state.score if state.score >= 0 else None,
    }


def _close_unmatched(sight: Sight, state: JournalState, retain_blocks: int) -> Closing:
    if sight.task.ending == Ending.CANCELLED_OPEN:
        why = "You cancelled the task before a spark was matched."
    elif sight.task.offers:
        why = f"Nobody was chosen among the offers by block {sight.offers_end}."
    else:
        image = "none may have the image or be able to fetch it, " if state.runtime == DOCKER else ""
        why = (
            f"No spark offered by block {sight.offers_end}: {image}the price may be too low for them, or all "
            "that could do it are busy. "
        )
        if state.runtime == DOCKER:
            why += "Check that the image's name is right and that anybody may pull it; then ask again."
        else:
            why += "It costs nothing to ask again with a higher --price."
    money = f"{amount(sight.maximum)} came back. {_rest(sight, state, retain_blocks)}"
    facts = _facts(sight, state, sight.task.ending, 0, sight.maximum) | {"blame": "nobody"}
    return Closing(why, money, facts, is_good=False)


def kept(closing: Closing, sight: Sight, interval_ms: int) -> KeptEnding:
    """The end as the journal keeps it."""
    return KeptEnding(closing.why, closing.money, closing.facts, dict(stage_spans(sight, interval_ms)))


def stage_spans(sight: Sight, interval_ms: int) -> list[tuple[str, int]]:
    """Seconds of each stage that has begun, by heights."""
    seat, now = sight.seat, sight.task.final or sight.height
    if seat is None:
        return [("waiting", seconds_of(now - sight.task.posted, interval_ms))]
    begun = seat.started or now
    spans = [("to start", seconds_of(begun - sight.task.posted, interval_ms))]
    if seat.started:
        ended = seat.delivered or now
        spans.append(("running", seconds_of(ended - seat.started, interval_ms)))
        if seat.delivered:
            spans.append(("review", seconds_of(now - seat.delivered, interval_ms)))
    return spans


def _why(seat: Seat, outcome: Outcome, back: int, state: JournalState) -> str:
    block, lost = outcome.height, amount(outcome.gas_burned + outcome.gas_held)
    match outcome.ending:
        case Ending.ACCEPTED:
            return f"The result was accepted in block {block}."
        case Ending.ACCEPTED_BY_SILENCE:
            return f"The review ended with block {block} without an answer, which accepts the result."
        case Ending.REJECTED:
            return f"You rejected the result: {amount(outcome.burned)} are burned, nobody has them."
        case Ending.FAILURE_AGREED | Ending.FAILURE_UNANSWERED:
            paid = amount(outcome.paid + outcome.fee)
            return f"Your application failed. The spark is not at fault; you pay {paid}."
        case Ending.FAILURE_REJECTED:
            return (
                f"You rejected the spark's claim that your application failed: {amount(outcome.burned)} of "
                f"yours and {lost} of its deposit are burned."
            )
        case Ending.START_TIMEOUT | Ending.RUN_TIMEOUT:
            return (
                f"The spark vanished at block {block}. Refunded {amount(back)}; {lost} of its deposit is "
                "burned when the epoch closes, unless that was an outage."
            )
        case Ending.RELEASED | Ending.RELEASED_RESERVATION:
            return (
                f"The spark gave the task up at block {block}: its owner took the machine back, or the "
                f"machine could not go on. Refunded {amount(back)}; {lost} of its deposit is burned."
            )
        case Ending.DECLINED:
            return (
                f"The spark could not start the job (block {block}). Nobody can tell whose fault that is: "
                f"{amount(outcome.burned)} of yours and {lost} of its deposit are burned."
            )
        case Ending.GRANT_TIMEOUT:
            paid = amount(outcome.paid + outcome.fee)
            return f"The job was not handed over in time, which is this side's; the wait cost you {paid}."
        case _:
            paid = amount(outcome.paid + outcome.fee)
            return f"You cancelled the task (block {block}); that cost {paid}."


def cancel_quote(sight: Sight) -> CancelQuote | None:
    """What cancelling in the next block costs; None when it would be refused."""
    return cost_of_cancel(sight.task, sight.seat, sight.height + 1)


def cost_now(sight: Sight) -> int:
    """What stopping now would cost: the figure that runs beside the clock; grains."""
    return 0 if sight.seat is None else cost_so_far(sight.task, sight.seat, sight.height)


def answers_words(sight: Sight) -> str:
    """What accepting (or agreeing) does."""
    if sight.seat is None or sight.seat.stage != Stage.REVIEW:
        return "there is nothing to answer"
    ending = Ending.ACCEPTED if sight.seat.failure is None else Ending.FAILURE_AGREED
    outcome = answers(sight.task, sight.seat, sight.height + 1)[ending]
    spent = amount(outcome.paid + outcome.fee)
    return f"{spent} go to the spark and the protocol, {amount(outcome.refunded)} come back"


def reject_words(sight: Sight) -> str:
    """What rejecting does, as the question says it."""
    if sight.seat is None or sight.seat.stage != Stage.REVIEW:
        return "there is nothing to answer"
    ending = Ending.REJECTED if sight.seat.failure is None else Ending.FAILURE_REJECTED
    outcome = answers(sight.task, sight.seat, sight.height + 1)[ending]
    return f"the {amount(outcome.burned)} are burned: you do not get them back, the spark does not get them"
