"""Random lives of tasks: no sequence of steps, accepted or refused, makes or loses a grain.

A model that reads nothing but events predicts every balance: what a client prints from them is what moved.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from consensus.types.amounts import eubc
from consensus.types.errors import Rejected
from consensus.types.params import DEV, Params
from consensus.types.receipt import Event, EventKind
from tests.market import (
    OTHER,
    REQUESTER,
    SPARK,
    START_BALANCE,
    Market,
    accept_of,
    cancel_of,
    decline_of,
    deliver_of,
    fail_of,
    grant_of,
    match_of,
    post_of,
    reject_of,
    release_of,
    start_of,
)
from vm.due import DUE
from vm.spark import ACTIVE, RETIRED
from vm.task import events
from vm.task.payloads import Offer, Windows
from vm.task.records import SEATS, Blame, Ending, Stage, seat_key
from vm.task.settlement import outcome_of

SECOND = b"second".ljust(20, b"\0")
THIRD = b"third".ljust(20, b"\0")
REQUESTERS = (REQUESTER, SECOND)
SPARKS = (SPARK, OTHER, THIRD)
EVERYBODY = (*REQUESTERS, *SPARKS)
WINDOWS = Windows(offer=2, grant=4, start=4, run=8, review=5)
PARAMS = replace(DEV, market=replace(DEV.market, task_retain_blocks=12))
BEHIND = replace(PARAMS, chain=replace(PARAMS.chain, max_due_per_block=1))
"""One due entry a block: the queue runs ever later."""
MAXIMA = (eubc(1), eubc(5), eubc(5) + 7)
AHEAD = (0, 0, 0, 2, 5)
Bid = tuple[bytes, int, int]
"""Spark, tenths of the maximum, promised blocks."""
Step = Callable[[bytes], Any]
STEPS: tuple[Step, ...] = (
    cancel_of,
    grant_of,
    start_of,
    release_of,
    decline_of,
    deliver_of,
    fail_of,
    accept_of,
    reject_of,
)
USUAL: dict[int, tuple[Step | None, ...]] = {
    0: (None, None, None, cancel_of),
    Stage.RESERVED: (None, None, cancel_of, release_of),
    Stage.MATCHED: (None, grant_of, grant_of, grant_of, cancel_of),
    Stage.STARTING: (None, start_of, start_of, start_of, decline_of, cancel_of, release_of),
    Stage.RUNNING: (None, None, deliver_of, deliver_of, fail_of, cancel_of, release_of, grant_of),
    Stage.REVIEW: (None, None, None, accept_of, reject_of),
    Stage.CLOSED: (None,),
}
"""What a stage usually sees; None lets time pass."""


class Model:
    """Balances as events tell them."""

    def __init__(self) -> None:
        self.balances = dict.fromkeys(EVERYBODY, START_BALANCE)
        self.requesters: dict[bytes, bytes] = {}
        self.offers: dict[bytes, dict[bytes, int]] = {}
        self.earned: dict[bytes, int] = {}
        """By task: what its requester has more, or less, than before."""

    def requester_gets(self, task: bytes, amount: int) -> None:
        self.balances[self.requesters[task]] += amount
        self.earned[task] += amount

    def read(self, event: Event) -> None:
        """Follow one event."""
        kind = EventKind.registry[event.code]
        facts: dict[str, Any] = dict(zip([name for name, _ in kind.facts], event.facts, strict=True))
        task, spark = facts.get("task", b""), facts.get("spark", b"")
        if kind is events.POSTED:
            self.requesters[task], self.offers[task] = facts["requester"], {}
            self.earned[task] = 0
            self.requester_gets(task, -facts["escrow"])
            self.balances[facts["requester"]] -= facts["deposit"]
        elif kind is events.OFFERED:
            self.offers[task][spark] = facts["deposit"]
            self.balances[spark] -= facts["deposit"]
        elif kind is events.OFFER_EVICTED:
            self.balances[spark] += self.offers[task].pop(spark)
        elif kind is events.OFFER_FORFEITED:
            assert facts["deposit"] == self.offers[task].pop(spark)
        elif kind is events.OFFERS_RETURNED:
            assert facts["deposits"] == sum(self.offers[task].values())
            for owner, deposit in self.offers[task].items():
                self.balances[owner] += deposit
        elif kind is events.MATCHED:
            self.requester_gets(task, facts["refunded"])
            self.balances[spark] -= facts["gas"]
        elif kind is events.ENDED:
            self.requester_gets(task, facts["refunded"])
            assert self.earned[task] == 0, "an unmatched task costs nothing"
        elif kind is events.CLOSED:
            self.requester_gets(task, facts["refunded"])
            self.balances[spark] += facts["paid"] + facts["gas_returned"]
            self.check_fairness(task, facts)
        elif kind is events.FORFEIT_RETURNED:
            self.balances[spark] += facts["amount"]
        elif kind is events.FORGOTTEN:
            self.balances[facts["requester"]] += facts["deposit"]

    def check_fairness(self, task: bytes, facts: dict[str, Any]) -> None:
        """Nobody earns from the other side's failure."""
        lost = facts["gas_burned"] + facts["gas_held"]
        assert self.earned[task] <= 0, "a requester never earns"
        if facts["blame"] in (Blame.SPARK, Blame.UNDECIDED):
            assert facts["paid"] == 0, "a spark that failed, or may have, is not paid"
        if facts["blame"] == Blame.SPARK:
            assert lost > 0
            assert self.earned[task] == 0, "the requester is made whole"
        if facts["paid"]:
            assert lost == 0, "who is paid loses no gas"


