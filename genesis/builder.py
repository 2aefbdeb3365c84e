"""Making a new network's genesis record.

Here: assembling balances, vesting and validators on a published set of parameters, with checks.
Not here: keys and words (eubchain/wallet), the initial state (vm/genesis.py).
Errors: 2521 genesis_impossible.
"""

from __future__ import annotations

from collections.abc import Iterable

from consensus.types.codec import SUPPLY_MAX
from consensus.types.errors import Fault, Reason
from consensus.types.genesis import Balance, Genesis, GenesisValidator, Vesting, possession_hash
from consensus.types.keys import SecretKey
from consensus.types.params import DEV, MAIN, TEST, Params

FORMAT = 1
NETWORKS: dict[str, tuple[str, Params]] = {
    "main": ("eub", MAIN),
    "test": ("teub", TEST),
    "dev": ("deub", DEV),
}

GENESIS_IMPOSSIBLE = Reason(
    2521,
    "genesis_impossible",
    "why:text",
    "This genesis cannot start a network: {why}.",
    "Change the balances or the validators and build it again.",
)


def genesis_validator(
    chain_id: str, address: bytes, name: str, key: SecretKey, bond: int, reveal: bytes
) -> GenesisValidator:
    """A validator's entry, with the proof that its operator holds the consensus key."""
    possession = key.sign(possession_hash(chain_id, address))
    return GenesisValidator(address, name, key.public, possession, bond, reveal)


def build_genesis(
    network: str,
    chain_id: str,
    time_ms: int,
    balances: Iterable[Balance],
    validators: Iterable[GenesisValidator],
    vesting: Iterable[Vesting] = (),
    params: Params | None = None,
) -> Genesis:
    """Assemble a record; `network` is main, test or dev. Raises `Fault(GENESIS_IMPOSSIBLE)`."""
    prefix, published = NETWORKS[network]
    params = params or published
    ordered = tuple(sorted(balances, key=lambda b: b.address))
    chosen = tuple(sorted(validators, key=lambda v: v.address))
    if len({b.address for b in ordered}) != len(ordered):
        raise Fault(GENESIS_IMPOSSIBLE, why="an account stands twice among the balances")
    if not chosen:
        raise Fault(GENESIS_IMPOSSIBLE, why="it has no validator, so no block would ever be made")
    for validator in chosen:
        if validator.bond < params.validators.min_bond:
            raise Fault(GENESIS_IMPOSSIBLE, why=f"{validator.name} bonds less than the least bond")
    issued = sum(b.amount for b in ordered) + sum(v.bond for v in chosen) + params.market.audit_seed
    to_mint = 2 * params.validators.reward * params.validators.halving_blocks
    if issued + to_mint > SUPPLY_MAX:
        raise Fault(GENESIS_IMPOSSIBLE, why="genesis and rewards together exceed 1000000000 EUBC")
    return Genesis(FORMAT, chain_id, prefix, time_ms, params, (), ordered, tuple(vesting), chosen)
