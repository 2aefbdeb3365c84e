"""Whether to offer for a task, at which price and promise: pure decisions over what the agent knows.

Here: `decide`, the reasons not to offer, price and promise, what an offer would lock.
Not here: the owner's wishes (policy.py), sending the offer (agent.py), remembering what came of it
(market_notes.py).
Keeps: an offer is made only if winning it can be afforded together with every other offer that stands,
because a winner that cannot pay its gas loses the offer's deposit.
Units: grains, blocks, bytes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from consensus.types.address import format_address
from consensus.types.params import Params
from spark_node.chain import TaskView
from spark_node.job import Spec
from spark_node.policy import Policy
from vm.spark import Hardware
from vm.task.offering import is_large_enough
from vm.task.payloads import Post, Role
from vm.task.terms import gas_for, offer_deposit, price_least, promise_least, rounded_up

MS_PER_HOUR = 3_600_000
FEE_UNITS_OF_A_TASK = 8_000
"""What offer, start and delivery cost together in fee units, generously."""
START_MARGIN_BLOCKS = 2
"""A start window shorter than this leaves no time to fetch anything."""


class WhyNot(StrEnum):
    """Why the agent does not offer; the values are the keys of the count in `status`."""

    PAUSED = "paused"
    HOURS = "hours"
    OWNER = "owner"
    OWN_TASK = "own_task"
    GROUP = "group"
    UNREADABLE = "unreadable"
    RUNTIME = "runtime"
    IMAGE = "image"
    REQUESTER = "requester"
    NOT_INVITED = "not_invited"
    KAPPA = "kappa"
    GPUS = "gpus"
    GPU_MEMORY = "gpu_memory"
    PROCESSORS = "processors"
    MEMORY = "memory"
    DISK = "disk"
    DECLARED = "declared"
    WINDOW = "window"
    RESERVATION = "reservation"
    PRICE = "price"
    SLOTS = "slots"
    FUNDS = "funds"
    CANNOT_RUN = "cannot_run"
    REFUSED = "refused"


WORDS = {
    WhyNot.PAUSED: "while paused",
    WhyNot.HOURS: "outside your hours",
    WhyNot.OWNER: "while you used the machine",
    WhyNot.OWN_TASK: "your own",
    WhyNot.GROUP: "for groups of machines",
    WhyNot.UNREADABLE: "with a description that cannot be read",
    WhyNot.RUNTIME: "need a runtime you do not lend",
    WhyNot.IMAGE: "use an image you do not allow",
    WhyNot.REQUESTER: "from requesters you do not work for",
    WhyNot.NOT_INVITED: "for other sparks only",
    WhyNot.KAPPA: "need a higher coefficient",
    WhyNot.GPUS: "need more GPUs",
    WhyNot.GPU_MEMORY: "need more VRAM",
    WhyNot.PROCESSORS: "need more processors",
    WhyNot.MEMORY: "need more memory",
    WhyNot.DISK: "need more disk",
    WhyNot.DECLARED: "need more than you declared on chain",
    WhyNot.WINDOW: "leave too little time to start",
    WhyNot.RESERVATION: "start later, which you do not want",
    WhyNot.PRICE: "pay less than you ask",
    WhyNot.SLOTS: "while all slots were taken",
    WhyNot.FUNDS: "lock more than you can spend",
    WhyNot.CANNOT_RUN: "cannot run on this machine",
    WhyNot.REFUSED: "were refused by the chain",
}
"""Each reads after a number: '5 need more VRAM'."""

ADVICE = {
    WhyNot.RUNTIME: "install Docker, or allow the runtime in tasks.runtimes",
    WhyNot.IMAGE: "widen tasks.images_allowed in the policy",
    WhyNot.REQUESTER: "widen tasks.requesters_allowed in the policy",
    WhyNot.KAPPA: "eubchain por explain shows what raises the coefficient",
    WhyNot.MEMORY: "raise machine.memory_mib in the policy",
    WhyNot.DISK: "raise machine.disk_mib in the policy",
    WhyNot.PROCESSORS: "raise machine.cpus in the policy",
    WhyNot.DECLARED: "eubchain spark init declares what the machine has now",
    WhyNot.SLOTS: "raise tasks.slots in the policy if the machine can bear it",
    WhyNot.FUNDS: "send EUBC to the spark's account, or lower price.reserve",
}


class Lent(NamedTuple):
    """What of this machine is lent, policy applied; `runtimes` are those that work here."""

    gpus: int
    gpu_memory_bytes: int
    """Of the smallest GPU."""
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    runtimes: tuple[str, ...]


class Situation(NamedTuple):
    """Where the agent stands when it looks at a task."""

    address: bytes
    prefix: str
    params: Params
    height: int
    kappa: int
    """Parts per billion."""
    declared: Hardware
    spendable: int
    committed: int
    """Gas that offers which stand would lock."""
    slots_free: int
    """Slots neither filled nor promised by an offer that stands."""
    minute: int
    """Of the local day."""
    held_by: WhyNot | None
    """PAUSED or OWNER while no work is taken."""


class Bid(NamedTuple):
    """An offer to make."""

    role: int
    price: int
    promise: int
    deposit: int
    gas: int


class Refusal(NamedTuple):
    """No offer; `asks` is what this spark would have asked, 0 where it never came to a price."""

    why: WhyNot
    asks: int


def decide(policy: Policy, lent: Lent, now: Situation, task: TaskView) -> Bid | Refusal:
    """Offer, or say why not: first what the machine and its owner can do, then money, then slots."""
    post = task.post
    why = _may_not(policy, now, task) or _cannot(lent, now, post, task.spec)
    if why is not None:
        return Refusal(why, 0)
    assert task.spec is not None, "a spec that cannot be read is refused above"
    role = post.roles[0]
    promise = promise_for(policy, post)
    price = price_for(policy, role, task.spec, promise, now.params.chain.block_interval_ms)
    if price > role.maximum:
        return Refusal(WhyNot.PRICE, price)
    gas = gas_for(now.params, now.kappa, role.maximum, price)
    deposit = offer_deposit(now.params.market, price, role.maximum)
    fees = FEE_UNITS_OF_A_TASK * now.params.fees.min_price
    if now.spendable < deposit + gas + now.committed + policy.reserve + fees:
        return Refusal(WhyNot.FUNDS, price)
    is_reservation = post.not_before > now.height
    # A reservation fills no slot before its time.
    if now.slots_free < 1 and not is_reservation:
        return Refusal(WhyNot.SLOTS, price)
    return Bid(0, price, promise, deposit, gas)


def promise_for(policy: Policy, post: Post) -> int:
    """The blocks to promise: the policy's share of the run window, within what the chain takes."""
    run = post.windows.run
    return min(run, max(promise_least(run), rounded_up(run * policy.promise_percent, 100)))


