"""Validators: entering the register, changing keys, jail, a full register."""

from __future__ import annotations

import msgspec
import pytest

from consensus.beacon import RevealChain
from consensus.types.amounts import eubc
from consensus.types.errors import Rejected
from consensus.types.genesis import possession_hash
from consensus.types.keys import SecretKey
from consensus.types.params import DEV, Params
from tests.world import CHAIN_ID, Operator, World
from vm import members, outage, validator
from vm.account import Transfer
from vm.fees import lane_units
from vm.members import Register
from vm.stake import Bond, Unbond
from vm.tally import TALLIES
from vm.validator import (
    ACTIVE,
    ALREADY_VALIDATOR,
    BOND_BELOW_MINIMUM,
    CHANGE_PENDING,
    JAILED,
    JAILED_STILL,
    KEY_TAKEN,
    KEYS,
    NO_VALIDATOR,
    NOT_JAILED,
    NOTHING_TO_UPDATE,
    POSSESSION_UNPROVED,
    RETIRED,
    VALIDATORS,
    VALIDATORS_FULL,
    NewKey,
    RegisterValidator,
    Unjail,
    UpdateValidator,
)


def registration(operator: Operator) -> RegisterValidator:
    """What makes the operator a validator."""
    return RegisterValidator(
        operator.name, operator.consensus.public, operator.possession, operator.chain.commitment
    )


def newcomer(world: World, name: str, bond: int = eubc(1_000)) -> Operator:
    """An operator whose account has a bond."""
    operator = world.add_operator(name)
    world.succeed(name, Bond(bond))
    return operator


def small(params: Params = DEV, most: int = 1) -> Params:
    """DEV with sets of `most` and registers of four times as many."""
    voters = msgspec.structs.replace(params.validators, max_validators=most)
    return msgspec.structs.replace(params, validators=voters)


def test_a_newcomer_earns_at_once_and_votes_one_epoch_later() -> None:
    world = World(validators=1, people=["n"])
    operator = newcomer(world, "n")
    world.succeed("n", registration(operator))
    world.until_epoch_end()
    assert [v.address for v in world.validators] == [world["v0"].address]
    world.until_epoch_end()
    powers = {v.address: v.power for v in world.validators}
    assert set(powers) == {world["v0"].address, operator.address}
    world.until_epoch_end()
    proposers = {header.proposer for header in world.headers[-20:]}
    assert operator.address in proposers, "with a third of power it proposes within an epoch"
    world.check()


def test_a_validator_needs_the_least_bond() -> None:
    world = World(people=["n"])
    operator = newcomer(world, "n", eubc(99))
    world.refuse("n", registration(operator), BOND_BELOW_MINIMUM)


def test_a_key_needs_its_own_proof_of_possession() -> None:
    world = World(people=["n", "m"])
    operator, other = newcomer(world, "n"), newcomer(world, "m")
    stolen = msgspec.structs.replace(registration(operator), possession=other.possession)
    world.refuse("n", stolen, POSSESSION_UNPROVED)
    replayed = registration(operator)
    world.refuse("m", replayed, POSSESSION_UNPROVED)


def test_a_key_serves_one_validator() -> None:
    world = World(people=["n", "m"])
    operator = newcomer(world, "n")
    newcomer(world, "m")
    world.succeed("n", registration(operator))
    world.refuse("n", registration(operator), ALREADY_VALIDATOR)
    proof = operator.consensus.sign(possession_hash(CHAIN_ID, world["m"].address))
    copied = RegisterValidator("m", operator.consensus.public, proof, operator.chain.commitment)
    world.refuse("m", copied, KEY_TAKEN)


def test_a_name_changes_at_once() -> None:
    world = World()
    world.succeed("v0", UpdateValidator("better-name", None, None))
    assert world.read(VALIDATORS, world["v0"].address).name == "better-name"
    world.refuse("alice", UpdateValidator("mine", None, None), NO_VALIDATOR)
    with pytest.raises(Rejected) as refusal:
        world.submit("v0", UpdateValidator(None, None, None))
    assert refusal.value.reason is NOTHING_TO_UPDATE


