"""The epoch's tally: who signed, who proposed, who missed, and what each has earned since it began.

Here: one record of rows that a block touches once, counting commits and proposals, accruing rewards.
Not here: what a bad tally leads to (vm/epoch.py), the size of rewards (vm/rewards.py).
Keeps: supply.accrued is the sum of the rows' accrued grains; rows are ordered by address.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from consensus.types.codec import Address, Record, Uint
from consensus.validators import TOTAL_POWER, Validator
from vm.state import Namespace, State, Table


class Row(Record, frozen=True):
    """One account's epoch so far."""

    address: Address
    due: Uint
    """Commits it should have signed."""
    signed: Uint
    proposed: Uint
    missed: Uint
    """Rounds in which it should have proposed and no block was decided."""
    accrued: Uint
    """Grains earned, paid at the epoch's end."""


class Tally(Record, frozen=True):
    """The epoch so far."""

    commits: Uint
    """Commits seen."""
    commits_thin: Uint
    """Of those, how many lacked more than a quarter of power."""
    rows: tuple[Row, ...]


TALLIES = Table(Namespace.TALLY, Tally)
EMPTY_TALLY = Tally(0, 0, ())


def tally(state: State) -> Tally:
    """The running epoch's tally."""
    return state.get(TALLIES, b"") or EMPTY_TALLY


class Counting:
    """The tally while one block adds to it; `store` writes it back."""

    def __init__(self, before: Tally) -> None:
        self._commits, self._commits_thin = before.commits, before.commits_thin
        # Lists in field order after the address: a record per change would cost more than the change.
        self._rows = {
            row.address: [row.due, row.signed, row.proposed, row.missed, row.accrued] for row in before.rows
        }

    def _row(self, address: bytes) -> list[int]:
        return self._rows.setdefault(address, [0, 0, 0, 0, 0])

    def commit(self, validators: Sequence[Validator], signers: Iterable[int]) -> int:
        """Count a commit of `validators`, signed by these positions; returns the power that signed."""
        for validator in validators:
            self._row(validator.address)[0] += 1
        power = 0
        for position in signers:
            self._row(validators[position].address)[1] += 1
            power += validators[position].power
        self._commits += 1
        if 4 * (TOTAL_POWER - power) > TOTAL_POWER:
            self._commits_thin += 1
        return power

    def proposal(self, proposer: bytes, missed: Iterable[bytes]) -> None:
        """Count the block's proposer, and whose turns passed before it."""
        self._row(proposer)[2] += 1
        for address in missed:
            self._row(address)[3] += 1

    def accrue(self, address: bytes, amount: int) -> None:
        """Add grains to what the account is paid at the epoch's end."""
        self._row(address)[4] += amount

    def store(self, state: State) -> None:
        """Write the tally."""
        rows = tuple(Row(address, *self._rows[address]) for address in sorted(self._rows))
        state.put(TALLIES, b"", Tally(self._commits, self._commits_thin, rows))


def accrue(state: State, address: bytes, amount: int) -> None:
    """Add grains to what an account is paid at the epoch's end, taken by the caller from elsewhere."""
    assert amount >= 0, "an accrual is not negative"
    if amount:
        counting = Counting(tally(state))
        counting.accrue(address, amount)
        counting.store(state)
        state.supply.accrued += amount
