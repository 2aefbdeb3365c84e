"""A task market in memory: real state, real operations and due queue, no fees, no consensus.

`Market` runs one open block at a time: `send` executes a transaction in it, `mine` closes it. Every
closed block is checked for conservation by the state itself; `check` recomputes the columns from records.
"""

from __future__ import annotations

from typing import Any

from consensus.types.amounts import eubc
from consensus.types.codec import Codec, encode
from consensus.types.errors import Rejected
from consensus.types.hashing import Tag, tagged_hash
from consensus.types.params import DEV, Params
from consensus.types.reader import MemoryState
from consensus.types.receipt import Event
from vm import due, funds, members, outage, pools
from vm.head import epoch_of
from vm.members import Register
from vm.operation import Operation
from vm.spark import ACTIVE, SPARKS, Hardware, Spark
from vm.stake import STAKES, Stake
from vm.state import BlockContext, Call, State
from vm.tally import Tally
from vm.task.deadlines import DUE_HANDLERS
from vm.task.operations import OPERATIONS
from vm.task.payloads import (
    Accept,
    Cancel,
    Decline,
    Deliver,
    Fail,
    Grant,
    Match,
    Offer,
    Post,
    Reject,
    Release,
    Resources,
    Role,
    SeatEnvelope,
    Start,
    Windows,
)
from vm.task.records import (
    FORFEITS,
    OFFERS,
    SEATS,
    TASKS,
    Outcome,
    Seat,
    Stage,
    Task,
    seat_key,
)

HARDWARE = Hardware("rtx4090", 1, 24 * 2**30, 16, 64 * 2**30, 2**40)
RECIPIENT = "age1" + "q" * 58
KAPPA_NEWCOMER = 333_333_333
REQUESTER = b"requester".ljust(20, b"\0")
SPARK = b"spark".ljust(20, b"\0")
OTHER = b"other".ljust(20, b"\0")
JOB = bytes([7]) * 32
MAXIMUM = eubc(5)
PRICE = eubc(4)
PROMISE = 10
WINDOWS = Windows(offer=3, grant=5, start=6, run=20, review=8)
START_BALANCE = eubc(1_000)


def post_of(**changes: Any) -> Post:
    """A post of one seat on the way `none`, with changes; `maximum` and `resources` are its role's."""
    maximum = changes.pop("maximum", MAXIMUM)
    resources = changes.pop("resources", Resources(1, 8 * 2**30, 4, 2**33, 2**33))
    fields: dict[str, Any] = {
        "way": 0,
        "replicas": 0,
        "roles": (Role("main", 1, True, maximum, resources),),
        "min_kappa": 0,
        "allow": (),
        "avoid": (),
        "windows": WINDOWS,
        "not_before": 0,
        "by_hand": False,
        "check": None,
        "spec": b"spec",
    }
    return Post(**(fields | changes))