class Lives:
    """A market with two requesters and three sparks, followed by the model."""

    def __init__(self, params: Params = PARAMS) -> None:
        self.market = Market(params)
        for account in (SECOND, THIRD):
            self.market.fund(account, START_BALANCE)
        for spark in SPARKS:
            self.market.register(spark)
        self.model = Model()
        self.told = 0
        self.tasks: list[bytes] = []

    def send(self, sender: bytes, payload: Any) -> bytes | None:
        """Try it; what the lane would take must succeed."""
        is_due = self.market.is_due(sender, payload)
        try:
            return self.market.send(sender, payload)
        except Rejected:
            assert not is_due, "a step is due only when it would be accepted"
            return None

    def post(self, requester: bytes, maximum: int, ahead: int, by_hand: bool, bids: list[Bid]) -> None:
        """Post a task, and let some bid for it at once."""
        not_before = self.market.height + ahead if ahead else 0
        payload = post_of(windows=WINDOWS, maximum=maximum, not_before=not_before, by_hand=by_hand)
        task_id = self.send(requester, payload)
        if task_id is None:
            return
        self.tasks = [*self.tasks[-3:], task_id]
        for spark, tenths, promise in bids:
            self.send(spark, Offer(task_id, 0, -(-maximum * tenths // 10), promise))

    def usual(self, task_id: bytes) -> tuple[Step | None, ...]:
        """What the task's stage knows."""
        seat = self.market.state.get(SEATS, seat_key(task_id, 0))
        return USUAL[0 if seat is None else seat.stage]

    def act(self, task_id: bytes, step: Step) -> None:
        """The party whose step it is takes it."""
        self.tell()
        sender = self.model.requesters[task_id]
        seat = self.market.state.get(SEATS, seat_key(task_id, 0))
        if step not in (cancel_of, grant_of, accept_of, reject_of) and seat is not None:
            sender = seat.spark
        self.send(sender, step(task_id))

    def choose(self, task_id: bytes, spark: bytes) -> None:
        """Match by hand."""
        self.tell()
        self.send(self.model.requesters[task_id], match_of(task_id, spark))

    def tell(self) -> None:
        """Let the model read what has happened since."""
        for event in self.market.events[self.told :]:
            self.model.read(event)
        self.told = len(self.market.events)

    def check(self) -> None:
        """Columns add up, events tell every balance, an open seat has one clock and a closed one none."""
        self.market.check()
        self.tell()
        for account, balance in self.model.balances.items():
            assert self.market.balance(account) == balance
        state = self.market.state
        clocks = Counter(key[9:] for key, _ in state.scan(DUE))
        for key, seat in state.scan(SEATS):
            assert clocks[key] == (seat.stage != Stage.CLOSED)

    def finish(self) -> None:
        """Left alone, everything ends, and all that was held is somewhere."""
        self.market.mine(60)
        while self.market.state.scan(DUE, limit=1):
            self.market.mine()
        self.check()
        supply = self.market.state.supply
        assert (supply.escrow, supply.gas, supply.deposits) == (0, 0, 0)


class Tasks(RuleBasedStateMachine):
    """Anybody does anything in any order."""

    @initialize()
    def begin(self) -> None:
        self.lives = Lives()

    @rule(
        requester=st.sampled_from(EVERYBODY),
        maximum=st.sampled_from(MAXIMA),
        ahead=st.sampled_from(AHEAD),
        by_hand=st.booleans(),
        bids=st.lists(
            st.tuples(st.sampled_from(EVERYBODY), st.integers(1, 10), st.integers(1, 8)), max_size=4
        ),
    )
    def post(self, requester: bytes, maximum: int, ahead: int, by_hand: bool, bids: list[Bid]) -> None:
        self.lives.post(requester, maximum, ahead, by_hand, bids)

    @precondition(lambda self: self.lives.tasks)
    @rule(data=st.data(), spark=st.sampled_from(SPARKS))
    def choose(self, data: st.DataObject, spark: bytes) -> None:
        self.lives.choose(data.draw(st.sampled_from(self.lives.tasks)), spark)

    @precondition(lambda self: self.lives.tasks)
    @rule(data=st.data(), step=st.sampled_from(STEPS), sender=st.sampled_from(EVERYBODY))
    def blunder(self, data: st.DataObject, step: Step, sender: bytes) -> None:
        """Anybody sends anything."""
        self.lives.send(sender, step(data.draw(st.sampled_from(self.lives.tasks))))

    @precondition(lambda self: self.lives.tasks)
    @rule(data=st.data(), blocks=st.integers(0, 2))
    def live(self, data: st.DataObject, blocks: int) -> None:
        """A task takes a step that its stage knows, then some blocks pass."""
        task_id = data.draw(st.sampled_from(self.lives.tasks))
        step = data.draw(st.sampled_from(self.lives.usual(task_id)))
        if step is not None:
            self.lives.act(task_id, step)
        self.lives.market.mine(blocks)

    @rule(spark=st.sampled_from(SPARKS), is_active=st.booleans(), slots=st.integers(1, 3))
    def change_spark(self, spark: bytes, is_active: bool, slots: int) -> None:
        status = ACTIVE if is_active else RETIRED
        self.lives.market.register(spark, status=status, slots=slots)

    @rule(is_thin=st.booleans())
    def weather(self, is_thin: bool) -> None:
        self.lives.market.thin = is_thin

    @invariant()
    def every_grain_is_accounted_for(self) -> None:
        if hasattr(self, "lives"):
            self.lives.check()

    def teardown(self) -> None:
        if hasattr(self, "lives"):
            self.lives.finish()


TestTasks = Tasks.TestCase
TestTasks.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("params", [PARAMS, BEHIND], ids=["in time", "queue behind"])
def test_long_random_lives_meet_every_ending_and_conserve_every_grain(params: Params) -> None:
    """Seeded walks, because short random sequences seldom get past a grant."""
    met: set[int] = set()
    for seed in range(8):
        chance = random.Random(seed)
        lives = Lives(params)
        for _ in range(250):
            if not lives.tasks or chance.random() < 0.15:
                bids = [
                    (chance.choice(SPARKS), chance.randint(1, 10), chance.randint(2, 8)) for _ in range(3)
                ]
                lives.post(
                    chance.choice(REQUESTERS),
                    chance.choice(MAXIMA),
                    chance.choice(AHEAD),
                    chance.random() < 0.1,
                    bids,
                )
            task_id = chance.choice(lives.tasks)
            if chance.random() < 0.1:
                lives.send(chance.choice(EVERYBODY), chance.choice(STEPS)(task_id))
                lives.choose(task_id, chance.choice(SPARKS))
            step = chance.choice(lives.usual(task_id))
            if step is not None:
                lives.act(task_id, step)
            if chance.random() < 0.6:
                lives.market.mine()
            lives.market.thin = chance.random() < 0.3
            lives.check()
        lives.finish()
        for event in lives.market.events:
            if event.code in (events.CLOSED.code, events.ENDED.code):
                met.add(int(event.facts[3 if event.code == events.CLOSED.code else 1]))
    assert met == set(Ending)


def test_no_ending_is_better_for_a_spark_than_honest_work() -> None:
    """Whatever a spark does with a seat, delivering and being accepted pays it most."""
    market = Market()
    task_id = market.running()
    task, seat = market.task(task_id), market.seat(task_id)
    honest = outcome_of(task, seat, Ending.ACCEPTED, seat.started + seat.promise, 0)
    for ending in (
        Ending.RELEASED,
        Ending.DECLINED,
        Ending.FAILURE_AGREED,
        Ending.FAILURE_UNANSWERED,
        Ending.RUN_TIMEOUT,
        Ending.CANCELLED,
    ):
        for blocks in range(2 * seat.promise + 1):
            outcome = outcome_of(task, seat, ending, seat.started + blocks, 0)
            assert outcome.paid - outcome.gas_burned - outcome.gas_held <= honest.paid
