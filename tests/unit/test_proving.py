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
from consensus.types.errors import Fault
from consensus.types.params import DEV
from consensus.types.wording import Wording
from spark_node.chain import OwnSpark, ProvingWindow, Refused
from spark_node.folder import Folder
from spark_node.gpus import Gpus
from spark_node.inventory import Gpu, Machine
from spark_node.policy import default_policy_text, parse_policy
from spark_node.prover.order import NOT_BEGUN, Answer, Assignment, Order, Progress
from spark_node.prover.process import PROVER_FAILED, Tell
from spark_node.proving import BUDGET_MS_LEAST, Proving
from spark_node.search_file import clear_searches, save_search, saved_search, search_file
from spark_node.workplace import Heights, Workplace
from tests.proving import HARDWARE
from vm.resource import ALREADY_PROVED, NO_OPEN_WINDOW, SPARK_BARRED

POLICY = parse_policy(default_policy_text({("proving", "threads"): 1}))
MACHINE = Machine(8, 16 * 2**30, (), "There is no NVIDIA driver here.", "not configured")
CARD = Gpu(0, "Example 4090", "GPU-0", 24 * 2**30, 2**30, 0, ())
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
        self.heights = Heights()
        self.heights.rise(101, 0)
        self.machine, self.gpus, self.policy = MACHINE, Gpus(()), POLICY
        self.lost: dict[str, Fault] = {}
        """By backend: what ends a search with it after its reports."""
        self.held: list[bool] = []
        """What was asked of the tasks: to stand still, to go on."""
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
        if order.backend in self.lost:
            raise self.lost[order.backend]
        return Answer(make_proof(order.assignment.window, []), 0, 0, "numpy")

    def look(self, proving: Proving, seen: OwnSpark) -> None:
        """One look of the agent, which has seen the spark earlier as `seen`."""

        async def hold(is_held: bool) -> None:
            self.held.append(is_held)

        self.proving = proving
        trio.run(proving.look, cast("Workplace", self), self.policy, seen, hold)


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
    with pytest.RaisesGroup(CutOff):
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
    desk.heights.rise(WINDOW.search_until, 0)
    desk.look(Proving(desk.prove), desk.now)
    assert (desk.orders[-1].begun, desk.proofs) == (FAR, 1)
    empty = Desk(spark(400), tmp_path / "other")
    empty.heights.rise(WINDOW.search_until, 0)
    empty.look(Proving(empty.prove), empty.now)
    assert not empty.orders


def test_the_status_says_how_far_a_search_is(tmp_path: Path) -> None:
    """One block of the window's four is over when the agent begins."""
    desk = Desk(spark(400), tmp_path)
    desk.reports = [FAR]
    desk.look(Proving(desk.prove), desk.now)
    assert desk.seen == ["window 100: 25 %, 2 shares"]
    assert desk.proving.now == ""


# --------------------------------------------------------------------------- a backend that is lost

GPU_POLICY = parse_policy(default_policy_text({("proving", "backend"): "torch"}))
LOST = Fault(PROVER_FAILED, why="CUDA error: the launch failed")


def test_a_card_that_falls_away_in_a_search_leaves_its_shares_to_numpy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second search goes on where the first one stopped, within the window's time; the owner is told."""
    desk = Desk(spark(400), tmp_path)
    desk.policy, desk.lost, desk.reports = GPU_POLICY, {"torch": LOST}, [FAR]
    desk.look(Proving(desk.prove), desk.now)
    assert [(order.backend, order.begun) for order in desk.orders] == [("torch", NOT_BEGUN), ("numpy", FAR)]
    assert desk.proofs == 1
    said = capsys.readouterr().out
    assert "a backend is lost; numpy goes on" in said
    assert "CUDA error: the launch failed" in said


def test_whoever_loses_every_backend_misses_the_window_and_reads_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(spark(400), tmp_path)
    desk.policy, desk.lost = GPU_POLICY, {"torch": LOST, "numpy": Fault(PROVER_FAILED, why="no memory")}
    desk.look(Proving(desk.prove), desk.now)
    assert desk.proofs == 0
    assert desk.proving.last.startswith("the window of block 100 was missed: 3283 prover_failed")
    assert "no memory" in desk.proving.last
    assert "advice=" in capsys.readouterr().out


