"""Offers: `task.offer`, the bounded list of those that stand, their deposits.

Here: who may offer what, making room in a full list, returning deposits.
Not here: the order of offers (terms.py), the draw and the choice by hand (matching.py).
Keeps: a task's standing offers are at most max(64, 2·seats), one per account; every offer's deposit
returns by draw, eviction, cancellation or expiry, and burns only when its spark wins and cannot take
the seat.
Errors: 1620 not_a_spark, 1621 may_not_offer, 1622 own_task, 1623 not_allowed, 1624 kappa_too_small,
1625 machine_too_small, 1626 price_out_of_range, 1627 promise_out_of_range, 1628 already_offered,
1629 offers_full, 1630 no_such_role.
"""

from __future__ import annotations

import msgspec

from consensus.types.errors import Reason, Rejected
from consensus.types.params import FeeParams
from vm import funds
from vm.operation import Cost, Operation, check_nothing
from vm.spark import SPARKS, Hardware, Spark, may_offer
from vm.state import Call, State
from vm.task import events
from vm.task.access import find_task, refuse_not_open
from vm.task.payloads import Offer, Resources
from vm.task.records import OFFERS, TASKS, StandingOffer, Task, keys_of
from vm.task.terms import (
    gas_for,
    offer_deposit,
    offers_most,
    price_least,
    promise_least,
    ranked,
    seats_of,
)

ENTRIES_MAX = 1
OFFER_DUE = 2
"""What the draw does to an offer, in records: it goes, and its deposit returns."""

NOT_A_SPARK = Reason(
    1620,
    "not_a_spark",
    "account:address",
    "{account} is not registered as a spark.",
    "Register it with `eubchain spark init` and start the agent.",
)
MAY_NOT_OFFER = Reason(
    1621,
    "may_not_offer",
    "account:address",
    "{account} may not take work: it is retired, jailed, short of its bond, or barred after a false share.",
    "Tasks that run are finished as usual; `eubchain spark status` says until when.",
)
OWN_TASK = Reason(
    1622,
    "own_task",
    "task:hash",
    "Task {task} is your own.",
    "A requester and its spark are different accounts.",
)
NOT_ALLOWED = Reason(
    1623,
    "not_allowed",
    "task:hash account:address",
    "The requester of task {task} does not take offers of {account}.",
    "Look for another task.",
)
KAPPA_TOO_SMALL = Reason(
    1624,
    "kappa_too_small",
    "task:hash kappa:ppb least:ppb",
    "The coefficient is {kappa}; task {task} asks for {least} at least.",
    "`eubchain por explain` shows what would raise it.",
)
MACHINE_TOO_SMALL = Reason(
    1625,
    "spark_too_small",
    "task:hash account:address",
    "What {account} declares of its machine is less than task {task} needs.",
    "Compare with `eubchain task status`; update the declaration if the machine has more.",
)
PRICE_OUT_OF_RANGE = Reason(
    1626,
    "price_out_of_range",
    "price:eubc least:eubc most:eubc",
    "A price of {price} is not within {least} … {most}.",
    "Offer a price within the bounds.",
)
PROMISE_OUT_OF_RANGE = Reason(
    1627,
    "promise_out_of_range",
    "promise:blocks least:blocks most:blocks",
    "A promise of {promise} blocks is not within {least} … {most}.",
    "Promise a time within the bounds.",
)
ALREADY_OFFERED = Reason(
    1628,
    "already_offered",
    "task:hash account:address",
    "{account} has an offer for task {task} already.",
    "An account offers once; the offer stands until the draw.",
)
OFFERS_FULL = Reason(
    1629,
    "offers_full",
    "task:hash offers:count",
    "All {offers} offers for task {task} are better.",
    "Offer less, or promise less time.",
)
NO_SUCH_ROLE = Reason(
    1630,
    "no_such_role",
    "task:hash role:count",
    "Task {task} has no role {role}.",
    "Roles are numbered from 0.",
)


def cost(payload: Offer, fees: FeeParams) -> Cost:
    """Units of an offer."""
    return Cost(fees.task, ENTRIES_MAX, OFFER_DUE)


def apply(state: State, call: Call, payload: Offer) -> None:
    """Let an offer stand against its deposit; a full list makes room by its worst."""
    task, made = _refuse_offer(state, call, payload)
    worst = _worst_if_full(state, payload.task, task, call.sender, made)
    offers = task.offers + 1
    if worst is not None:
        spark, evicted = worst
        _return_deposit(state, payload.task, spark, evicted)
        state.emit(events.OFFER_EVICTED(task=payload.task, spark=spark, deposit=evicted.deposit))
        offers -= 1
    funds.debit(state, call.sender, made.deposit)
    state.supply.deposits += made.deposit
    state.put(OFFERS, payload.task + call.sender, made)
    state.put(TASKS, payload.task, msgspec.structs.replace(task, offers=offers))
    state.emit(
        events.OFFERED(
            task=payload.task,
            spark=call.sender,
            price=made.price,
            promise=made.promise,
            deposit=made.deposit,
        )
    )


