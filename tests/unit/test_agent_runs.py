"""The agent on a chain in memory: it wins, runs, delivers and is paid; and it gives up honestly.

Programs and sealing are real processes, so time is real here; every test waits for conditions.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import trio

from consensus.resource.proof import make_proof
from consensus.types.codec import encode
from spark_node.agent import Agent
from spark_node.chain import OwnEvent, ProvingWindow
from spark_node.earnings import story, summary
from spark_node.envelopes import report_object, result_object
from spark_node.folder import PAUSED, RETIRE, release_wish
from spark_node.job import Input, answer_digest, seal
from spark_node.owner import Observed
from spark_node.prover.order import Answer, Order
from spark_node.prover.process import Tell
from spark_node.status import read_status
from spark_node.storage.logs import LogReader, get_error
from spark_node.storage.places import open_store
from spark_node.storage.shelf import Shelf, ShelfLimits
from tests.market import REQUESTER
from tests.spark_world import (
    ADDRESS,
    REQUESTER_IDENTITY,
    SALT,
    SparkWorld,
    endless,
    hello,
)
from vm.operation import Operation, check_nothing
from vm.resource import Prove
from vm.spark import RETIRED, SPARKS, no_entries
from vm.task.payloads import Accept, Decline, DeclineCode, FailCode, Release, Windows
from vm.task.records import Ending, Stage, TaskState

QUICK = Windows(offer=3, grant=100, start=600, run=60, review=200)
"""A run window of a second or so, for programs that never end."""


@pytest.fixture
def world(tmp_path: Path) -> SparkWorld:
    """A spark, a requester and a chain."""
    return SparkWorld(tmp_path)


async def test_a_task_is_won_run_delivered_and_paid(world: SparkWorld) -> None:
    """The whole way, with real sealing and a real module."""
    code = hello()
    before = world.market.balance(ADDRESS)
    async with world.running() as agent:
        task = await world.matched(code)
        await world.grant(task, code)
        await world.until(world.is_at(task, Stage.REVIEW))
        key, files = await world.fetched(task)
        assert files == {"answer": b"hello"}
        assert await world.log_of(task) == "EUB_PROGRESS 1/2\nhello\n"
        result = world.market.seat(task).result
        assert result is not None
        assert result.seal == seal(key.answer, ADDRESS, key.salt)
        assert key.answer == answer_digest(SALT, 0, [("answer", hashlib.sha256(b"hello").digest())])
        world.chain.send(REQUESTER, Accept(task, 0, 100, 5))
        await world.until(lambda: agent.journal.notes[task, 0].end)
        await world.until(lambda: not (world.folder.sealed / f"{task.hex()}-0").exists())
        assert world.plaintext() == []
    sums = summary(world.folder, list(agent.journal.notes.values()), 0)
    paid = world.market.outcome(task).paid
    assert (sums["paid"], sums["paid_tasks"], sums["failed_tasks"]) == (str(paid), 1, 0)
    assert int(sums["change"]) == world.market.balance(ADDRESS) - before == paid


async def test_a_program_that_fails_is_reported_with_its_exit_status_and_last_words(
    world: SparkWorld,
) -> None:
    """The application is at fault, and the requester can read why."""
    code = hello(7)
    async with world.running():
        task = await world.matched(code)
        await world.grant(task, code)
        await world.until(world.is_at(task, Stage.REVIEW))
        failure = world.market.seat(task).failure
        assert failure is not None
        assert (failure.code, failure.exit_status) == (FailCode.EXIT, 7)
        async with open_store(world.place, world.signer, directory_allowed=world.root) as store:
            report = await get_error(store, report_object(task, 0), REQUESTER_IDENTITY, failure.report)
    assert (report.exit_status, report.tail) == (7, b"EUB_PROGRESS 1/2\nhello\n")
    assert "exit 7" in report.cause


async def test_a_program_that_never_ends_is_reported_before_the_deadline(world: SparkWorld) -> None:
    """An honest spark never meets the run timeout."""
    code = endless()
    async with world.running():
        task = await world.matched(code, windows=QUICK)
        await world.grant(task, code)
        await world.until(world.is_at(task, Stage.REVIEW))
        failure = world.market.seat(task).failure
        assert failure is not None
        assert failure.code == FailCode.TIME
        assert world.plaintext() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"digest": bytes(32)}, DeclineCode.BAD_GRANT),
        ({"commands": ()}, DeclineCode.BAD_GRANT),
        ({"inputs": "missing"}, DeclineCode.MISSING_INPUT),
        ({"input_identity": "AGE-SECRET-KEY-1NOTHING"}, DeclineCode.BAD_GRANT),
        ({"inputs": ()}, DeclineCode.MISSING_IMAGE),
    ],
    ids=["another job", "no command for the role", "input not there", "a key that is none", "no module"],
)
async def test_what_cannot_be_started_is_declined_with_its_reason(
    world: SparkWorld, changes: dict[str, object], expected: DeclineCode
) -> None:
    """Before the start both sides lose little, and the code says what was wrong."""
    code = hello()
    changes = dict(changes)
    windows = Windows(offer=3, grant=100, start=300, run=400, review=200)
    async with world.running():
        task = await world.matched(code, windows=windows)
        digest = changes.pop("digest", None)
        if changes.get("inputs") == "missing":
            changes["inputs"] = (Input(world.place + "/elsewhere", bytes(32), 100),)
        if changes.get("commands") == ():
            from spark_node.job import Command

            changes["commands"] = (Command("other", ()),)
        job = await world.grant(task, code, send=digest is None, **changes)
        if digest is not None:
            assert isinstance(digest, bytes)
            world.send_grant(task, job, digest)
        await world.until(world.is_at(task, Stage.CLOSED))
    assert world.market.outcome(task).ending == Ending.DECLINED
    declined = [p for p in world.chain.sent if isinstance(p, Decline)]
    assert [p.code for p in declined] == [expected]


async def test_an_input_larger_than_the_spec_allows_is_declined_as_too_large(world: SparkWorld) -> None:
    """The archive's own limits, not the machine's patience, decide."""
    code = hello()
    spec = world.spec(code, input_bytes_max=10)
    async with world.running():
        task = await world.matched(code, spec=spec)
        await world.grant(task, code)
        await world.until(world.is_at(task, Stage.CLOSED))
    assert [p.code for p in world.chain.sent if isinstance(p, Decline)] == [DeclineCode.TOO_LARGE]


async def test_the_owner_can_have_a_running_machine_back(world: SparkWorld) -> None:
    """`spark release` leaves a wish; the seat is released, the program is gone."""
    code = endless()
    async with world.running() as agent:
        task = await world.matched(code)
        await world.grant(task, code)
        await world.until(lambda: agent.seats.workers and world.stage(task) == Stage.RUNNING)
        world.folder.wish(release_wish(task, 0))
        await world.until(world.is_at(task, Stage.CLOSED))
        await world.until(lambda: agent.journal.notes[task, 0].end)
        assert not world.folder.has_wish(release_wish(task, 0))
    assert world.market.outcome(task).ending == Ending.RELEASED
    assert world.plaintext() == []
    told = story(agent.journal.notes[task, 0])
    assert told["ending"] == "released"
    assert "tenth" in told["rule"]


async def test_a_machine_in_use_is_frozen_at_once_and_given_back_in_time(world: SparkWorld) -> None:
    """Idle rules: the program stops within seconds, nothing new is taken, then the seat is released."""
    code = endless()
    rules = {"enabled": True, "after_minutes": 0, "release_minutes": 0}
    world.changes |= {("idle", key): value for key, value in rules.items()}
    async with world.running() as agent:
        task = await world.matched(code)
        await world.grant(task, code)
        await world.until(lambda: agent.seats.workers and world.stage(task) == Stage.RUNNING)
        world.observed = Observed(0.0, -1)
        world.folder.policy.write_text(
            world.folder.policy.read_text().replace("after_minutes = 0", "after_minutes = 5")
        )
        await world.until(world.is_at(task, Stage.CLOSED))
        assert [type(p) for p in world.chain.sent].count(Release) == 1
        other = world.post(code)
        await world.until(lambda: other in agent.market.notes.rows)
        assert agent.market.notes.rows[other].why == "owner"


async def test_the_requester_reads_in_the_log_why_a_program_is_frozen_and_that_it_goes_on(
    world: SparkWorld,
) -> None:
    """Sealed lines of the spark's own stand among the program's."""
    code = endless()
    async with world.running() as agent:
        task = await world.matched(code)
        await world.grant(task, code)
        worker = await world.until(lambda: agent.seats.workers.get((task, 0)))
        await world.until(lambda: worker.control.tell)
        world.folder.wish(PAUSED)
        await world.until(lambda: worker.control.is_paused)
        world.folder.take_back(PAUSED)
        await world.until(lambda: not worker.control.is_paused)
        text = b""
        async with open_store(world.place, world.signer, directory_allowed=world.root) as store:
            reader = LogReader(store, task, 0, REQUESTER_IDENTITY)
            while b"goes on" not in text:
                text += (await reader.wait(0.05)).data
    assert text.splitlines()[0] == b"[spark] paused: its owner paused the spark"


async def test_a_paused_spark_takes_no_work_until_it_is_resumed(world: SparkWorld) -> None:
    """The wish lies on disk, so it outlives the agent."""
    world.folder.wish(PAUSED)
    async with world.running() as agent:
        task = world.post(hello())
        await world.until(lambda: task in agent.market.notes.rows)
        assert agent.market.notes.rows[task].why == "paused"
        await world.until(lambda: world.market.task(task).state == TaskState.FINAL)
        world.folder.take_back(PAUSED)
        task = await world.matched(hello())
    assert world.market.seat(task).spark == ADDRESS


async def test_a_result_that_the_requesters_store_refuses_is_served_by_the_agent(
    world: SparkWorld,
) -> None:
    """The delivery says where, and the requester fetches it there by its right as a party."""
    code = hello()
    world.changes["storage", "listen"] = "127.0.0.1:0"
    async with world.running() as agent:
        task = await world.matched(code)
        await world.grant(task, code, log_place="file:///nowhere/allowed")
        await world.until(world.is_at(task, Stage.REVIEW))
        result = agent.journal.notes[task, 0].result
        assert result is not None
        assert result.place == agent.workplace.own_place
        assert result.place.startswith("blob:http://127.0.0.1:")
        key, files = await world.fetched(task)
        assert set(files) == {"answer"}
        assert key.answer == result.answer


async def test_an_agent_that_was_stopped_in_a_run_starts_it_again_and_delivers(world: SparkWorld) -> None:
    """Its state lies on disk; what ran is started anew while the promised time still fits."""
    code = endless()
    async with world.running() as agent:
        task = await world.matched(code)
        await world.grant(task, code)
        await world.until(lambda: agent.journal.notes[task, 0].runs == 1)
    assert world.plaintext() == []
    async with world.running() as agent:
        await world.until(lambda: agent.journal.notes[task, 0].runs == 2)
        await world.until(lambda: agent.seats.workers[task, 0].control.execution)
        world.folder.wish(release_wish(task, 0))
        await world.until(world.is_at(task, Stage.CLOSED))
    assert any("starts the program again" in line for line in world.told(task))


async def test_an_agent_that_comes_back_too_late_to_run_again_gives_the_seat_up(world: SparkWorld) -> None:
    """Nobody but the spark is at fault, and it says so before the deadline."""
    code = endless()
    windows = Windows(offer=3, grant=100, start=600, run=200, review=200)
    async with world.running() as agent:
        task = await world.matched(code, windows=windows)
        await world.grant(task, code)
        await world.until(lambda: agent.journal.notes[task, 0].runs == 1)
    for _ in range(120):
        world.chain.mine()
    async with world.running():
        await world.until(world.is_at(task, Stage.CLOSED))
    assert world.market.outcome(task).ending == Ending.RELEASED


async def test_a_sealed_result_is_delivered_when_the_chain_answers_again(world: SparkWorld) -> None:
    """A node that is away stops no program; the same ciphertext is delivered by the next agent."""
    code = hello()
    async with world.running() as agent:
        task = await world.matched(code)
        await world.grant(task, code)
        await world.until(lambda: agent.journal.notes[task, 0].runs)
        world.chain.is_away = True
        result = await world.until(lambda: agent.journal.notes[task, 0].result)
        assert world.stage(task) == Stage.RUNNING
    world.chain.is_away = False
    async with world.running():
        await world.until(world.is_at(task, Stage.REVIEW))
        delivered = world.market.seat(task).result
        assert delivered is not None
        assert (delivered.digest, delivered.size) == (result.digest, result.size)
        assert world.agent.journal.notes[task, 0].runs == 1


async def test_a_retired_spark_finishes_its_seat_and_ends_by_itself(world: SparkWorld) -> None:
    """No new work; the agent stays for what it owes and then goes."""
    code = hello()
    async with world.running() as agent:
        task = await world.matched(code)
        world.folder.wish(RETIRE)
        await world.until(lambda: _status(world) == RETIRED)
        await world.grant(task, code)
        await world.until(world.is_at(task, Stage.REVIEW))
        world.chain.send(REQUESTER, Accept(task, 0, 100, 5))
        await agent.ended.wait()
    assert world.market.outcome(task).paid > 0


def _status(world: SparkWorld) -> int:
    spark = world.market.state.get(SPARKS, ADDRESS)
    assert spark is not None
    return spark.status


async def test_what_a_crash_left_readable_is_gone_before_anything_new_begins(world: SparkWorld) -> None:
    """A power cut leaves rooms and half-made files; the next start removes them."""
    room = world.folder.rooms / "left-behind" / "input"
    room.mkdir(parents=True)
    (room / "secret").write_text("plaintext")
    partial = world.folder.sealed / "seat" / ".eub-partial-x"
    partial.mkdir(parents=True)
    async with world.running():
        await trio.lowlevel.checkpoint()
    assert world.plaintext() == []
    assert not partial.exists()


async def test_the_journal_keeps_keys_to_its_owner(world: SparkWorld) -> None:
    """Notes hold the keys of results: nobody else may read them."""
    code = hello()
    async with world.running() as agent:
        task = await world.matched(code)
        await world.grant(task, code)
        await world.until(world.is_at(task, Stage.REVIEW))
        note = agent.journal.notes[task, 0]
        assert agent.journal.path(note).stat().st_mode & 0o077 == 0
        assert note.result is not None
        assert note.result.identity not in repr(note)
        assert encode(note.result.answer)


async def test_money_that_blocks_move_by_themselves_is_entered_once(world: SparkWorld) -> None:
    """Proofs paid, a deposit lost in a draw; a restart that reads the same blocks again changes nothing."""
    async with world.running() as agent:
        await world.until(lambda: world.folder.money.exists())
        height = world.market.height + 5
        world.chain.own_events += [
            OwnEvent(height, 0, "proof_paid", {"account": "deub1", "amount": 700}),
            OwnEvent(height, 1, "task_offer_forfeited", {"task": "00" * 32, "spark": "d", "deposit": 50}),
        ]
        await world.until(lambda: _change(world, agent) == 650)
    first, *lines = world.folder.money.read_bytes().splitlines()
    assert b'"mark"' in first
    # A crash between the entries and their mark: the next life reads the same blocks again.
    world.folder.money.write_bytes(b"\n".join([first, *(x for x in lines if b'"mark"' not in x), b""]))
    async with world.running() as agent:
        await world.until(lambda: _entries(world, "proof") == 2)
        assert _change(world, agent) == 650


def _entries(world: SparkWorld, kind: str) -> int:
    return world.folder.money.read_bytes().count(f'"{kind}"'.encode())


def _change(world: SparkWorld, agent: Agent) -> int:
    return int(summary(world.folder, list(agent.journal.notes.values()), 0)["change"])


async def test_a_spark_proves_once_in_a_window_that_it_may_prove_in(world: SparkWorld) -> None:
    """The order names the seed, the account and D; the proof is sent, and not searched again."""
    orders: list[Order] = []

    async def prove(order: Order, threads: int, tell: Tell) -> Answer:
        orders.append(order)
        return Answer(make_proof(order.assignment.window, [(1, 2)]), 64, 0, "numpy:test")

    world.prove = prove
    sent: list[Prove] = []
    world.market.operations[Prove] = Operation(
        "resource.prove", Prove, check_nothing, no_entries, lambda state, call, payload: sent.append(payload)
    )
    async with world.running() as agent:
        world.chain.proving_window = ProvingWindow(7, 0, 10**6, 10**6, bytes([3]) * 32, False)
        await world.until(lambda: world.market.height > 20)
        assert orders == []  # registered in the epoch of the announcement: too new
        world.chain.proving_window = ProvingWindow(7, 1, 10**6, 10**6, bytes([3]) * 32, False)
        await world.until(lambda: sent)
        height = world.market.height
        await world.until(lambda: world.market.height > height + 20)
        assert "1 shares" in agent.proving.last
    assert len(orders) == len(sent) == 1
    assignment = orders[0].assignment
    assert (assignment.window, assignment.seed, assignment.account) == (7, bytes([3]) * 32, ADDRESS)
    assert assignment.difficulty == 1


async def test_results_of_forgotten_tasks_leave_the_agents_own_store(world: SparkWorld) -> None:
    """A requester may fetch late, but not for ever."""
    world.changes["storage", "listen"] = "127.0.0.1:0"
    source, gone = world.root / "old", bytes([0xEE]) * 32
    source.write_bytes(b"sealed")
    # Before the agent begins: it would tidy the upload away under its sender's hands.
    await Shelf(world.folder.shelf, ShelfLimits()).take(result_object(gone, 0), source)
    async with world.running():
        await world.until(lambda: not (world.folder.shelf / gone.hex()).exists())


async def test_a_chain_that_is_away_is_said_so_in_the_status(world: SparkWorld) -> None:
    """The status is written by the agent, so it must not depend on the node."""
    async with world.running():
        await world.until(lambda: (read_status(world.folder) or {}).get("height"))
        world.chain.is_away = True
        await world.until(lambda: (read_status(world.folder) or {}).get("chain") == "away")
        world.chain.is_away = False
        await world.until(lambda: (read_status(world.folder) or {}).get("chain") == "ok")
