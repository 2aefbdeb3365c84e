"""What an owner lends: the policy file, the decision about a task, the counts of `status`, idle rules."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

from consensus.types.amounts import eubc
from consensus.types.codec import encode
from consensus.types.errors import Fault
from consensus.types.params import DEV
from spark_node.chain import SeatView, TaskView
from spark_node.folder import Folder
from spark_node.job import SPEC, Spec
from spark_node.journal import Journal, KeptEnd, Moment, Money, SeatNote, read_money
from spark_node.market_notes import LOST, ROWS_MAX, STANDS, MarketNotes, Row, advice, market_sentence, tally
from spark_node.offering import ADVICE, WORDS, Bid, Lent, Refusal, Situation, WhyNot, decide
from spark_node.owner import IdleWatch, Observed
from spark_node.policy import (
    OPTIONS,
    IdleRules,
    Policy,
    PolicyFile,
    changed_text,
    default_policy_text,
    parse_policy,
)
from tests.market import REQUESTER, SPARK, post_of
from vm.spark import Hardware
from vm.task.payloads import Post, Resources, Windows
from vm.task.records import Stage
from vm.task.terms import gas_for, offer_deposit

GIBIBYTE = 2**30
TASK = bytes([5]) * 32
LENT = Lent(1, 24 * GIBIBYTE, 8_000, 32 * GIBIBYTE, 100 * GIBIBYTE, ("wasi", "docker"))
DECLARED = Hardware("rtx4090", 1, 24 * GIBIBYTE, 8, 32 * GIBIBYTE, 100 * GIBIBYTE)
NOW = Situation(SPARK, "deub", DEV, 100, 333_333_333, DECLARED, eubc(100), 0, 1, 720, None)
IMAGE = "docker.io/library/python@sha256:" + "a" * 64
WINDOWS = Windows(offer=10, grant=20, start=100, run=7_200, review=100)
"""An hour of blocks."""


def policy_of(**changes: Any) -> Policy:
    """The default policy with changes."""
    return parse_policy(default_policy_text())._replace(**changes)


def spec_of(**changes: Any) -> Spec:
    """A container's spec that LENT can run."""
    fields: dict[str, Any] = {
        "runtime": "docker",
        "image": IMAGE,
        "input_mount": "/input",
        "output_mount": "/output",
        "cpu_milli": 2_000,
        "memory_bytes": GIBIBYTE,
        "disk_bytes": GIBIBYTE,
        "gpus": 1,
        "input_bytes_max": GIBIBYTE,
        "output_bytes_max": GIBIBYTE,
        "recipient": "age1" + "q" * 58,
        "ports": (),
    }
    return Spec(**(fields | changes))


def task_of(spec: Spec | None = None, **changes: Any) -> TaskView:
    """An open task."""
    spec = spec or spec_of()
    fields: dict[str, Any] = {
        "windows": WINDOWS,
        "spec": encode(spec),
        "maximum": eubc(5),
        "resources": Resources(1, 8 * GIBIBYTE, 2, GIBIBYTE, GIBIBYTE),
    }
    post: Post = post_of(**(fields | changes))
    return TaskView(TASK, REQUESTER, post, SPEC.decode(post.spec), True, 0, 110, ())


# --------------------------------------------------------------------------------------- the file


def test_the_written_policy_reads_as_its_defaults_and_every_option_has_a_comment() -> None:
    """What `init` writes is a file that teaches."""
    text = default_policy_text()
    assert parse_policy(text) == parse_policy("")
    assert all(option.comment in text for option in OPTIONS)


@pytest.mark.parametrize(
    ("old", "new", "line_holds", "why"),
    [
        ("slots = 1", "slotz = 1", "slotz = 1", "the nearest is slots"),
        ("slots = 1", "slots = 65", "slots = 65", "must be from 1 to 64"),
        ('gpu_hour = "1"', 'gpu_hour = "1,5"', 'gpu_hour = "1,5"', "only digits and one point"),
        ('gpu_hour = "1"', "gpu_hour = 1", "gpu_hour = 1", "must be a text in quotes"),
        ("[machine]", "[machines]", "[machines]", "the nearest is machine"),
        ("hours = []", 'hours = ["25:00-07:00"]', "hours =", "is no span of time"),
        ('runtimes = ["wasi", "docker"]', 'runtimes = ["lxc"]', "runtimes =", "there is no runtime lxc"),
        ("enabled = false", "enabled = maybe", "enabled = maybe", "this is not TOML"),
    ],
)
def test_a_mistake_is_shown_with_its_line_and_a_caret(old: str, new: str, line_holds: str, why: str) -> None:
    """Whoever edits the file sees where he went wrong."""
    text = default_policy_text().replace(old, new)
    with pytest.raises(Fault) as caught:
        parse_policy(text)
    facts = caught.value.facts
    assert why in str(facts["why"])
    shown = str(facts["shown"]).splitlines()
    assert line_holds in shown[0]
    assert shown[1].strip() == "^"
    assert text.splitlines()[int(facts["line"]) - 1].strip() == shown[0].strip()