def _refuse_offer(state: State, call: Call, payload: Offer) -> tuple[Task, StandingOffer]:
    """The task and the offer as it would stand; refuse one that may not."""
    task = find_task(state, payload.task)
    refuse_not_open(state, payload.task, task)
    if call.sender == task.requester:
        raise Rejected(OWN_TASK, task=payload.task)
    spark = state.get(SPARKS, call.sender)
    if spark is None:
        raise Rejected(NOT_A_SPARK, account=call.sender)
    if not may_take_work(state, call.sender, spark):
        raise Rejected(MAY_NOT_OFFER, account=call.sender)
    if (task.allow and call.sender not in task.allow) or call.sender in task.avoid:
        raise Rejected(NOT_ALLOWED, task=payload.task, account=call.sender)
    if spark.kappa < task.min_kappa:
        raise Rejected(KAPPA_TOO_SMALL, task=payload.task, kappa=spark.kappa, least=task.min_kappa)
    if payload.role >= len(task.roles):
        raise Rejected(NO_SUCH_ROLE, task=payload.task, role=payload.role)
    role = task.roles[payload.role]
    if not is_large_enough(spark.hardware, role.resources):
        raise Rejected(MACHINE_TOO_SMALL, task=payload.task, account=call.sender)
    cheapest, quickest = price_least(role.maximum), promise_least(task.windows.run)
    if not cheapest <= payload.price <= role.maximum:
        raise Rejected(PRICE_OUT_OF_RANGE, price=payload.price, least=cheapest, most=role.maximum)
    if not quickest <= payload.promise <= task.windows.run:
        raise Rejected(PROMISE_OUT_OF_RANGE, promise=payload.promise, least=quickest, most=task.windows.run)
    if state.get(OFFERS, payload.task + call.sender) is not None:
        raise Rejected(ALREADY_OFFERED, task=payload.task, account=call.sender)
    params = state.block.params
    gas = gas_for(params, spark.kappa, role.maximum, payload.price)
    deposit = offer_deposit(params.market, payload.price, role.maximum)
    # Not locked yet, but whoever cannot lock it would only lose the deposit at the draw.
    funds.require(state, call.sender, deposit + gas)
    return task, StandingOffer(
        payload.role,
        payload.price,
        payload.promise,
        spark.kappa,
        spark.power,
        gas,
        deposit,
        state.block.height,
    )


def may_take_work(state: State, address: bytes, spark: Spark) -> bool:
    """Whether the spark may offer and be drawn: not retired, jailed, tombstoned, unbonded or barred."""
    return may_offer(state, address) and state.block.epoch >= spark.banned_until


def is_large_enough(hardware: Hardware, needed: Resources) -> bool:
    """Whether a declared machine has what a seat needs; GPU memory matters only with GPUs."""
    return (
        hardware.gpus >= needed.gpus
        and (needed.gpus == 0 or hardware.gpu_memory_bytes >= needed.gpu_memory_bytes)
        and hardware.cpus >= needed.cpus
        and hardware.memory_bytes >= needed.memory_bytes
        and hardware.disk_bytes >= needed.disk_bytes
    )


def standing_offers(state: State, task_id: bytes) -> list[tuple[bytes, StandingOffer]]:
    """Every standing offer with its spark, by address."""
    start, stop = keys_of(task_id)
    return [(key[len(task_id) :], offer) for key, offer in state.scan(OFFERS, start, stop)]


def _worst_if_full(
    state: State, task_id: bytes, task: Task, sender: bytes, made: StandingOffer
) -> tuple[bytes, StandingOffer] | None:
    """Who makes room for a new offer, None when there is room; refuse an offer that is the worst."""
    most = offers_most(seats_of(task.roles, task.replicas))
    if task.offers < most:
        return None
    all_offers = [*standing_offers(state, task_id), (sender, made)]
    worst = ranked(task_id, task.windows.run, all_offers)[-1]
    if worst[0] == sender:
        raise Rejected(OFFERS_FULL, task=task_id, offers=most)
    return worst


def _return_deposit(state: State, task_id: bytes, spark: bytes, offer: StandingOffer) -> None:
    state.delete(OFFERS, task_id + spark)
    state.supply.deposits -= offer.deposit
    funds.credit(state, spark, offer.deposit)


def return_offers(state: State, task_id: bytes) -> None:
    """End every standing offer and return its deposit."""
    offers = standing_offers(state, task_id)
    for spark, offer in offers:
        _return_deposit(state, task_id, spark, offer)
    if offers:
        total = sum(offer.deposit for _, offer in offers)
        state.emit(events.OFFERS_RETURNED(task=task_id, offers=len(offers), deposits=total))


OFFER = Operation("task.offer", Offer, check_nothing, cost, apply)
