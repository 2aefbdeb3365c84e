"""Who gets the seat: the draw at the end of the offer window, or `task.match` by hand.

Here: both, and binding the spark that won.
Not here: offers (offering.py), their order (terms.py), what the seat does then (running.py).
Keeps: winning locks the recorded gas and returns what the maximum exceeds the price by; whoever wins and
cannot take the seat loses its deposit, nobody else does.
Errors: 1631 no_such_offer, 1632 drawn_not_chosen, 1633 no_free_slot; 1621 for sparks that may not.
"""

from __future__ import annotations

import msgspec

from consensus.types.errors import Reason, Rejected
from consensus.types.params import FeeParams
from vm import due, funds
from vm.due import DueKind
from vm.operation import Cost, Operation, check_nothing
from vm.spark import SPARKS
from vm.state import Call, State
from vm.task import events
from vm.task.access import find_own_task, find_task, is_accepted, offers_end, refuse_not_open
from vm.task.clocks import change_spark, first_stage
from vm.task.offering import MAY_NOT_OFFER, may_take_work, return_offers, standing_offers
from vm.task.payloads import Match
from vm.task.records import OFFERS, TASKS, Ending, Seat, Stage, StandingOffer, Task, TaskState
from vm.task.settlement import end_unmatched
from vm.task.terms import ranked

ENTRIES_MAX = 2
"""The seat and its clock; offers go."""
ONLY_SEAT = 0

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


def cost(payload: Match, fees: FeeParams) -> Cost:
    """Units of a match."""
    return Cost(fees.task, ENTRIES_MAX)


def _refuse_match(state: State, call: Call, payload: Match) -> tuple[Task, StandingOffer]:
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


def apply(state: State, call: Call, payload: Match) -> None:
    """The requester takes an offer; a spark that cannot take the seat now is refused, not punished."""
    task, offer = _refuse_match(state, call, payload)
    due.unschedule(state, offers_end(task), DueKind.TASK_OFFERS_END, payload.task)
    return_offers(state, payload.task)
    _seat(state, payload.task, task, payload.spark, offer)


MATCH = Operation("task.match", Match, check_nothing, cost, apply, is_accepted(_refuse_match))
