"""What the agent asks of its prover: D as it is in the open window, and time kept back after a late proof."""

from __future__ import annotations

import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from msgspec.structs import replace

from consensus.resource.proof import make_proof
from consensus.types.params import DEV
from consensus.types.wording import Wording
from spark_node.chain import OwnSpark, ProvingWindow, Refused
from spark_node.folder import Folder
from spark_node.policy import Policy
from spark_node.prover.order import NOT_BEGUN, Answer, Assignment, Order, Progress
from spark_node.prover.process import Tell
from spark_node.proving import BUDGET_MS_LEAST, Proving
from spark_node.search_file import clear_searches, save_search, saved_search, search_file
from spark_node.workplace import Workplace
from tests.proving import HARDWARE
from vm.resource import ALREADY_PROVED, NO_OPEN_WINDOW

POLICY = cast("Policy", SimpleNamespace(proving=True, prover_backend="numpy", prover_threads=1))
WINDOW = ProvingWindow(100, 5, 104, 106, bytes(32), False)


def spark(difficulty: int, banned_until: int = 0) -> OwnSpark:
    """The agent's own spark."""
    return OwnSpark(True, "age1", HARDWARE, 1, True, 0, 0, difficulty, 1, banned_until)


class CutOff(Exception):
    """The agent's process ends here."""


class Desk:
    """A workplace whose chain says what the test wants."""

    def __init__(self, now: OwnSpark, root: Path) -> None:
        self.now, self.window_now = now, WINDOW
        self.folder = Folder(root)
        self.reports: list[Progress] = []
        """What the prover tells before it answers."""
        self.is_cut_off = False
        """Whether the agent ends while the prover searches."""
        self.seen: list[str] = []
        """What the status said after each report."""
        self.refusal: Refused | None = None
        self.orders: list[Order] = []
        self.proofs = 0
        self.heights = SimpleNamespace(height=101)
        self.chain = SimpleNamespace(address=bytes(20), params=DEV, window=self._window, spark=self._spark)

    async def _window(self) -> ProvingWindow:
        return self.window_now

    async def _spark(self) -> OwnSpark:
        return self.now

    async def submit(self, task: bytes, payload: Any) -> None:
        self.proofs += 1
        if self.refusal is not None:
            raise self.refusal

    async def prove(self, order: Order, threads: int, tell: Tell) -> Answer:
        self.orders.append(order)
        for report in self.reports:
            await tell(report)
            self.seen.append(self.proving.now)
        if self.is_cut_off:
            raise CutOff
        return Answer(make_proof(order.assignment.window, []), 0, 0, "numpy")

    def look(self, proving: Proving, seen: OwnSpark) -> None:
        """One look of the agent, which has seen the spark earlier as `seen`."""

        async def hold(is_held: bool) -> None:
            raise AssertionError("the processor's prover freezes nothing")

        self.proving = proving
        trio.run(proving.look, cast("Workplace", self), POLICY, seen, hold)


def test_difficulty_is_that_of_the_open_window_not_what_the_agent_saw_before(tmp_path: Path) -> None:
    """A close between two looks quadrupled D: shares found at the old one would be slashed."""
    desk = Desk(spark(400), tmp_path)
    desk.look(Proving(desk.prove), spark(100))
    assert [order.assignment.difficulty for order in desk.orders] == [400]
    assert desk.proofs == 1, "a search that finds nothing is sent too"


def test_a_spark_barred_since_the_agent_looked_does_not_search(tmp_path: Path) -> None:
    desk = Desk(spark(400, banned_until=9), tmp_path)
    desk.look(Proving(desk.prove), spark(400))
    assert not desk.orders