def test_a_changed_file_is_read_again_and_a_bad_one_keeps_the_last_good(tmp_path: Path) -> None:
    """An agent never stops for a typo."""
    path = tmp_path / "policy.toml"
    path.write_text(default_policy_text())
    file = PolicyFile(path)
    assert not file.refresh()
    path.write_text(default_policy_text().replace("slots = 1", "slots = 3"))
    assert file.refresh()
    assert file.policy.slots == 3
    path.write_text(default_policy_text().replace("slots = 1", "slotz = 4"))
    assert not file.refresh()
    assert file.policy.slots == 3
    assert file.trouble is not None
    path.write_text(default_policy_text().replace("slots = 1", "slots = 4 "))
    os.utime(path, ns=(1, 1))
    assert file.refresh()
    assert (file.policy.slots, file.trouble) == (4, None)


def test_an_option_is_changed_in_its_place_and_comments_stay() -> None:
    """`spark set` edits the owner's file, it does not write another."""
    text = '# mine\n[price]\n# dear\ngpu_hour = "1"\n\n[tasks]\nslots = 2\n'
    changed = changed_text(text, "price", "gpu_hour", "2.6")
    assert changed == text.replace('"1"', '"2.6"')
    assert parse_policy(changed_text(text, "price", "cpu_hour", "0.5")).cpu_hour == eubc(1) // 2
    assert parse_policy(changed_text(text, "idle", "enabled", True)).idle.enabled


def test_hours_may_pass_midnight() -> None:
    """A net café lends its machines at night."""
    policy = parse_policy(default_policy_text({("machine", "hours"): ("22:00-07:00",)}))
    assert policy.is_open(23 * 60)
    assert policy.is_open(6 * 60 + 59)
    assert not policy.is_open(7 * 60)
    assert policy_of().is_open(0)


# ----------------------------------------------------------------------------------- the decision


def test_an_offer_asks_for_the_promised_time_at_the_policys_price() -> None:
    """Half of an hour's run window, one GPU and two cores: half of the hourly prices."""
    bid = decide(policy_of(gpu_hour=eubc(4), cpu_hour=eubc(1)), LENT, NOW, task_of())
    assert isinstance(bid, Bid)
    assert bid.promise == 3_600
    assert bid.price == eubc(3)
    assert bid.gas == gas_for(DEV, NOW.kappa, eubc(5), eubc(3))
    assert bid.deposit == offer_deposit(DEV.market, eubc(3), eubc(5))


def test_a_price_below_what_an_offer_may_ask_is_raised_to_it() -> None:
    """The chain takes no offer below a tenth of the maximum."""
    bid = decide(policy_of(gpu_hour=0, cpu_hour=0), LENT, NOW, task_of())
    assert isinstance(bid, Bid)
    assert bid.price == eubc(5) // 10


