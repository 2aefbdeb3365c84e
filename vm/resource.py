"""Proving compute: `resource.prove`.

Here: the payload, its stateless check, its cost, who may send it when, taking it down.
Not here: what it earns (vm/measuring.py, when the window closes), whether its shares are true (nobody asks
before that).
Keeps: one proof a spark and window, the first counts; a proof is in state from its block to the close.
Errors: 1505–1509.
"""

from __future__ import annotations

from msgspec.structs import replace

from consensus.resource.proof import Proof, check_proof
from consensus.resource.windows import last_proof_at, opens_at
from consensus.types.codec import Record
from consensus.types.errors import Reason, Rejected
from consensus.types.params import FeeParams, Params
from consensus.types.receipt import EventKind
from vm import claims, stake, windows
from vm.operation import Cost, Operation
from vm.spark import ACTIVE, NO_SPARK, SPARK_BOND_BELOW_MINIMUM, SPARKS, is_bonded
from vm.state import Call, State
from vm.windows import PROOFS, WINDOWS, Submitted

NO_OPEN_WINDOW = Reason(
    1505,
    "no_open_window",
    "height:height",
    "No window takes proofs at height {height}.",
    "Let the spark's agent send proofs: it watches for windows.",
)
OTHER_WINDOW = Reason(
    1506,
    "other_window",
    "window:height open:height last:height",
    "The proof is for the window opened at {window}; the open one is that of {open}, until {last}.",
    "Prove in the open window; a proof serves one.",
)
ALREADY_PROVED = Reason(
    1507,
    "already_proved",
    "account:address window:height height:height",
    "{account} has proved in the window opened at {window} already, in block {height}.",
    "Nothing needs to be done: the first proof counts.",
)
SPARK_TOO_NEW = Reason(
    1508,
    "spark_too_new",
    "account:address epoch:count",
    "The spark of {account} registered in epoch {epoch}; it proves first in a window announced later.",
    "Wait for a window of the next epoch.",
)
SPARK_BARRED = Reason(
    1509,
    "spark_barred",
    "account:address until:count",
    "A share of {account} was false; it proves nothing before epoch {until}.",
    "Find out why the machine computes wrongly (its log says what the second look dropped), then wait.",
)
PROVED = EventKind(
    1551, "proved", "account:address window:height shares:count",
    "{account} sent {shares} shares in the window opened at {window}.",
)  # fmt: skip


class Prove(Record, tag=40, frozen=True):
    """What the spark claims to have computed in the open window."""

    proof: Proof


def check(payload: Prove, params: Params) -> None:
    """Refuse a malformed proof; raises `Rejected` 1501–1504."""
    check_proof(payload.proof)


def cost(payload: Prove, fees: FeeParams) -> Cost:
    """By the shares, which every validator recomputes; the proof is one new entry."""
    return Cost(fees.proof + fees.share * payload.proof.count, 1)


def prove(state: State, call: Call, payload: Prove) -> None:
    """Take the proof down; nothing in it is judged before the window closes."""
    address, height = call.sender, state.block.height
    last = windows.open_window(state, height)
    if last is None:
        raise Rejected(NO_OPEN_WINDOW, height=height)
    opened = opens_at(last.window)
    if payload.proof.window != opened:
        raise Rejected(
            OTHER_WINDOW, window=payload.proof.window, open=opened, last=last_proof_at(last.window)
        )
    spark = state.get(SPARKS, address)
    if spark is None or spark.status != ACTIVE:
        raise Rejected(NO_SPARK, account=address)
    epoch = windows.announced_epoch(state, last.window)
    if claims.is_new_to(spark, epoch):
        raise Rejected(SPARK_TOO_NEW, account=address, epoch=spark.registered_epoch)
    if epoch < spark.banned_until:
        raise Rejected(SPARK_BARRED, account=address, until=spark.banned_until)
    bonded, least = stake.stake(state, address).bonded, state.block.params.resource.spark_bond
    if bonded < least:
        raise Rejected(SPARK_BOND_BELOW_MINIMUM, account=address, bonded=bonded, least=least)
    earlier = state.get(PROOFS, address)
    if earlier is not None:
        raise Rejected(ALREADY_PROVED, account=address, window=opened, height=earlier.height)
    assert claims.may_prove(spark, epoch), "the lane and the refusals agree"
    state.put(PROOFS, address, Submitted(height, payload.proof.shares))
    shares = last.shares + payload.proof.count
    state.put(WINDOWS, b"", replace(last, proofs=last.proofs + 1, shares=shares))
    state.emit(PROVED(account=address, window=opened, shares=payload.proof.count))


def is_due(state: State, call: Call, payload: Prove) -> bool:
    """A spark that may prove in the open window and has not."""
    last = windows.open_window(state, state.block.height)
    return (
        last is not None
        and payload.proof.window == opens_at(last.window)
        and claims.may_prove(state.get(SPARKS, call.sender), windows.announced_epoch(state, last.window))
        and is_bonded(state, call.sender)
        and state.get(PROOFS, call.sender) is None
    )


OPERATIONS = (Operation("resource.prove", Prove, check, cost, prove, is_due),)
