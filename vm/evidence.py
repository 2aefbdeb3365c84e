"""Evidence of double signing and what it costs.

Here: `submit`, infractions, the first slash, the correlated one at an epoch's end, tombstoning.
Not here: finding evidence (consensus/agreement/evidence.py), other slashes (vm/stake.py takes them all).
Keeps: one infraction per account for ever; however many blocks it takes to bring all evidence, everyone
loses by the power that double signed together: a fork needs a third of power and costs everything.
Errors: 1801–1805.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from consensus.types.codec import Address, Hash32, Key32, Record, Sig64, Uint
from consensus.types.errors import Reason, Rejected
from consensus.types.keys import verify
from consensus.types.params import FeeParams, Params
from consensus.types.receipt import EventKind
from consensus.types.vote import PROPOSAL, proposal_hash, vote_hash
from consensus.validators import TOTAL_POWER, Validator
from vm import stake as stakes
from vm import tally, validator
from vm.head import epoch_of, validators_at
from vm.operation import Cost, Operation
from vm.state import Call, Namespace, State, Table
from vm.validator import TOMBSTONED, VALIDATORS

FIRST_SLASH_DIVISOR = 20
"""A double signature costs a twentieth at once, rounded up."""
CORRELATION = 3
"""All of it is lost when a third of power double signed within the evidence period."""
REPORT_DIVISOR = 10
"""A tenth of what is taken goes to the proposer that included the evidence; the rest burns."""

VOTES_NOT_OPPOSED = Reason(
    1801,
    "votes_not_opposed",
    "kind:count",
    "The two messages of kind {kind} do not contradict each other in the form that evidence has.",
    "Evidence is two signed messages for different blocks, the smaller block id first, nil before all.",
)
EVIDENCE_TOO_OLD = Reason(
    1802,
    "evidence_too_old",
    "height:height now:height",
    "The evidence is of height {height}; at height {now} it is outside the evidence period.",
    "Nothing can be done: evidence counts within its period only.",
)
OFFENDER_UNKNOWN = Reason(
    1803,
    "offender_unknown",
    "key:hash height:height",
    "The key {key} was in no validator set of height {height}.",
    "Check the key and the height.",
)
ALREADY_TOMBSTONED = Reason(
    1804,
    "already_tombstoned",
    "account:address",
    "The validator of {account} has been tombstoned already.",
    "Nothing needs to be done.",
)
EVIDENCE_UNSIGNED = Reason(
    1805,
    "evidence_unsigned",
    "key:hash",
    "A signature of the evidence is not of the key {key}.",
    "Check the messages and the network that they were signed for.",
)
DOUBLE_SIGN = EventKind(
    1851,
    "double_sign_slashed",
    "account:address height:height taken:eubc",
    "{account} signed twice at height {height}: {taken} taken, its validator ended.",
)
CORRELATED = EventKind(
    1852,
    "double_sign_correlated",
    "account:address taken:eubc",
    "Others double signed in the same period: {taken} more taken from {account}.",
)


class Said(Record, frozen=True):
    """What one of the two messages says."""

    block_id: Hash32 | None
    valid_round: Uint | None
    """Of a proposal; nil in votes."""


class SubmitEvidence(Record, tag=90, frozen=True):
    """Two signed messages of one key for one height, round and kind."""

    kind: Annotated[int, Meta(ge=0, le=2)]
    height: Uint
    round: Uint
    key: Key32
    a: Said
    signature_a: Sig64
    b: Said
    signature_b: Sig64


class Infraction(Record, frozen=True):
    """A double signature, keyed by the offender's address."""

    epoch: Uint
    """In which it was recorded."""
    power: Uint
    """Of the offender at the height where it signed twice."""
    base: Uint
    """What it had bonded and unbonding when recorded, grains."""
    taken: Uint
    """Grains decided to be taken so far."""
    proposer: Address
    """Who included the evidence and has a tenth of what is taken."""


INFRACTIONS = Table(Namespace.INFRACTION, Infraction)