def price_for(policy: Policy, role: Role, spec: Spec, promise: int, interval_ms: int) -> int:
    """What the promised time costs by the policy, and never less than an offer may ask."""
    gpus = max(spec.gpus, role.resources.gpus)
    cpu_milli = max(spec.cpu_milli, role.resources.cpus * 1000)
    hourly_thousandths = 1000 * gpus * policy.gpu_hour + cpu_milli * policy.cpu_hour
    cost = rounded_up(hourly_thousandths * promise * interval_ms, 1000 * MS_PER_HOUR)
    return max(1, cost, policy.task_least, price_least(role.maximum))


def _may_not(policy: Policy, now: Situation, task: TaskView) -> WhyNot | None:
    post, spec = task.post, task.spec
    if now.held_by is not None:
        return now.held_by
    if not policy.is_open(now.minute):
        return WhyNot.HOURS
    if task.requester == now.address:
        return WhyNot.OWN_TASK
    if len(post.roles) != 1 or post.roles[0].count != 1 or post.replicas:
        return WhyNot.GROUP
    if spec is None:
        return WhyNot.UNREADABLE
    requester = format_address(task.requester, now.prefix)
    if requester in policy.requesters_denied:
        return WhyNot.REQUESTER
    if policy.requesters_allowed and requester not in policy.requesters_allowed:
        return WhyNot.REQUESTER
    if (post.allow and now.address not in post.allow) or now.address in post.avoid:
        return WhyNot.NOT_INVITED
    if spec.runtime not in policy.runtimes:
        return WhyNot.RUNTIME
    if any(spec.image.startswith(begin) for begin in policy.images_denied):
        return WhyNot.IMAGE
    allowed = policy.images_allowed
    if allowed and not any(spec.image.startswith(begin) for begin in allowed):
        return WhyNot.IMAGE
    if post.not_before > now.height and not policy.reservations:
        return WhyNot.RESERVATION
    return None


def _cannot(lent: Lent, now: Situation, post: Post, spec: Spec | None) -> WhyNot | None:
    assert spec is not None, "a spec that cannot be read is refused above"
    needed = post.roles[0].resources
    gpus = max(spec.gpus, needed.gpus)
    checks = (
        (spec.runtime not in lent.runtimes, WhyNot.RUNTIME),
        (gpus > lent.gpus, WhyNot.GPUS),
        (gpus > 0 and needed.gpu_memory_bytes > lent.gpu_memory_bytes, WhyNot.GPU_MEMORY),
        (max(spec.cpu_milli, needed.cpus * 1000) > lent.cpu_milli, WhyNot.PROCESSORS),
        (max(spec.memory_bytes, needed.memory_bytes) > lent.memory_bytes, WhyNot.MEMORY),
        (max(spec.disk_bytes + spec.input_bytes_max, needed.disk_bytes) > lent.disk_bytes, WhyNot.DISK),
        (not is_large_enough(now.declared, needed), WhyNot.DECLARED),
        (now.kappa < post.min_kappa, WhyNot.KAPPA),
        (post.windows.start < START_MARGIN_BLOCKS, WhyNot.WINDOW),
    )
    return next((why for is_short, why in checks if is_short), None)
