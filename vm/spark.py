"""Sparks: accounts that offer compute.

Here: the record that tasks, proofs and the epoch's end share; register, update, retire.
Not here: what its figures come from (consensus/resource, vm/epoch.py).
Keeps: an account has at most one spark; a bar, running seats and proved compute outlive a retirement,
because they belong to the account.
Errors: 1401–1407.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from consensus.types.codec import Name, Record, Uint
from consensus.types.errors import Reason, Rejected
from consensus.types.params import FeeParams, Params
from consensus.types.receipt import EventKind
from vm import members, standing, validator, windows
from vm.members import Register
from vm.operation import Cost, Operation, check_nothing
from vm.stake import stake
from vm.state import Call, Namespace, State, Table

SLOTS_MAX = 64
ACTIVE, RETIRED = 1, 2
CANDIDATES_MAX = 16
"""How many of the smallest sparks are asked whether they are idle when the register is full."""

ALREADY_SPARK = Reason(
    1401,
    "already_spark",
    "account:address",
    "{account} has a spark already.",
    "Change it with `spark update`, or use another account.",
)
SPARK_BOND_BELOW_MINIMUM = Reason(
    1402,
    "spark_bond_below_minimum",
    "account:address bonded:eubc least:eubc",
    "{account} has {bonded} bonded; a spark needs {least}.",
    "Bond the rest first.",
)
SPARKS_FULL = Reason(
    1403,
    "sparks_full",
    "most:count",
    "All {most} places for sparks are taken, and no bond is below yours.",
    "Bond more, then register again.",
)
NO_SPARK = Reason(
    1404,
    "no_spark",
    "account:address",
    "{account} has no spark.",
    "Register one first, or sign with the account that has it.",
)
DIFFICULTY_OUT_OF_RANGE = Reason(
    1405,
    "difficulty_out_of_range",
    "difficulty:count least:count most:count",
    "The first difficulty {difficulty} is outside {least} to {most}.",
    "Measure with `eubchain spark bench`, which proposes one.",
)
SLOTS_IN_USE = Reason(
    1406,
    "slots_in_use",
    "slots:count running:count",
    "{running} seats run now; {slots} slots are too few for them.",
    "Wait until some have finished.",
)
ACCOUNT_TOMBSTONED = Reason(
    1407,
    "account_tombstoned",
    "account:address",
    "The validator of {account} signed twice; the account offers no compute any more.",
    "Use another account.",
)
SPARK_PUSHED_OUT = EventKind(
    1451, "spark_pushed_out", "account:address", "The spark of {account} made room for a larger bond."
)


class Hardware(Record, frozen=True):
    """What the operator declares; the protocol proves compute, not a model of card."""

    model: Name
    gpus: Uint
    gpu_memory_bytes: Uint
    """Of the smallest GPU."""
    cpus: Uint
    memory_bytes: Uint
    disk_bytes: Uint


Recipient = Annotated[str, Meta(max_length=64, pattern=r"^age1[0-9a-z]{58}\Z")]
"""An age X25519 recipient."""
Slots = Annotated[int, Meta(ge=1, le=SLOTS_MAX)]


class Spark(Record, frozen=True):
    """A registered compute node; keyed by its account's address."""

    status: Uint
    """ACTIVE or RETIRED (retired by its owner, or pushed out of a full register)."""
    recipient: Recipient
    """The age X25519 recipient that grants are sealed to."""
    hardware: Hardware
    slots: Slots
    """Seats it runs at one time."""
    judging: bool
    """Whether it may be drawn as a judge."""
    registered_epoch: Uint
    difficulty: Uint
    """D."""
    capacity: Uint
    """S, proved compute in 2⁻¹⁶ tiles per window."""
    banned_until: Uint
    """Epoch before which it proves nothing, after a false share."""
    failed_epoch: Uint
    """1 + the last epoch in which a seat of its failed its availability; 0 for never."""
    running: Uint
    """Seats that fill a slot now."""
    exposure: Uint
    """Grains of gas and pledge locked for its seats."""
    power: Uint
    """P at the last epoch's end, parts per billion."""
    kappa: Uint
    """κ, the coefficient, parts per billion; at registration 2ρ // 3."""
    left_after: Uint
    """Windows that had counted when it retired: S fades for those after, when it registers again."""


SPARKS = Table(Namespace.SPARK, Spark)


class RegisterSpark(Record, tag=30, frozen=True):
    """Make the account a spark; it proves first in a window announced in the next epoch."""

    recipient: Recipient
    hardware: Hardware
    slots: Slots
    judging: bool
    difficulty: Uint
    """D₀: tiles per share to begin with, as the machine measured itself."""


class UpdateSpark(Record, tag=31, frozen=True):
    """Change what the operator declares, all of it at once."""

    recipient: Recipient
    hardware: Hardware
    slots: Slots
    judging: bool


class RetireSpark(Record, tag=32, frozen=True):
    """Offer no more; what runs is finished."""


def check_register(payload: RegisterSpark, params: Params) -> None:
    """Refuse a first difficulty out of range."""
    least, most = params.resource.difficulty_min, params.resource.difficulty_start_max
    if not least <= payload.difficulty <= most:
        raise Rejected(DIFFICULTY_OUT_OF_RANGE, difficulty=payload.difficulty, least=least, most=most)


