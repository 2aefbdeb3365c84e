"""The two registers of bounded size: validators and sparks, ordered by what their members have bonded.

Here: joining, leaving, who makes room in a full register, the list that the epoch's end walks, and the
list of sparks that the last window credited.
Not here: the members' own records (vm/validator.py, vm/spark.py), bonds (vm/stake.py, which tells this
module when one changes).
Keeps: the key of an entry contains the member's present bond, so the smallest is one short scan and a
flood of registrations against a full register costs no more than its fees.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from consensus.types.codec import Record, Uint
from vm.state import Namespace, State, Table


class Register(IntEnum):
    """Kinds of list; the first byte of its keys."""

    VALIDATORS = 1
    SPARKS = 2
    CREDITED = 3
    """Sparks credited in the last window that closed and was not void: they share the resource pool."""


class Entry(Record, frozen=True):
    """An entry says everything by its key; the register's own entry counts the others."""

    count: Uint


MEMBERS = Table(Namespace.MEMBERS, Entry)
_LISTED = Entry(0)


def _key(register: Register, bonded: int, address: bytes) -> bytes:
    return bytes([register]) + bonded.to_bytes(8, "big") + address


def count(state: State, register: Register) -> int:
    """How many are listed."""
    entry = state.get(MEMBERS, bytes([register]))
    return 0 if entry is None else entry.count


def _change_count(state: State, register: Register, by: int) -> None:
    state.put(MEMBERS, bytes([register]), Entry(count(state, register) + by))


def is_listed(state: State, register: Register, bonded: int, address: bytes) -> bool:
    """Whether the account, whose bond is `bonded` grains, stands in the register."""
    return state.get(MEMBERS, _key(register, bonded, address)) is not None


def add(state: State, register: Register, bonded: int, address: bytes) -> None:
    """List an account that is not listed."""
    assert not is_listed(state, register, bonded, address), "an account is listed once"
    state.put(MEMBERS, _key(register, bonded, address), _LISTED)
    _change_count(state, register, 1)


def remove(state: State, register: Register, bonded: int, address: bytes) -> None:
    """Take a listed account out."""
    state.delete(MEMBERS, _key(register, bonded, address))
    _change_count(state, register, -1)


def rebond(state: State, address: bytes, before: int, after: int) -> None:
    """Follow a change of the account's bond, from and to grains, wherever it is listed."""
    if before == after:
        return
    for register in (Register.VALIDATORS, Register.SPARKS):
        if is_listed(state, register, before, address):
            state.delete(MEMBERS, _key(register, before, address))
            state.put(MEMBERS, _key(register, after, address), _LISTED)


def who_makes_room(
    state: State, register: Register, bonded: int, can_leave: Callable[[State, bytes], bool], most: int
) -> bytes | None:
    """The member with the smallest bond below `bonded` that can leave, among the `most` smallest."""
    start = bytes([register, 0])
    stop = _key(register, bonded, b"")
    for key, _ in state.scan(MEMBERS, start, stop, most):
        if can_leave(state, key[9:]):
            return key[9:]
    return None


def addresses(state: State, register: Register) -> list[bytes]:
    """Everyone listed, by address."""
    first, last = bytes([register, 0]), bytes([register + 1])
    return sorted(key[9:] for key, _ in state.scan(MEMBERS, first, last))
