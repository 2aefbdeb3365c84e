"""From the genesis record to the first state, on which block 1 is executed.

Here: `genesis_writes`, what a record must satisfy to found a network.
Not here: the record (consensus/types/genesis.py), making one (genesis/builder.py).
Keeps: issued at genesis = balances + bonds + the audit seed, which starts in the audit pool and belongs
to nobody; that and all rewards that can ever be minted stay within the cap.
Errors: 1990 genesis_refused.
"""

from __future__ import annotations

from consensus.beacon import genesis_beacon
from consensus.resource.difficulty import DIFFICULTY_MAX
from consensus.types.address import NO_ADDRESS
from consensus.types.codec import PRICE_MAX, SUPPLY_MAX
from consensus.types.errors import Fault, Reason
from consensus.types.genesis import Genesis, Vesting, possession_hash
from consensus.types.keys import verify
from consensus.types.params import Params
from consensus.types.reader import MemoryState
from consensus.validators import Candidate, make_set
from vm import epoch, funds, members, pools, stake, validator
from vm import head as heads
from vm.fees import lane_bytes, ordinary_units
from vm.funds import VESTING, Account, Locks
from vm.head import HEADS, Head
from vm.members import MEMBERS, Register
from vm.rewards import most_ever_minted
from vm.rules import rules_of
from vm.state import BlockContext, Namespace, State, Table

PARAMS = Table(Namespace.PARAMS, Params)
"""The network's parameters, so that a state by itself says what rules it lives by."""
FORMAT = 1
VALIDATORS_MOST = 512
"""The bitmap of a commit has 64 bytes."""

GENESIS_REFUSED = Reason(
    1990,
    "genesis_refused",
    "why:text",
    "This genesis cannot found a network: {why}.",
    "Use the genesis file of the network, or build another one.",
)


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise Fault(GENESIS_REFUSED, why=why)


def check_genesis(genesis: Genesis) -> None:
    """Refuse, with `Fault(GENESIS_REFUSED)`, a record that cannot found a network."""
    params = genesis.params
    _require(genesis.format == FORMAT, "its format is of another release")
    _check_params(params)
    holders = [balance.address for balance in genesis.balances]
    _require(_ascending(holders), "its balances are not ordered by address, each account once")
    _require(NO_ADDRESS not in holders, "the sender of evidence holds nothing")
    voters = genesis.validators
    _require(bool(voters), "it has no validator, so no block could ever be made")
    _require(len(voters) <= params.validators.max_validators, "it has more validators than a set holds")
    _require(_ascending([v.address for v in voters]), "its validators are not ordered by address, each once")
    _require(len({v.key for v in voters}) == len(voters), "two validators have one key")
    for voter in voters:
        _require(voter.bond >= params.validators.min_bond, f"{voter.name} bonds less than the least bond")
        message = possession_hash(genesis.chain_id, voter.address)
        _require(verify(voter.key, message, voter.possession), f"{voter.name} does not prove its key")
    _require(_issued(genesis) + most_ever_minted(params.validators) <= SUPPLY_MAX,
             "genesis and rewards together exceed what may ever exist")  # fmt: skip
    held = {balance.address: balance.amount for balance in genesis.balances}
    for lock in genesis.vesting:
        held[lock.address] = held.get(lock.address, 0) - lock.amount
        _require(held[lock.address] >= 0, "a lock exceeds the balance it is on")
        _require(lock.start_ms <= lock.cliff_ms, "a lock's cliff lies before its start")
    rules_of(genesis).require_version(1)
    heights = [upgrade.height for upgrade in genesis.versions]
    _require(heights == sorted(heights), "its versions are not ordered by height")


