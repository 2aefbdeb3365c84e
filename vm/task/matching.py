"""A reverse auction: `task.offer`, the draw at the end of the offer window, `task.match` by hand.

Here: who may offer what, the bounded list of standing offers, who gets the seat.
Not here: the order of offers (terms.py), what the seat does then (running.py).
Keeps: a task's standing offers are at most max(64, 2·seats), one per account; every offer's deposit
returns by draw, eviction, cancellation or expiry, and burns only when its spark wins and cannot take
the seat; the draw returns what the maximum exceeds the price by.
Errors: 1620 not_a_spark, 1621 may_not_offer, 1622 own_task, 1623 not_allowed, 1624 kappa_too_small,
1625 machine_too_small, 1626 price_out_of_range, 1627 promise_out_of_range, 1628 already_offered,
1629 offers_full, 1630 no_such_role, 1631 no_such_offer, 1632 drawn_not_chosen, 1633 no_free_slot.
"""

from __future__ import annotations

import msgspec

from consensus.types.errors import Reason, Rejected
from consensus.types.params import FeeParams
from vm import due, funds
from vm.due import DueKind
from vm.operation import Cost, Operation, check_nothing
from vm.spark import SPARKS, Hardware, Spark, may_offer
from vm.state import Call, State
from vm.task import events, payloads
from vm.task.access import find_own_task, find_task, is_accepted, offers_end, refuse_not_open
from vm.task.clocks import change_spark, first_stage
from vm.task.payloads import Resources
from vm.task.records import (
    OFFERS,
    TASKS,
    Ending,
    Seat,
    Stage,
    StandingOffer,
    Task,
    TaskState,
    keys_of,
)
from vm.task.settlement import end_unmatched
from vm.task.terms import (
    gas_for,
    offer_deposit,
    offers_most,
    price_least,
    promise_least,
    ranked,
    seats_of,
)

OFFER_ENTRIES_MAX = 1
MATCH_ENTRIES_MAX = 2
"""The seat and its clock; offers go."""
ONLY_SEAT = 0

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
    "machine_too_small",
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
NO_SUCH_OFFER = Reason(
    1631,
    "no_such_offer",
    "task:hash spark:address",
    "{spark} has no standing offer for task {task}.",
    "List the offers with `eubchain task offers`.",
)
DRAWN_NOT_CHOSEN = Reason(
    1632,
    "drawn_not_chosen",
    "task:hash offers_end:height",
    "Task {task} was not posted for matching by hand: the best offer wins in block {offers_end}.",
    "Wait for the draw, or cancel and post with --by-hand.",
)
NO_FREE_SLOT = Reason(
    1633,
    "no_free_slot",
    "spark:address",
    "{spark} has no free slot now.",
    "Choose another offer, or wait until it has finished a task.",
)


def offer_cost(payload: payloads.Offer, fees: FeeParams) -> Cost:
    """Units of an offer."""
    return Cost(fees.task, OFFER_ENTRIES_MAX)


def apply_offer(state: State, call: Call, payload: payloads.Offer) -> None:
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


def _refuse_offer(state: State, call: Call, payload: payloads.Offer) -> tuple[Task, StandingOffer]:
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


def draw(state: State, task_id: bytes) -> None:
    """The offer window is over: the best offer whose spark can take the seat gets it.

    Who is reached and cannot loses its deposit; who is not reached gets it back. Matching by hand
    had its time until now. Without a match the task expires.
    """
    task = find_task(state, task_id)
    assert task.state == TaskState.OPEN, "the draw is taken back when a task is matched or cancelled"
    winner: tuple[bytes, StandingOffer] | None = None
    if not task.by_hand:
        for spark, offer in ranked(task_id, task.windows.run, standing_offers(state, task_id)):
            if _why_not(state, task, spark, offer) is None:
                winner = spark, offer
                break
            state.delete(OFFERS, task_id + spark)
            state.supply.deposits -= offer.deposit
            state.supply.burned += offer.deposit
            state.emit(events.OFFER_FORFEITED(task=task_id, spark=spark, deposit=offer.deposit))
    return_offers(state, task_id)
    if winner is None:
        end_unmatched(state, task_id, task, Ending.EXPIRED)
    else:
        _seat(state, task_id, task, *winner)


