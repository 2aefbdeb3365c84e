"""The market as a requester sees it: a task's records, sparks that could take an order, offers.

Here: reading the node's answers back into records, so that the code that settles computes every figure.
Not here: words (story.py), what is done about it (following.py).
Units: grains, heights, parts per billion.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from consensus.types.errors import Fault
from eubchain.client.connection import ANSWER_MALFORMED, Connection, RemoteRefusal
from eubchain.client.network import Network
from vm.spark import Hardware
from vm.task.access import NO_SUCH_TASK
from vm.task.offering import is_large_enough
from vm.task.payloads import Resources, Role, Windows
from vm.task.records import (
    Blame,
    Ending,
    Failure,
    Outcome,
    Result,
    Seat,
    Stage,
    Task,
    TaskState,
)

SEAT = 0
"""This version of the network has tasks of one seat."""
NOTHING_ASKED = Resources(0, 0, 0, 0, 0)
RECENT_TASKS = 100


class Sight(NamedTuple):
    """A task at a height. What the node does not tell (allow, avoid, resources) is blank in the records."""

    height: int
    id: bytes
    task: Task
    seat: Seat | None
    """None before the match."""
    offers_end: int

    @property
    def is_final(self) -> bool:
        """Whether nothing moves any more."""
        return self.task.state == TaskState.FINAL

    @property
    def maximum(self) -> int:
        """M."""
        return self.task.roles[0].maximum


class SparkSight(NamedTuple):
    """A registered spark."""

    address: bytes
    is_active: bool
    recipient: str
    hardware: Hardware
    slots: int
    running: int
    kappa: int
    power: int


class OfferSight(NamedTuple):
    """An offer that stands."""

    spark: bytes
    price: int
    promise: int
    kappa: int
    gas: int


async def look(node: Connection, network: Network, task: bytes) -> Sight | None:
    """The task as it stands; None when the state has none (not yet, or not any more)."""
    try:
        view = await node.call("task_get", task="0x" + task.hex())
    except RemoteRefusal as refusal:
        if refusal.wording.code == NO_SUCH_TASK.code:
            return None
        raise
    try:
        return read_task(view, network)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Fault(ANSWER_MALFORMED, url=node.url, why="its task_get cannot be read") from None


def read_task(view: dict[str, Any], network: Network) -> Sight:
    """The records behind a `task_get`."""
    seats = view["seats"]
    role = Role("main", 1, True, int(view["maximum"]), NOTHING_ASKED)
    windows = view["windows"]
    task = Task(
        requester=network.address(view["requester"]),
        way=view["way"],
        replicas=0,
        roles=(role,),
        min_kappa=view["min_kappa"],
        allow=(),
        avoid=(),
        windows=Windows(*(int(windows[name]) for name in Windows.__struct_fields__)),
        not_before=view["not_before"],
        by_hand=view["by_hand"],
        check=None,
        spec=bytes.fromhex(view["spec"][2:]),
        post=bytes.fromhex(view["post"][2:]),
        posted=view["posted"],
        state=TaskState[view["state"].upper()],
        offers=view["offers"],
        escrow=int(view["escrow"]),
        deposit=int(view["deposit"]),
        job=None,
        cancel_at=view["cancel_at"],
        seats_open=sum(seat["stage"] != "closed" for seat in seats),
        ending=Ending[view["ending"].upper()] if view["ending"] else 0,
        final=view["final"],
    )
    seat = _read_seat(seats[SEAT], network) if seats else None
    return Sight(view["height"], bytes.fromhex(view["task"][2:]), task, seat, view["offers_end"])


def _read_seat(view: dict[str, Any], network: Network) -> Seat:
    return Seat(
        spark=network.address(view["spark"]),
        role=0,
        price=int(view["price"]),
        promise=view["promise"],
        kappa=0,
        power=0,
        gas=int(view["gas"]),
        pledge=0,
        audit=0,
        stage=Stage[view["stage"].upper()],
        entered=view["entered"],
        deadline=view["deadline"],
        started=view["started"],
        delivered=view["delivered"],
        grant=bytes.fromhex(view["grant"][2:]) if view["grant"] else None,
        endpoint=None,
        result=_read_result(view["result"]) if view["result"] else None,
        failure=_read_failure(view["failure"]) if view["failure"] else None,
        outcome=_read_outcome(view["outcome"]) if view["outcome"] else None,
    )


def _read_result(view: dict[str, Any]) -> Result:
    hashes = (bytes.fromhex(view[name]) for name in ("digest", "seal", "delivery"))
    digest, seal, delivery = hashes
    return Result(digest, view["size"], seal, delivery)


def _read_failure(view: dict[str, Any]) -> Failure:
    report, claim = bytes.fromhex(view["report"]), bytes.fromhex(view["claim"])
    return Failure(view["code"], view["exit_status"], report, claim)


def _read_outcome(view: dict[str, Any]) -> Outcome:
    money = ("paid", "fee", "refunded", "burned", "gas_returned", "gas_burned", "gas_held")
    return Outcome(
        Ending[view["ending"].upper()],
        Blame[view["blame"].upper()],
        view["height"],
        *(int(view[name]) for name in money),
    )


async def all_sparks(node: Connection, network: Network) -> list[SparkSight]:
    """Every registered spark that has not retired, the highest coefficient first."""
    return [_read_spark(view, network) for view in await node.call("spark_list")]


async def one_spark(node: Connection, network: Network, address: bytes) -> SparkSight:
    """A registered spark; raises `RemoteRefusal` 2350 when there is none."""
    return _read_spark(await node.call("spark_get", address=network.show(address)), network)


def _read_spark(view: dict[str, Any], network: Network) -> SparkSight:
    hardware = view["hardware"]
    return SparkSight(
        address=network.address(view["address"]),
        is_active=view["status"] == "active",
        recipient=view["recipient"],
        hardware=Hardware(*(hardware[name] for name in Hardware.__struct_fields__)),
        slots=view["slots"],
        running=view["running"],
        kappa=view["kappa"],
        power=view["power"],
    )


def is_fitting(spark: SparkSight, resources: Resources) -> bool:
    """Whether what the spark declares is enough."""
    return spark.is_active and is_large_enough(spark.hardware, resources)


async def standing_offers(node: Connection, network: Network, task: bytes) -> list[OfferSight]:
    """The offers for an open task, the best first as the draw ranks them."""
    try:
        rows = await node.call("task_offers", task="0x" + task.hex())
    except RemoteRefusal as refusal:
        if refusal.wording.code == NO_SUCH_TASK.code:
            return []
        raise
    return [
        OfferSight(
            network.address(row["spark"]), int(row["price"]), row["promise"], row["kappa"], int(row["gas"])
        )
        for row in rows
    ]


async def last_prices(node: Connection, network: Network) -> dict[bytes, int]:
    """The price at which each spark was last matched, as far as the state still has the task; grains."""
    page = await node.call("task_list", limit=RECENT_TASKS)
    latest: dict[bytes, tuple[int, int]] = {}
    for task in page["tasks"]:
        for seat in task["seats"]:
            spark = network.address(seat["spark"])
            row = (task["posted"], int(seat["price"]))
            latest[spark] = max(latest.get(spark, row), row)
    return {spark: price for spark, (_, price) in latest.items()}
