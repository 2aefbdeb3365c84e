"""Balances: what an account holds, what of it is free, and moving it in and out.

Here: the account record, vesting locks, credit and debit.
Not here: the transfer transaction (vm/account.py), fees (vm/fees.py).
Keeps: `supply.balances` is the sum of all balances; whoever debits adds to another column or burns.
Accounts are never deleted: their nonce guards against replay.
Errors: 1110 short_of_funds.
"""

from __future__ import annotations

from consensus.types.codec import Record, Uint
from consensus.types.errors import Reason, Rejected
from consensus.types.genesis import Vesting
from vm.state import Namespace, State, Table

SHORT_OF_FUNDS = Reason(
    1110,
    "short_of_funds",
    "account:address have:eubc need:eubc",
    "{account} can spend {have}; this needs {need}.",
    "Send at most {have} less the fee, or wait for an incoming transfer.",
)


class Account(Record, frozen=True):
    """An account: `nonce` is that of its next transaction; `balance` in grains."""

    nonce: Uint
    balance: Uint


class Locks(Record, frozen=True):
    """An account's vesting locks, as the genesis record states them."""

    locks: tuple[Vesting, ...]


ACCOUNTS = Table(Namespace.ACCOUNT, Account)
VESTING = Table(Namespace.VESTING, Locks)
NEW_ACCOUNT = Account(0, 0)


def account(state: State, address: bytes) -> Account:
    """The account; a new one is empty."""
    return state.get(ACCOUNTS, address) or NEW_ACCOUNT


def locked_amount(lock: Vesting, time_ms: int) -> int:
    """Grains of a lock that are still closed at a block's time."""
    if time_ms < lock.cliff_ms:
        return lock.amount
    steps = min(lock.steps, max(0, time_ms - lock.start_ms) // lock.step_ms)
    return lock.amount - lock.amount * steps // lock.steps


def spendable(state: State, address: bytes) -> int:
    """Grains that fees, transfers, bonds and deposits may draw on: the balance without what is locked."""
    return unlocked(state, address, account(state, address).balance)


def unlocked(state: State, address: bytes, balance: int) -> int:
    """What of the account's `balance`, which the caller has read, no vesting lock holds; grains."""
    block = state.block
    if block.vesting is not None and address not in block.vesting:
        return balance
    locks = state.get(VESTING, address)
    if locks is None:
        return balance
    time_ms = block.time_ms
    return max(0, balance - sum(locked_amount(lock, time_ms) for lock in locks.locks))


def credit(state: State, address: bytes, amount: int) -> None:
    """Add grains to a balance; the caller takes them from another column of the supply."""
    assert amount >= 0, "a credit is not negative"
    if amount == 0:
        return
    before = account(state, address)
    state.put(ACCOUNTS, address, Account(before.nonce, before.balance + amount))
    state.supply.balances += amount


def require(state: State, address: bytes, amount: int) -> None:
    """Refuse with `SHORT_OF_FUNDS` unless the account can spend `amount`."""
    have = spendable(state, address)
    if have < amount:
        raise Rejected(SHORT_OF_FUNDS, account=address, have=have, need=amount)


def debit(state: State, address: bytes, amount: int) -> None:
    """Take grains from a balance, refusing when they are not free; the caller puts them elsewhere."""
    assert amount >= 0, "a debit is not negative"
    before = account(state, address)
    have = unlocked(state, address, before.balance)
    if have < amount:
        raise Rejected(SHORT_OF_FUNDS, account=address, have=have, need=amount)
    state.put(ACCOUNTS, address, Account(before.nonce, before.balance - amount))
    state.supply.balances -= amount