def test_a_card_that_hangs_leaves_half_of_the_grace_to_numpy(tmp_path: Path) -> None:
    """Its child is ended, and what it had reported is sent; the next search ends earlier."""
    desk = Desk(spark(400), tmp_path)
    desk.policy, desk.window_now = GPU_POLICY, WINDOW._replace(last_proof=112)

    async def prove(order: Order, threads: int, tell: Tell) -> Answer:
        await tell(FAR)
        if order.backend == "torch":
            desk.orders.append(order)
            desk.heights.rise(108, 0)
            await trio.sleep_forever()
        return await desk.prove(order, threads, tell)

    desk.look(Proving(prove), desk.now)
    assert [(order.backend, order.budget_ms) for order in desk.orders] == [
        ("torch", 1500),
        ("numpy", BUDGET_MS_LEAST),
    ]
    assert desk.proofs == 1


def test_a_backend_without_an_answer_by_the_last_block_is_a_window_missed(tmp_path: Path) -> None:
    desk = Desk(spark(400), tmp_path)

    async def prove(order: Order, threads: int, tell: Tell) -> Answer:
        desk.heights.rise(WINDOW.last_proof, 0)
        return await trio.sleep_forever()

    desk.look(Proving(prove), desk.now)
    assert desk.proofs == 0
    assert "was missed: the backend numpy had no answer by block 106" in desk.proving.last
    proving, first = desk.proving, desk.proving._reserve_ms
    assert first == DEV.chain.block_interval_ms, "the next search leaves more time"
    desk.window_now = WINDOW._replace(window=120, search_until=124, last_proof=126)
    desk.heights.rise(121, 0)
    proving._prove = desk.prove
    desk.look(proving, desk.now)
    assert desk.orders[-1].budget_ms == 3 * DEV.chain.block_interval_ms - first
    assert desk.proofs == 1


# ------------------------------------------------------------------------- what runs on the machine


@pytest.mark.parametrize(
    ("changes", "stands_still"),
    [
        ({("proving", "threads"): 1}, False),
        ({("proving", "threads"): 2}, True),
        ({}, True),
        ({("machine", "cpus"): 1}, False),
        ({("proving", "pause_tasks"): "never"}, False),
        ({("proving", "pause_tasks"): "always", ("proving", "threads"): 1}, True),
    ],
    ids=["the spare processor", "a lent processor", "by default", "few lent", "never", "always"],
)
def test_tasks_stand_still_when_the_prover_wants_what_they_were_promised(
    changes: dict[tuple[str, str], Any], stands_still: bool, tmp_path: Path
) -> None:
    """Eight processors of which seven are lent, unless the policy says otherwise."""
    desk = Desk(spark(400), tmp_path)
    if changes == {("machine", "cpus"): 1}:
        changes = changes | {("proving", "threads"): 7}
    desk.policy = parse_policy(default_policy_text(changes))
    desk.look(Proving(desk.prove), desk.now)
    assert desk.held == ([True, False] if stands_still else [])


def test_a_prover_on_a_gpu_has_it_alone(tmp_path: Path) -> None:
    desk = Desk(spark(400), tmp_path)
    policy = parse_policy(default_policy_text({("proving", "backend"): "torch", ("proving", "threads"): 1}))
    desk.policy = policy
    desk.look(Proving(desk.prove), desk.now)
    assert desk.held == [], "on a machine without one, torch is a prover on processors like numpy"
    desk = Desk(spark(400), tmp_path / "other")
    desk.policy, desk.machine = policy, MACHINE._replace(gpus=(CARD,))
    desk.look(Proving(desk.prove), desk.now)
    assert desk.held == [True, False]


# ---------------------------------------------------------------------------- what the log advises


@pytest.mark.parametrize(
    ("reason", "level", "holds"),
    [
        (NO_OPEN_WINDOW, "warning", "from now on a search ends 500 ms earlier"),
        (ALREADY_PROVED, "info", "the window is proved already"),
        (SPARK_BARRED, "warning", "do this"),
    ],
)
def test_a_refused_proof_comes_with_advice(
    reason: Any, level: str, holds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No warning leaves its reader alone; whoever has proved has nothing to be warned of."""
    desk = Desk(spark(400), tmp_path)
    desk.refusal = Refused(Wording(reason.code, reason.name, "it is so", "do this", {}), 10)
    desk.look(Proving(desk.prove), desk.now)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if reason.name in line]
    assert f"[{level}" in line
    assert holds in line
