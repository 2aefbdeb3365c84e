"""What a spark earned and lost, from its journal.

Here: the sums over a time, and the story of one task.
Not here: writing the journal (journal.py). Keeps: every figure is a sum of entries of money, each of which
is one movement on chain; failed work is counted apart from paid work.
Units: grains, as decimal strings where JSON is meant.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from spark_node.folder import Folder
from spark_node.journal import SeatNote, read_money

RULES = {
    "grant_timeout": "the requester never granted the job; your gas came back",
    "cancelled_matched": "the requester cancelled before the grant; your gas came back",
    "released_reservation": "you gave a reservation up: three tenths of the base are burned",
    "declined": "a declined seat costs both sides a little, because nobody can tell whose fault it is",
    "start_timeout": "the seat was not started in time: three tenths of the base are held, and burned when "
    "the epoch closes, unless that was an outage",
    "run_timeout": "nothing was delivered in time: three tenths of the base are held, and burned when the "
    "epoch closes, unless that was an outage",
    "released": "you gave the seat up: a tenth of the base is burned",
    "cancelled": "the requester cancelled; the elapsed share is yours",
    "failure_agreed": "the application failed, and the requester agrees",
    "failure_unanswered": "the application failed, and the requester did not object",
    "failure_rejected": "the requester does not believe that the application failed; a tenth of the base is "
    "burned",
    "accepted": "the requester accepted the result",
    "accepted_by_silence": "the review window ended without an objection",
    "rejected": "the requester rejected the result: what it would have paid is burned, your gas came back",
    "forgotten": "the chain had deleted its records before this agent looked",
}
"""What each ending means for a spark, by the name of the ending."""
NEXT_STEPS = {
    "declined": "read why above; a missing input or image is the requester's to mend",
    "start_timeout": "keep the agent running and its node reachable while a task is matched",
    "run_timeout": "keep the agent running; promise more time (price.promise_percent)",
    "released": "set idle rules and hours that leave tasks alone, or lend fewer slots",
    "released_reservation": "switch tasks.reservations off if you cannot keep them",
    "rejected": "add this requester to tasks.requesters_denied if it does so again",
    "failure_rejected": "add this requester to tasks.requesters_denied if it does so again",
}


def summary(folder: Folder, notes: list[SeatNote], since_ms: int, until_ms: int = 2**62) -> dict[str, Any]:
    """Sums of a time: paid, lost, fees, what is locked now; `change` is that of the balance."""
    sums: Counter[str] = Counter()
    change = 0
    for entry in read_money(folder.money):
        if since_ms <= entry.time_ms < until_ms:
            sums[entry.kind] += entry.grains
            change += entry.grains
    ended = [note for note in notes if note.end is not None and since_ms <= _ended_ms(note) < until_ms]
    paid = [note for note in ended if note.end is not None and note.end.paid]
    failed = [note for note in ended if note.end is not None and not note.end.paid]
    lost = sum(note.end.gas_burned + note.end.gas_held for note in ended if note.end is not None)
    return {
        "paid": str(sums["paid"]),
        "paid_tasks": len(paid),
        "failed_tasks": len(failed),
        "last_failed": failed[-1].task.hex() if failed else "",
        "lost": str(lost),
        "held": str(sum(note.end.gas_held for note in ended if note.end is not None)),
        "proofs": str(sums["proof"] + sums["reward"]),
        "fees": str(-sums["fee"]),
        "gas_locked_now": str(sum(note.gas for note in notes if note.end is None)),
        "change": str(change),
    }


def _ended_ms(note: SeatNote) -> int:
    return note.moments[-1].time_ms if note.moments else note.first_ms


def story(note: SeatNote) -> dict[str, Any]:
    """One seat from the draw to the money: stages, rule, evidence, next step."""
    end = note.end
    return {
        "task": note.task.hex(),
        "seat": note.seat,
        "price": str(note.price),
        "gas": str(note.gas),
        "moments": [
            {"time_ms": m.time_ms, "height": m.height, "what": m.what, "txid": m.txid} for m in note.moments
        ],
        "ending": end.ending if end is not None else "",
        "blame": end.blame if end is not None else "",
        "rule": RULES.get(end.ending, "") if end is not None else "",
        "paid": str(end.paid) if end is not None else "0",
        "gas_returned": str(end.gas_returned) if end is not None else "0",
        "gas_burned": str(end.gas_burned) if end is not None else "0",
        "gas_held": str(end.gas_held) if end is not None else "0",
        "next": NEXT_STEPS.get(end.ending, "") if end is not None else "",
    }