def _why_not(state: State, task: Task, address: bytes, offer: StandingOffer) -> Rejected | None:
    """Why an offer cannot be taken now, or None when it can."""
    spark = state.get(SPARKS, address)
    assert spark is not None, "an offer's spark has its record: it may retire, never vanish"
    if not may_take_work(state, address, spark):
        return Rejected(MAY_NOT_OFFER, account=address)
    # A reservation fills no slot before its time.
    if task.not_before <= state.block.height and spark.running >= spark.slots:
        return Rejected(NO_FREE_SLOT, spark=address)
    have = funds.spendable(state, address)
    if have < offer.gas:
        return Rejected(funds.SHORT_OF_FUNDS, account=address, have=have, need=offer.gas)
    return None


def _seat(state: State, task_id: bytes, task: Task, spark: bytes, offer: StandingOffer) -> None:
    """Bind the spark: lock its gas, return M − π, start the clock of the grant or the reservation."""
    height = state.block.height
    is_reserved = task.not_before > height
    funds.debit(state, spark, offer.gas)
    state.supply.gas += offer.gas
    refunded = task.escrow - offer.price
    state.supply.escrow -= refunded
    funds.credit(state, task.requester, refunded)
    change_spark(state, spark, slots=0 if is_reserved else 1, exposure=offer.gas)
    seat = Seat(
        spark,
        offer.role,
        offer.price,
        offer.promise,
        offer.kappa,
        offer.power,
        offer.gas,
        0,
        0,
        Stage.RESERVED if is_reserved else Stage.MATCHED,
        height,
        task.not_before if is_reserved else height + task.windows.grant,
        0,
        0,
        None,
        None,
        None,
        None,
        None,
    )
    state.put(
        TASKS,
        task_id,
        msgspec.structs.replace(task, state=TaskState.ACTIVE, offers=0, escrow=0, seats_open=1),
    )
    first_stage(state, task_id, ONLY_SEAT, seat)
    state.emit(
        events.MATCHED(
            task=task_id,
            seat=ONLY_SEAT,
            spark=spark,
            price=offer.price,
            refunded=refunded,
            gas=offer.gas,
            deadline=seat.deadline,
        )
    )


def match_cost(payload: payloads.Match, fees: FeeParams) -> Cost:
    """Units of a match."""
    return Cost(fees.task, MATCH_ENTRIES_MAX)


def _refuse_match(state: State, call: Call, payload: payloads.Match) -> tuple[Task, StandingOffer]:
    task = find_own_task(state, payload.task, call.sender)
    refuse_not_open(state, payload.task, task)
    if not task.by_hand:
        raise Rejected(DRAWN_NOT_CHOSEN, task=payload.task, offers_end=offers_end(task))
    offer = state.get(OFFERS, payload.task + payload.spark)
    if offer is None:
        raise Rejected(NO_SUCH_OFFER, task=payload.task, spark=payload.spark)
    refusal = _why_not(state, task, payload.spark, offer)
    if refusal is not None:
        raise refusal
    return task, offer


def apply_match(state: State, call: Call, payload: payloads.Match) -> None:
    """The requester takes an offer; a spark that cannot take the seat now is refused, not punished."""
    task, offer = _refuse_match(state, call, payload)
    due.unschedule(state, offers_end(task), DueKind.TASK_OFFERS_END, payload.task)
    return_offers(state, payload.task)
    _seat(state, payload.task, task, payload.spark, offer)


OFFER = Operation("task.offer", payloads.Offer, check_nothing, offer_cost, apply_offer)
MATCH = Operation(
    "task.match", payloads.Match, check_nothing, match_cost, apply_match, is_accepted(_refuse_match)
)
