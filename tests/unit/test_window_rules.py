"""Who counts in a window, what its seed and its sample are made of, and what an outage does not excuse."""

from __future__ import annotations

import msgspec
import pytest

from consensus.resource.proof import make_proof, sampled
from consensus.resource.windows import (
    closes_at,
    last_proof_at,
    opens_at,
    sample_beacon_at,
    window_seed,
)
from consensus.types.amounts import eubc
from consensus.types.errors import Rejected
from tests.proving import HARDWARE, RECIPIENT, TILES, Provers, always, edited
from vm import head as heads
from vm import resource
from vm.claims import claims, take_as_true
from vm.measuring import FALSE_SHARE, VOID
from vm.outage import OUTAGE
from vm.resource import Prove
from vm.spark import NO_SPARK, SPARK_BOND_BELOW_MINIMUM, RegisterSpark, RetireSpark
from vm.stake import Unbond


def beacon(world: Provers) -> bytes:
    """Of the head."""
    return heads.head(world.view).beacon


# ------------------------------------------------------------------------------ what is drawn from what


def test_the_seed_is_of_the_announcing_beacon_and_the_opening_block() -> None:
    """The first is known when the window is announced, the second to nobody before that block."""
    world = Provers()
    world.until_announced()
    announcing = beacon(world)
    world.until_height(opens_at(world.window.window))
    opening = world.last_id
    world.block()
    assert world.window.seed == window_seed(announcing, opening)


def test_the_sample_is_drawn_by_the_beacon_after_the_last_proof() -> None:
    """Nobody knows while claiming which of its claims will be looked at."""
    world = Provers(("alice", "bob"), params=always(verify_budget=16))
    world.until_open()
    for name in ("alice", "bob"):
        world.prove(name)
    world.until_height(sample_beacon_at(world.window.window))
    drawn = beacon(world)
    world.until_height(closes_at(world.window.window) - 1)
    found = dict(claims(world.view, world.window))
    for name in ("alice", "bob"):
        address = world[name].address
        assert found[address].checked == sampled(drawn, address, 56, 8)


def test_before_the_sample_is_drawn_every_share_is_looked_at() -> None:
    """Whoever judges ahead of a window that is not crowded judges what the close will ask for."""
    world = Provers()
    world.until_open()
    world.prove("alice")
    world.until_proofs_end()
    ahead = claims(world.view, world.window)
    world.until_height(closes_at(world.window.window) - 1)
    assert ahead == claims(world.view, world.window)
    assert ahead[0][1].checked == tuple(range(56))


# ---------------------------------------------------------------------------------- who is counted


def test_the_barred_at_the_announcement_do_not_count_against_a_window() -> None:
    """Else one false share of a large spark made void every window of its bar."""
    world = Provers(("alice", "bob"))
    edited(world, "alice", capacity=10 << 16)
    edited(world, "bob", capacity=90 << 16, banned_until=world.epoch + 9)
    world.all_prove("alice")
    assert world.window.capacity == 10 << 16
    assert not world.events(VOID.code)


def test_the_retired_at_the_announcement_do_not_count_against_a_window() -> None:
    world = Provers(("alice", "bob"))
    edited(world, "alice", capacity=10 << 16)
    edited(world, "bob", capacity=90 << 16)
    world.succeed("bob", RetireSpark())
    world.until_closed()
    voids = len(world.events(VOID.code))
    world.all_prove("alice")
    assert world.window.capacity < 90 << 16
    assert len(world.events(VOID.code)) == voids


def test_who_retires_after_the_announcement_counts_against_the_window() -> None:
    """The sum is of the announcement: nobody makes a window count by leaving it."""
    world = Provers(("alice", "bob"))
    edited(world, "alice", capacity=10 << 16)
    edited(world, "bob", capacity=90 << 16)
    world.until_open()
    world.prove("alice")
    world.submit("bob", RetireSpark())
    world.block()
    world.until_closed()
    assert world.events(VOID.code)[-1][2:] == (10 << 16, 100 << 16)


def test_a_spark_that_registers_again_counts_and_may_not_prove_in_its_epoch() -> None:
    """It is neither barred nor retired; its S fades, since it misses, once the window is not void."""
    world = Provers(("alice", "bob"))
    world.verdicts = take_as_true
    while world.height % world.params.chain.epoch_blocks > 10:
        world.block()
    world.until_closed()
    edited(world, "alice", capacity=90 << 16)
    edited(world, "bob", capacity=8 << 16)
    world.submit("bob", RetireSpark())
    world.submit("bob", RegisterSpark(RECIPIENT, HARDWARE, 2, True, 1))
    opened = world.until_open()
    assert world.window.capacity == 98 << 16
    world.prove("alice")
    world.refuse("bob", Prove(make_proof(opened, TILES)), resource.SPARK_TOO_NEW)
    world.until_closed()
    assert world.spark("bob").capacity == 7 << 16


# ------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("why", ["retired", "barred", "bond", "none"])
def test_who_may_not_prove_has_no_place_in_the_lane(why: str) -> None:
    """The lane is for what the state makes due: a proof that would be refused pays like everything else."""
    world = Provers(("alice", "bob"))
    opened = world.until_open()
    payload = Prove(make_proof(opened, TILES))
    reason = NO_SPARK
    if why == "retired":
        world.succeed("bob", RetireSpark())
    elif why == "barred":
        edited(world, "bob", banned_until=world.epoch + 3)
        reason = resource.SPARK_BARRED
    elif why == "bond":
        world.succeed("bob", Unbond(world.stake("bob").bonded))
        reason = SPARK_BOND_BELOW_MINIMUM
    state = world.next_state()
    who = "v0" if why == "none" else "bob"
    assert resource.is_due(state, world.call("alice"), payload)
    assert not resource.is_due(state, world.call(who), payload)
    with pytest.raises(Rejected) as refusal:
        resource.prove(state, world.call(who), payload)
    assert refusal.value.reason is reason


# ------------------------------------------------------------------------------------- outages


def test_an_outage_gives_nothing_back_to_a_false_claim() -> None:
    """Whoever claimed was there; only absence is excused."""
    chain = msgspec.structs.replace(always().chain, epoch_blocks=14)
    params = msgspec.structs.replace(always(), chain=chain)
    bonds = [eubc(2_800), eubc(2_400), eubc(2_400), eubc(2_400)]
    world = Provers(("alice", "bob"), validators=4, params=params, bonds=bonds)
    while True:
        world.until_open()
        window = world.window.window
        epoch = world.epoch_of(last_proof_at(window))
        if world.epoch_of(closes_at(window)) == epoch:
            break
        world.until_closed()
    edited(world, "alice", capacity=8 << 16)
    edited(world, "bob", capacity=100 << 16)
    world.false_tile = TILES[2]
    world.prove("alice")
    world.prove("bob", TILES[10:])
    while not world.window.is_closed or world.epoch == epoch:
        world.block(absent={"v0"})
    assert world.events(OUTAGE.code)
    assert world.events(FALSE_SHARE.code)
    assert world.spark("alice").capacity == 7 << 16