def check(payload: SubmitEvidence, params: Params) -> None:
    """Refuse two messages that do not contradict each other, or stand in the wrong order."""
    first, second = payload.a, payload.b
    ordered = second.block_id is not None and (first.block_id or b"") < second.block_id
    if payload.kind == PROPOSAL:
        formed = first.block_id is not None
    else:
        formed = first.valid_round is None and second.valid_round is None
    if not ordered or not formed:
        raise Rejected(VOTES_NOT_OPPOSED, kind=payload.kind)


def submit(state: State, call: Call, payload: SubmitEvidence) -> None:
    """Slash and tombstone the offender; a refusal makes the block invalid."""
    offender = _offender(state, payload)
    account = state.get(VALIDATORS, offender.address)
    assert account is not None, "whoever stood in a set has a record"
    if account.status == TOMBSTONED:
        raise Rejected(ALREADY_TOMBSTONED, account=offender.address)
    for said, signature in ((payload.a, payload.signature_a), (payload.b, payload.signature_b)):
        if not verify(payload.key, _message(state, payload, said), signature):
            raise Rejected(EVIDENCE_UNSIGNED, key=payload.key)

    base = stakes.slashable(state, offender.address)
    decided = -(-base // FIRST_SLASH_DIVISOR)
    block = state.block
    infraction = Infraction(block.epoch, offender.power, base, decided, block.proposer)
    taken = _take(state, offender.address, decided, infraction)
    validator.tombstone(state, offender.address)
    state.put(INFRACTIONS, offender.address, infraction)
    state.emit(DOUBLE_SIGN(account=offender.address, height=payload.height, taken=taken))


def _offender(state: State, payload: SubmitEvidence) -> Validator:
    block = state.block
    params = block.params
    age = block.epoch - epoch_of(payload.height, params.chain.epoch_blocks)
    if not 1 <= payload.height <= block.height or age > params.validators.evidence_epochs:
        raise Rejected(EVIDENCE_TOO_OLD, height=payload.height, now=block.height)
    then = validators_at(state, payload.height)
    if then is None:  # kept for the whole period; a node that looks ahead of its state may ask for older
        raise Rejected(EVIDENCE_TOO_OLD, height=payload.height, now=block.height)
    for member in then:
        if member.key == payload.key:
            return member
    raise Rejected(OFFENDER_UNKNOWN, key=payload.key, height=payload.height)


def _message(state: State, payload: SubmitEvidence, said: Said) -> bytes:
    genesis = state.block.genesis
    if payload.kind == PROPOSAL:
        assert said.block_id is not None, "checked without state"
        return proposal_hash(genesis, payload.height, payload.round, said.block_id, said.valid_round)
    return vote_hash(genesis, payload.kind, payload.height, payload.round, said.block_id)


def _take(state: State, address: bytes, amount: int, infraction: Infraction) -> int:
    """Slash; a tenth accrues to whoever brought the evidence, the rest burns. Returns grains taken."""
    taken = stakes.slash(state, address, amount)
    reported = taken // REPORT_DIVISOR
    tally.accrue(state, infraction.proposer, reported)
    state.supply.burned += taken - reported
    return taken


def correlate(state: State) -> None:
    """At an epoch's end: forget infractions past the period, and raise the others' loss to
    min(base, ⌈3·base·Σpower / T⌉), Σ over all infractions of the period. What is missing is not owed.
    """
    epoch = state.block.epoch
    period = state.block.params.validators.evidence_epochs
    standing: list[tuple[bytes, Infraction]] = []
    for address, infraction in state.scan(INFRACTIONS):
        if infraction.epoch + period <= epoch:
            state.delete(INFRACTIONS, address)
        else:
            standing.append((address, infraction))
    power = sum(infraction.power for _, infraction in standing)
    for address, infraction in standing:
        correlated = -(-CORRELATION * infraction.base * power // TOTAL_POWER)
        decided = min(infraction.base, correlated)
        if decided > infraction.taken:
            taken = _take(state, address, decided - infraction.taken, infraction)
            state.put(INFRACTIONS, address, replace(infraction, taken=decided))
            state.emit(CORRELATED(account=address, taken=taken))


def cost(payload: SubmitEvidence, fees: FeeParams) -> Cost:
    """Evidence pays nothing; it can bring an infraction and a tally into state."""
    return Cost(0, 2)


OPERATIONS = (Operation("evidence.submit", SubmitEvidence, check, cost, submit, proves_itself=True),)