def test_a_new_key_and_chain_are_effective_two_epochs_later() -> None:
    world = World()
    address = world["v0"].address
    old = world.read(VALIDATORS, address)
    secret = SecretKey(bytes(31) + b"\x07")
    chain = RevealChain(secret.secret(), 1, 256)
    world.use_keys(address, secret, chain)
    proof = secret.sign(possession_hash(CHAIN_ID, address))
    world.succeed("v0", UpdateValidator(None, NewKey(secret.public, proof), chain.commitment))
    world.refuse("v0", UpdateValidator(None, None, chain.commitment), CHANGE_PENDING)
    world.until_epoch_end()
    assert world.validators[0].key == old.key
    world.until_epoch_end()
    assert world.validators[0].key == secret.public
    world.blocks(3)
    assert world.read(KEYS, old.key).retired
    again = NewKey(old.key, world.operators[0].possession)
    world.refuse("v0", UpdateValidator(None, again, None), KEY_TAKEN)


def test_a_validator_that_does_not_sign_is_jailed_and_comes_back_through_the_lane() -> None:
    world = World(validators=5)
    lazy = world["v4"].address
    world.until_epoch_end(absent=["v4"])
    record = world.read(VALIDATORS, lazy)
    assert (record.status, record.jailed_until) == (JAILED, 2)
    assert lazy not in {v.address for v in world.validators}
    assert len(world.events(validator.JAIL.code)) == 1
    world.refuse("v4", Unjail(), JAILED_STILL)
    world.until_epoch_end()
    receipt = world.succeed("v4", Unjail(), max_price=10**6, tip=500)
    assert receipt.fee == receipt.units * DEV.fees.min_price, "the lane has its own price and no tip"
    assert world.read(VALIDATORS, lazy).status == ACTIVE
    world.refuse("v4", Unjail(), NOT_JAILED)
    world.until_epoch_end()
    world.until_epoch_end()
    assert lazy in {v.address for v in world.validators}
    world.check()


def test_whoever_signs_a_quarter_is_not_jailed_on_a_development_network() -> None:
    world = World(validators=5)
    for _ in range(14):
        world.block(absent=["v4"])
    world.until_epoch_end()
    assert world.read(VALIDATORS, world["v4"].address).status == ACTIVE


def test_a_proposer_that_misses_its_turns_is_jailed() -> None:
    world = World(validators=4)
    while world.height < DEV.chain.epoch_blocks - 1:
        shirks = world.proposer(0) == world["v0"].address
        world.block(round_=1 if shirks and world.proposer(1) != world["v0"].address else 0)
    tally = world.read(TALLIES, b"")
    row = next(r for r in tally.rows if r.address == world["v0"].address)
    world.until_epoch_end()
    status = world.read(VALIDATORS, world["v0"].address).status
    expected = JAILED if row.missed >= 4 and row.missed >= row.proposed else ACTIVE
    assert status == expected


def test_nobody_is_jailed_in_an_outage() -> None:
    world = World(validators=4, bonds=[eubc(10_000)] * 3 + [eubc(10_000)])
    # 4 equal validators: one absent is exactly a quarter, which is no outage.
    world.until_epoch_end(absent=["v3"])
    assert world.read(VALIDATORS, world["v3"].address).status == JAILED

    world = World(validators=4, bonds=[eubc(9_000)] * 3 + [eubc(10_000)])
    world.until_epoch_end(absent=["v3"])
    assert world.read(VALIDATORS, world["v3"].address).status == ACTIVE
    assert len(world.events(outage.OUTAGE.code)) == 1


