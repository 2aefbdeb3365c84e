"""`eubchain spark …` on a home whose agent is not running: policy, wishes, history, earnings."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from consensus.types.amounts import eubc
from spark_node.folder import PAUSED, Folder, release_wish, write_durably
from spark_node.journal import Journal, KeptEnd, KeptResult, Moment, Money, SeatNote
from spark_node.policy import default_policy_text, parse_policy
from tests.cli_world import Cli

TASK, OTHER = bytes([0xAB]) * 32, bytes([0xCD]) * 32


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """A home that was set up as a spark."""
    cli = Cli(tmp_path / "home", monkeypatch, capsys)
    folder = folder_of(cli)
    folder.create()
    folder.policy.write_text(default_policy_text())
    return cli


def folder_of(cli: Cli) -> Folder:
    """The spark's directory."""
    return Folder(cli.home / "spark")


def keep(cli: Cli, *notes: SeatNote) -> Journal:
    """Put notes into the journal."""
    journal = Journal(folder_of(cli))
    for note in notes:
        journal.keep(note)
    return journal


def note_of(task: bytes = TASK) -> SeatNote:
    """A seat that was won."""
    return SeatNote(
        task, 0, bytes(20), eubc(3), eubc(2), 10, 1_000, moments=[Moment(1_000, 5, "won the seat")]
    )


@pytest.mark.parametrize("verb", ["status", "pause", "resume", "history", "earnings", "start", "retire"])
def test_a_home_without_a_spark_is_told_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """Every verb, the same words."""
    cli = Cli(tmp_path / "empty", monkeypatch, capsys)
    result = cli("spark", verb, "--json")
    assert result.code == 1
    assert result.error["name"] == "spark_not_set_up"
    assert "spark init" in result.error["hint"]


def test_set_changes_the_policy_in_place_and_checks_it_first(cli: Cli) -> None:
    """A value that the agent would refuse never reaches the file."""
    path = folder_of(cli).policy
    path.write_text("# mine\n" + default_policy_text())
    (folder_of(cli).status).write_bytes(msgspec.json.encode({"lent": {"gpus": 1}}))
    assert cli("spark", "set", "price", "2.60").code == 0
    text = path.read_text()
    assert text.startswith("# mine\n")
    assert parse_policy(text).gpu_hour == 260_000_000
    assert cli("spark", "set", "machine.hours", "22:00-07:00,12:00-13:00").code == 0
    assert len(parse_policy(path.read_text()).hours) == 2
    assert cli("spark", "set", "idle.enabled", "true").code == 0
    assert parse_policy(path.read_text()).idle.enabled
    before = path.read_text()
    refused = cli("spark", "set", "tasks.slots", "99", "--json")
    assert refused.error["name"] == "policy_invalid"
    assert cli("spark", "set", "tasks.slotz", "3", "--json").error["sentence"].endswith("tasks.slots.")
    assert cli("spark", "set", "idle.enabled", "maybe").code == 2
    assert path.read_text() == before


def test_pause_and_resume_leave_and_take_a_wish(cli: Cli) -> None:
    """They work whether or not the agent runs."""
    assert cli("spark", "pause", "--json").json == {"paused": True}
    assert folder_of(cli).has_wish(PAUSED)
    assert cli("spark", "resume", "--json").json == {"paused": False, "was_paused": True}
    assert not folder_of(cli).has_wish(PAUSED)


def test_release_asks_and_leaves_a_wish_for_seats_that_can_be_given_up(cli: Cli) -> None:
    """A seat whose result is sealed is not thrown away."""
    sealed = note_of(OTHER)
    sealed.result = KeptResult(bytes(32), 1, "AGE-SECRET-KEY-1", bytes(32), bytes(16), 0, 5)
    keep(cli, note_of(), sealed)
    assert cli("spark", "release").code == 2
    assert not folder_of(cli).has_wish(release_wish(TASK, 0))
    done = cli("spark", "release", "--yes", "--json")
    assert done.json == {"released": [TASK.hex()]}
    assert folder_of(cli).has_wish(release_wish(TASK, 0))
    assert cli("spark", "release", "ff", "--yes", "--json").error["name"] == "no_such_seat_here"


