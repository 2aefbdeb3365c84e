"""A task's story: every ending in words, whose fault it is, and figures that add up to the grain."""

from __future__ import annotations

from itertools import combinations

import pytest
from msgspec.structs import replace

from consensus.types.amounts import eubc, format_eubc
from eubchain.client.task_run import story
from eubchain.client.task_run.journal import JournalState
from eubchain.client.task_run.log_tail import LineCutter
from eubchain.client.task_run.market import NOTHING_ASKED, Sight
from spark_node.runtimes.log_lines import Progress
from spark_node.storage.logs import ErrorReport
from vm.task.payloads import FailCode, Role, Windows
from vm.task.records import Ending, Failure, Result, Seat, Stage, Task, TaskState
from vm.task.settlement import ROWS, outcome_of

MAXIMUM, PRICE, GAS = eubc(5), eubc(3), eubc(4)
WINDOWS = Windows(3, 10, 20, 100, 50)
RETAIN = 200
STATE = JournalState(
    task="ab" * 32, wish="", genesis="", account="me", valid_until=9, posted_s=0, program="p", runtime="wasi",
    maximum=MAXIMUM, output="", check="", pass_mark=60, cloud_hour=0, place="", input_digest="",
    input_bytes=0, fees=1_234,
)  # fmt: skip


def sight(seat: Seat | None, state: int = TaskState.FINAL, ending: int = 0, offers: int = 0) -> Sight:
    """A task with this seat at height 60."""
    role = Role("main", 1, True, MAXIMUM, NOTHING_ASKED)
    task = Task(
        bytes(20), 0, 0, (role,), 0, (), (), WINDOWS, 0, False, None, bytes(32), bytes(32), 10, state, offers,
        MAXIMUM, eubc(1) // 100, None, 0, 0, ending, 60,
    )  # fmt: skip
    return Sight(60, b"\xab" * 32, task, seat, 13)


def seat_in(stage: Stage, failure: Failure | None = None) -> Seat:
    """A seat that started at 20 and promised 40 blocks."""
    result = Result(bytes(32), 9, bytes(32), bytes(32)) if failure is None else None
    return Seat(
        bytes(20), 0, PRICE, 40, 0, 0, GAS, 0, 0, stage, 20, 100, 20, 40, None, None,
        result if stage == Stage.REVIEW else None, failure, None,
    )  # fmt: skip


def ended(ending: Ending) -> Sight:
    """A task that ended so."""
    before = sight(seat_in(Stage.RUNNING))
    assert before.seat is not None
    outcome = outcome_of(before.task, before.seat, ending, 40, 60)
    return sight(replace(before.seat, stage=Stage.CLOSED, outcome=outcome))


@pytest.mark.parametrize("ending", list(ROWS), ids=lambda e: e.name.lower())
def test_the_final_figures_of_every_ending_add_up_to_what_was_reserved(ending: Ending) -> None:
    closing = story.close(ended(ending), STATE, RETAIN)
    money = {name: int(closing.facts[name]) for name in ("paid", "fee", "burned", "returned", "reserved")}
    assert money["reserved"] == money["paid"] + money["fee"] + money["burned"] + money["returned"]
    assert f"{format_eubc(money['returned'])} EUBC came back" in closing.money
    assert "deposit of 0.01 EUBC returns with block 260" in closing.money
    assert closing.is_good == (ending in (Ending.ACCEPTED, Ending.ACCEPTED_BY_SILENCE))


def test_the_applications_fault_and_the_sparks_never_share_a_sentence() -> None:
    def whys(*endings: Ending) -> set[str]:
        return {story.close(ended(ending), STATE, RETAIN).why for ending in endings}

    application = whys(Ending.FAILURE_AGREED, Ending.FAILURE_UNANSWERED)
    spark = whys(Ending.START_TIMEOUT, Ending.RELEASED)
    requester = whys(Ending.CANCELLED, Ending.GRANT_TIMEOUT)
    undecided = whys(Ending.DECLINED, Ending.FAILURE_REJECTED, Ending.REJECTED)
    for one, other in combinations((application, spark, requester, undecided), 2):
        assert not one & other
    assert all("application" not in why.lower() for why in spark)
    assert all("vanished" not in why for why in application | requester | undecided)