class Market:
    """Accounts, sparks and one open block."""

    def __init__(self, params: Params = DEV) -> None:
        self.params = params
        self.reader = MemoryState()
        self.height = 1
        """Of the open block."""
        self.sent = 0
        self.events: list[Event] = []
        """Of everything accepted so far."""
        self.operations: dict[type[Any], Operation] = {o.payload: o for o in OPERATIONS}
        self.due_paid = self.due_done = 0
        """Work of the due queue: what transactions paid for, what it has done."""
        self.thin = False
        """Whether the validators are too few in every commit, which is an outage."""
        self.state = self._open()
        for account in (REQUESTER, SPARK, OTHER):
            self.fund(account, START_BALANCE)
        for account in (SPARK, OTHER):
            self.register(account)

    def _open(self) -> State:
        beacon = tagged_hash(Tag.BEACON, self.height.to_bytes(8, "big"))
        epoch = epoch_of(self.height, self.params.chain.epoch_blocks)
        context = BlockContext(
            self.height, self.height * 500, epoch, beacon, 1, bytes(20), self.params, bytes(32), "market"
        )
        state = State(self.reader, context)
        state.begin()
        return state

    def fund(self, account: bytes, amount: int) -> None:
        """Issue grains to an account."""
        self.state.supply.issued += amount
        funds.credit(self.state, account, amount)

    def register(self, account: bytes, **changes: Any) -> None:
        """Make an account a spark, or change its record."""
        fields: dict[str, Any] = {
            "status": ACTIVE,
            "recipient": RECIPIENT,
            "hardware": HARDWARE,
            "slots": 2,
            "judging": False,
            "registered_epoch": 0,
            "difficulty": 1,
            "capacity": 1_000,
            "banned_until": 0,
            "failed_epoch": 0,
            "running": 0,
            "exposure": 0,
            "power": 0,
            "kappa": KAPPA_NEWCOMER,
            "left_after": 0,
        }
        existing = self.state.get(SPARKS, account)
        if existing is None:
            bond = self.params.resource.spark_bond
            self.state.supply.issued += bond
            self.state.supply.bonded += bond
            self.state.put(STAKES, account, Stake(bond, 0, ()))
            members.add(self.state, Register.SPARKS, bond, account)
        else:
            fields |= {name: getattr(existing, name) for name in fields}
        self.state.put(SPARKS, account, Spark(**(fields | changes)))

    def send(self, sender: bytes, payload: Any) -> bytes:
        """Execute a transaction in the open block; returns its txid, raises `Rejected`."""
        operation = self.operations[type(payload)]
        assert Codec(type(payload)).decode(encode(payload)) == payload, "payloads survive the wire"
        self.sent += 1
        txid = tagged_hash(Tag.TXID, self.sent.to_bytes(8, "big"))
        call = Call(sender, txid, tagged_hash(Tag.WTXID, txid))
        cost = operation.cost(payload, self.params.fees)
        self.state.begin()
        try:
            operation.check(payload, self.params)
            operation.apply(self.state, call, payload)
        except Rejected:
            assert not self.state.written(TASKS), "refusals stand above the first write"
            self.state.undo()
            raise
        assert self.state.entries_created <= cost.entries_max, f"{operation.name} declares too few"
        assert self.state.supply.is_conserved(), "every movement has two sides"
        self.events += self.state.events
        self.due_paid += cost.due
        return txid

    def is_due(self, sender: bytes, payload: Any) -> bool:
        """Whether the lane would take the transaction."""
        is_due = self.operations[type(payload)].is_due
        return is_due is not None and is_due(self.state, Call(sender, bytes(32), bytes(32)), payload)

    def mine(self, blocks: int = 1) -> None:
        """Close the open block, and as many more as asked for."""
        for _ in range(blocks):
            self.state.begin()
            due.fire(self.state, {kind: self._counted(handler) for kind, handler in DUE_HANDLERS.items()})
            assert self.due_done <= self.due_paid, "what the queue does was paid by who left it"
            if self.height % self.params.chain.epoch_blocks == 0:
                outage.decide(self.state, Tally(1, int(self.thin), ()))
            self.events += self.state.events
            self.check()
            self.reader.write(self.state.finish())
            self.height += 1
            self.state = self._open()

    def _counted(self, handler: due.Handler) -> due.Handler:
        def fire(state: State, entry: bytes, due_height: int) -> None:
            before = state.records_touched
            handler(state, entry, due_height)
            self.due_done += 1 + state.records_touched - before

        return fire

    def until(self, height: int) -> None:
        """Mine until the open block has this height."""
        assert height >= self.height, "blocks do not go back"
        self.mine(height - self.height)

    def check(self) -> None:
        """Recompute the columns that tasks move money through."""
        state, supply = self.state, self.state.supply
        tasks = [task for _, task in state.scan(TASKS)]
        seats = [seat for _, seat in state.scan(SEATS) if seat.stage != Stage.CLOSED]
        held = [forfeit.amount for _, forfeit in state.scan(FORFEITS)]
        offers = [offer.deposit for _, offer in state.scan(OFFERS)]
        assert supply.escrow == sum(t.escrow for t in tasks) + sum(s.price for s in seats)
        assert supply.gas == sum(s.gas for s in seats) + sum(held)
        assert supply.deposits == sum(t.deposit for t in tasks) + sum(offers)
        assert supply.bonded == sum(stake.bonded for _, stake in state.scan(STAKES))
        assert supply.pools == pools.held(state, pools.RESOURCE)
        for account, spark in state.scan(SPARKS):
            mine = [seat for seat in seats if seat.spark == account]
            assert spark.exposure == sum(seat.gas for seat in mine)
            assert spark.running == sum(seat.stage != Stage.RESERVED for seat in mine)
        assert supply.is_conserved()

    def balance(self, account: bytes) -> int:
        """Grains of an account."""
        return funds.account(self.state, account).balance

    def task(self, task_id: bytes) -> Task:
        """A task that exists."""
        task = self.state.get(TASKS, task_id)
        assert task is not None
        return task

    def seat(self, task_id: bytes) -> Seat:
        """The only seat of a task, which exists."""
        seat = self.state.get(SEATS, seat_key(task_id, 0))
        assert seat is not None
        return seat

    def outcome(self, task_id: bytes) -> Outcome:
        """How the seat ended, which it has."""
        outcome = self.seat(task_id).outcome
        assert outcome is not None
        return outcome

    def post(self, requester: bytes = REQUESTER, **changes: Any) -> bytes:
        """Post a task of one seat."""
        return self.send(requester, post_of(**changes))

    def offer(self, task_id: bytes, spark: bytes = SPARK, price: int = PRICE, promise: int = PROMISE) -> None:
        """Offer for the only role."""
        self.send(spark, Offer(task_id, 0, price, promise))

    def matched(self, **changes: Any) -> bytes:
        """A task that was drawn for SPARK, in the first block after the draw."""
        task_id = self.post(**changes)
        self.offer(task_id)
        self.until(self.task(task_id).posted + self.task(task_id).windows.offer + 1)
        assert self.seat(task_id).spark == SPARK
        return task_id

    def starting(self, **changes: Any) -> bytes:
        """A task whose job is with the spark."""
        task_id = self.matched(**changes)
        self.send(REQUESTER, grant_of(task_id))
        return task_id

    def running(self, **changes: Any) -> bytes:
        """A task that runs since the open block."""
        task_id = self.starting(**changes)
        self.send(SPARK, start_of(task_id))
        return task_id

    def delivered(self, blocks: int = PROMISE, **changes: Any) -> bytes:
        """A task whose result was delivered so many blocks after the start, in the open block."""
        task_id = self.running(**changes)
        self.mine(blocks)
        self.send(SPARK, deliver_of(task_id))
        return task_id

    def failed(self, blocks: int = PROMISE, **changes: Any) -> bytes:
        """A task whose application failed, as its spark claims, so many blocks after the start."""
        task_id = self.running(**changes)
        self.mine(blocks)
        self.send(SPARK, fail_of(task_id))
        return task_id