def _check_params(params: Params) -> None:
    """Refuse parameters under which the rules would divide by nothing or never come to an end."""
    chain, fees, voters, proofs = params.chain, params.fees, params.validators, params.resource
    positive = {
        "epoch_blocks": chain.epoch_blocks,
        "block_interval_ms": chain.block_interval_ms,
        "max_ttl_blocks": chain.max_ttl_blocks,
        "max_due_per_block": chain.max_due_per_block,
        "draw_delay_blocks": chain.draw_delay_blocks,
        "block_bytes_max": chain.block_bytes_max,
        "transaction_bytes_max": chain.transaction_bytes_max,
        "byte": fees.byte,
        "min_price": fees.min_price,
        "max_validators": voters.max_validators,
        "min_bond": voters.min_bond,
        "evidence_epochs": voters.evidence_epochs,
        "halving_blocks": voters.halving_blocks,
        "window_wait_blocks": proofs.window_wait_blocks,
        "window_blocks": proofs.window_blocks,
        "verify_blocks": proofs.verify_blocks,
        "difficulty_min": proofs.difficulty_min,
        "max_sparks": proofs.max_sparks,
        "s_ref": proofs.s_ref,
        "evidence_price": proofs.evidence_price,
        "gas_floor": proofs.gas_floor,
        "run.least": params.market.run.least,
    }
    for name, value in positive.items():
        _require(value > 0, f"the parameter {name} is zero")
    _require(1 <= proofs.fade_shift <= 16, "the parameter fade_shift is not 1 to 16")
    _require(voters.max_validators <= VALIDATORS_MOST, "a commit could not name so many validators")
    _require(voters.min_signed_percent <= 100, "the parameter min_signed_percent is above 100")
    _require(fees.min_price <= PRICE_MAX, "the least price is above what anybody may pay")
    # Whoever signed twice must still have its bond here when the evidence comes.
    _require(voters.unbonding_epochs > voters.evidence_epochs, "bonds leave before evidence expires")
    _require(proofs.difficulty_min <= proofs.difficulty_start_max <= DIFFICULTY_MAX,
             "the first difficulties have no room")  # fmt: skip
    kept = chain.epoch_blocks * (voters.evidence_epochs + voters.unbonding_epochs)
    _require(proofs.verify_blocks < kept, "an outage is forgotten before a window that it excuses closes")
    largest = chain.transaction_bytes_max
    fits = (
        chain.block_transactions_max > 0
        and chain.block_bytes_max - lane_bytes(params) >= largest
        and ordinary_units(params) >= largest * fees.byte
    )
    _require(fits, "a block is too small for its largest transaction")


def _ascending(addresses: list[bytes]) -> bool:
    return addresses == sorted(dict.fromkeys(addresses))


def _issued(genesis: Genesis) -> int:
    balances = sum(balance.amount for balance in genesis.balances)
    bonds = sum(voter.bond for voter in genesis.validators)
    return balances + bonds + genesis.params.market.audit_seed


def genesis_writes(genesis: Genesis) -> dict[bytes, bytes | None]:
    """The first state, as writes on an empty one; raises `Fault(GENESIS_REFUSED)`."""
    check_genesis(genesis)
    rules = rules_of(genesis)
    params, beacon = genesis.params, genesis_beacon(rules.genesis)
    price = params.fees.min_price
    context = BlockContext(
        0, genesis.time_ms, 0, beacon, price, NO_ADDRESS, params, rules.genesis, genesis.chain_id
    )
    state = State(MemoryState(), context)
    state.supply.issued = _issued(genesis)
    state.put(PARAMS, b"", params)
    for register in (Register.VALIDATORS, Register.SPARKS, Register.CREDITED):
        state.put(MEMBERS, bytes([register]), members.Entry(0))
    for balance in genesis.balances:
        state.put(funds.ACCOUNTS, balance.address, Account(0, balance.amount))
        state.supply.balances += balance.amount
    _lock(state, genesis.vesting)
    pools.add(state, pools.AUDIT, params.market.audit_seed)
    _enter_validators(state, genesis)
    state.put(HEADS, b"", Head(0, genesis.time_ms, rules.version_at(0), price, beacon))
    return state.finish()


def _lock(state: State, vesting: tuple[Vesting, ...]) -> None:
    by_address: dict[bytes, tuple[Vesting, ...]] = {}
    for lock in vesting:
        by_address[lock.address] = (*by_address.get(lock.address, ()), lock)
    for address, locks in by_address.items():
        state.put(VESTING, address, Locks(locks))


def _enter_validators(state: State, genesis: Genesis) -> None:
    """Bond and list the first validators; x(−1) = x(0), so they vote from height 1 on."""
    voters = genesis.validators
    weights = epoch.genesis_weights(
        [(voter.address, voter.bond) for voter in voters], genesis.params.resource
    )
    candidates = []
    for voter, x in zip(voters, weights, strict=True):
        stake.add_bond(state, voter.address, voter.bond)
        validator.enter(state, voter.address, voter.name, voter.key, voter.reveal)
        validator.remember_weight(state, voter.address, x)
        candidates.append(Candidate(voter.address, voter.key, x, voter.bond))
    chosen = make_set(candidates, genesis.params.validators.max_validators)
    _require(bool(chosen), "no validator has weight")
    heads.store_validators(state, 1, chosen)