def test_a_full_register_admits_a_larger_bond_and_retires_the_smallest() -> None:
    world = World(small(), validators=1, people=["a", "b", "c", "d", "e"], bonds=[eubc(9_000)])
    operators = {name: newcomer(world, name, eubc(bond)) for name, bond in
                 (("a", 110), ("b", 120), ("c", 130), ("d", 110), ("e", 500))}  # fmt: skip
    for name in "abc":
        world.succeed(name, registration(operators[name]))
    world.refuse("d", registration(operators["d"]), VALIDATORS_FULL)
    world.succeed("e", registration(operators["e"]))
    assert world.read(VALIDATORS, world["a"].address).status == RETIRED
    assert members.count(world.view, Register.VALIDATORS) == 4
    assert world.events(validator.PUSHED_OUT.code) == [(world["a"].address,)]
    world.succeed("a", Bond(eubc(900)))
    world.succeed("a", registration(operators["a"]))
    assert world.read(VALIDATORS, world["b"].address).status == RETIRED
    world.check()


def test_a_member_of_the_running_set_is_never_pushed_out() -> None:
    world = World(small(most=2), validators=2, people=[f"n{i}" for i in range(7)], bonds=[eubc(100)] * 2)
    for i in range(7):
        operator = newcomer(world, f"n{i}", eubc(200 + i))
        world.submit(f"n{i}", registration(operator))
    world.block()
    statuses = [world.read(VALIDATORS, world[f"v{i}"].address).status for i in range(2)]
    assert statuses == [ACTIVE, ACTIVE]
    assert world.read(VALIDATORS, world["n0"].address).status == RETIRED


def test_a_set_of_the_smallest_bonds_does_not_shut_a_full_register() -> None:
    """Whoever votes is not asked to leave; twenty voting on the least bond could else shut everybody out."""
    others = [f"n{i}" for i in range(60)]
    world = World(small(most=20), validators=20, people=[*others, "rich", "poor"], bonds=[eubc(100)] * 20)
    operators = {name: world.add_operator(name) for name in (*others, "rich", "poor")}
    for name in operators:
        world.submit(name, Bond(eubc(201 if name == "rich" else 200)))
    world.block()
    for name in others:
        world.submit(name, registration(operators[name]))
    world.block()
    assert members.count(world.view, Register.VALIDATORS) == 80
    world.refuse("poor", registration(operators["poor"]), VALIDATORS_FULL)
    world.succeed("rich", registration(operators["rich"]))
    left = [name for name in operators if _status(world, name) == RETIRED]
    assert left == [min(others, key=lambda name: world[name].address)]
    assert all(_status(world, operator.name) == ACTIVE for operator in world.operators[:20])
    world.check()


def _status(world: World, name: str) -> int | None:
    record = world.read(VALIDATORS, world[name].address)
    return None if record is None else record.status


def test_a_validator_below_the_least_bond_leaves_the_set() -> None:
    world = World(validators=2)
    world.succeed("v1", Unbond(eubc(9_950)))
    world.until_epoch_end()
    assert [v.address for v in world.validators] == [world["v0"].address]


def test_the_lane_keeps_room_when_ordinary_transactions_flood() -> None:
    world = World(validators=5)
    world.until_epoch_end(absent=["v4"])
    world.until_epoch_end()
    chain = msgspec.structs.replace(world.params.chain, block_units_max=4_000)
    world.rules = world.rules._replace(params=msgspec.structs.replace(world.params, chain=chain))
    for _ in range(10):
        world.submit("alice", Transfer(world["bob"].address, 1), tip=900)
    txid = world.submit("v4", Unjail())
    outcome = world.block()
    assert txid in world.receipts
    assert 1 < len(outcome.included) < 11
    ordinary = sum(r.units for r in outcome.receipts[:-1]) - world.receipts[txid].units
    assert ordinary <= 4_000 - lane_units(world.rules.params)


def test_a_validator_returns_from_jail_only_with_the_least_bond() -> None:
    world = World(validators=5)
    world.succeed("v4", Unbond(eubc(9_999)))
    world.until_epoch_end(absent=["v4"])
    world.until_epoch_end()
    assert world.read(VALIDATORS, world["v4"].address).status == JAILED
    receipt = world.refuse("v4", Unjail(), BOND_BELOW_MINIMUM, tip=500)
    assert receipt.fee == receipt.units * (DEV.fees.min_price + 500), "a refusal is not the lane's"