def test_a_vanished_spark_is_named_with_block_refund_and_what_it_loses() -> None:
    closing = story.close(ended(Ending.RUN_TIMEOUT), STATE, RETAIN)
    assert closing.why == (
        "The spark vanished at block 60. Refunded 5 EUBC; 0.9 EUBC of its deposit is burned when the epoch "
        "closes, unless that was an outage."
    )


def test_a_command_that_is_not_found_is_named() -> None:
    seat = seat_in(Stage.REVIEW, Failure(FailCode.EXIT, 127, bytes(32), bytes(32)))
    report = ErrorReport(127, "command not found (exit 127): eho", b"")
    assert story.failure_sentence(seat, report) == "Your command was not found (exit 127): eho."
    costs = story.failure_costs(sight(seat, TaskState.ACTIVE))
    assert costs == "The spark is not at fault; you pay 1.5 EUBC."
    assert story.failure_sentence(seat, None) == "Your program ended with an error of its own (exit 127)."


def test_what_the_spark_adds_to_its_sentence_is_told() -> None:
    """A trap or a refused module is the requester's to mend, so its name must arrive."""
    seat = seat_in(Stage.REVIEW, Failure(FailCode.FORBIDDEN, 159, bytes(32), bytes(32)))
    report = ErrorReport(159, "The program asked for something (exit 159). (it imports env.now)", b"")
    assert story.failure_sentence(seat, report).endswith("(exit 159): it imports env.now.")


@pytest.mark.parametrize("code", list(FailCode))
def test_every_kind_of_failure_has_its_words(code: FailCode) -> None:
    seat = seat_in(Stage.REVIEW, Failure(code, 137, bytes(32), bytes(32)))
    sentence = story.failure_sentence(seat, ErrorReport(137, "x", b""))
    assert sentence.startswith("Your program")
    assert sentence.endswith("(exit 137).")


def test_rejecting_says_that_nobody_gets_what_is_burned() -> None:
    words = story.reject_words(sight(seat_in(Stage.REVIEW), TaskState.ACTIVE))
    assert words == ("the 3 EUBC are burned: you do not get them back, the spark does not get them")
    assert story.answers_words(sight(seat_in(Stage.REVIEW), TaskState.ACTIVE)).startswith("3 EUBC go to")
    assert story.reject_words(sight(None, TaskState.OPEN)) == "there is nothing to answer"


def test_an_unmatched_task_says_why_and_costs_nothing() -> None:
    expired = story.close(sight(None, ending=Ending.EXPIRED), STATE, RETAIN)
    assert expired.why.startswith("No spark offered by block 13")
    assert expired.facts["spent"] == "0"
    chosen = story.close(sight(None, ending=Ending.EXPIRED, offers=2), STATE, RETAIN)
    assert "Nobody was chosen" in chosen.why
    assert ("image" in expired.why) == (STATE.runtime == "docker")
    contained = story.close(sight(None, ending=Ending.EXPIRED), replace(STATE, runtime="docker"), RETAIN)
    assert "none may have the image" in contained.why, "a wrong name is not a low price"
    cancelled = story.close(sight(None, ending=Ending.CANCELLED_OPEN), STATE, RETAIN)
    assert cancelled.why.startswith("You cancelled")


def test_the_running_cost_is_what_cancelling_at_once_would_take() -> None:
    running = sight(seat_in(Stage.RUNNING), TaskState.ACTIVE)
    assert story.cost_now(running) == PRICE, "forty blocks were promised, forty have passed"
    quote = story.cancel_quote(running)
    assert quote is not None
    assert quote.cost == PRICE
    assert story.cost_now(sight(None, TaskState.OPEN)) == 0
    assert story.cancel_quote(sight(seat_in(Stage.REVIEW), TaskState.ACTIVE)) is None


def test_lines_and_progress_are_cut_out_of_chunks() -> None:
    lines: list[str] = []
    progress: list[Progress] = []
    cutter = LineCutter(lines.append, progress.append)
    for chunk in (b"on", b"e\ntw", b"o\nEUB_PROGRESS 3/", b"4\n\xff\n", b"rest"):
        cutter.feed(chunk)
    cutter.close()
    assert lines == ["one", "two", "\N{REPLACEMENT CHARACTER}", "rest"]
    assert progress == [Progress(3, 4)]
