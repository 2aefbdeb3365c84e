"""Events of the task market, from which a client tells a task's story and its final line.

Here: the kinds, codes 600–699. Not here: the words around them (rendered at the edge).
Keeps: matched.refunded + price = the role's maximum; in closed, paid + fee + refunded + burned = the
price and gas_returned + gas_burned + gas_held = the gas, so a final line can equal the escrow
movements to the grain.
"""

from __future__ import annotations

from consensus.types.receipt import EventKind

POSTED = EventKind(
    600,
    "task_posted",
    "task:hash requester:address escrow:eubc deposit:eubc offers_end:height",
    "Task {task} is open until block {offers_end}; {escrow} are in escrow, {deposit} held as deposit.",
)
OFFERED = EventKind(
    601,
    "task_offered",
    "task:hash spark:address price:eubc promise:blocks deposit:eubc",
    "{spark} offers {price} and {promise} blocks for task {task}.",
)
OFFER_EVICTED = EventKind(
    602,
    "task_offer_evicted",
    "task:hash spark:address deposit:eubc",
    "A better offer took {spark}'s place in task {task}; its {deposit} returned.",
)
OFFER_FORFEITED = EventKind(
    603,
    "task_offer_forfeited",
    "task:hash spark:address deposit:eubc",
    "{spark} won task {task} but could not take it; its {deposit} were burned.",
)
OFFERS_RETURNED = EventKind(
    604,
    "task_offers_returned",
    "task:hash offers:count deposits:eubc",
    "{offers} offers for task {task} ended; their {deposits} returned.",
)
MATCHED = EventKind(
    605,
    "task_matched",
    "task:hash seat:count spark:address price:eubc refunded:eubc gas:eubc deadline:height",
    "Seat {seat} of task {task} goes to {spark} for {price}; {refunded} return to the requester.",
)
BEGUN = EventKind(
    606,
    "task_begun",
    "task:hash seat:count deadline:height",
    "The reserved time of seat {seat} of task {task} has come; the job is due by block {deadline}.",
)
GRANTED = EventKind(
    607,
    "task_granted",
    "task:hash seat:count spark:address deadline:height",
    "The job of seat {seat} of task {task} is with {spark}, who starts by block {deadline}.",
)
ACCESS_RENEWED = EventKind(
    608,
    "task_access_renewed",
    "task:hash seat:count",
    "The requester renewed the access of seat {seat} of task {task}.",
)
STARTED = EventKind(
    609,
    "task_started",
    "task:hash seat:count spark:address deadline:height",
    "{spark} runs seat {seat} of task {task}, until block {deadline} at the latest.",
)
DELIVERED = EventKind(
    610,
    "task_delivered",
    "task:hash seat:count spark:address deadline:height",
    "{spark} delivered seat {seat} of task {task}; review ends with block {deadline}.",
)
FAILURE_CLAIMED = EventKind(
    611,
    "task_failure_claimed",
    "task:hash seat:count spark:address code:count exit_status:count deadline:height",
    "{spark} says that the application of task {task} failed (exit {exit_status}); "
    "the requester answers by block {deadline}.",
)
CANCELLING = EventKind(
    612,
    "task_cancelling",
    "task:hash height:height",
    "Task {task} is cancelled with block {height} unless it delivers before.",
)
CLOSED = EventKind(
    613,
    "task_closed",
    "task:hash seat:count spark:address ending:count blame:count paid:eubc fee:eubc refunded:eubc "
    "burned:eubc gas_returned:eubc gas_burned:eubc gas_held:eubc",
    "Seat {seat} of task {task} is closed: {paid} paid to {spark}, {refunded} refunded, {burned} burned.",
)
ENDED = EventKind(
    614,
    "task_ended",
    "task:hash ending:count refunded:eubc",
    "Task {task} ended unmatched; {refunded} returned to the requester.",
)
FORFEIT_BURNED = EventKind(
    615,
    "task_forfeit_burned",
    "task:hash seat:count spark:address amount:eubc",
    "{amount} of {spark}'s gas for seat {seat} of task {task} were burned.",
)
FORFEIT_RETURNED = EventKind(
    616,
    "task_forfeit_returned",
    "task:hash seat:count spark:address amount:eubc",
    "The epoch was an outage: {amount} of {spark}'s gas for seat {seat} of task {task} returned.",
)
FORGOTTEN = EventKind(
    617,
    "task_forgotten",
    "task:hash requester:address deposit:eubc",
    "The records of task {task} are deleted; its {deposit} returned to {requester}.",
)
DECLINED = EventKind(
    618,
    "task_declined",
    "task:hash seat:count spark:address code:count",
    "{spark} declined seat {seat} of task {task} with code {code} (1 bad grant, 2 missing input, "
    "3 missing image, 4 too large, 5 unsafe, 6 other).",
)
