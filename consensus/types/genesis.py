"""The genesis record: everything a network starts from; its hash is the network's identity.

Here: the record and its hash. Not here: making one (genesis/), turning it into state (vm/genesis.py).
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from consensus.types.codec import Address, Amount, Codec, Hash32, Key32, Name, Record, Sig64, Uint, encode
from consensus.types.hashing import Tag, tagged_hash
from consensus.types.params import Params

GENESIS_BYTES_MAX = 16 * 2**20


class Balance(Record, frozen=True):
    """EUBC that an account holds at the start."""

    address: Address
    amount: Amount


class Vesting(Record, frozen=True):
    """A lock on part of an account's balance: from `cliff_ms` on, a `steps`-th opens every `step_ms`.

    Until `cliff_ms` all of `amount` is locked; at time t ≥ cliff, amount·n // steps is open with
    n = min(steps, (t − start_ms) // step_ms).
    """

    address: Address
    amount: Amount
    start_ms: Uint
    cliff_ms: Uint
    step_ms: Annotated[int, Meta(ge=1)]
    steps: Annotated[int, Meta(ge=1)]


class GenesisValidator(Record, frozen=True):
    """A validator that produces blocks from height 1; its bond comes on top of balances."""

    address: Address
    name: Name
    key: Key32
    possession: Sig64
    """The consensus key's signature over H(EUB-possess, address): nobody registers another's key."""
    bond: Amount
    reveal: Hash32
    """x_N, the commitment of its reveal chain."""


class Upgrade(Record, frozen=True):
    """From `height` on headers carry `version`."""

    height: Uint
    version: Uint


class Genesis(Record, frozen=True):
    """What a network's first block stands on."""

    format: Uint
    chain_id: Name
    prefix: Name
    """Of addresses: eub, teub or deub."""
    time_ms: Uint
    params: Params
    versions: tuple[Upgrade, ...]
    balances: tuple[Balance, ...]
    vesting: tuple[Vesting, ...]
    validators: tuple[GenesisValidator, ...]


GENESIS = Codec[Genesis](Genesis, GENESIS_BYTES_MAX)


def genesis_hash(genesis: Genesis) -> bytes:
    """The identity of the network, in front of everything that is signed on it."""
    return tagged_hash(Tag.GENESIS, encode(genesis))


def possession_hash(chain_id: str, address: bytes) -> bytes:
    """What a consensus key signs to show that whoever registers it holds it.

    It names the chain id, not the genesis hash: the genesis record contains the signature.
    """
    return tagged_hash(Tag.POSSESSION, chain_id.encode(), b"\x00", address)
