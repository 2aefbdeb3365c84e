"""Stake: EUBC bonded to an account, pledged for its tasks, or on its way back.

Here: the stake record, `bond`, `unbond`, maturing, pledges, slashing.
Not here: what is slashed and why (vm/evidence.py, proofs, tasks), power from stake (vm/epoch.py).
Keeps: supply.bonded and supply.unbonding are the sums over all stakes; an entry can be slashed below its
mature height and not from it on, whether or not the due queue has paid it out yet.
Errors: 1201 bond_too_small, 1202 bond_not_free, 1203 unbonding_full.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from consensus.types.amounts import GRAINS_PER_EUBC
from consensus.types.codec import Amount, Record, Uint
from consensus.types.errors import Reason, Rejected
from consensus.types.params import FeeParams
from consensus.types.receipt import EventKind
from vm import due, funds, members
from vm.head import first_height
from vm.operation import Cost, Operation, check_nothing
from vm.state import Call, Namespace, State, Table

MATURE_DUE = 3
"""What the due queue does to pay an unbonding out: its entry, the stake, the balance."""
UNBONDING_MAX = 16
"""Entries on their way back; amounts unbonded in one epoch share an entry."""

BOND_TOO_SMALL = Reason(
    1201,
    "bond_too_small",
    "amount:eubc least:eubc",
    "{amount} is less than a bond moves at once; the least is {least}.",
    "Move at least {least}.",
)
BOND_NOT_FREE = Reason(
    1202,
    "bond_not_free",
    "account:address free:eubc need:eubc",
    "{account} has {free} bonded and not pledged to tasks; this needs {need}.",
    "Unbond at most {free}, or wait until the tasks that hold the pledge are settled.",
)
UNBONDING_FULL = Reason(
    1203,
    "unbonding_full",
    "account:address entries:count",
    "{account} has {entries} amounts on their way back already.",
    "Wait until the oldest matures, or unbond more at one time.",
)
MATURED = EventKind(
    1251, "unbonding_matured", "account:address amount:eubc", "{amount} of {account} is no longer bonded."
)


class Unbonding(Record, frozen=True):
    """An amount on its way back: free at `mature_height`, the first height of an epoch."""

    amount: Uint
    mature_height: Uint


class Stake(Record, frozen=True):
    """What an account has bonded; grains."""

    bonded: Uint
    pledged: Uint
    """Part of `bonded` that running tasks hold; more than is bonded after a slash."""
    unbonding: Annotated[tuple[Unbonding, ...], Meta(max_length=UNBONDING_MAX)]
    """By mature height."""

    @property
    def free(self) -> int:
        """Grains that can be unbonded or pledged."""
        return max(0, self.bonded - self.pledged)


STAKES = Table(Namespace.STAKE, Stake)
NO_STAKE = Stake(0, 0, ())


class Bond(Record, tag=10, frozen=True):
    """Bond grains of the balance: at least 1 EUBC, or all that is free."""

    amount: Amount


class Unbond(Record, tag=11, frozen=True):
    """Start the way back: at least 1 EUBC, or all that is free."""

    amount: Amount


def stake(state: State, address: bytes) -> Stake:
    """The account's stake; a new one is empty."""
    return state.get(STAKES, address) or NO_STAKE


def _put(state: State, address: bytes, before: Stake, after: Stake) -> None:
    state.put(STAKES, address, after)
    members.rebond(state, address, before.bonded, after.bonded)


def cost(payload: Bond | Unbond, fees: FeeParams) -> Cost:
    """A stake record and a due entry may be new; the registers follow the bond in two entries."""
    return Cost(fees.other, 3, MATURE_DUE if isinstance(payload, Unbond) else 0)


def bond(state: State, call: Call, payload: Bond) -> None:
    """Move free balance into the bond."""
    amount = payload.amount
    if amount < GRAINS_PER_EUBC and amount != funds.spendable(state, call.sender):
        raise Rejected(BOND_TOO_SMALL, amount=amount, least=GRAINS_PER_EUBC)
    funds.debit(state, call.sender, amount)
    add_bond(state, call.sender, amount)


def add_bond(state: State, address: bytes, amount: int) -> None:
    """Add grains to the bond; the caller took them from another column of the supply."""
    held = stake(state, address)
    state.supply.bonded += amount
    _put(state, address, held, Stake(held.bonded + amount, held.pledged, held.unbonding))