@pytest.mark.parametrize(
    ("why", "policy", "lent", "now", "task"),
    [
        (WhyNot.PAUSED, {}, {}, {"held_by": WhyNot.PAUSED}, {}),
        (WhyNot.HOURS, {"hours": ((0, 60),)}, {}, {}, {}),
        (WhyNot.OWN_TASK, {}, {}, {"address": REQUESTER}, {}),
        (WhyNot.NOT_INVITED, {}, {}, {}, {"allow": (bytes(20),)}),
        (WhyNot.NOT_INVITED, {}, {}, {}, {"avoid": (SPARK,)}),
        (WhyNot.RUNTIME, {"runtimes": ("wasi",)}, {}, {}, {}),
        (WhyNot.RUNTIME, {}, {"runtimes": ("wasi",)}, {}, {}),
        (WhyNot.IMAGE, {"images_allowed": ("ghcr.io/",)}, {}, {}, {}),
        (WhyNot.IMAGE, {"images_denied": ("docker.io/library/python",)}, {}, {}, {}),
        (WhyNot.RESERVATION, {"reservations": False}, {}, {}, {"not_before": 500}),
        (WhyNot.GPUS, {}, {"gpus": 0}, {}, {}),
        (WhyNot.GPU_MEMORY, {}, {"gpu_memory_bytes": 4 * GIBIBYTE}, {}, {}),
        (WhyNot.PROCESSORS, {}, {"cpu_milli": 1_000}, {}, {}),
        (WhyNot.MEMORY, {}, {"memory_bytes": GIBIBYTE - 1}, {}, {}),
        (WhyNot.DISK, {}, {"disk_bytes": GIBIBYTE}, {}, {}),
        (WhyNot.DECLARED, {}, {}, {"declared": Hardware("x", 0, 0, 8, GIBIBYTE, GIBIBYTE)}, {}),
        (WhyNot.KAPPA, {}, {}, {}, {"min_kappa": 400_000_000}),
        (WhyNot.PRICE, {"gpu_hour": eubc(20)}, {}, {}, {}),
        (WhyNot.FUNDS, {}, {}, {"spendable": eubc(4)}, {}),
        (WhyNot.FUNDS, {}, {}, {"committed": eubc(95)}, {}),
        (WhyNot.SLOTS, {}, {}, {"slots_free": 0}, {}),
        (WhyNot.GROUP, {}, {}, {}, {"replicas": 3}),
    ],
)
def test_each_refusal_has_its_own_reason(
    why: WhyNot, policy: dict[str, Any], lent: dict[str, Any], now: dict[str, Any], task: dict[str, Any]
) -> None:
    """One change to a task that would be taken gives one reason."""
    refusal = decide(policy_of(**policy), LENT._replace(**lent), NOW._replace(**now), task_of(**task))
    assert isinstance(refusal, Refusal)
    assert refusal.why is why


def test_requesters_can_be_chosen_and_shut_out() -> None:
    """By address, as people write it."""
    from consensus.types.address import format_address

    text = format_address(REQUESTER, "deub")
    assert isinstance(decide(policy_of(requesters_allowed=(text,)), LENT, NOW, task_of()), Bid)
    for changes in ({"requesters_denied": (text,)}, {"requesters_allowed": ("deub1other",)}):
        refusal = decide(policy_of(**changes), LENT, NOW, task_of())
        assert isinstance(refusal, Refusal)
        assert refusal.why is WhyNot.REQUESTER


def test_a_reservation_needs_no_free_slot() -> None:
    """Until its time comes it fills none."""
    task = task_of(not_before=5_000)
    assert isinstance(decide(policy_of(), LENT, NOW._replace(slots_free=0), task), Bid)


def test_every_reason_has_words_that_read_after_a_number() -> None:
    """Status never shows a code; advice exists only for known reasons."""
    assert set(WORDS) == set(WhyNot)
    assert set(ADVICE) <= set(WhyNot)


# ------------------------------------------------------------------------------------- the counts


def row(number: int, **changes: Any) -> Row:
    """A row of the market's notes."""
    return Row(number.to_bytes(32, "big"), changes.pop("seen_ms", 1_000), 10, **changes)


def test_status_says_how_many_were_seen_and_why_there_was_no_work() -> None:
    """The sentence that operators miss everywhere else."""
    rows = [row(n, why="price", asks=eubc(4), result=LOST, won_at=260_000_000) for n in range(9)]
    rows += [row(n, why="gpu_memory") for n in range(9, 14)]
    found = tally(rows, 2_000)
    assert market_sentence(found) == (
        "14 seen, 9 above the winning price (yours 4, won at 2.6), 5 need more VRAM"
    )
    assert advice(found, eubc(4)) == "eubchain spark set price 2.6"


def test_offers_that_lost_to_a_cheaper_one_count_as_above_the_winning_price() -> None:
    """A lost offer and one that was never made are the same complaint."""
    rows = [row(1, asks=eubc(3), result=LOST, won_at=eubc(2)), row(2, asks=eubc(3), result="won")]
    found = tally(rows, 2_000)
    assert (found.seen, found.offered, found.won, found.lost, found.above) == (2, 2, 1, 1, 1)


def test_yesterdays_tasks_are_forgotten_and_standing_offers_are_not(tmp_path: Path) -> None:
    """Counts are of a day; gas that may be locked is remembered as long as the offer stands."""
    notes = MarketNotes(tmp_path / "market.json")
    stands = row(0, seen_ms=0, gas=7, result=STANDS)
    notes.rows = {stands.task: stands} | {
        r.task: r for r in (row(n, seen_ms=n) for n in range(1, ROWS_MAX + 50))
    }
    notes.keep()
    again = MarketNotes(tmp_path / "market.json")
    assert len(again.rows) == ROWS_MAX
    assert [r.gas for r in again.standing()] == [7]
    assert tally(list(again.rows.values()), 10**9).seen == 0
    assert market_sentence(tally([], 0)) == "no task seen in the last day"