@pytest.mark.parametrize(("reason", "kept_ms"), [(NO_OPEN_WINDOW, 500), (ALREADY_PROVED, 0)])
def test_after_a_late_proof_time_is_kept_back_for_sending(reason: Any, kept_ms: int, tmp_path: Path) -> None:
    desk = Desk(spark(400), tmp_path)
    desk.refusal = Refused(Wording(reason.code, reason.name, "", "", {}), 10)
    proving = Proving(desk.prove)
    desk.look(proving, desk.now)
    desk.window_now = WINDOW._replace(window=120, search_until=104)
    for opened in (120, 121, 122, 123):
        desk.window_now = desk.window_now._replace(window=opened)
        desk.look(proving, desk.now)
    first, second, *_, last = [order.budget_ms for order in desk.orders]
    assert first - second == kept_ms
    assert last == (BUDGET_MS_LEAST if kept_ms else first)


# ------------------------------------------------------------------------------- after a restart

FAR = Progress(((1, 2), (3, 40)), 0, 8, 48, 384)


def cut_off(desk: Desk) -> None:
    """An agent searches as far as `FAR` and is gone."""
    desk.reports, desk.is_cut_off = [replace(FAR, next_panel=24), FAR], True
    with pytest.raises(CutOff):
        desk.look(Proving(desk.prove), desk.now)
    desk.reports, desk.is_cut_off = [], False


def test_a_search_that_was_cut_off_goes_on_where_it_stopped(tmp_path: Path) -> None:
    desk = Desk(spark(400), tmp_path)
    cut_off(desk)
    (kept,) = desk.folder.proving.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert kept.name == f"100-{bytes(20).hex()}"
    desk.look(Proving(desk.prove), desk.now)
    assert [order.begun for order in desk.orders] == [NOT_BEGUN, FAR]
    assert not list(desk.folder.proving.iterdir()), "the proof is final: nothing is left to go on with"


@pytest.mark.parametrize(
    "changes",
    [{"difficulty": 100}, {"seed": bytes([1]) * 32}],
    ids=["another difficulty", "another seed"],
)
def test_what_was_found_for_something_else_is_not_used(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A chain that was set up anew may open a window at the same height."""
    folder, asked = Folder(tmp_path), Assignment(1, 100, bytes(32), bytes(20), 400)
    save_search(folder, asked, FAR)
    assert saved_search(folder, asked) == FAR
    assert saved_search(folder, replace(asked, **changes)) == NOT_BEGUN


def test_a_damaged_file_is_as_good_as_none(tmp_path: Path) -> None:
    folder, asked = Folder(tmp_path), Assignment(1, 100, bytes(32), bytes(20), 400)
    save_search(folder, asked, FAR)
    path = search_file(folder, asked)
    path.write_bytes(path.read_bytes()[:-1])
    assert saved_search(folder, asked) == NOT_BEGUN


def test_the_file_goes_when_its_window_takes_no_more_proofs(tmp_path: Path) -> None:
    desk = Desk(spark(400), tmp_path)
    cut_off(desk)
    clear_searches(desk.folder, 100)
    assert list(desk.folder.proving.iterdir()), "of the running window it stays"
    desk.window_now = cast("ProvingWindow", None)
    desk.look(Proving(desk.prove), desk.now)
    assert not list(desk.folder.proving.iterdir())


def test_shares_found_before_a_restart_are_sent_though_the_time_to_search_is_over(tmp_path: Path) -> None:
    """As long as the window takes proofs; without any there is nothing to send in a hurry."""
    desk = Desk(spark(400), tmp_path)
    cut_off(desk)
    desk.heights.height = WINDOW.search_until
    desk.look(Proving(desk.prove), desk.now)
    assert (desk.orders[-1].begun, desk.proofs) == (FAR, 1)
    empty = Desk(spark(400), tmp_path / "other")
    empty.heights.height = WINDOW.search_until
    empty.look(Proving(empty.prove), empty.now)
    assert not empty.orders


def test_the_status_says_how_far_a_search_is(tmp_path: Path) -> None:
    """One block of the window's four is over when the agent begins."""
    desk = Desk(spark(400), tmp_path)
    desk.reports = [FAR]
    desk.look(Proving(desk.prove), desk.now)
    assert desk.seen == ["window 100: 25 %, 2 shares"]
    assert desk.proving.now == ""
