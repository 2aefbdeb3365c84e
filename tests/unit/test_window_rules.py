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
from consensus.types.codec import encode
from consensus.types.errors import Rejected
from consensus.types.params import DEV
from tests.proving import HARDWARE, RECIPIENT, TILES, Provers, always, edited
from vm import head as heads
from vm import resource
from vm.claims import claims, take_as_true
from vm.measuring import FALSE_SHARE, VOID
from vm.outage import OUTAGE
from vm.resource import Prove
from vm.spark import NO_SPARK, SPARK_BOND_BELOW_MINIMUM, RegisterSpark, RetireSpark
from vm.stake import Unbond
from vm.windows import PROOFS, WINDOWS


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


def unsteady(epoch_blocks: int) -> Provers:
    """alice and bob with S, and a validator whose absence is an outage."""
    chain = msgspec.structs.replace(always().chain, epoch_blocks=epoch_blocks)
    params = msgspec.structs.replace(always(), chain=chain)
    bonds = [eubc(2_800), eubc(2_400), eubc(2_400), eubc(2_400)]
    return Provers(("alice", "bob"), validators=4, params=params, bonds=bonds)


def give_compute(world: Provers) -> None:
    """An eighth of alice's is a whole number; bob alone covers a window."""
    edited(world, "alice", capacity=8 << 16)
    edited(world, "bob", capacity=100 << 16)


@pytest.mark.parametrize(("epoch_blocks", "is_known"), [(14, False), (12, True)])
def test_an_outage_gives_nothing_back_to_a_false_claim(epoch_blocks: int, is_known: bool) -> None:
    """Whoever claimed was there; only absence is excused, also when the outage is known at the close."""
    world = unsteady(epoch_blocks)
    while True:
        world.until_open()
        window = world.window.window
        epoch = world.epoch_of(last_proof_at(window))
        if (epoch < world.epoch_of(closes_at(window))) == is_known:
            break
        world.until_closed()
    give_compute(world)
    world.false_tile = TILES[2]
    world.prove("alice")
    world.prove("bob", TILES[10:])
    while not world.window.is_closed or world.epoch == epoch:
        world.block(absent={"v0"})
    assert world.events(OUTAGE.code)
    assert world.events(FALSE_SHARE.code)
    assert world.spark("alice").capacity == 7 << 16


@pytest.mark.parametrize("is_outage", [True, False])
def test_all_that_was_missed_in_an_outage_comes_back(is_outage: bool) -> None:
    """Three windows of one epoch, each an eighth of what was left."""
    world = unsteady(42)
    world.verdicts = take_as_true
    world.until_epoch_end()
    give_compute(world)
    epoch, closed = world.epoch, 0
    while world.epoch == epoch:
        window = world.window
        may_prove = opens_at(window.window) < world.height + 1 <= last_proof_at(window.window)
        if may_prove and world.read(PROOFS, world["bob"].address) is None:
            world.prove("bob")
        world.block(absent={"v0"} if is_outage else set())
        closed += world.window.is_closed and world.height == closes_at(world.window.window)
    assert closed == 3
    assert bool(world.events(OUTAGE.code)) == is_outage
    assert world.spark("alice").capacity == (8 << 16 if is_outage else 7**3 * 2**10)


# ------------------------------------------------------------------- what a window's record decides


def with_window(world: Provers, **changes: int) -> None:
    """Give the running window other parameters than the network has, as an older version would have."""
    last = world.window
    changed = msgspec.structs.replace(last, window=msgspec.structs.replace(last.window, **changes))
    world.state.write({WINDOWS.prefix: encode(changed)})


def test_a_window_keeps_its_heights_when_the_parameters_change() -> None:
    world = Provers(("alice", "bob"))
    opened = world.until_open()
    with_window(world, window_blocks=6, grace_blocks=3, verify_blocks=2)
    world.until_height(opened + 8)
    assert world.height > opened + DEV.resource.window_blocks + DEV.resource.grace_blocks
    world.succeed("alice", Prove(make_proof(opened, TILES)))
    world.refuse("bob", Prove(make_proof(opened, TILES)), resource.NO_OPEN_WINDOW)
    assert not world.window.is_closed
    world.block()
    assert world.window.is_closed
    assert world.height == opened + 6 + 3 + 2


def test_a_window_keeps_its_least_difficulty_and_its_budget() -> None:
    world = Provers(difficulty=16)
    world.verdicts = take_as_true
    world.until_open()
    with_window(world, difficulty_min=7, verify_budget=16)
    world.prove("alice")
    world.until_height(closes_at(world.window.window) - 1)
    ((_, claim),) = claims(world.view, world.window)
    assert len(claim.checked) == 16
    world.block()
    world.until_open()
    with_window(world, difficulty_min=33)
    world.prove("alice", TILES[:7])
    world.until_closed()
    assert world.spark("alice").difficulty == 33, "64 // 4 lies below it"


def test_a_void_window_takes_nothing_from_the_retired_either() -> None:
    """S fades for windows that count: who stayed and missed this one has lost nothing."""
    world = Provers(("alice", "bob"))
    edited(world, "alice", capacity=8 << 16)
    edited(world, "bob", capacity=90 << 16)
    world.until_announced()
    world.succeed("alice", RetireSpark())
    world.until_closed()
    assert world.window.was_void
    world.succeed("alice", RegisterSpark(RECIPIENT, HARDWARE, 2, True, 1))
    assert world.spark("alice").capacity == 8 << 16
