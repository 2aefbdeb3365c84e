"""Validators: accounts that produce blocks with a key of their own.

Here: the record, consensus keys, `register`, `update`, `unjail`, jailing, the reveal commitment.
Not here: sets and powers (vm/epoch.py, consensus/validators.py), bonds (vm/stake.py), double signing
(vm/evidence.py).
Keeps: an account has at most one validator; a consensus key belongs to one account for ever and, once
replaced or tombstoned, is never used again; keys and reveal chains change only between epochs.
Errors: 1301–1310.
"""

from __future__ import annotations

from msgspec.structs import replace

from consensus.beacon import is_reveal_of
from consensus.types.codec import Address, Hash32, Key32, Name, Record, Sig64, Uint
from consensus.types.errors import Reason, Rejected
from consensus.types.genesis import possession_hash
from consensus.types.keys import verify
from consensus.types.params import FeeParams, Params
from consensus.types.receipt import EventKind
from vm import members
from vm.head import validators_at
from vm.members import Register
from vm.operation import Cost, Operation, check_nothing
from vm.stake import stake
from vm.state import Call, Namespace, State, Table

ACTIVE, JAILED, TOMBSTONED, RETIRED = 1, 2, 3, 4
REGISTER_FACTOR = 4
"""A register holds so many times `max_validators`."""
EPOCHS_TO_CHANGE = 2
"""A new key or reveal chain is effective so many epochs later."""

ALREADY_VALIDATOR = Reason(
    1301,
    "already_validator",
    "account:address",
    "{account} has a validator already.",
    "Change it with `validator update`, or use another account.",
)
BOND_BELOW_MINIMUM = Reason(
    1302,
    "bond_below_minimum",
    "account:address bonded:eubc least:eubc",
    "{account} has {bonded} bonded; a validator needs {least}.",
    "Bond the rest first.",
)
KEY_TAKEN = Reason(
    1303,
    "key_taken",
    "key:hash",
    "The consensus key {key} has been used before.",
    "Make a new consensus key; a key serves one validator, once.",
)
POSSESSION_UNPROVED = Reason(
    1304,
    "possession_unproved",
    "key:hash",
    "The proof that you hold the consensus key {key} does not verify.",
    "Sign the proof with that key for this network and this account.",
)
VALIDATORS_FULL = Reason(
    1305,
    "validators_full",
    "most:count",
    "All {most} places for validators are taken, and no bond of one that does not vote now is below yours.",
    "Bond more, then register again.",
)
NO_VALIDATOR = Reason(
    1306,
    "no_validator",
    "account:address",
    "{account} has no validator.",
    "Register one first, or sign with the account that has it.",
)
NOTHING_TO_UPDATE = Reason(
    1307,
    "nothing_to_update",
    "fields:count",
    "The update names {fields} fields to change.",
    "Name a new name, key or reveal commitment.",
)
CHANGE_PENDING = Reason(
    1308,
    "change_pending",
    "epoch:count",
    "A new key or reveal chain is on its way already, effective from epoch {epoch}.",
    "Wait until that epoch has begun.",
)
NOT_JAILED = Reason(
    1309,
    "not_jailed",
    "account:address",
    "The validator of {account} is not jailed.",
    "Nothing needs to be done.",
)
JAILED_STILL = Reason(
    1310,
    "jailed_still",
    "epoch:count until:count",
    "The validator is jailed until epoch {until}; this is epoch {epoch}.",
    "Send it again when that epoch has begun.",
)
JAIL = EventKind(
    1351,
    "validator_jailed",
    "account:address due:count signed:count missed:count",
    "{account} signed {signed} of {due} blocks and missed {missed} proposals: jailed.",
)
PUSHED_OUT = EventKind(
    1352, "validator_pushed_out", "account:address", "{account} made room for a larger bond."
)
CHANGED = EventKind(
    1353, "validator_changed", "account:address", "The new key or reveal chain of {account} is effective."
)


class Pending(Record, frozen=True):
    """A change that waits for its epoch."""

    epoch: Uint
    """The first epoch in which it is effective."""
    key: Key32 | None
    reveal: Hash32 | None


class ValidatorAccount(Record, frozen=True):
    """An account's validator, keyed by its address."""

    name: Name
    key: Key32
    reveal: Hash32
    """The commitment whose preimage its next proposal reveals."""
    status: Uint
    jailed_until: Uint
    """The first epoch in which `unjail` is accepted."""
    joined: Uint
    """The epoch of registration."""
    pending: Pending | None
    weight_before: Uint
    """x at the last epoch's end, parts per billion."""


class KeyOwner(Record, frozen=True):
    """Whose a consensus key is; `retired` when it may not be used again."""

    address: Address
    retired: bool


VALIDATORS = Table(Namespace.VALIDATOR, ValidatorAccount)
KEYS = Table(Namespace.CONSENSUS_KEY, KeyOwner)


