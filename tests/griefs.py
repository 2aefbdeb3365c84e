"""Griefs: ways to hurt the other side of a task, each played out, with what it costs whom.

Here: the plays, and the table for docs/reference/griefs.md (`python -m tests.griefs` writes it).
Not here: the assertions (tests/unit/test_task_griefs.py).
Figures are of a task of at most 5 EUBC at 4 EUBC on the way `none`, promised in 10 blocks; fees of
transactions and deposits that return are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from consensus.types.amounts import format_eubc
from tests.market import (
    REQUESTER,
    SPARK,
    START_BALANCE,
    Market,
    accept_of,
    cancel_of,
    decline_of,
    deliver_of,
    fail_of,
    reject_of,
    release_of,
)
from vm.spark import RETIRED

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "griefs.md"


class Grief(NamedTuple):
    """A play: who attacks whom, and how."""

    name: str
    attacker: bytes
    victim: bytes
    play: Callable[[Market], None]
    is_gap: bool = False
    """The attacker gains: said openly, with what protects."""


class Cost(NamedTuple):
    """Grains that a play moved."""

    attacker_gains: int
    victim_gains: int


def never_grant(market: Market) -> None:
    """Win a spark's time and leave it waiting."""
    market.until(market.seat(market.matched()).deadline + 1)


def cancel_match(market: Market) -> None:
    """Take a spark out of the market and send it away."""
    market.send(REQUESTER, cancel_of(market.matched()))


def cancel_reservation(market: Market) -> None:
    """Block a spark's evening and cancel."""
    market.send(REQUESTER, cancel_of(market.matched(not_before=15)))


def grant_nothing(market: Market) -> None:
    """Grant an envelope that does not open."""
    market.send(SPARK, decline_of(market.starting()))


def decline_good_grant(market: Market) -> None:
    """Decline a grant that was in order."""
    market.send(SPARK, decline_of(market.starting()))


def cancel_at_last(market: Market) -> None:
    """Cancel when the work is nearly done."""
    task_id = market.running()
    market.mine(8)
    market.send(REQUESTER, cancel_of(task_id))
    market.mine(3)


def fetch_and_cancel(market: Market) -> None:
    """See the upload, then cancel before it is announced."""
    task_id = market.running()
    market.mine(8)
    market.send(REQUESTER, cancel_of(task_id))
    market.mine(2)
    market.send(SPARK, deliver_of(task_id))
    market.until(market.seat(task_id).deadline + 1)


def reject_good_result(market: Market) -> None:
    """Use the result and call it bad."""
    market.send(REQUESTER, reject_of(market.delivered()))


def reject_true_failure(market: Market) -> None:
    """Send a broken program and deny it."""
    market.send(REQUESTER, reject_of(market.failed()))


def never_start(market: Market) -> None:
    """Win a task and not start it."""
    market.until(market.seat(market.starting()).deadline + 1)


def vanish(market: Market) -> None:
    """Start and never answer again."""
    market.until(market.seat(market.running()).deadline + 1)


def release_at_last(market: Market) -> None:
    """Hold a task to its last block, then give it up."""
    task_id = market.running()
    market.until(market.seat(task_id).deadline)
    market.send(SPARK, release_of(task_id))


def release_reservation(market: Market) -> None:
    """Promise an evening and withdraw."""
    market.send(SPARK, release_of(market.matched(not_before=15)))


def garbage_seen(market: Market) -> None:
    """Deliver garbage to a requester that looks."""
    market.send(REQUESTER, reject_of(market.delivered()))


def garbage_unseen(market: Market) -> None:
    """Deliver garbage to a requester that does not look."""
    market.until(market.seat(market.delivered()).deadline + 1)


def false_failure_seen(market: Market) -> None:
    """Claim a failure that was none, of a requester that knows its program."""
    market.send(REQUESTER, reject_of(market.failed()))


def false_failure_unseen(market: Market) -> None:
    """Claim a failure that was none, of a requester that believes it."""
    market.send(REQUESTER, accept_of(market.failed()))


