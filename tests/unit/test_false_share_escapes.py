"""A false share follows whoever tries to get out of its way: by retiring, unbonding, or registering anew."""

from __future__ import annotations

from consensus.resource.proof import make_proof
from consensus.resource.windows import closes_at
from consensus.types.amounts import eubc
from tests.proving import HARDWARE, RECIPIENT, TILES, Provers, edited
from vm import members, resource
from vm.epoch import PROOF_PAID
from vm.measuring import FALSE_SHARE
from vm.members import Register
from vm.resource import Prove
from vm.spark import RegisterSpark, RetireSpark, proving_capacity
from vm.stake import Bond, Unbond

AGAIN = RegisterSpark(RECIPIENT, HARDWARE, 2, True, 1)


def lie(world: Provers, *then: object) -> None:
    """alice sends a proof with a false share, then these transactions before the window closes."""
    world.false_tile = TILES[5]
    world.until_open()
    world.prove("alice")
    world.block()
    for payload in then:
        world.succeed("alice", payload)
    assert world.height < closes_at(world.window.window)
    world.until_closed()


def refused_as_barred(world: Provers) -> None:
    """alice may not prove in the next window."""
    opened = world.until_open()
    world.refuse("alice", Prove(make_proof(opened, TILES)), resource.SPARK_BARRED)


def test_retiring_before_the_judgement_saves_neither_stake_nor_bar() -> None:
    world = Provers(("alice", "bob"))
    lie(world, RetireSpark())
    assert world.stake("alice").bonded == eubc(99)
    world.succeed("alice", AGAIN)
    epoch = world.epoch
    until = world.spark("alice").banned_until
    assert until == world.events(FALSE_SHARE.code)[-1][4]
    while world.epoch == epoch:
        world.block()
    world.until_closed()
    refused_as_barred(world)
    world.check()


def test_registering_anew_before_the_judgement_does_not_lift_the_bar() -> None:
    world = Provers(("alice", "bob"))
    edited(world, "alice", capacity=50 << 16)
    edited(world, "bob", capacity=200 << 16)
    world.until_open()
    world.prove("bob", TILES[10:])
    lie(world, RetireSpark(), AGAIN)
    spark = world.spark("alice")
    assert spark.banned_until > world.epoch
    assert spark.capacity == 7 * (50 << 16) // 8, "it is credited nothing, as if it had missed"
    assert proving_capacity(spark, world.epoch) == 0


def test_a_bar_outlives_a_second_registration() -> None:
    world = Provers(("alice", "bob"))
    lie(world)
    until = world.spark("alice").banned_until
    world.succeed("alice", RetireSpark())
    world.succeed("alice", AGAIN)
    assert world.spark("alice").banned_until == until
    world.until_height(world.height + 20)
    world.until_closed()
    refused_as_barred(world)


def test_what_was_unbonded_before_the_judgement_is_slashed_all_the_same() -> None:
    world = Provers(("alice", "bob"))
    lie(world, Unbond(eubc(100)))
    stake = world.stake("alice")
    assert (stake.bonded, [entry.amount for entry in stake.unbonding]) == (0, [eubc(99)])
    assert world.events(FALSE_SHARE.code)[-1][3] == eubc(1)
    world.check()


def test_bonding_more_before_the_judgement_makes_it_dearer() -> None:
    """One percent of all that is there when it is judged, rounded up."""
    world = Provers(("alice", "bob"))
    lie(world, Bond(eubc(50) + 1))
    assert world.events(FALSE_SHARE.code)[-1][3] == eubc(1) + eubc(1) // 2 + 1
    assert world.stake("alice").bonded == eubc(150) + 1 - eubc(1) - eubc(1) // 2 - 1


def test_a_liar_that_was_credited_before_shares_the_pool_no_more() -> None:
    """Also when its false share stood in a void window, whose list of the credited is the last good one's."""
    world = Provers(("alice", "bob"))
    world.all_prove("alice", "bob")
    assert members.count(world.view, Register.CREDITED) == 2
    edited(world, "alice", difficulty=1)
    edited(world, "bob", capacity=90 << 16)
    lie(world)
    assert world.window.was_void
    assert members.count(world.view, Register.CREDITED) == 2
    seen = len(world.events(PROOF_PAID.code))
    world.until_epoch_end()
    assert {facts[0] for facts in world.events(PROOF_PAID.code)[seen:]} == {world["bob"].address}


def test_another_account_of_the_same_owner_begins_with_nothing() -> None:
    """The machine may go on under another bond, and climbs again from S = 0 while the old S fades."""
    world = Provers(("alice", "bob"))
    edited(world, "alice", capacity=50 << 16)
    lie(world)
    world.false_tile = None
    world.submit("v0", Bond(eubc(5)))
    world.submit("v0", AGAIN)
    world.until_epoch_end()
    world.until_closed()
    world.all_prove("v0", "bob")
    assert world.spark("v0").capacity == (56 << 16) // 8
    assert world.spark("alice").capacity <= 7 * (50 << 16) // 8