def test_history_tells_stage_rule_evidence_and_next_step(cli: Cli) -> None:
    """A lost deposit is explained, not only counted."""
    note = note_of()
    note.tell(2_000, 6, "started", bytes([9]) * 32)
    note.end = KeptEnd("run_timeout", "spark", 90, 0, eubc(1), 0, eubc(1))
    keep(cli, note)
    shown = cli("spark", "history", "abab")
    assert "at fault: spark" in shown.out
    assert "nothing was delivered in time" in shown.out
    assert "gas held until the epoch closes 1" in shown.out
    assert "tx 0909" in shown.out
    assert "keep the agent running" in shown.out
    told = cli("spark", "history", "abab", "--json").json
    assert (told["ending"], told["gas_held"]) == ("run_timeout", str(eubc(1)))
    assert cli("spark", "history").out.count("run_timeout") == 1
    assert "AGE-SECRET-KEY" not in cli("spark", "history", "abab", "--json").out


def test_earnings_count_paid_and_failed_work_apart(cli: Cli) -> None:
    """Every movement once; a loss is its own line."""
    import time

    now = time.time_ns() // 1_000_000
    paid, failed = note_of(), note_of(OTHER)
    paid.end = KeptEnd("accepted", "nobody", 9, eubc(2), eubc(2), 0, 0)
    failed.end = KeptEnd("released", "spark", 9, 0, eubc(2) - 7, 7, 0)
    for note in (paid, failed):
        note.tell(now, 9, "settled")
    journal = keep(cli, paid, failed)
    for kind, grains in (
        ("fee", -3),
        ("gas", -eubc(4)),
        ("paid", eubc(2)),
        ("gas", eubc(4) - 7),
        ("mark", 0),
    ):
        journal.pay(Money(now, 9, kind, grains))
    sums = cli("spark", "earnings", "--json").json
    assert (sums["paid"], sums["paid_tasks"], sums["failed_tasks"]) == (str(eubc(2)), 1, 1)
    assert (sums["lost"], sums["fees"], sums["change"]) == ("7", "3", str(eubc(2) - 10))
    assert "1 tasks, 0.00000007 EUBC" in cli("spark", "earnings").out


def test_status_of_an_agent_that_never_ran_says_so(cli: Cli) -> None:
    """And names the command that follows."""
    error = cli("spark", "status", "--json").error
    assert error["name"] == "agent_never_ran"
    assert "spark start" in error["hint"]


def test_status_reads_what_the_agent_wrote_last(cli: Cli) -> None:
    """No node is asked; a stopped agent is said to be stopped."""
    facts = {
        "today": {
            "paid_tasks": 3,
            "paid": str(1_120_000_000),
            "failed_tasks": 1,
            "lost": "40000000",
            "last_failed": "91bd" * 16,
        },
        "market_sentence": "14 seen, 5 offered, 2 won",
        "machine": "A GPU spark",
        "held_why": "",
        "phase": "waiting",
        "seats": [],
        "registered": True,
        "chain": "ok",
        "proving": "window 1234: 37 %, 12 shares",
        "proved": "30 shares in the window of block 900",
        "policy_trouble": "",
        "try": "eubchain spark set price 2.6",
    }
    write_durably(folder_of(cli).status, msgspec.json.encode(facts))
    out = cli("spark", "status").out
    assert (
        "3 tasks today, 11.2 EUBC · 1 failed, 0.4 EUBC lost (eubchain spark history 91bd91bd91bd91bd)" in out
    )
    assert "14 seen, 5 offered, 2 won" in out
    assert "the agent is not running" in out
    assert "try       eubchain spark start" in out
    assert "proved    30 shares in the window of block 900" in out
    with folder_of(cli).locked():
        out = cli("spark", "status").out
    assert "try       eubchain spark set price 2.6" in out
    assert "proving   window 1234: 37 %, 12 shares" in out
