"""Where the chain stands: the head record, epochs and their heights, the sets of validators by height.

Here: `Head`, epoch arithmetic, stored validator sets, a state to read at the head.
Not here: how sets are made (vm/epoch.py), what a header must be (vm/validity.py).
Keeps: no state contains its own block's id; a set is stored under the first height of its epoch, so
V(h) is one direct read; sets are kept for the evidence period.
"""

from __future__ import annotations

from consensus.types.address import NO_ADDRESS
from consensus.types.codec import Hash32, Record, Uint
from consensus.types.reader import StateReader
from consensus.validators import Validator, ValidatorSet
from vm.rules import Rules
from vm.state import BlockContext, Namespace, State, Table


class Head(Record, frozen=True):
    """What the next block is judged and executed against."""

    height: Uint
    time_ms: Uint
    version: Uint
    base_price: Uint
    """Of the next block, grains per unit."""
    beacon: Hash32
    """beacon(height)."""


class StoredSet(Record, frozen=True):
    """The validators of one epoch."""

    validators: tuple[Validator, ...]


HEADS = Table(Namespace.HEAD, Head)
SETS = Table(Namespace.VALIDATOR_SET, StoredSet)


def epoch_of(height: int, epoch_blocks: int) -> int:
    """The epoch of a height: (h − 1) // L."""
    return (height - 1) // epoch_blocks if height > 0 else 0


def first_height(epoch: int, epoch_blocks: int) -> int:
    """The first height of an epoch."""
    return epoch * epoch_blocks + 1


def head(state: State) -> Head:
    """The head as the parent block left it."""
    found = state.get(HEADS, b"")
    assert found is not None, "the genesis writes the first head"
    return found


def _set_key(height: int, epoch_blocks: int) -> bytes:
    return first_height(epoch_of(height, epoch_blocks), epoch_blocks).to_bytes(8, "big")


def validators_at(state: State, height: int) -> ValidatorSet | None:
    """V(height), or None when it lies ahead or is older than the evidence period."""
    stored = state.get(SETS, _set_key(height, state.block.params.chain.epoch_blocks))
    return None if stored is None else stored.validators


def store_validators(state: State, height: int, validators: ValidatorSet) -> None:
    """Make `validators` the set from `height`, the first of an epoch, on."""
    key = _set_key(height, state.block.params.chain.epoch_blocks)
    assert int.from_bytes(key, "big") == height, "sets change at the start of an epoch only"
    state.put(SETS, key, StoredSet(validators))


def forget_validators(state: State, epoch: int) -> None:
    """Delete an old epoch's set, if there is one."""
    if epoch < 0:
        return
    key = first_height(epoch, state.block.params.chain.epoch_blocks).to_bytes(8, "big")
    if state.get(SETS, key) is not None:
        state.delete(SETS, key)


def view(reader: StateReader, rules: Rules) -> State:
    """A state to read at the head, as wallets, pages and the mempool do; nobody writes it back."""
    raw = reader.get(HEADS.prefix)
    assert raw is not None, "the genesis writes the first head"
    stands = HEADS.decode(raw)
    params = rules.params
    return State(
        reader,
        BlockContext(
            stands.height,
            stands.time_ms,
            epoch_of(stands.height, params.chain.epoch_blocks),
            stands.beacon,
            stands.base_price,
            NO_ADDRESS,
            params,
            rules.genesis,
            rules.chain_id,
            rules.vesting,
        ),
    )


def next_view(reader: StateReader, rules: Rules, time_ms: int = 0) -> State:
    """A state as the next block would see it, its beacon apart; nobody writes it back.

    Its time is after the head's, and `time_ms` if that is later.
    """
    stands = view(reader, rules)
    height = stands.block.height + 1
    block = stands.block._replace(
        height=height,
        time_ms=max(stands.block.time_ms + 1, time_ms),
        epoch=epoch_of(height, rules.params.chain.epoch_blocks),
    )
    return State(reader, block)