class RegisterValidator(Record, tag=20, frozen=True):
    """Make the account a validator; it votes from the second epoch on."""

    name: Name
    key: Key32
    possession: Sig64
    """The key's signature over `possession_hash(chain id, account)`."""
    reveal: Hash32


class NewKey(Record, frozen=True):
    """A consensus key with its proof of possession."""

    key: Key32
    possession: Sig64


class UpdateValidator(Record, tag=21, frozen=True):
    """Change the name at once, or key and reveal chain two epochs later; nil keeps what is there."""

    name: Name | None
    key: NewKey | None
    reveal: Hash32 | None


class Unjail(Record, tag=22, frozen=True):
    """Come back after a jail term."""


def check_update(payload: UpdateValidator, params: Params) -> None:
    """Refuse an update of nothing."""
    if payload.name is None and payload.key is None and payload.reveal is None:
        raise Rejected(NOTHING_TO_UPDATE, fields=0)


def _require_key(state: State, address: bytes, key: bytes, possession: bytes, *, own: bool) -> None:
    """Refuse a key that is used, or not shown to be held; `own` lets one's unretired key pass."""
    owner = state.get(KEYS, key)
    if owner is not None and (owner.retired or owner.address != address or not own):
        raise Rejected(KEY_TAKEN, key=key)
    if not verify(key, possession_hash(state.block.chain_id, address), possession):
        raise Rejected(POSSESSION_UNPROVED, key=key)


def register(state: State, call: Call, payload: RegisterValidator) -> None:
    """Enter the register; a full one admits a larger bond and retires the smallest that does not vote."""
    sender = call.sender
    existing = state.get(VALIDATORS, sender)
    if existing is not None and existing.status != RETIRED:
        raise Rejected(ALREADY_VALIDATOR, account=sender)
    params = state.block.params.validators
    bonded = stake(state, sender).bonded
    if bonded < params.min_bond:
        raise Rejected(BOND_BELOW_MINIMUM, account=sender, bonded=bonded, least=params.min_bond)
    _require_key(state, sender, payload.key, payload.possession, own=True)
    most = REGISTER_FACTOR * params.max_validators
    if members.count(state, Register.VALIDATORS) >= most:
        leaving = _who_leaves(state, bonded)
        if leaving is None:
            raise Rejected(VALIDATORS_FULL, most=most)
        _push_out(state, leaving)
    if existing is not None and existing.key != payload.key:
        state.put(KEYS, existing.key, KeyOwner(sender, True))
    enter(state, sender, payload.name, payload.key, payload.reveal)


def enter(state: State, address: bytes, name: str, key: bytes, reveal: bytes) -> None:
    """Write a new validator and its key, and list it; the genesis does this without a transaction."""
    record = ValidatorAccount(name, key, reveal, ACTIVE, 0, state.block.epoch, None, 0)
    state.put(VALIDATORS, address, record)
    state.put(KEYS, key, KeyOwner(address, False))
    members.add(state, Register.VALIDATORS, stake(state, address).bonded, address)


def remember_weight(state: State, address: bytes, weight: int) -> None:
    """Store x of an epoch's end (parts per billion), which the next one compares with."""
    validator = state.get(VALIDATORS, address)
    assert validator is not None, "who is weighed has a record"
    if validator.weight_before != weight:
        state.put(VALIDATORS, address, replace(validator, weight_before=weight))


def _who_leaves(state: State, bonded: int) -> bytes | None:
    """The smallest bond below `bonded` that stands in no set that still votes.

    One more is asked than a set holds: were it fewer, as many votes on the least bond would shut the register
    for all. Whoever votes stays, since keys and reveals change only between epochs.
    """
    voting = frozenset(member.address for member in validators_at(state, state.block.height) or ())
    most = state.block.params.validators.max_validators + 1
    return members.who_makes_room(state, Register.VALIDATORS, bonded, lambda _, a: a not in voting, most)


def _push_out(state: State, address: bytes) -> None:
    leaving = state.get(VALIDATORS, address)
    assert leaving is not None, "who is listed has a record"
    if leaving.pending is not None and leaving.pending.key is not None:
        state.put(KEYS, leaving.pending.key, KeyOwner(address, True))
    state.put(VALIDATORS, address, replace(leaving, status=RETIRED, pending=None))
    members.remove(state, Register.VALIDATORS, stake(state, address).bonded, address)
    state.emit(PUSHED_OUT(account=address))


def _own(state: State, address: bytes) -> ValidatorAccount:
    found = state.get(VALIDATORS, address)
    if found is None or found.status not in (ACTIVE, JAILED):
        raise Rejected(NO_VALIDATOR, account=address)
    return found