def fail_at_once(market: Market) -> None:
    """Claim a failure in the block of the start, of a requester that believes it."""
    task_id = market.running()
    market.send(SPARK, fail_of(task_id))
    market.until(market.seat(task_id).deadline + 1)


def bid_without_means(market: Market) -> None:
    """Win with a bid that cannot be kept, so that the task expires."""
    task_id = market.post()
    market.offer(task_id)
    market.register(SPARK, status=RETIRED)
    market.mine(market.task(task_id).windows.offer + 1)


GRIEFS = (
    Grief("a requester never grants", REQUESTER, SPARK, never_grant),
    Grief("a requester cancels after the match", REQUESTER, SPARK, cancel_match),
    Grief("a requester cancels a reservation", REQUESTER, SPARK, cancel_reservation),
    Grief("a requester grants what does not open", REQUESTER, SPARK, grant_nothing),
    Grief("a requester cancels when the work is nearly done", REQUESTER, SPARK, cancel_at_last),
    Grief("a requester sees the upload and cancels", REQUESTER, SPARK, fetch_and_cancel),
    Grief("a requester rejects a good result", REQUESTER, SPARK, reject_good_result),
    Grief("a requester denies that its program failed", REQUESTER, SPARK, reject_true_failure),
    Grief("a spark declines a good grant", SPARK, REQUESTER, decline_good_grant),
    Grief("a spark never starts", SPARK, REQUESTER, never_start),
    Grief("a spark vanishes while it runs", SPARK, REQUESTER, vanish),
    Grief("a spark gives up in the last block", SPARK, REQUESTER, release_at_last),
    Grief("a spark gives a reservation back", SPARK, REQUESTER, release_reservation),
    Grief("a spark delivers garbage and is rejected", SPARK, REQUESTER, garbage_seen),
    Grief("a spark claims a false failure and is rejected", SPARK, REQUESTER, false_failure_seen),
    Grief("a spark wins with a bid it cannot keep", SPARK, REQUESTER, bid_without_means),
    Grief("a spark delivers garbage and nobody looks", SPARK, REQUESTER, garbage_unseen, True),
    Grief("a spark's false failure is believed", SPARK, REQUESTER, false_failure_unseen, True),
    Grief("a spark's instant failure is believed", SPARK, REQUESTER, fail_at_once, True),
)


def play(grief: Grief) -> Cost:
    """Play it to the end, the epoch's close and the return of every deposit included."""
    market = Market()
    grief.play(market)
    market.mine(market.params.market.task_retain_blocks + market.params.chain.epoch_blocks)
    supply = market.state.supply
    assert (supply.escrow, supply.gas, supply.deposits) == (0, 0, 0), "nothing is held any more"
    return Cost(market.balance(grief.attacker) - START_BALANCE, market.balance(grief.victim) - START_BALANCE)


def page() -> str:
    """The table as a page."""
    lines = [
        "# Griefs and what they cost",
        "",
        "Each row was played on a real market (`tests/griefs.py`): a task of at most 5 EUBC at 4 EUBC on",
        "the way `none`. Amounts are EUBC; − is a loss. A play in which the attacker gains fails the build",
        "unless it is listed as a gap.",
        "",
        "| grief | the attacker | the other side |",
        "|---|---|---|",
    ]
    gaps = [
        "",
        "## Gaps",
        "",
        "On the way `none` nobody checks for a requester that does not look; it can look before the review",
        "window ends, and reject.",
        "",
        "| gap | the attacker | the other side |",
        "|---|---|---|",
    ]
    for grief in GRIEFS:
        cost = play(grief)
        row = f"| {grief.name} | {_signed(cost.attacker_gains)} | {_signed(cost.victim_gains)} |"
        (gaps if grief.is_gap else lines).append(row)
    return "\n".join(lines + gaps) + "\n"


def _signed(grains: int) -> str:
    return "0" if grains == 0 else f"{'+' if grains > 0 else '−'}{format_eubc(abs(grains))}"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
