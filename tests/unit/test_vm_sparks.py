"""Sparks: registering, changing, retiring, a full register, the coefficient of a newcomer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from consensus.types.amounts import eubc
from consensus.types.codec import MALFORMED
from consensus.types.errors import Rejected
from consensus.types.params import DEV
from consensus.types.reader import MemoryState
from tests.unit.test_vm_evidence import two_votes
from tests.world import World
from vm import members, spark, standing
from vm.members import Register
from vm.spark import (
    ACCOUNT_TOMBSTONED,
    ACTIVE,
    ALREADY_SPARK,
    CANDIDATES_MAX,
    DIFFICULTY_OUT_OF_RANGE,
    NO_SPARK,
    RETIRED,
    SLOTS_IN_USE,
    SPARK_BOND_BELOW_MINIMUM,
    SPARKS,
    SPARKS_FULL,
    Hardware,
    RegisterSpark,
    RetireSpark,
    UpdateSpark,
)
from vm.stake import Bond, Unbond
from vm.state import State

HARDWARE = Hardware("rtx4090", 1, 24 * 2**30, 16, 64 * 2**30, 2**40)
RECIPIENT = "age1" + "q" * 58


def registration(**changes: Any) -> RegisterSpark:
    """What makes an account a spark."""
    return msgspec.structs.replace(RegisterSpark(RECIPIENT, HARDWARE, 2, True, 1), **changes)


def bonded(world: World, *names: str, bond: int = eubc(5)) -> None:
    """Bond so much for each."""
    for name in names:
        world.succeed(name, Bond(bond))


def test_a_spark_begins_with_the_coefficient_of_a_newcomer() -> None:
    world = World()
    bonded(world, "alice")
    world.succeed("alice", registration())
    record = world.read(SPARKS, world["alice"].address)
    assert (record.status, record.kappa, record.power) == (ACTIVE, 333_333_333, 0)
    assert record.difficulty == 1
    assert spark.may_offer(world.view, world["alice"].address)
    world.check()


def test_a_spark_needs_its_bond_and_one_place() -> None:
    world = World()
    world.refuse("alice", registration(), SPARK_BOND_BELOW_MINIMUM)
    bonded(world, "alice")
    world.succeed("alice", registration())
    world.refuse("alice", registration(), ALREADY_SPARK)


@pytest.mark.parametrize("difficulty", [0, DEV.resource.difficulty_start_max + 1])
def test_the_first_difficulty_has_bounds(difficulty: int) -> None:
    with pytest.raises(Rejected) as refusal:
        World().submit("alice", registration(difficulty=difficulty))
    assert refusal.value.reason is DIFFICULTY_OUT_OF_RANGE


@pytest.mark.parametrize("change", [{"slots": 0}, {"slots": 65}, {"recipient": "age1short"}])
def test_a_malformed_registration_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Rejected) as refusal:
        World().submit("alice", registration(**change))
    assert refusal.value.reason is MALFORMED


def test_what_is_declared_can_change() -> None:
    world = World()
    world.refuse("alice", UpdateSpark(RECIPIENT, HARDWARE, 3, False), NO_SPARK)
    bonded(world, "alice")
    world.succeed("alice", registration())
    world.succeed("alice", UpdateSpark(RECIPIENT, HARDWARE, 3, False))
    record = world.read(SPARKS, world["alice"].address)
    assert (record.slots, record.judging) == (3, False)


def test_a_retired_spark_keeps_what_belongs_to_the_account_when_it_returns() -> None:
    world = World()
    bonded(world, "alice")
    world.succeed("alice", registration(difficulty=7))
    world.succeed("alice", RetireSpark())
    address = world["alice"].address
    assert world.read(SPARKS, address).status == RETIRED
    assert not spark.may_offer(world.view, address)
    assert members.count(world.view, Register.SPARKS) == 0
    world.refuse("alice", RetireSpark(), NO_SPARK)
    world.succeed("alice", registration(difficulty=900))
    assert world.read(SPARKS, address).difficulty == 7, "a second registration is no second guess"


def test_a_full_register_retires_the_smallest_idle_spark_for_a_larger_bond() -> None:
    resource = msgspec.structs.replace(DEV.resource, max_sparks=2)
    world = World(msgspec.structs.replace(DEV, resource=resource), people=["a", "b", "c"])
    bonded(world, "a", bond=eubc(3))
    bonded(world, "b", bond=eubc(4))
    bonded(world, "c", bond=eubc(3))
    world.succeed("a", registration())
    world.succeed("b", registration())
    world.refuse("c", registration(), SPARKS_FULL)
    bonded(world, "c", bond=eubc(2))
    world.succeed("c", registration())
    assert world.read(SPARKS, world["a"].address).status == RETIRED
    assert world.events(spark.SPARK_PUSHED_OUT.code) == [(world["a"].address,)]
    assert members.addresses(world.view, Register.SPARKS) == sorted([world["b"].address, world["c"].address])


def test_the_coefficient_follows_the_bond_at_the_epochs_end() -> None:
    world = World()
    bonded(world, "alice", bond=eubc(1_000))
    world.succeed("alice", registration())
    world.until_epoch_end()
    record = world.read(SPARKS, world["alice"].address)
    assert record.power == 10**9 * eubc(1_000) // eubc(11_000), "stake carries power while S is 0"
    assert record.kappa > 333_333_333
    assert spark.kappa(world.view, world["alice"].address) == record.kappa
    world.succeed("alice", Unbond(eubc(1_000)))
    assert not spark.may_offer(world.view, world["alice"].address)
    world.until_epoch_end()
    assert world.read(SPARKS, world["alice"].address).power == 0


def test_an_account_without_a_spark_reads_as_a_newcomer() -> None:
    world = World()
    assert spark.kappa(world.view, world["alice"].address) == 333_333_333
    assert standing.faded(world.view, world["alice"].address).good == 0


def with_record(world: World, name: str, **changes: Any) -> None:
    """Give a spark's record other figures, as tasks and proofs would."""
    state = State(MemoryState(world.state.entries), world.view.block)
    address = world[name].address
    record = state.get(SPARKS, address)
    assert record is not None
    state.put(SPARKS, address, msgspec.structs.replace(record, **changes))
    world.state.write(state.finish())


