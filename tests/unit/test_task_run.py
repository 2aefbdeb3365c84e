"""Running a task against a node in memory: what is told, what is paid, what survives.

Rules of this file: real rules and RPC methods, a `file:` store, a spark whose steps the test decides; blocks
are made as fast as somebody waits for them.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from consensus.types.amounts import eubc
from consensus.types.errors import Fault
from consensus.types.params import DEV
from eubchain.cli.session import SESSION
from eubchain.client.connection import Connection, RemoteRefusal
from eubchain.client.network import learn_network
from eubchain.client.task_run import Event, Order, Quiet, Requester, Verdict, answering, run_task
from eubchain.client.task_run.following import follow
from eubchain.client.task_run.journal import Journals, wish_of
from eubchain.client.task_run.market import look
from eubchain.client.task_run.order import spec_of
from eubchain.client.task_run.posting import finish_post, sign_post
from eubchain.client.task_run.preview import preview_order
from eubchain.client.task_run.results import Fetched
from eubchain.client.task_run.scoring import score_result
from spark_node.storage.age_keys import new_identity, recipient_of
from tests.rpc_world import WorldNode, patched
from tests.scripted_spark import HARDWARE, ScriptedSpark
from tests.world import World
from vm.task.records import Ending, Stage

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "words"
URL = "http://node.test"
LIMIT_S = 60
BLOCK_S = 0.02


class Scene:
    """A requester and a spark at one node in memory."""

    def __init__(self, node: WorldNode, room: Path) -> None:
        self.node, self.room = node, room
        (room / "in").mkdir()
        (room / "in" / "words.txt").write_text("one two\n")
        (room / "store").mkdir()
        self.order = Order(
            maximum=eubc(2),
            time_s=300,
            offer_s=10,
            start_s=300,
            module=EXAMPLE / "readings.wasm",
            input=room / "in",
            output=room / "out",
            place=f"file://{room}/store",
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Requester, ScriptedSpark, trio.Nursery]]:
        """Both sides, with blocks being made."""
        world = self.node.world
        async with Connection(URL) as line, trio.open_nursery() as nursery:
            network = await learn_network(line)
            alice = world["alice"].secret
            requester = Requester(line, network, alice.public, self.room / "home", alice)
            nursery.start_soon(self._make_blocks)
            spark = ScriptedSpark(line, network, world["bob"].secret, self._spark_room(), new_identity())
            spark.directory_allowed = self.room
            await spark.register()
            yield requester, spark, nursery
            nursery.cancel_scope.cancel()

    def _spark_room(self) -> Path:
        room = self.room / "spark"
        room.mkdir()
        return room

    async def _make_blocks(self) -> None:
        while True:
            await trio.sleep(BLOCK_S)
            self.node.make_block()


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with patched(WorldNode(World(DEV)), monkeypatch) as node:
        yield Scene(node, tmp_path)


async def test_a_few_lines_of_a_program_bring_the_result_home(scene: Scene) -> None:
    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, spark, nursery):
            nursery.start_soon(spark.echo)
            quiet = Quiet()
            ended = await run_task(requester, scene.order, quiet)
            journal = requester.journals.all()[0]
    assert ended.closing is not None
    assert ended.closing.is_good
    assert quiet.lines == ["hello"]
    assert (scene.room / "out" / "words.txt").read_text() == "one two\n"
    assert journal.state.is_told
    assert journal.state.fees > 0


async def test_the_journal_shows_no_secret_and_belongs_to_its_owner_alone(scene: Scene) -> None:
    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, _, __):
            journal = await sign_post(requester, await preview_order(requester, scene.order))
            keys = journal.keys()
            assert "AGE-SECRET" not in repr(keys) + repr(journal.job()) + repr(requester)
            assert requester.secret.secret().hex() not in repr(requester)
            for path in journal.folder.iterdir():
                assert path.stat().st_mode & 0o077 == 0, path.name
            assert journal.folder.stat().st_mode & 0o077 == 0


async def test_a_call_that_is_repeated_after_a_crash_before_sending_pays_once(scene: Scene) -> None:
    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, spark, nursery):
            # A crash between the signature and the sending leaves exactly this.
            journal = await sign_post(requester, await preview_order(requester, scene.order))
            assert await look(requester.node, requester.network, journal.task) is None
            nursery.start_soon(spark.echo)
            ended = await run_task(requester, scene.order, Quiet())
            assert len(requester.journals.all()) == 1
    assert ended.sight is not None
    assert ended.sight.id == journal.task


async def test_a_post_that_expired_unsent_cost_nothing_and_is_posted_anew(scene: Scene) -> None:
    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, spark, nursery):
            journal = await sign_post(requester, await preview_order(requester, scene.order))
            while scene.node.world.height < journal.state.valid_until:
                scene.node.make_block()
            assert not await finish_post(requester, journal)
            assert journal.state.is_told
            assert journal.state.fees == 0
            nursery.start_soon(spark.echo)
            ended = await run_task(requester, scene.order, Quiet())
    assert ended.closing is not None
    assert ended.closing.is_good


async def test_two_commands_cannot_drive_one_task(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eubchain.client.task_run.journal.POSTING_WAIT_S", 0.0)
    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, _, __):
            journal = await sign_post(requester, await preview_order(requester, scene.order))
            with journal.held(), pytest.raises(Fault, match="3155"):
                await follow(requester, requester.journals.find(journal.state.task[:8]), Quiet())
            async with requester.journals.held():
                with pytest.raises(Fault, match="3164"):
                    await run_task(requester, scene.order, Quiet())


async def test_two_commands_at_once_post_one_after_the_other(tmp_path: Path) -> None:
    """As two lines of a script that end in `&` do."""
    journals, turns = Journals(tmp_path), []

    async def post(name: str, begun: trio.Event, may_end: trio.Event) -> None:
        async with journals.held():
            begun.set()
            await may_end.wait()
            turns.append(name)

    first, second, over = trio.Event(), trio.Event(), trio.Event()
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post, "first", first, over)
            await first.wait()
            nursery.start_soon(post, "second", second, over)
            over.set()
    assert turns == ["first", "second"]


async def test_a_result_that_is_left_in_review_can_be_attached_to_and_rejected(scene: Scene) -> None:
    class Undecided(Quiet):
        answer = "leave"

        async def judge(self, sight: object, fetched: object, score: int | None) -> Verdict:
            return Verdict(self.answer)  # type: ignore[arg-type]  # one of the three words

    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, spark, nursery):
            nursery.start_soon(spark.echo)
            left = await run_task(requester, scene.order, Undecided())
            assert left.closing is None
            assert left.sight is not None
            again = Undecided()
            again.answer = "reject"
            ended = await run_task(requester, scene.order, again)
    assert ended.closing is not None
    assert ended.closing.facts["ending"] == "rejected"
    assert ended.closing.facts["burned"] == ended.closing.facts["price"]


async def test_a_check_below_the_mark_is_not_accepted_by_a_program(scene: Scene) -> None:
    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, spark, nursery):
            nursery.start_soon(spark.echo)
            order = replace(scene.order, check=EXAMPLE / "check.wasm", pass_mark=100)
            quiet = Quiet(pass_mark=100)
            left = await run_task(requester, order, quiet)
    scored = next(event for event in quiet.events if event.kind == "scored")
    assert left.closing is None
    assert scored.facts["score"] < 100
    assert "is below the mark of 100" in scored.text


async def test_a_check_that_says_no_number_is_the_checks_fault(tmp_path: Path) -> None:
    (tmp_path / "result").mkdir()
    with trio.fail_after(LIMIT_S), pytest.raises(Fault, match="3160"):
        await score_result(EXAMPLE / "readings.wasm", tmp_path / "result")


async def test_nobody_offers_and_everything_comes_back(scene: Scene) -> None:
    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, _, __):
            ended = await run_task(requester, scene.order, Quiet())
    assert ended.closing is not None
    assert ended.closing.facts["ending"] == "expired"


async def test_a_step_that_was_answered_already_is_found_not_repeated(scene: Scene) -> None:
    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, _, __):
            journal = await sign_post(requester, await preview_order(requester, scene.order))
            await finish_post(requester, journal)
            first = await answering.cancel(requester, journal.task, journal)
            again = await answering.cancel(requester, journal.task, journal)
            assert first.txid == again.txid
            sight = await look(requester.node, requester.network, journal.task)
    assert sight is not None
    assert sight.task.ending == Ending.CANCELLED_OPEN


async def test_judges_are_answered_with_not_yet(scene: Scene) -> None:
    from eubchain.client.task_run.requester import send_step
    from vm.task.payloads import Dispute

    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, _, __):
            with pytest.raises(RemoteRefusal, match="not_yet"):
                await send_step(requester, Dispute(bytes(32), 0, 0))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"gpus": 64, "module": None, "image": "sha256:" + "0" * 64},
            "64 GPUs; largest registered spark has 0.",
        ),
        ({"cpu_milli": 9_000}, "9 processor cores; largest registered spark has 8."),
        ({"memory_bytes": 2**40}, "1 TiB of memory; largest registered spark has 64 GiB."),
        ({"disk_bytes": 2**41}, "2 TiB of disk; largest registered spark has 1 TiB."),
        ({"min_kappa": 10**9}, "none of those that are large enough is allowed"),
    ],
)
async def test_the_impossible_is_said_before_a_signature(
    scene: Scene, change: dict[str, object], sentence: str
) -> None:
    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, _, __):
            with pytest.raises(Fault) as caught:
                await preview_order(requester, replace(scene.order, **change))  # type: ignore[arg-type]  # fields
            assert sentence in str(caught.value)
            assert requester.journals.all() == []


async def test_what_is_no_module_is_refused_before_anything_is_paid_for_it(scene: Scene) -> None:
    """Else a spark would find out, and be paid for finding out."""
    module = scene.room / "typo.wasm"
    module.write_bytes(b"#!/bin/sh\n")
    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, _, __):
            with pytest.raises(Fault, match="no WebAssembly module"):
                await preview_order(requester, replace(scene.order, module=module))
            assert requester.journals.all() == []


async def test_the_previewed_fee_covers_what_the_steps_cost(scene: Scene) -> None:
    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, spark, nursery):
            preview = await preview_order(requester, scene.order)
            nursery.start_soon(spark.echo)
            await run_task(requester, scene.order, Quiet())
            fees = requester.journals.all()[0].state.fees
            kept = requester.journals.all()[0].state.ending
    assert kept is not None, "the chain forgets the task one day; the journal does not"
    assert kept.facts["spent"] == str(eubc(1))
    assert set(kept.seconds) == {"to start", "running", "review"}
    assert 0 < fees <= preview.fees_max
    assert preview.quote.escrow == eubc(2)
    assert [c.spark.hardware for c in preview.candidates] == [HARDWARE]


# ---------------------------------------------------------------------------------- plain output


GOLDEN = """\
T  posted in block N; offers until block N (about T)
T  sealed input uploaded, N bytes
T  1 offer, the best 1 EUBC from ADDRESS
T  matched with ADDRESS for 1 EUBC; 1 EUBC came back
T  granted; the spark prepares, until block N (about T)
T  running since block N, until block N (about T) at the latest
T  delivered N bytes; your answer is due by block N (about T)
T  result in OUT: 2 files, digest HASH is right
T  accepted
T  The result was accepted in block N.
T  You paid 1 of the 2 EUBC reserved (0.98 to the spark, 0.02 protocol fee, 0 burned); 1 EUBC came back. \
Your transactions cost X EUBC; the deposit of 0.01 EUBC returns with block N.
"""


async def test_the_plain_output_tells_every_stage_once(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    from eubchain.cli.task_follow import drive

    SESSION.begin()
    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, spark, _):
            preview = await preview_order(requester, scene.order)
            journal = await sign_post(requester, preview)
            capsys.readouterr()

            async def script() -> None:
                # Step by step, each seen before the next: so that no stage is too short to be told.
                task, spec, job = await spark.begin()
                await spark.say(task, spec, job, b"hello\n\x1b[2Jevil\n")
                await spark.until(task, Stage.RUNNING)
                await spark.deliver(task, spec, job, spark.room / "input")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(script)
                code, _ = await drive(requester, journal, 5)
    shown = capsys.readouterr()
    assert code == 0
    assert shown.out == "hello\n\N{REPLACEMENT CHARACTER}[2Jevil\n", "no control reaches the terminal"
    lines = [_plain(row, scene) for row in shown.err.splitlines()]
    told = set(GOLDEN.splitlines())
    assert set(lines[:-1]) <= told | {row for row in lines if row.startswith("T  waiting")}
    for row in ("posted", "matched", "delivered", "result in", "accepted", "You paid"):
        assert sum(line.startswith(f"T  {row}") for line in lines) == 1, row
    assert lines[-1].startswith("next: ls ")


def _plain(row: str, scene: Scene) -> str:
    """A line without what differs from run to run."""
    row = row.replace(str(scene.room / "out"), "OUT")
    row = re.sub(r"^\d+:\d\d  ", "T  ", row)
    row = re.sub(r"deub1[a-z0-9]+", "ADDRESS", row)
    row = re.sub(r"\b[0-9a-f]{64}\b", "HASH", row)
    row = re.sub(r"block \d+", "block N", row)
    row = re.sub(r"about \d\d:\d\d:\d\d", "about T", row)
    row = re.sub(r"[\d,]+ bytes", "N bytes", row)
    return re.sub(r"cost 0\.\d+ EUBC", "cost X EUBC", row)


# ------------------------------------------------------------------------------ a first program


async def test_the_first_program_runs_as_it_is(tmp_path: Path) -> None:
    from eubchain.client.task_run.first_program import RESULT_NAME, first_program
    from spark_node.job import MODULE_NAME, Limits
    from spark_node.runtimes.log_lines import Line, Progress
    from spark_node.runtimes.runtime import Order as RunOrder
    from spark_node.runtimes.wasi import WasiRuntime

    module = tmp_path / "input" / MODULE_NAME
    module.parent.mkdir()
    module.write_bytes(first_program())
    order = Order(maximum=1, time_s=1, module=module)
    digest = hashlib.sha256(first_program()).digest()
    spec = spec_of(order, digest, 1, recipient_of(new_identity()))
    with trio.fail_after(LIMIT_S):
        run = RunOrder("first", spec, (), (), Limits(20, 10**9, 2**16), tmp_path)
        execution = await WasiRuntime().prepare(run)
        outcome = await execution.run()
        said = [item async for item in execution.logs]
    assert outcome.exit_status == 0, outcome
    assert said == [Line("out", "hello from a spark"), Progress(1, 2), Progress(2, 2)]
    assert (execution.output / RESULT_NAME).read_text() == "hello from a spark\n"


async def test_a_node_that_goes_away_is_borne_and_the_task_goes_on(scene: Scene) -> None:
    is_back = trio.Event()

    class Cut(Quiet):
        def told(self, event: Event) -> None:
            super().told(event)
            if event.kind == "away":
                scene.node.is_down = False
                is_back.set()

    async def script(spark: ScriptedSpark) -> None:
        task = await spark.open_task()
        await spark.offer(task)
        spec, job = await spark.granted(task)
        scene.node.is_down = True
        await is_back.wait()
        await spark.fetch_input(task, job)
        await spark.start(task)
        await spark.deliver(task, spec, job, spark.room / "input")

    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, spark, nursery):
            nursery.start_soon(script, spark)
            ended = await run_task(requester, scene.order, Cut())
    assert is_back.is_set()
    assert ended.closing is not None
    assert ended.closing.is_good


# ------------------------------------------------------------------------------ less common ways


async def test_a_reservation_fixes_the_price_now_and_begins_later(scene: Scene) -> None:
    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, spark, nursery):
            nursery.start_soon(spark.echo)
            quiet = Quiet()
            ended = await run_task(requester, replace(scene.order, start_in_s=60), quiet)
    kinds = [event.kind for event in quiet.events]
    reserved = next(event for event in quiet.events if event.kind == "reserved")
    assert kinds.index("matched") < kinds.index("reserved") < kinds.index("granted")
    assert ended.sight is not None
    assert ended.sight.seat is not None
    assert ended.sight.seat.started > reserved.facts["not_before"]
    assert ended.closing is not None
    assert ended.closing.is_good


async def test_a_result_that_silence_accepted_is_fetched_all_the_same(scene: Scene) -> None:
    class Away(Quiet):
        async def judge(self, sight: object, fetched: Fetched, score: int | None) -> Verdict:
            shutil.rmtree(fetched.directory)
            return Verdict("leave")

    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, spark, nursery):
            nursery.start_soon(spark.echo)
            left = await run_task(requester, replace(scene.order, review_s=250), Away())
            assert left.closing is None
            journal = requester.journals.all()[0]
            journal.note(result_path="")  # as if nobody had been there at all
            sight = left.sight
            while sight is not None and not sight.is_final:
                scene.node.make_block()
                sight = await look(requester.node, requester.network, journal.task)
            quiet = Quiet()
            ended = await follow(requester, journal, quiet)
    assert ended.closing is not None
    assert ended.closing.facts["ending"] == "accepted_by_silence"
    assert (scene.room / "out" / "words.txt").exists()
    assert not journal.input.exists(), "nothing sealed is kept once it is over"


async def test_offers_are_chosen_by_hand_while_the_command_follows(scene: Scene) -> None:
    chosen: list[Event] = []

    class Chooser(Quiet):
        def told(self, event: Event) -> None:
            super().told(event)
            if event.kind == "offers" and not chosen:
                chosen.append(event)

    async def choose(requester: Requester, spark: ScriptedSpark) -> None:
        task = await spark.open_task()
        await spark.offer(task)
        journal = requester.journals.find(task.hex())
        await answering.match(requester, journal, spark.address)
        await spark.granted(task)
        await spark.decline(task, 5)

    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, spark, nursery):
            nursery.start_soon(choose, requester, spark)
            order = replace(scene.order, by_hand=True, offer_s=50)
            ended = await run_task(requester, order, Chooser())
    assert ended.closing is not None
    assert ended.closing.facts["ending"] == "declined"


def test_a_secret_in_the_environment_shows_in_no_repr_and_still_tells_wishes_apart() -> None:
    first = Order(maximum=1, time_s=1, environment=(("TOKEN", "hunter2"),))
    second = Order(maximum=1, time_s=1, environment=(("TOKEN", "hunter3"),))
    assert "hunter2" not in repr(first)
    assert wish_of(b"", b"", first, b"") != wish_of(b"", b"", second, b"")


async def test_a_task_of_another_network_is_not_taken_for_a_forgotten_one(scene: Scene) -> None:
    with trio.fail_after(LIMIT_S):
        async with scene.open() as (requester, _, __):
            journal = await sign_post(requester, await preview_order(requester, scene.order))
            journal.note(genesis="00" * 32)
            with pytest.raises(Fault, match="3165"):
                await follow(requester, journal, Quiet())
            assert not journal.state.is_told