# ----------------------------------------------------------------------------------- the idle rules


RULES = IdleRules(True, 600, 10, 900, ())


def test_a_machine_is_free_only_after_its_whole_idle_time_also_after_a_reboot() -> None:
    """What the terminals say of the time before the start does not count."""
    watch = IdleWatch(1_000.0)
    quiet = Observed(math.inf, -1)
    assert not watch.judge(RULES, quiet, 1_000.0).is_free
    assert not watch.judge(RULES, quiet, 1_599.0).is_free
    assert watch.judge(RULES, quiet, 1_600.0).is_free


def test_the_owners_return_is_seen_at_the_next_look_and_idle_time_begins_anew() -> None:
    """A key pressed half a second ago is enough."""
    watch = IdleWatch(0.0)
    assert watch.judge(RULES, Observed(math.inf, -1), 700.0).is_free
    back = watch.judge(RULES, Observed(0.5, -1), 701.0)
    assert not back.is_free
    assert "using it" in back.why
    assert back.wait_s == 600
    assert not watch.judge(RULES, Observed(500.0, -1), 1_200.0).is_free
    assert watch.judge(RULES, Observed(600.0, -1), 1_301.0).is_free


def test_a_gpu_that_others_keep_busy_is_not_lent() -> None:
    """A game needs no keyboard."""
    watch = IdleWatch(0.0)
    verdict = watch.judge(RULES, Observed(math.inf, 80), 10_000.0)
    assert not verdict.is_free
    assert "80 %" in verdict.why
    assert watch.judge(RULES._replace(enabled=False), Observed(0.0, 90), 10_001.0).is_free


# ------------------------------------------------------------------------------------- the journal


def note_of() -> SeatNote:
    """A seat's note."""
    return SeatNote(TASK, 0, REQUESTER, 5, 6, 7, 1_000, moments=[Moment(1_000, 1, "won the seat")])


def test_a_note_comes_back_as_it_was_written_and_is_its_owners_alone(tmp_path: Path) -> None:
    """A restart knows what was promised."""
    folder = Folder(tmp_path / "spark")
    folder.create()
    journal = Journal(folder)
    note = note_of()
    note.end = KeptEnd("accepted", "nobody", 9, 5, 6, 0, 0)
    journal.keep(note)
    assert Journal(folder).notes == {(TASK, 0): note}
    assert journal.path(note).stat().st_mode & 0o777 == 0o600
    assert Journal(folder).unsettled() == []


def test_a_story_stays_short_and_repeats_nothing() -> None:
    """An input that is awaited for an hour is one line."""
    note = note_of()
    for height in range(500):
        note.tell(height, height, "waits for input 0")
        note.tell(height, height, f"step {height % 2}")
        note.tell(height, height, f"step {height % 2}")
    assert len(note.moments) <= 64
    assert note.moments[0].what == "won the seat"
    assert note.moments[-1].what == "step 1"


def test_a_line_of_money_that_a_crash_cut_short_is_passed_over(tmp_path: Path) -> None:
    """What was whole before it, and what comes after, still counts."""
    folder = Folder(tmp_path / "spark")
    folder.create()
    journal = Journal(folder)
    journal.pay(Money(1, 1, "fee", -5))
    with open(folder.money, "ab") as file:
        file.write(b'{"time_ms":1,"hei')
    journal.pay(Money(2, 2, "paid", 9))
    assert [entry.grains for entry in read_money(folder.money)] == [-5, 9]


def test_only_one_agent_uses_a_folder(tmp_path: Path) -> None:
    """The second one names the first."""
    folder = Folder(tmp_path / "spark")
    folder.create()
    with folder.locked():
        assert folder.is_running()
        with pytest.raises(Fault) as caught, folder.locked():
            pass
        assert caught.value.facts["pid"] == os.getpid()
    assert not folder.is_running()


def test_the_stages_that_need_the_machine_do_not_include_review() -> None:
    """A seat in review needs only its ciphertext."""
    from spark_node.seats import Seats

    seats = Seats()
    for number, stage in enumerate(Stage):
        seat = SeatView(number, SPARK, stage, 1, 1, 1, 9, 0, None, None)
        seats.stages[TASK, number] = seat
    assert seats.on_machine() == 3