def match_of(task_id: bytes, spark: bytes = SPARK) -> Match:
    """Take an offer by hand."""
    return Match(task_id, spark)


def cancel_of(task_id: bytes) -> Cancel:
    """Cancel a task."""
    return Cancel(task_id)


def grant_of(task_id: bytes, job: bytes = JOB, seat: int = 0) -> Grant:
    """Hand over a job."""
    return Grant(task_id, job, (SeatEnvelope(seat, b"sealed"),))


def start_of(task_id: bytes, seat: int = 0) -> Start:
    """Start a seat."""
    return Start(task_id, seat, b"")


def release_of(task_id: bytes, seat: int = 0) -> Release:
    """Give a seat up."""
    return Release(task_id, seat)


def decline_of(task_id: bytes, seat: int = 0) -> Decline:
    """Decline a seat whose input is missing."""
    return Decline(task_id, seat, 2)


def deliver_of(task_id: bytes, seat: int = 0) -> Deliver:
    """Deliver a result."""
    return Deliver(
        task_id, seat, bytes([1]) * 32, 1_000, ("blob:out",), bytes([2]) * 32, RECIPIENT, b"sealed"
    )


def fail_of(task_id: bytes, seat: int = 0) -> Fail:
    """Claim that the command was not found."""
    return Fail(task_id, seat, 1, 127, bytes([3]) * 32, "blob:error")


def accept_of(task_id: bytes, score: int = 100, stars: int = 5, seat: int = 0) -> Accept:
    """Accept a result, or agree to a failure."""
    return Accept(task_id, seat, score, stars)


def reject_of(task_id: bytes, seat: int = 0) -> Reject:
    """Reject a result or a claim."""
    return Reject(task_id, seat)
