"""`validator_*`: registered validators, how they do, and which heights one missed.

Errors: 2360 no_such_validator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from consensus.types.address import format_address, parse_address
from consensus.types.errors import Fault, Reason
from consensus.validators import TOTAL_POWER, ValidatorSet
from eubchain.ledger.reading import LedgerReader
from eubchain.rpc.backend import Backend
from eubchain.rpc.method import AddressText, Decimal, Hex, View, method
from vm import head as heads
from vm import members, stake, tally
from vm.members import Register
from vm.state import State
from vm.validator import ACTIVE, JAILED, RETIRED, TOMBSTONED, VALIDATORS

LOOK_BACK_BLOCKS = 240
"""The latest heights due to a validator at which misses are looked for: each is a commit to be read."""
LOOK_BACK_EPOCHS = 1_000
"""How many epochs back those are looked for: a jailed validator was last due before its jail."""
STATUS = {ACTIVE: "active", JAILED: "jailed", TOMBSTONED: "tombstoned", RETIRED: "retired"}

NO_SUCH_VALIDATOR = Reason(
    2360,
    "no_such_validator",
    "account:address",
    "{account} has no validator.",
    "List them with `eubchain validator list`; register one with `eubchain validator register`.",
)


class MissedView(View):
    """Neighbouring heights whose commit lacks the validator's signature."""

    first: int
    last: int
    cause: str
    """As seen from the chain: alone, or among many."""


class ValidatorView(View):
    """A validator; powers of 10^9, counts of the running epoch."""

    address: str
    name: str
    status: str
    key: Hex
    reveal: Hex
    bonded: Decimal
    power: int
    """In the next block's set; 0 outside it."""
    due: int
    signed: int
    proposed: int
    missed_proposals: int
    accrued: Decimal
    """Grains earned in the running epoch, paid at its end."""
    epoch: int
    jailed_until: int
    """The first epoch in which `validator unjail` is accepted; 0 when it was never jailed."""
    unjail_height: int
    """The first height of that epoch."""
    pending_epoch: int | None
    """When a new key or reveal chain becomes effective."""


class ValidatorDetail(View):
    """A validator and the heights that it missed lately."""

    validator: ValidatorView
    looked_at: int
    """Heights looked at: the latest that were due to it."""
    missed: list[MissedView]


def _view(backend: Backend, state: State, address: bytes, powers: dict[bytes, int]) -> ValidatorView:
    record = state.get(VALIDATORS, address)
    if record is None:
        raise Fault(NO_SUCH_VALIDATOR, account=address)
    row = next((r for r in tally.tally(state).rows if r.address == address), None)
    epoch_blocks = backend.rules.params.chain.epoch_blocks
    return ValidatorView(
        address=format_address(address, backend.prefix),
        name=record.name,
        status=STATUS[record.status],
        key="0x" + record.key.hex(),
        reveal="0x" + record.reveal.hex(),
        bonded=str(stake.stake(state, address).bonded),
        power=powers.get(address, 0),
        due=row.due if row else 0,
        signed=row.signed if row else 0,
        proposed=row.proposed if row else 0,
        missed_proposals=row.missed if row else 0,
        accrued=str(row.accrued if row else 0),
        epoch=heads.epoch_of(heads.head(state).height + 1, epoch_blocks),
        jailed_until=record.jailed_until,
        unjail_height=heads.first_height(record.jailed_until, epoch_blocks) if record.jailed_until else 0,
        pending_epoch=record.pending.epoch if record.pending else None,
    )


def _powers(state: State) -> dict[bytes, int]:
    validators = heads.validators_at(state, heads.head(state).height + 1) or ()
    return {validator.address: validator.power for validator in validators}


@method("validator_list", example={})
async def list_validators(backend: Backend) -> list[ValidatorView]:
    """Every registered validator, the most powerful first."""
    state = backend.view()
    powers = _powers(state)
    found = [_view(backend, state, a, powers) for a in members.addresses(state, Register.VALIDATORS)]
    return sorted(found, key=lambda v: (-v.power, v.address))


@method("validator_get", example={"address": "deub1xc6xqjvm4txn9tvm8eurw6wktyx694ez3w5u4z"})
async def get(backend: Backend, address: AddressText) -> ValidatorDetail:
    """One validator, and which of the latest 240 heights that were due to it lack its signature."""
    account = parse_address(address, backend.prefix)
    state = backend.view()
    view = _view(backend, state, account, _powers(state))
    due = heights_due(backend.ledger(), account, backend.rules.params.chain.epoch_blocks)
    return ValidatorDetail(validator=view, looked_at=len(due), missed=missed_heights(backend.ledger(), due))


class Due(NamedTuple):
    """A height whose commit a validator was to sign."""

    height: int
    validators: ValidatorSet
    position: int
    """Of the validator in the set."""


def heights_due(ledger: LedgerReader, address: bytes, epoch_blocks: int) -> list[Due]:
    """The latest heights due to a validator, upwards; sets change only where epochs end."""
    found: list[Due] = []
    latest = heads.epoch_of(ledger.height, epoch_blocks)
    for epoch in range(latest, max(-1, latest - LOOK_BACK_EPOCHS), -1):
        first = heads.first_height(epoch, epoch_blocks)
        last = min(ledger.height, first + epoch_blocks - 1)
        header = ledger.header(last)
        validators = None if header is None else ledger.validator_set(header.validators_hash)
        if validators is None:
            break  # pruned, or there is no block yet
        position = next((i for i, v in enumerate(validators) if v.address == address), None)
        if position is not None:
            found += [Due(height, validators, position) for height in range(last, first - 1, -1)]
        if len(found) >= LOOK_BACK_BLOCKS:
            break
    return found[:LOOK_BACK_BLOCKS][::-1]


def missed_heights(ledger: LedgerReader, due: Sequence[Due]) -> list[MissedView]:
    """Ranges of the due heights whose commit lacks the validator's signature, upwards."""
    ranges: list[MissedView] = []
    for height, validators, position in due:
        commit = ledger.commit(height)
        signers = {position} if commit is None else set(commit.signers(len(validators)))
        if position in signers:
            continue
        cause = _cause(validators, signers)
        last = ranges[-1] if ranges else None
        if last is not None and last.last == height - 1 and last.cause == cause:
            ranges[-1] = MissedView(first=last.first, last=height, cause=cause)
        else:
            ranges.append(MissedView(first=height, last=height, cause=cause))
    return ranges


def _cause(validators: ValidatorSet, signers: set[int]) -> str:
    absent = sum(v.power for i, v in enumerate(validators) if i not in signers)
    if 4 * absent > TOTAL_POWER:
        return "more than a quarter of power was absent with it: an outage, which jails nobody"
    return "the others signed without it: it was stopped, cut off, or too late"