def update(state: State, call: Call, payload: UpdateValidator) -> None:
    """Rename now; schedule a new key or reveal chain."""
    sender = call.sender
    validator = _own(state, sender)
    changes = payload.key is not None or payload.reveal is not None
    if changes and validator.pending is not None:
        raise Rejected(CHANGE_PENDING, epoch=validator.pending.epoch)
    if payload.key is not None:
        _require_key(state, sender, payload.key.key, payload.key.possession, own=False)
    pending = validator.pending
    if changes:
        key = None if payload.key is None else payload.key.key
        pending = Pending(state.block.epoch + EPOCHS_TO_CHANGE, key, payload.reveal)
        if key is not None:
            state.put(KEYS, key, KeyOwner(sender, False))
    name = validator.name if payload.name is None else payload.name
    state.put(VALIDATORS, sender, replace(validator, name=name, pending=pending))


def unjail(state: State, call: Call, payload: Unjail) -> None:
    """End a jail term that is over."""
    validator = _own(state, call.sender)
    if validator.status != JAILED:
        raise Rejected(NOT_JAILED, account=call.sender)
    if state.block.epoch < validator.jailed_until:
        raise Rejected(JAILED_STILL, epoch=state.block.epoch, until=validator.jailed_until)
    least = state.block.params.validators.min_bond
    bonded = stake(state, call.sender).bonded
    if bonded < least:
        raise Rejected(BOND_BELOW_MINIMUM, account=call.sender, bonded=bonded, least=least)
    state.put(VALIDATORS, call.sender, replace(validator, status=ACTIVE))


def unjail_is_due(state: State, call: Call, payload: Unjail) -> bool:
    """A jailed validator past its term uses the lane, once its bond lets it come back: a refusal would
    leave it as it is, and it could fill the lane with them.
    """
    validator = state.get(VALIDATORS, call.sender)
    return (
        validator is not None
        and validator.status == JAILED
        and state.block.epoch >= validator.jailed_until
        and stake(state, call.sender).bonded >= state.block.params.validators.min_bond
    )


def jail(state: State, address: bytes) -> None:
    """Jail from the end of this epoch until one full epoch has passed."""
    validator = state.get(VALIDATORS, address)
    assert validator is not None, "who is listed or votes has a record"
    assert validator.status == ACTIVE, "only the active are jailed"
    state.put(VALIDATORS, address, replace(validator, status=JAILED, jailed_until=state.block.epoch + 2))


def tombstone(state: State, address: bytes) -> None:
    """Take a double signer out of the register, it and its keys for ever."""
    validator = state.get(VALIDATORS, address)
    assert validator is not None, "who is listed or votes has a record"
    assert validator.status != TOMBSTONED, "tombstoned once"
    if validator.status != RETIRED:
        members.remove(state, Register.VALIDATORS, stake(state, address).bonded, address)
    state.put(KEYS, validator.key, KeyOwner(address, True))
    if validator.pending is not None and validator.pending.key is not None:
        state.put(KEYS, validator.pending.key, KeyOwner(address, True))
    state.put(VALIDATORS, address, replace(validator, status=TOMBSTONED, pending=None))


def is_barred(state: State, address: bytes) -> bool:
    """Whether the account's validator is jailed or tombstoned: it votes and offers nothing."""
    validator = state.get(VALIDATORS, address)
    return validator is not None and validator.status in (JAILED, TOMBSTONED)


def advance_reveal(state: State, proposer: bytes, reveal: bytes) -> None:
    """Make what the proposer revealed its next commitment."""
    validator = state.get(VALIDATORS, proposer)
    assert validator is not None, "whoever proposes has a record"
    assert is_reveal_of(reveal, validator.reveal), "the header was checked"
    state.put(VALIDATORS, proposer, replace(validator, reveal=reveal))


def apply_pending(state: State, address: bytes) -> None:
    """At an epoch's end: make a change effective whose epoch begins with the next block."""
    validator = state.get(VALIDATORS, address)
    assert validator is not None, "who is listed has a record"
    pending = validator.pending
    if pending is None or pending.epoch > state.block.epoch + 1:
        return
    if pending.key is not None:
        state.put(KEYS, validator.key, KeyOwner(address, True))
    key = validator.key if pending.key is None else pending.key
    reveal = validator.reveal if pending.reveal is None else pending.reveal
    state.put(VALIDATORS, address, replace(validator, key=key, reveal=reveal, pending=None))
    state.emit(CHANGED(account=address))


def register_cost(payload: RegisterValidator, fees: FeeParams) -> Cost:
    """A record, a key and a place in the register may be new; the proof is a signature to verify."""
    return Cost(fees.other + fees.signature, 3)


def update_cost(payload: UpdateValidator, fees: FeeParams) -> Cost:
    """A new key is a new entry and a signature to verify."""
    return Cost(fees.other + (0 if payload.key is None else fees.signature), 1)


def no_entries(payload: object, fees: FeeParams) -> Cost:
    """Nothing new comes into state."""
    return Cost(fees.other, 0)


OPERATIONS = (
    Operation("validator.register", RegisterValidator, check_nothing, register_cost, register),
    Operation("validator.update", UpdateValidator, check_update, update_cost, update),
    Operation("validator.unjail", Unjail, check_nothing, no_entries, unjail, unjail_is_due),
)