def test_slots_cannot_fall_below_the_seats_that_run() -> None:
    world = World()
    bonded(world, "alice")
    world.succeed("alice", registration(slots=3))
    with_record(world, "alice", running=2, exposure=5)
    world.refuse("alice", UpdateSpark(RECIPIENT, HARDWARE, 1, True), SLOTS_IN_USE)
    world.succeed("alice", UpdateSpark(RECIPIENT, HARDWARE, 2, True))
    world.succeed("alice", RetireSpark())
    world.refuse("alice", registration(slots=1), SLOTS_IN_USE)
    world.succeed("alice", registration(slots=2))
    assert world.read(SPARKS, world["alice"].address).exposure == 5


def test_a_spark_with_running_seats_is_not_pushed_out() -> None:
    resource = msgspec.structs.replace(DEV.resource, max_sparks=2)
    world = World(msgspec.structs.replace(DEV, resource=resource), people=["a", "b", "c"])
    for name, bond in (("a", 3), ("b", 4), ("c", 9)):
        bonded(world, name, bond=eubc(bond))
    world.succeed("a", registration())
    world.succeed("b", registration())
    with_record(world, "a", running=1)
    world.succeed("c", registration())
    assert world.read(SPARKS, world["a"].address).status == ACTIVE
    assert world.read(SPARKS, world["b"].address).status == RETIRED


def test_a_double_signer_offers_no_compute_any_more() -> None:
    world = World(validators=5)
    world.succeed("v4", registration())
    assert spark.may_offer(world.view, world["v4"].address)
    world.submit_evidence(two_votes(world, "v4"))
    world.block()
    assert not spark.may_offer(world.view, world["v4"].address)
    world.succeed("v4", RetireSpark())
    world.refuse("v4", registration(), ACCOUNT_TOMBSTONED)


def test_a_jailed_account_offers_nothing_while_it_is_jailed() -> None:
    world = World(validators=5)
    world.succeed("v4", registration())
    world.until_epoch_end(absent=["v4"])
    assert not spark.may_offer(world.view, world["v4"].address)
    assert world.read(SPARKS, world["v4"].address).power == 0


def test_sixteen_busy_dust_sparks_cannot_keep_a_full_register_closed() -> None:
    """Whoever keeps the smallest bonds busy with tasks of its own would else shut everybody out."""
    dust = [f"d{i}" for i in range(CANDIDATES_MAX)]
    resource = msgspec.structs.replace(DEV.resource, max_sparks=CANDIDATES_MAX + 1)
    world = World(msgspec.structs.replace(DEV, resource=resource), people=[*dust, "a", "b"])
    for name in dust:
        bonded(world, name, bond=eubc(1))
        world.succeed(name, registration())
        with_record(world, name, running=1)
    bonded(world, "a", bond=eubc(5))
    world.succeed("a", registration())
    bonded(world, "b", bond=eubc(9))
    world.succeed("b", registration())
    left = [name for name in (*dust, "a") if world.read(SPARKS, world[name].address).status == RETIRED]
    assert left == [min(dust, key=lambda name: world[name].address)]
    assert world.read(SPARKS, world[left[0]].address).running == 1, "it finishes what runs"
