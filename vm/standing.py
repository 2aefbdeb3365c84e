"""Standing in state: what an account's outcomes have left behind.

Here: the table, reading it faded, adding outcomes, the reputation of a newcomer.
Not here: the arithmetic (consensus/resource/reputation.py), which row of a settlement adds what
(vm/task/settlement.py), the figures at an epoch's end (vm/epoch.py).
Keeps: only adding an outcome stores anything; reading and epoch ends fade a copy.
"""

from __future__ import annotations

from collections.abc import Callable

from consensus.resource import reputation
from consensus.resource.reputation import NO_STANDING, Standing
from vm.state import Namespace, State, Table

STANDINGS = Table(Namespace.STANDING, Standing)


def faded(state: State, address: bytes) -> Standing:
    """The account's standing as it reads in this epoch."""
    stored = state.get(STANDINGS, address)
    if stored is None:
        return NO_STANDING
    return reputation.faded(stored, state.block.epoch, state.block.params.resource.fade_shift)


def add_outcome(state: State, address: bytes, outcome: Callable[..., Standing], *figures: int) -> None:
    """Add an outcome, one of `add_…` in consensus/resource/reputation.py with its figures."""
    before = state.get(STANDINGS, address) or NO_STANDING
    shift = state.block.params.resource.fade_shift
    state.put(STANDINGS, address, outcome(before, state.block.epoch, shift, *figures))


def add_decided(state: State, address: bytes, price: int, quality: int) -> None:
    """A task of `price` grains was decided by word with `quality` (parts per billion)."""
    add_outcome(state, address, reputation.add_decided, price, quality)


def add_audited(state: State, address: bytes, price: int) -> None:
    """An audit confirmed a task of `price` grains."""
    add_outcome(state, address, reputation.add_audited, price)


def add_lost(state: State, address: bytes, price: int) -> None:
    """An audit or dispute refuted a task of `price` grains."""
    add_outcome(state, address, reputation.add_lost, price)


def add_cheat(state: State, address: bytes) -> None:
    """A cheat was proved."""
    add_outcome(state, address, reputation.add_cheat)


def add_posted(state: State, address: bytes, price: int) -> None:
    """A task that the account posted at `price` grains was settled."""
    add_outcome(state, address, reputation.add_posted, price)


def add_blame(state: State, address: bytes, amount: int) -> None:
    """A fault known by word alone: `amount` grains of bad words."""
    add_outcome(state, address, reputation.add_blame, amount)


def unit(state: State, share: int, power: int, epoch_reward: int) -> int:
    """U, grains, of an account with compute share c and power P (parts per billion)."""
    params = state.block.params.resource
    return reputation.evidence_unit(params.evidence_price, epoch_reward, share, power, params.fade_shift)


def newcomer_kappa(state: State, address: bytes) -> int:
    """κ of an account that has no power yet: 2ρ // 3, parts per billion."""
    return 2 * reputation.reputation(faded(state, address), unit(state, 0, 0, 0)) // 3