def unbond(state: State, call: Call, payload: Unbond) -> None:
    """Move free bond into an entry that matures after the unbonding time, counted in whole epochs."""
    held = stake(state, call.sender)
    amount = payload.amount
    if amount < GRAINS_PER_EUBC and amount != held.free:
        raise Rejected(BOND_TOO_SMALL, amount=amount, least=GRAINS_PER_EUBC)
    if amount > held.free:
        raise Rejected(BOND_NOT_FREE, account=call.sender, free=held.free, need=amount)
    params = state.block.params
    mature = first_height(
        state.block.epoch + 1 + params.validators.unbonding_epochs, params.chain.epoch_blocks
    )
    entries = held.unbonding
    if entries and entries[-1].mature_height == mature:
        entries = (*entries[:-1], Unbonding(entries[-1].amount + amount, mature))
    elif len(entries) >= UNBONDING_MAX:
        raise Rejected(UNBONDING_FULL, account=call.sender, entries=len(entries))
    else:
        entries = (*entries, Unbonding(amount, mature))
    state.supply.bonded -= amount
    state.supply.unbonding += amount
    _put(state, call.sender, held, Stake(held.bonded - amount, held.pledged, entries))
    due.schedule(state, mature, due.DueKind.UNBONDING, call.sender)


def mature(state: State, address: bytes, due_height: int) -> None:
    """Pay out what matures at `due_height`; the due queue's handler."""
    held = stake(state, address)
    paid = sum(entry.amount for entry in held.unbonding if entry.mature_height <= due_height)
    kept = tuple(entry for entry in held.unbonding if entry.mature_height > due_height)
    if len(kept) == len(held.unbonding):
        return  # slashed away meanwhile
    state.put(STAKES, address, Stake(held.bonded, held.pledged, kept))
    state.supply.unbonding -= paid
    funds.credit(state, address, paid)
    state.emit(MATURED(account=address, amount=paid))


def pledge(state: State, address: bytes, amount: int) -> None:
    """Hold part of the free bond for a task; the caller has looked at `free`."""
    held = stake(state, address)
    assert 0 <= amount <= held.free, "only what is free is pledged"
    if amount:
        state.put(STAKES, address, Stake(held.bonded, held.pledged + amount, held.unbonding))


def release_pledge(state: State, address: bytes, amount: int) -> None:
    """Let go of what `pledge` held."""
    held = stake(state, address)
    assert 0 <= amount <= held.pledged, "only what is pledged is released"
    if amount:
        state.put(STAKES, address, Stake(held.bonded, held.pledged - amount, held.unbonding))


def slashable(state: State, address: bytes) -> int:
    """Grains that a slash could take now: bonded, and unbonding that has not reached its height."""
    held = stake(state, address)
    height = state.block.height
    return held.bonded + sum(entry.amount for entry in held.unbonding if entry.mature_height > height)


def slash(state: State, address: bytes, amount: int) -> int:
    """Take up to `amount` from unbonding entries, earliest maturing first, then from the bond.

    Returns the grains taken; the caller puts them elsewhere or burns them. What is missing is not owed.
    """
    return _take(state, address, amount, bonded_first=False)


def seize_pledge(state: State, address: bytes, amount: int) -> int:
    """Take up to `amount` for a convicted task: from the bond first, then from unbonding.

    Returns the grains taken, as `slash` does. The caller releases the pledge itself.
    """
    return _take(state, address, amount, bonded_first=True)


def _take(state: State, address: bytes, amount: int, *, bonded_first: bool) -> int:
    assert amount >= 0, "a slash is not negative"
    held = stake(state, address)
    height = state.block.height
    from_bond = min(held.bonded, amount) if bonded_first else 0
    rest = amount - from_bond
    entries: list[Unbonding] = []
    from_entries = 0
    for entry in held.unbonding:
        part = min(entry.amount, rest) if entry.mature_height > height else 0
        rest -= part
        from_entries += part
        if part < entry.amount:
            entries.append(Unbonding(entry.amount - part, entry.mature_height))
    if not bonded_first:
        from_bond = min(held.bonded, rest)
    if from_bond + from_entries:
        state.supply.bonded -= from_bond
        state.supply.unbonding -= from_entries
        after = Stake(held.bonded - from_bond, held.pledged, tuple(entries))
        _put(state, address, held, after)
    return from_bond + from_entries


OPERATIONS = (
    Operation("bond", Bond, check_nothing, cost, bond),
    Operation("unbond", Unbond, check_nothing, cost, unbond),
)