def register(state: State, call: Call, payload: RegisterSpark) -> None:
    """Enter the register; a full one admits a larger bond and retires the smallest, an idle one first."""
    sender = call.sender
    old = state.get(SPARKS, sender)
    if old is not None and old.status != RETIRED:
        raise Rejected(ALREADY_SPARK, account=sender)
    account = state.get(validator.VALIDATORS, sender)
    if account is not None and account.status == validator.TOMBSTONED:
        raise Rejected(ACCOUNT_TOMBSTONED, account=sender)
    params = state.block.params.resource
    bonded = stake(state, sender).bonded
    if bonded < params.spark_bond:
        raise Rejected(SPARK_BOND_BELOW_MINIMUM, account=sender, bonded=bonded, least=params.spark_bond)
    if old is not None and payload.slots < old.running:
        raise Rejected(SLOTS_IN_USE, slots=payload.slots, running=old.running)
    if members.count(state, Register.SPARKS) >= params.max_sparks:
        leaving = _who_leaves(state, bonded)
        if leaving is None:
            raise Rejected(SPARKS_FULL, most=params.max_sparks)
        _retire(state, leaving)
        state.emit(SPARK_PUSHED_OUT(account=leaving))
    state.put(SPARKS, sender, _new_record(state, sender, payload, old))
    members.add(state, Register.SPARKS, bonded, sender)


def _new_record(state: State, address: bytes, payload: RegisterSpark, old: Spark | None) -> Spark:
    kappa = standing.newcomer_kappa(state, address)
    if old is not None:
        # D goes on where it stood: a second registration is no second guess at D₀.
        return replace(
            old,
            status=ACTIVE,
            recipient=payload.recipient,
            hardware=payload.hardware,
            slots=payload.slots,
            judging=payload.judging,
            registered_epoch=state.block.epoch,
            capacity=windows.faded(old.capacity, windows.counted(state) - old.left_after),
            power=0,
            kappa=kappa,
        )
    return Spark(
        ACTIVE,
        payload.recipient,
        payload.hardware,
        payload.slots,
        payload.judging,
        state.block.epoch,
        payload.difficulty,
        *(0, 0, 0, 0, 0, 0),
        kappa,
        0,
    )


def _who_leaves(state: State, bonded: int) -> bytes | None:
    """The smallest bond below `bonded` among the smallest few, one without running work if there is.

    Else the smallest: it finishes what runs. A few that are kept busy would shut the register for all.
    """
    idle = members.who_makes_room(state, Register.SPARKS, bonded, _is_idle, CANDIDATES_MAX)
    if idle is not None:
        return idle
    return members.who_makes_room(state, Register.SPARKS, bonded, lambda state, address: True, 1)


def _is_idle(state: State, address: bytes) -> bool:
    spark = state.get(SPARKS, address)
    assert spark is not None, "who is listed has a record"
    return spark.running == 0 and spark.exposure == 0


def _active(state: State, address: bytes) -> Spark:
    spark = state.get(SPARKS, address)
    if spark is None or spark.status != ACTIVE:
        raise Rejected(NO_SPARK, account=address)
    return spark


def update(state: State, call: Call, payload: UpdateSpark) -> None:
    """Replace what is declared."""
    spark = _active(state, call.sender)
    if payload.slots < spark.running:
        raise Rejected(SLOTS_IN_USE, slots=payload.slots, running=spark.running)
    changed = replace(
        spark,
        recipient=payload.recipient,
        hardware=payload.hardware,
        slots=payload.slots,
        judging=payload.judging,
    )
    state.put(SPARKS, call.sender, changed)


def retire(state: State, call: Call, payload: RetireSpark) -> None:
    """Leave the register; running seats are finished, S no longer counts."""
    _active(state, call.sender)
    _retire(state, call.sender)


def _retire(state: State, address: bytes) -> None:
    spark = state.get(SPARKS, address)
    assert spark is not None, "who is listed or votes has a record"
    assert spark.status == ACTIVE, "only the active retire"
    left = replace(spark, status=RETIRED, power=0, left_after=windows.counted(state))
    state.put(SPARKS, address, left)
    members.remove(state, Register.SPARKS, stake(state, address).bonded, address)


def is_bonded(state: State, address: bytes) -> bool:
    """Whether what a spark can lose is still there: without a bond a false claim would cost nothing."""
    return stake(state, address).bonded >= state.block.params.resource.spark_bond


def may_offer(state: State, address: bytes) -> bool:
    """Whether the account may take new work: an active spark, bonded enough, not jailed or tombstoned."""
    spark = state.get(SPARKS, address)
    return (
        spark is not None
        and spark.status == ACTIVE
        and is_bonded(state, address)
        and not validator.is_barred(state, address)
    )


def proving_capacity(spark: Spark, epoch: int) -> int:
    """The S that counts in `epoch`: none of a spark that is retired or barred."""
    return spark.capacity if spark.status == ACTIVE and epoch >= spark.banned_until else 0


def kappa(state: State, address: bytes) -> int:
    """κ of an account: its spark's, or that of a newcomer; parts per billion."""
    spark = state.get(SPARKS, address)
    return standing.newcomer_kappa(state, address) if spark is None else spark.kappa


def register_cost(payload: RegisterSpark, fees: FeeParams) -> Cost:
    """A record and a place in the register may be new."""
    return Cost(fees.other, 2)


def no_entries(payload: object, fees: FeeParams) -> Cost:
    """Nothing new comes into state."""
    return Cost(fees.other, 0)


OPERATIONS = (
    Operation("spark.register", RegisterSpark, check_register, register_cost, register),
    Operation("spark.update", UpdateSpark, check_nothing, no_entries, update),
    Operation("spark.retire", RetireSpark, check_nothing, no_entries, retire),
)
